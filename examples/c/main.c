/* Five points and the surest attributes of a face crop, with LiteRT's C API and no Python:

     lib=$(python -c 'import ai_edge_litert; print(ai_edge_litert.__path__[0])')
     cc -std=c11 -O2 main.c -o face "$lib/libLiteRt.so" -Wl,-rpath,"$lib"
     ./face model.tflite crop.ppm

   The crop is cut as model.json says and has the model's size; `convert photo.png -resize '96x96!' crop.ppm` makes one. LiteRT's own log
   goes to stderr. On Android and iOS the same library is part of LiteRT's packages, and the calls are the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "litert.h"

enum { MOST_OUTPUTS = 8, SUREST = 5 };

#define CHECK(call)                                                        \
  do {                                                                     \
    LiteRtStatus status_ = (call);                                         \
    if (status_ != 0) {                                                    \
      fprintf(stderr, "error: %s gave status %d\n", #call, (int)status_);  \
      exit(1);                                                             \
    }                                                                      \
  } while (0)

typedef struct {
  size_t count;
  float *values;
  const char *names; /* one a line, or NULL */
  size_t names_size;
} Output;

static _Noreturn void fail(const char *file, const char *expected) {
  fprintf(stderr, "error: %s: expected %s\n", file, expected);
  exit(1);
}

/* Memory that LiteRT can use in place. */
static void *aligned(size_t bytes) {
  const size_t unit = LITERT_HOST_MEMORY_BUFFER_ALIGNMENT;
  void *memory = aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (!memory) abort();
  return memory;
}

/* The pixels of a binary PPM of the wanted size, RGB by rows. */
static unsigned char *read_ppm(const char *file, int width, int height) {
  char wanted[64];
  int w = 0, h = 0, most = 0;
  const size_t bytes = (size_t)width * height * 3;
  unsigned char *pixels = malloc(bytes);
  FILE *stream = fopen(file, "rb");
  if (!pixels || !stream) fail(file, "a readable file");
  snprintf(wanted, sizeof wanted, "a binary PPM (P6) of %d x %d pixels and 8 bits", width, height);
  if (fscanf(stream, "P6 %d %d %d", &w, &h, &most) != 3 || w != width || h != height || most != 255) fail(file, wanted);
  fgetc(stream);
  if (fread(pixels, 1, bytes, stream) != bytes) fail(file, "as many pixels as its header says");
  fclose(stream);
  return pixels;
}

/* Prints the i-th line of an output's names, or its number. */
static void print_name(const Output *output, size_t i) {
  const char *line = output->names, *end = line + output->names_size;
  for (size_t skip = i; line && skip; skip--) {
    const char *next = memchr(line, '\n', end - line);
    line = next ? next + 1 : NULL;
  }
  if (!line) {
    printf("%zu", i);
    return;
  }
  const char *stop = memchr(line, '\n', end - line);
  printf("%.*s", (int)((stop ? stop : end) - line), line);
}

static void print_points(const Output *output, int width, int height) {
  for (size_t i = 0; i + 1 < output->count; i += 2) {
    print_name(output, i / 2);
    printf(" %.2f %.2f\n", output->values[i] * width, output->values[i + 1] * height);
  }
}

static void print_surest(Output *output) {
  for (int k = 0; k < SUREST; k++) {
    size_t best = 0;
    for (size_t i = 1; i < output->count; i++)
      if (output->values[i] > output->values[best]) best = i;
    if (output->values[best] < 0) return;
    print_name(output, best);
    printf(" %.3f\n", output->values[best]);
    output->values[best] = -1; /* said */
  }
}

int main(int argc, char **argv) {
  if (argc != 3) fail(argv[0], "two arguments: MODEL.tflite CROP.ppm");

  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtSignature signature;
  LiteRtTensor tensor;
  LiteRtRankedTensorType type;
  CHECK(LiteRtCreateEnvironment(0, NULL, &environment));
  if (LiteRtCreateModelFromFile(environment, argv[1], &model)) fail(argv[1], "a LiteRT model");
  CHECK(LiteRtGetModelSignature(model, 0, &signature)); /* serving_default */

  /* the input: an image of RGB 0..255, as bytes or as floats */
  CHECK(LiteRtGetSignatureInputTensor(signature, "image", &tensor));
  CHECK(LiteRtGetRankedTensorType(tensor, &type));
  if (type.rank != 4 || type.dimensions[0] != 1) fail(argv[1], "a model of one image");
  const int height = type.dimensions[1], width = type.dimensions[2];
  const size_t count = (size_t)height * width * 3;
  unsigned char *pixels = read_ppm(argv[2], width, height);
  const size_t bytes = count * (type.element_type == kLiteRtElementTypeUInt8 ? 1 : sizeof(float));
  void *image = aligned(bytes);
  if (type.element_type == kLiteRtElementTypeUInt8)
    memcpy(image, pixels, bytes);
  else
    for (size_t i = 0; i < count; i++) ((float *)image)[i] = pixels[i];
  LiteRtTensorBuffer input;
  CHECK(LiteRtCreateTensorBufferFromHostMemory(&type, image, bytes, NULL, &input));

  /* the outputs, and their names from the file's metadata */
  Output outputs[MOST_OUTPUTS], *landmarks = NULL, *attributes = NULL;
  LiteRtTensorBuffer buffers[MOST_OUTPUTS];
  size_t output_count;
  CHECK(LiteRtGetNumSignatureOutputs(signature, &output_count));
  if (output_count > MOST_OUTPUTS) fail(argv[1], "fewer outputs");
  for (size_t i = 0; i < output_count; i++) {
    const char *name;
    char key[64];
    Output *output = &outputs[i];
    CHECK(LiteRtGetSignatureOutputName(signature, i, &name));
    CHECK(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor));
    CHECK(LiteRtGetRankedTensorType(tensor, &type));
    output->count = 1;
    for (unsigned d = 0; d < type.rank; d++) output->count *= type.dimensions[d];
    output->values = aligned(output->count * sizeof(float));
    CHECK(LiteRtCreateTensorBufferFromHostMemory(&type, output->values, output->count * sizeof(float), NULL, &buffers[i]));
    snprintf(key, sizeof key, "%s_names", name);
    const void *names;
    output->names = LiteRtGetModelMetadata(model, key, &names, &output->names_size) ? NULL : names;
    if (!strcmp(name, "landmarks")) landmarks = output;
    if (!strcmp(name, "attributes")) attributes = output;
  }
  if (!landmarks || !attributes) fail(argv[1], "the outputs landmarks and attributes");

  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  CHECK(LiteRtCreateOptions(&options));
  CHECK(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu));
  CHECK(LiteRtCreateCompiledModel(environment, model, options, &compiled));
  CHECK(LiteRtRunCompiledModel(compiled, 0, 1, &input, output_count, buffers));

  print_points(landmarks, width, height);
  print_surest(attributes);

  LiteRtDestroyTensorBuffer(input);
  free(image);
  free(pixels);
  for (size_t i = 0; i < output_count; i++) {
    LiteRtDestroyTensorBuffer(buffers[i]);
    free(outputs[i].values);
  }
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
  return 0;
}

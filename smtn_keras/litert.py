"""LiteRT files: from a network to a file of the wanted arithmetic, with the names of its outputs inside."""

import contextlib
import errno
import io
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from . import backend
from .errors import UserError

Preset = Literal["float32", "float16", "dynamic", "int8"]
InputType = Literal["float32", "uint8"]


def write_saved_model(model, folder: Path, batch: int | None = None, input_type: InputType = "float32"):
    """Writes a SavedModel whose signature takes `image` and gives an output of each task's name.

    Args:
        model: a `predictor.serving_model`.
        batch: how many images it takes; None for any number.
        input_type: of `image`, RGB 0..255.

    Raises:
        OSError: if the disk is full, of which TensorFlow has an error of its own.
    """
    import keras
    import tensorflow as tf

    # Keras' own export leaves the batch open even where it is asked not to, and device runtimes refuse that
    image = tf.TensorSpec((batch, *model.input.shape[1:]), input_type, name="image")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda image: model(tf.cast(image, tf.float32), training=False), input_signature=[image])
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.ResourceExhaustedError:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None


def convert(model, batch: int = 1, input_type: InputType = "float32") -> bytes:
    """A float32 LiteRT file with the same signature and a fixed batch, of built-in operations only."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, Path(folder), batch, input_type)
        # by way of a SavedModel: straight from a function, this converter leaves Keras 3's variables without values
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with backend.quiet_native_code():
            return converter.convert()


def quantise(float_model: bytes, preset: Preset, network, images: list[np.ndarray] | None = None) -> bytes:
    """A LiteRT file with the arithmetic of a preset.

    Coordinates, probabilities and what a `SoftArgmax` does are float32 in all of them: an expectation over 8-bit weights moves points
    by pixels.

    Args:
        float_model: what `convert` made.
        preset: `float32` leaves it as it is; `float16` stores weights in 16 bits; `dynamic` stores weights in 8 bits and rounds the
            inputs of their layers to 8 bits as they come; `int8` has 8-bit maps as well, on scales fixed by `images`, all through
            the stacks, and is `dynamic` in what a head adds.
        network: the Keras network in it, whose layers tell what an operation belongs to.
        images: inputs of the file, `(batch, size, size, 3)` each, to calibrate `int8` on.

    Raises:
        UserError: if litert-quantizer is not installed.
    """
    if preset == "float32":
        return float_model
    try:
        with backend.quiet_native_code():
            from litert_quantizer import Quantizer
            from litert_quantizer.qtyping import TFLOperationName
    except ImportError:
        raise UserError(
            f"--quantise {preset}: expected litert-quantizer, which is not installed; run: pip install 'smtn_keras[quantise]'"
        ) from None

    every = TFLOperationName.ALL_SUPPORTED
    weighted, maps = _scopes(network)
    quantizer = Quantizer(bytearray(float_model))
    if preset == "float16":
        quantizer.add_weight_only_config(weighted, every, num_bits=16, algorithm_key="float_casting")
    else:
        quantizer.add_dynamic_config(weighted, every, num_bits=8)
    ranges = None
    # a progress bar, and a note on memory
    with backend.quiet_native_code(), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
        if preset == "int8":
            quantizer.add_static_config(maps, every, activation_num_bits=8, weight_num_bits=8)  # a later rule is stronger
            ranges = _ranges(float_model, images)
        return bytes(quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _ranges(float_model: bytes, images: list[np.ndarray]) -> dict:
    """The lowest and the highest value of each tensor over all images.

    The quantiser's own way, a moving average of each image's extremes, cuts most of them off: on CelebA's validation part that was a
    fifth more error in the probabilities, and in a network of few channels and epochs six times as much in the points.
    """
    from litert_quantizer.calibrator import CalibrationMode, Calibrator
    from litert_quantizer.recipe_manager import RecipeManager
    from litert_quantizer.utils.qsv_utils import min_max_update

    mode = CalibrationMode.CALIBRATION_PROFILER_BASED  # the other one takes a minute
    calibrator = Calibrator(float_model, num_threads=1, mode=mode, qsv_update_func=min_max_update)
    calibrator.calibrate({"serving_default": [{"image": image} for image in images]}, RecipeManager())
    return calibrator.get_model_qsvs()


def _scopes(network) -> tuple[str, str]:
    """Expressions that find a file's operations by the layers they come from: those with weights, and those that make a stack's maps.

    The image's normalisation makes no such map, nor does the layer before a `SoftArgmax`: its heatmaps are logits, and 256 levels
    are too few for them.
    """
    import keras

    from .networks.heads import SoftArgmax

    heatmaps = [layer.input for layer in network.layers if isinstance(layer, SoftArgmax)]
    weighted = [layer.name for layer in network.layers if layer.weights]
    maps = []
    for layer in network.layers:
        outputs = keras.tree.flatten(layer.output)
        before = isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling)
        if not before and len(outputs[0].shape) == 4 and not any(outputs[0] is tensor for tensor in heatmaps):
            maps.append(layer.name)
    return _of_layers(weighted), _of_layers(maps)


def _of_layers(names: list[str]) -> str:
    # a tensor is named after all operations in it, `network_1/layer_1/convolution;network_1/layer_bn_1/add`
    return rf"(^|[/;])({'|'.join(map(re.escape, names))})(_\d+)?/"


def with_names(model: bytes, names: dict[str, list[str]]) -> bytes:
    """The file with the names of its outputs inside: under the key `{output}_names` one name a line, UTF-8.

    Readers: `names_in`, and any runtime's access to a model's metadata.

    Args:
        names: by output.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    # litert-quantizer puts weights behind the flatbuffer, where older runtimes do not look; read and written again they are within
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    for output, lines in names.items():
        content.metadata.append(schema.MetadataT(name=_key(output), buffer=len(content.buffers)))
        content.buffers.append(schema.BufferT(data="\n".join(lines).encode()))
    for buffer in content.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)  # other kinds are written byte by byte
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def names_in(model: bytes, outputs: list[str]) -> dict[str, list[str]]:
    """The names that `with_names` put into a file, by those of the outputs that have any."""
    from ai_edge_litert import schema_py_generated as schema

    content = schema.Model.GetRootAs(model)
    entries = [content.Metadata(i) for i in range(content.MetadataLength())]
    texts = {entry.Name().decode(): content.Buffers(entry.Buffer()).DataAsNumpy() for entry in entries}
    return {output: bytes(texts[_key(output)]).decode().split("\n") for output in outputs if _key(output) in texts}


def _key(output: str) -> str:
    return f"{output}_names"

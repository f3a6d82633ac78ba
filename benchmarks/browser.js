// Networks in the browser, all asked alike: each is a function from a face crop, ImageData, to points [x, y] in pixels of it.

/** An export of smtn_keras, on WebAssembly. */
export async function exported(folder) {
  const {Smtn} = await import("/smtn.js");
  const smtn = await Smtn.load(folder, "wasm");
  return async (crop) => {
    const {landmarks} = await smtn.answer(crop);
    return Array.from({length: landmarks.length / 2}, (_, i) => [landmarks[2 * i] * crop.width, landmarks[2 * i + 1] * crop.height]);
  };
}

/** The 68 points of face-api. */
export async function points68() {
  const {nets} = await faceApi();
  await nets.faceLandmark68Net.loadFromUri("/npm/@vladmandic/face-api/model");
  return async (crop) => (await nets.faceLandmark68Net.detectLandmarks(canvasOf(crop))).positions.map(({x, y}) => [x, y]);
}

/** Age and gender by face-api; no points. */
export async function ageGender() {
  const {nets} = await faceApi();
  await nets.ageGenderNet.loadFromUri("/npm/@vladmandic/face-api/model");
  return async (crop) => (await nets.ageGenderNet.predictAgeAndGender(canvasOf(crop))) && [];
}

async function faceApi() {
  const api = await import("/npm/@vladmandic/face-api/dist/face-api.esm.js");
  api.tf.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/wasm-out/");
  await api.tf.setBackend("wasm");
  await api.tf.ready();
  return api;
}

function canvasOf(crop) {
  const canvas = Object.assign(document.createElement("canvas"), {width: crop.width, height: crop.height});
  canvas.getContext("2d").putImageData(crop, 0, 0);
  return canvas;
}

/** Asks networks in turn. Returns the points of each, and its milliseconds. */
export async function ask(networks, width, height, base64) {
  const crop = new ImageData(Uint8ClampedArray.from(atob(base64), (letter) => letter.charCodeAt(0)), width, height);
  const answers = [];
  for (const network of networks) {
    const began = performance.now();
    answers.push([await network(crop), performance.now() - began]);
  }
  return answers;
}

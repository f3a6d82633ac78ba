// The page: a picture from a file or the camera, and what the network says of it.
import {cards, paint} from "./draw.js";
import {Smtn} from "./smtn.js";

const MOST_MEGAPIXELS = 100; // as Python's `read_image`: more is a decompression bomb
const LONGEST = 4096; // pixels of a side that are looked at
const CARDS_EVERY = 250; // milliseconds of a video

const $ = (id) => document.getElementById(id);
export let shown = null; // {name, picture, faces, scale}: what is drawn
let turn = 0; // a new picture ends the work on the one before

export const ready = Smtn.load("/model/", new URLSearchParams(location.search).get("accelerator") ?? undefined);
ready.then(
  (smtn) => {
    performance.mark("ready");
    about(smtn);
    if (!turn) finish();
  },
  (error) => {
    console.error(error);
    complain(`The network cannot be used: ${error.message}.`);
    finish("failed");
  },
);

$("file").addEventListener("change", ({target}) => {
  if (target.files.length) photo(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
addEventListener("dragover", (event) => {
  event.preventDefault(); // beside the field, too: the browser would leave the page for the file
  $("drop").classList.add("over");
});
addEventListener("dragleave", ({relatedTarget}) => relatedTarget || $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) photo(file);
});
$("camera").addEventListener("click", () => ($("camera").ariaPressed === "true" ? turnOff() : camera()));
new ResizeObserver(() => shown && paint($("picture"), shown.picture, shown.faces)).observe($("shown"));

async function photo(file) {
  const mine = begin("Looking for faces …");
  try {
    const [picture, scale] = await read(file);
    const smtn = await ready;
    const began = performance.now();
    const faces = await smtn.photo(picture);
    const all = performance.now() - began;
    if (mine !== turn) return;
    show({name: file.name, picture, faces, scale});
    if (!faces.length) complain(`${file.name}: expected a face, found none; choose a picture with a larger, upright face.`);
    finish("ready", faces.length ? `${took(faces)}; ${all.toFixed(0)} ms with finding and cutting` : "");
  } catch (error) {
    if (mine !== turn) return;
    show(null);
    complain(`${error.message}.`);
    finish();
  }
}

async function camera() {
  const mine = begin("Waiting for the camera …");
  const video = document.createElement("video");
  [video.muted, video.playsInline] = [true, true];
  try {
    const stream = await open();
    video.srcObject = stream;
    if (mine !== turn) return;
    $("camera").ariaPressed = "true";
    $("camera").textContent = "Stop the camera";
    await video.play();
    const smtn = await ready;
    const [track] = stream.getVideoTracks();
    track.onended = () => mine === turn && turnOff();
    const mirrored = track.getSettings().facingMode !== "environment";
    let faces = [], last = performance.now(), listed = 0;
    document.body.dataset.state = "camera";
    while (mine === turn && stream.active) {
      await nextFrame(video);
      const picture = draw(video, video.videoWidth, video.videoHeight, mirrored)[0];
      const now = performance.now();
      faces = await smtn.follow(picture, faces, (now - last) / 1000);
      if (mine !== turn) break;
      const ended = performance.now(), list = ended - listed > CARDS_EVERY;
      show({name: "camera", picture, faces, scale: 1}, list);
      if (list) {
        say(faces.length ? `${took(faces)}; ${(1000 / (now - last)).toFixed(0)} pictures a second` : "No face is seen");
        listed = ended;
      }
      last = now;
    }
  } catch (error) {
    if (mine !== turn) return;
    turnOff();
    complain(`${error.message}.`);
  } finally {
    video.srcObject?.getTracks().forEach((track) => track.stop());
  }
}

async function open() {
  try {
    return await navigator.mediaDevices.getUserMedia({video: {facingMode: "user", width: {ideal: 1280}, height: {ideal: 720}}});
  } catch (error) {
    const known = {
      NotAllowedError: "got a refusal; allow it in the browser's settings of this page",
      NotFoundError: "found none; connect one, or choose a photo",
    };
    throw new Error(`expected a camera, ${known[error.name] ?? `got '${error.message || error.name}'; close what else may be using it`}`);
  }
}

const nextFrame = (video) =>
  new Promise((resolve) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(resolve) : requestAnimationFrame(resolve)));

/** A file as a canvas, and how many of its own pixels one of the canvas' stands for. What is too large is refused before it is decoded. */
async function read(file) {
  const image = new Image();
  const url = URL.createObjectURL(file);
  try {
    const loaded = new Promise((resolve, reject) => Object.assign(image, {onload: resolve, onerror: reject, src: url}));
    await loaded.catch(() => {
      throw new Error(`${file.name}: expected a picture (JPEG, PNG, WebP or GIF), got a file that this browser cannot read; choose another, or save it again`);
    });
    const megapixels = (image.naturalWidth * image.naturalHeight) / 1e6;
    if (megapixels > MOST_MEGAPIXELS)
      throw new Error(`${file.name}: expected a picture of at most ${MOST_MEGAPIXELS} megapixels, got one of ${Math.round(megapixels)}; scale it down`);
    // an image element would show what is left of a damaged file
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name}: expected a whole picture, got a cut-off or damaged one; choose another, or save it again`);
    });
    return draw(bitmap, bitmap.width, bitmap.height);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function draw(source, width, height, mirrored = false) {
  const scale = Math.max(1, Math.max(width, height) / LONGEST);
  const canvas = new OffscreenCanvas(Math.ceil(width / scale), Math.ceil(height / scale));
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return [canvas, scale];
}

/** Draws a picture with its faces, and `list`s them below; null: neither. */
function show(answer, list = true) {
  shown = answer;
  const faces = shown?.faces ?? [];
  $("shown").hidden = !shown;
  $("answer").hidden = !faces.length;
  if (shown) paint($("picture"), shown.picture, faces);
  if (!list) return;
  cards($("faces"), faces);
  $("json").textContent = faces.map((face) => JSON.stringify(line(face, shown))).join("\n");
}

/** A face as a line that Python's `predict` prints. */
function line({box, landmarks, errors, attributes}, {name, scale}) {
  const each = (values, change) => values && Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
  const pixels = (value) => Number((value * scale).toFixed(2));
  return {
    image: name,
    box: box.map((value) => Math.round(value * scale)),
    landmarks: each(landmarks, (point) => point.map(pixels)),
    attributes: each(attributes, (probability) => Number(probability.toFixed(4))),
    errors: each(errors, pixels),
  };
}

function about({card, network}) {
  const {name, licence = ""} = card.data;
  const model = `${card.name ?? card.run}, ${(card.parameters / 1e6).toFixed(1)} million parameters, trained on ${name}`;
  $("about").textContent = `Attributes are a network's guesses. Here it is ${model}, on ${accelerator(network)}. ${licence}`;
}

const accelerator = ({accelerator: name}) => (name === "webgpu" ? "WebGPU" : "WebAssembly");

function took(faces) {
  const ms = faces.map((face) => face.ms).sort((one, other) => one - other)[faces.length >> 1];
  return `${faces.length} ${faces.length === 1 ? "face" : "faces"}, ${ms.toFixed(1)} ms a face`;
}

function begin(sentence) {
  $("camera").ariaPressed = "false";
  $("camera").textContent = "Use the camera";
  complain("");
  say(sentence);
  document.body.dataset.state = "busy";
  return ++turn;
}

function finish(state = "ready", sentence = "") {
  say(sentence);
  document.body.dataset.state = state;
}

function turnOff() {
  begin("");
  finish();
}

function say(sentence) {
  $("status").textContent = sentence;
}

function complain(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

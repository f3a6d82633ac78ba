// From a picture to faces, their points and their attributes; knows nothing of the page.
// Points are [x, y] in pixels from the picture's upper left corner.
import {BLAZEFACE, POINTS, detect, same} from "./detector.js";
import {cut, mean, resize, similarity, transform} from "./frame.js";
import {Network, fetched, start} from "./network.js";

const LOOK_EVERY = 10; // frames of a video
// the One-Euro filter (Casiez et al. 2012) of its points: what lets slow ones through, how much sooner fast ones come, and of their speed
const SLOW_HZ = 2, SOONER_HZ = 12, SPEED_HZ = 1; // speeds in widths of the crop a second
const ATTRIBUTES_HZ = 0.5;
const ASTRAY = 0.1; // from the detector's point, of the crop's width: half the distance of the eyes

export class Smtn {
  #frames = 0;

  /** An exported folder's model.tflite with its card, model.json, and the face detector.
   *  only: the accelerator to insist on, "wasm" or "webgpu". */
  static async load(folder = "/model/", only = undefined) {
    const smtn = new Smtn();
    try {
      smtn.#read(await (await fetched(`${folder}model.json`)).json());
    } catch (error) {
      throw new Error(`expected a model.json written by smtn_keras.export, got another or a damaged one (${error.message}); export the model again`);
    }
    if (POINTS.filter((name) => name in smtn.means).length < 2)
      throw new Error(`expected a model with points that a face detector knows (${POINTS.join(", ")}), got ${Object.keys(smtn.means).join(", ")}`);
    const accelerators = await start(only);
    smtn.network = await Network.load(`${folder}model.tflite`, accelerators);
    const missing = smtn.tasks.filter(({name}) => !smtn.network.outputs.includes(name));
    if (missing.length || smtn.network.shape[3] !== 3)
      throw new Error(`expected a model of pictures with the outputs of its model.json, got ${smtn.network.outputs.join(", ")}; export the model again`);
    smtn.detector = await Network.load(BLAZEFACE, ["wasm"]);
    return smtn;
  }

  #read(card) {
    const {frame, tasks} = card.data;
    Object.assign(this, {card, tasks, size: frame.size});
    const {name: task, points} = tasks.find(({kind}) => kind === "landmarks");
    const pixels = ([x, y]) => [x * this.size[0], y * this.size[1]];
    this.means = Object.fromEntries(points.map((name, i) => [name, pixels(frame.mean_landmarks[task][i])]));
    const {left_mouth: left, right_mouth: right} = this.means;
    if (left && right) this.means.mouth = mean([left, right]);
  }

  /** The faces of a picture on a canvas, largest first: `box`, `landmarks`, `attributes` and `errors` as in Python's `predict`, the `crop`
   *  that the network was shown, how to get `back` from it to the picture, its `width` there, and the `ms` that the network took. */
  async photo(canvas) {
    const faces = [];
    for (const {box, points} of await detect(this.detector, canvas)) {
      const first = await this.#ask(canvas, points);
      // the network's own points cut better than the detector's, unless it has lost its way
      const shared = Object.keys(points).filter((name) => name in first.landmarks);
      const lost = shared.some((name) => distance(points[name], first.landmarks[name]) > ASTRAY * first.width);
      faces.push({box, ...(lost ? first : await this.#ask(canvas, first.landmarks))});
    }
    return faces;
  }

  /** The faces of a video's next frame, their points and attributes smoothed.
   *  known: those of the frame before; they are cut by their own points, and the detector looks at some frames only.
   *  seconds: since that frame. */
  async follow(canvas, known, seconds) {
    if (this.#frames++ % LOOK_EVERY === 0 || !known.length) {
      const seen = await detect(this.detector, canvas, 0);
      known = seen.map((face) => known.find((old) => same(old.box, face.box)) ?? face);
    }
    const faces = [];
    for (const old of known) {
      const face = await this.#ask(canvas, old.landmarks ?? old.points);
      if (old.landmarks) steady(old, face, seconds);
      faces.push({...face, box: old.landmarks ? moved(old.box, old.landmarks, face.landmarks) : old.box});
    }
    return faces;
  }

  /** What the network says of a face crop, ImageData cut as the training pictures were: points as shares of its sides. */
  async answer(crop) {
    const [, height, width] = this.network.shape;
    const {data} = resize(crop, [width, height]);
    const values = new this.network.Values(3 * width * height);
    for (let i = 0, at = 0; i < data.length; i++) if (i % 4 < 3) values[at++] = data[i]; // without alpha
    return this.network.run(values);
  }

  async #ask(canvas, points) {
    const names = Object.keys(points).filter((name) => name in this.means);
    const matrix = similarity(names.map((name) => points[name]), names.map((name) => this.means[name]));
    const crop = cut(canvas.getContext("2d"), matrix, this.size);
    const began = performance.now();
    const answer = await this.answer(crop);
    const face = {landmarks: {}, attributes: {}, crop, ms: performance.now() - began, back: matrix.inverse()};
    const [width, height] = this.size;
    const zoom = Math.hypot(face.back.a, face.back.b);
    face.width = width * zoom;
    for (const {name: task, kind} of this.tasks)
      this.card.outputs[task].names.forEach((name, i) => {
        if (kind !== "landmarks") return (face.attributes[name] = answer[task][i]);
        face.landmarks[name] = transform(face.back, [width * answer[task][2 * i], height * answer[task][2 * i + 1]]);
        const error = answer[`${task}_error`]?.[i];
        if (error !== undefined) (face.errors ??= {})[name] = error * zoom * Math.sqrt(width * height);
      });
    return face;
  }
}

const distance = ([x, y], [x2, y2]) => Math.hypot(x - x2, y - y2);

/** Smooths a face by what it was `seconds` ago. */
function steady(old, face, seconds) {
  const share = (hz) => 1 / (1 + 1 / (2 * Math.PI * hz * seconds));
  face.speeds = {};
  for (const [name, point] of Object.entries(face.landmarks)) {
    face.speeds[name] = point.map((value, axis) => {
      const before = old.speeds?.[name][axis] ?? 0;
      return before + share(SPEED_HZ) * ((value - old.landmarks[name][axis]) / face.width / seconds - before);
    });
    face.landmarks[name] = point.map((value, axis) => {
      const was = old.landmarks[name][axis];
      return was + share(SLOW_HZ + SOONER_HZ * Math.abs(face.speeds[name][axis])) * (value - was);
    });
  }
  for (const [name, was] of Object.entries(old.attributes))
    face.attributes[name] = was + share(ATTRIBUTES_HZ) * (face.attributes[name] - was);
}

/** A box, gone with the points of its face. */
function moved([x, y, width, height], from, to) {
  const matrix = similarity(Object.values(from), Object.values(to));
  const scale = Math.hypot(matrix.a, matrix.b);
  const [cx, cy] = transform(matrix, [x + width / 2, y + height / 2]);
  return [cx - (scale * width) / 2, cy - (scale * height) / 2, scale * width, scale * height];
}

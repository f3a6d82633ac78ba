// Finds faces with BlazeFace (Bazarevsky et al. 2019), the short-range model of @mediapipe/face_detection.

export const BLAZEFACE = "/npm/@mediapipe/face_detection/face_detection_short_range.tflite";

const SIDE = 128;
const POSSIBLE = 0.5, OVERLAP = 0.3; // MediaPipe's own
// Seen again at this multiple of their box, faces scored at least 0.84 and what only looks like one at most 0.62.
const CLOSE = 1.7, CERTAIN = 0.75;
export const POINTS = ["left_eye", "right_eye", "nose", "mouth"]; // left and right as one sees them; the ears that follow are not used
const ANCHORS = [[16, 2], [8, 6]].flatMap(([cells, each]) =>
  Array.from({length: cells * cells * each}, (_, i) => {
    const cell = Math.floor(i / each);
    return [((cell % cells) + 0.5) / cells, (Math.floor(cell / cells) + 0.5) / cells];
  }),
);
const SMALLEST_TILE = 256; // pixels of the photo

const small = new OffscreenCanvas(SIDE, SIDE).getContext("2d", {willReadFrequently: true});
small.imageSmoothingQuality = "high";

/** Faces of a canvas, largest first, each with its `score`, `box` [x, y, width, height] and `points` by name.
 *  network: of BLAZEFACE, which sees faces of at least a sixth of what it looks at.
 *  depth: how often to look again at tiles half as long, for as long as that finds more faces, or none was found. */
export async function detect(network, canvas, depth = 3) {
  const faces = [];
  for (let level = 0; level <= depth; level++) {
    const side = Math.max(canvas.width, canvas.height) / 2 ** level;
    if (level && side < SMALLEST_TILE) break;
    const before = faces.length;
    for (const top of starts(canvas.height, side))
      for (const left of starts(canvas.width, side))
        for (const {box} of await look(network, canvas, left, top, side)) {
          // what a coarser look has found is whole there, and here perhaps cut by a tile's edge
          const face = faces.some((known) => same(known.box, box)) ? null : await lookAgain(network, canvas, box);
          if (face) faces.push(face);
        }
    if (faces.length && faces.length === before) break;
  }
  return faces.sort((one, other) => other.box[2] - one.box[2]);
}

async function lookAgain(network, canvas, box) {
  const [x, y] = centre(box), side = CLOSE * box[2];
  const faces = await look(network, canvas, x - side / 2, y - side / 2, side);
  return faces.find((face) => face.score > CERTAIN && same(face.box, box));
}

/** Where tiles begin that cover a length and overlap by half. */
function starts(length, side) {
  const count = Math.max(1, Math.ceil((2 * (length - side)) / side) + 1);
  return Array.from({length: count}, (_, i) => (count > 1 ? (i * (length - side)) / (count - 1) : 0));
}

async function look(network, canvas, left, top, side) {
  small.fillRect(0, 0, SIDE, SIDE);
  small.drawImage(canvas, left, top, side, side, 0, 0, SIDE, SIDE);
  const {data} = small.getImageData(0, 0, SIDE, SIDE);
  const input = new Float32Array(SIDE * SIDE * 3);
  for (let i = 0, at = 0; i < data.length; i++) if (i % 4 < 3) input[at++] = data[i] / 127.5 - 1; // without alpha
  const {regressors, classificators} = await network.run(input);
  const found = [];
  ANCHORS.forEach(([x, y], i) => {
    const score = 1 / (1 + Math.exp(-classificators[i]));
    if (score < POSSIBLE) return;
    // centre and size of the box, then the points, from the anchor in pixels of the small picture
    const [dx, dy, width, height, ...dots] = regressors.subarray(16 * i, 16 * i + 4 + 2 * POINTS.length);
    const scale = side / SIDE;
    const place = (px, py) => [left + side * x + scale * px, top + side * y + scale * py];
    const points = POINTS.flatMap((_, k) => place(dots[2 * k], dots[2 * k + 1]));
    found.push({score, values: [...place(dx - width / 2, dy - height / 2), scale * width, scale * height, ...points]});
  });
  return merge(found);
}

/** One face of all that lie on each other, their mean weighted by score, instead of the best alone: steadier points. */
function merge(found) {
  const faces = [];
  found.sort((one, other) => other.score - one.score);
  while (found.length) {
    const alike = found.filter(({values}) => overlap(values, found[0].values) > OVERLAP);
    const weight = alike.reduce((sum, {score}) => sum + score, 0);
    const values = found[0].values.map((_, i) => alike.reduce((sum, face) => sum + face.score * face.values[i], 0) / weight);
    const points = POINTS.map((name, k) => [name, values.slice(4 + 2 * k, 6 + 2 * k)]);
    faces.push({score: found[0].score, box: values.slice(0, 4), points: Object.fromEntries(points)});
    found = found.filter((face) => !alike.includes(face));
  }
  return faces;
}

/** The area that two boxes share, of the area that they cover. */
export function overlap([x, y, width, height], [x2, y2, width2, height2]) {
  const across = Math.max(0, Math.min(x + width, x2 + width2) - Math.max(x, x2));
  const shared = across * Math.max(0, Math.min(y + height, y2 + height2) - Math.max(y, y2));
  return shared / (width * height + width2 * height2 - shared);
}

const centre = ([x, y, width, height]) => [x + width / 2, y + height / 2];
const holds = ([left, top, width, height], [x, y]) => x > left && x < left + width && y > top && y < top + height;
/** Whether two boxes are of one face. */
export const same = (one, other) => holds(one, centre(other)) || holds(other, centre(one));

// Draws faces over their picture, and a card for each.
import {overlap} from "./detector.js";

const POINT = "#4ade80", EDGE = "#052e16";
const SUREST = 6; // attributes beside a face, as in Python's drawings
const LISTED = 12; // on its card
const LINE = 19, PAD = 7, GAP = 8; // pixels of a label
const LEGIBLE = 3; // times that a small picture is enlarged at most

/** Attributes that a face rather has than not, the surest first, as [label, probability]. */
export function surest({attributes}, most) {
  return Object.entries(attributes)
    .filter(([, probability]) => probability > 0.5)
    .sort(([, one], [, other]) => other - one)
    .slice(0, most)
    .map(([name, probability]) => [name.replaceAll("_", " ").replace("=", ": "), probability]);
}

/** The picture in a canvas of the page with boxes, points and labels, as large as its room allows. */
export function paint(canvas, picture, faces) {
  const aspect = picture.width / picture.height;
  const width = Math.min(canvas.parentElement.clientWidth, 0.75 * innerHeight * aspect, LEGIBLE * picture.width);
  const scale = width / picture.width;
  canvas.style.width = `${width}px`;
  [canvas.width, canvas.height] = [width, width / aspect].map((side) => Math.round(side * devicePixelRatio));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.scale(devicePixelRatio, devicePixelRatio); // from here on in pixels of the page
  const boxes = faces.map(({box}) => box.map((value) => value * scale));
  faces.forEach((face, i) => {
    outline(context, boxes[i]);
    for (const point of Object.values(face.landmarks)) dot(context, point.map((value) => value * scale), boxes[i][2]);
  });
  const taken = [...boxes];
  faces.forEach((face, i) => {
    const title = faces.length > 1 ? [[`Face ${i + 1}`, ""]] : [];
    const rows = [...title, ...surest(face, SUREST).map(([name, probability]) => [name, percent(probability)])];
    // as much as fits without hiding a face
    for (let length = rows.length; length; length--) {
      const place = freePlace(labelSize(context, rows.slice(0, length)), boxes[i], taken, [width, width / aspect]);
      if (!place) continue;
      taken.push(place);
      label(context, rows.slice(0, length), place);
      break;
    }
  });
}

const percent = (probability) => `${Math.round(100 * probability)} %`;

function outline(context, [x, y, width, height]) {
  context.beginPath();
  context.roundRect(x, y, width, height, 6);
  for (const [colour, thickness] of [["#0008", 3.5], ["#fff", 1.5]]) {
    [context.strokeStyle, context.lineWidth] = [colour, thickness];
    context.stroke();
  }
}

function dot(context, [x, y], faceWidth) {
  context.beginPath();
  context.arc(x, y, Math.min(5, Math.max(2, faceWidth / 40)), 0, 2 * Math.PI);
  [context.fillStyle, context.strokeStyle, context.lineWidth] = [POINT, EDGE, 1];
  context.fill();
  context.stroke();
}

function labelSize(context, rows) {
  context.font = "600 13px system-ui, sans-serif";
  const [names, values] = [0, 1].map((column) => Math.max(...rows.map((row) => context.measureText(row[column]).width)));
  return [names + (values && values + GAP) + 2 * PAD, rows.length * LINE + PAD];
}

/** Where a label may lie: beside its box, on the roomier side first, below or above it, off the others; none: undefined. */
function freePlace([width, height], [x, y, boxWidth, boxHeight], taken, [right, bottom]) {
  const left = Math.max(0, Math.min(x, right - width)), top = Math.max(0, Math.min(y, bottom - height));
  const sides = [[x + boxWidth + GAP, top], [x - width - GAP, top]];
  if (x + boxWidth / 2 > right / 2) sides.reverse();
  return [...sides, [left, y + boxHeight + GAP], [left, y - height - GAP]]
    .map((corner) => [...corner, width, height])
    .filter(([x, y]) => x >= 0 && y >= 0 && x + width <= right && y + height <= bottom)
    .find((place) => !taken.some((other) => overlap(place, other) > 0));
}

/** Rows of a name and a value. */
function label(context, rows, [left, top, width, height]) {
  context.fillStyle = "#000a";
  context.beginPath();
  context.roundRect(left, top, width, height, 6);
  context.fill();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  rows.forEach(([name, value], i) => {
    const middle = top + PAD / 2 + (i + 0.5) * LINE;
    context.textAlign = "left";
    context.fillText(name, left + PAD, middle);
    context.textAlign = "right";
    context.fillText(value, left + width - PAD, middle);
  });
}

/** A card for each face: what the network was shown, and the surest of what it said. */
export function cards(room, faces) {
  room.replaceChildren(...faces.map((face, i) => {
    const card = element("article");
    const crop = element("canvas", {width: face.crop.width, height: face.crop.height, title: "What the network is shown"});
    crop.getContext("2d", {willReadFrequently: true}).putImageData(face.crop, 0, 0);
    const list = element("ul");
    list.append(...surest(face, LISTED).map(([name, probability]) => {
      const row = element("li");
      const bar = element("i");
      bar.style.inlineSize = `${100 * probability}%`;
      row.append(bar, element("span", {textContent: name}), element("b", {textContent: percent(probability)}));
      return row;
    }));
    const title = element("h2", {textContent: faces.length > 1 ? `Face ${i + 1}` : "The face"});
    card.append(crop, title, list);
    return card;
  }));
}

const element = (tag, values = {}) => Object.assign(document.createElement(tag), values);

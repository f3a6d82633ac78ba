// Cuts faces as the network's training pictures were cut: by the steps of Python's `predict`, rounded as there.
// Points are [x, y] in pixels from a picture's upper left corner; the centre of the first pixel is [0.5, 0.5].

/** The similarity (turn, scale, shift) that brings points closest to others, by least squares. */
export function similarity(from, to) {
  const [p, q] = [mean(from), mean(to)];
  let dot = 0, cross = 0, square = 0;
  for (let i = 0; i < from.length; i++) {
    const [px, py, qx, qy] = [from[i][0] - p[0], from[i][1] - p[1], to[i][0] - q[0], to[i][1] - q[1]];
    dot += px * qx + py * qy;
    cross += px * qy - py * qx;
    square += px * px + py * py;
  }
  const [a, b] = [dot / square, cross / square];
  return new DOMMatrix([a, b, -b, a, q[0] - a * p[0] + b * p[1], q[1] - b * p[0] - a * p[1]]);
}

export const mean = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);

export function transform(matrix, [x, y]) {
  const point = matrix.transformPoint({x, y});
  return [point.x, point.y];
}

/** The part of a canvas that `matrix` brings into a picture of `size`, as ImageData. */
export function cut(context, matrix, size) {
  // a warp samples single pixels: cut a large face at a multiple of the size and average that down
  const times = Math.max(1, Math.floor(1 / Math.hypot(matrix.a, matrix.b)));
  const large = size.map((side) => side * times);
  const back = new DOMMatrix().scale(times).multiply(matrix).inverse();
  const [pixels, left, top] = around(context, back, large);
  return resize(warp(pixels, new DOMMatrix().translate(-left, -top).multiply(back), large), size);
}

/** A picture at another size, x and y scaled apart. */
export function resize(image, [width, height]) {
  if (image.width >= width && image.height >= height) return average(image, width, height);
  return warp(image, new DOMMatrix().scale(image.width / width, image.height / height), [width, height]);
}

/** The pixels of a canvas that a warp from it may meet, and where they begin: to read a whole photo takes long. */
function around(context, back, [width, height]) {
  const {canvas} = context;
  const corners = [[0, 0], [width, 0], [0, height], [width, height]].map((corner) => transform(back, corner));
  const range = (axis, side) => {
    const places = corners.map((corner) => corner[axis]);
    // at least one pixel, of a face that lies beyond the edge, too
    const from = Math.min(Math.max(Math.floor(Math.min(...places)) - 1, 0), side - 1);
    return [from, Math.max(Math.min(Math.ceil(Math.max(...places)) + 1, side), from + 1) - from];
  };
  const [left, columns] = range(0, canvas.width);
  const [top, rows] = range(1, canvas.height);
  return [context.getImageData(left, top, columns, rows), left, top];
}

/** A picture of the given size whose points `back` takes to those of another, linear between pixels, beyond the edge as at the edge. */
function warp({data, width, height}, back, size) {
  const {a, b, c, d, e, f} = back;
  const result = new ImageData(...size);
  const [right, bottom] = [width - 1, height - 1];
  let at = 0;
  for (let v = 0.5; v < size[1]; v++) {
    for (let u = 0.5; u < size[0]; u++) {
      const x = a * u + c * v + e - 0.5, y = b * u + d * v + f - 0.5;
      const x0 = Math.floor(x), y0 = Math.floor(y);
      const dx = x - x0, dy = y - y0;
      const west = Math.min(Math.max(x0, 0), right), east = Math.min(Math.max(x0 + 1, 0), right);
      const north = Math.min(Math.max(y0, 0), bottom) * width, south = Math.min(Math.max(y0 + 1, 0), bottom) * width;
      for (let channel = 0; channel < 4; channel++) {
        const above = data[4 * (north + west) + channel] * (1 - dx) + data[4 * (north + east) + channel] * dx;
        const below = data[4 * (south + west) + channel] * (1 - dx) + data[4 * (south + east) + channel] * dx;
        result.data[at++] = above * (1 - dy) + below * dy;
      }
    }
  }
  return result;
}

/** A smaller picture, each pixel the mean of the area it stands for. */
function average({data, width, height}, newWidth, newHeight) {
  const narrow = new Float32Array(4 * newWidth * height);
  shares(width, newWidth).forEach(([first, weights], u) => {
    for (let y = 0; y < height; y++)
      for (let channel = 0; channel < 4; channel++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[4 * (y * width + first + k) + channel];
        narrow[4 * (y * newWidth + u) + channel] = sum;
      }
  });
  const result = new ImageData(newWidth, newHeight), row = 4 * newWidth;
  shares(height, newHeight).forEach(([first, weights], v) => {
    for (let i = 0; i < row; i++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * row + i];
      result.data[v * row + i] = sum;
    }
  });
  return result;
}

/** For each pixel of a shorter side the first pixel that it covers, and the weights of all that it covers. */
function shares(side, newSide) {
  const scale = side / newSide;
  return Array.from({length: newSide}, (_, i) => {
    const from = i * scale, to = from + scale;
    const first = Math.floor(from + 1e-6), end = Math.ceil(to - 1e-6);
    return [first, Array.from({length: end - first}, (_, k) => (Math.min(to, first + k + 1) - Math.max(from, first + k)) / scale)];
  });
}

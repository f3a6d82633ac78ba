"""Drawn mugs, an example of a data set of your own: `python mugs.py --data-dir data`, then `python -m smtn_keras.fit --data mugs`."""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np

from smtn_keras.data.builder import Example, FaceBuilder
from smtn_keras.tasks import MISSING, Attributes, Label, Landmarks

FRAME = (120, 96)  # width and height of the pictures in pixels
POINTS = Landmarks(
    points=("rim_left", "rim_right", "base_left", "base_right", "handle"),
    flip_pairs=(("rim_left", "rim_right"), ("base_left", "base_right")),
    normaliser=("rim_left", "rim_right"),  # errors are shares of the rim's width
)
LABELS = Attributes(
    labels=(Label("Steaming"), Label("Striped"), Label("Handle", classes=("left", "none", "right"), flip=(2, 1, 0)))  # binary ones first
)
UNKNOWN = 0.1  # the share of labels that nobody wrote down
SHARES = {"train": 0.8, "validation": 0.08, "test": 0.12}


class Mugs(FaceBuilder):
    """Drawn mugs with five points and three labels; their pictures show nobody and belong to nobody."""

    tasks = (POINTS, LABELS)
    first_pixel = 0.0  # OpenCV draws with (0, 0) at the first pixel's centre
    licence = "CC0-1.0"

    def __init__(self, samples: int = 1000, **kwargs):
        """Sets how many mugs to draw, in all parts together."""
        self._samples = samples
        super().__init__(**kwargs)

    def splits(self) -> dict[str, Iterator[Example]]:
        """Each part drawn from a seed of its own."""
        return {split: _examples(split, i, round(share * self._samples)) for i, (split, share) in enumerate(SHARES.items())}


def _examples(split: str, seed: int, count: int) -> Iterator[Example]:
    rng = np.random.default_rng(seed)
    for i in range(count):
        image, points_px, labels = draw_mug(rng)
        labels = np.where(rng.random(len(labels)) < UNKNOWN, MISSING, labels).astype(np.int8)
        _, png = cv2.imencode(".png", image[..., ::-1])
        yield Example(f"{split}_{i:05d}", png.tobytes(), FRAME, {POINTS.name: points_px, LABELS.name: labels})


def draw_mug(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a mug.

    Returns:
        The picture `(96, 120, 3)` uint8 RGB, its points `(5, 2)` float32 in pixels, NaN for the handle of a mug without one, and its
        labels `(3,)` int8.
    """
    steaming, striped, handle = int(rng.random() < 0.4), int(rng.random() < 0.4), int(rng.choice(3, p=(0.35, 0.3, 0.35)))
    wall, table, glaze = (rng.integers(low, high, 3).tolist() for low, high in ((120, 230), (60, 160), (60, 250)))
    stripe = [(value + 128) % 256 for value in glaze]
    top = rng.uniform(0.65, 0.95)  # half the rim's width, in half heights of the mug
    bottom = top * rng.uniform(0.7, 1.0)
    depth = rng.uniform(0.12, 0.3)  # of the ellipses, in half widths
    place = _placement(rng)

    def half_width(y):
        return top + (bottom - top) * (y + 1) / 2

    def curve(y, begin=0.0, end=np.pi, share=1.0):  # of an ellipse around the mug at a height, its front by itself
        t = np.linspace(begin, end, 33)
        return np.stack([share * half_width(y) * np.cos(t), y + depth * share * half_width(y) * np.sin(t)], axis=1)

    image = np.full((FRAME[1], FRAME[0], 3), wall, np.uint8)
    _fill(image, [(0, rng.uniform(55, 75)), (FRAME[0], rng.uniform(55, 75)), (FRAME[0], FRAME[1]), (0, FRAME[1])], table)
    points = [(-top, -1), (top, -1), (-bottom, 1), (bottom, 1)]
    if handle != 1:
        side, (rx, ry) = handle - 1, rng.uniform((0.35, 0.4), (0.55, 0.6))
        t = np.linspace(-np.pi / 2, np.pi / 2, 33)
        ring = np.stack([side * (half_width(0) + rx * np.cos(t)), ry * np.sin(t)], axis=1)
        _line(image, place(ring), glaze, 5)
        points.append((side * (half_width(0) + rx), 0))
    _fill(image, place(np.concatenate([[(top, -1)], curve(1), [(-top, -1)]])), glaze)
    for y in (-0.45, 0.1, 0.65) if striped else ():
        _fill(image, place(np.concatenate([curve(y), curve(y + 0.2)[::-1]])), stripe)
    _fill(image, place(curve(-1, end=2 * np.pi)), [min(255, value + 40) for value in glaze])
    _fill(image, place(curve(-1, end=2 * np.pi, share=0.85)), (70, 45, 30))
    if steaming:
        image = _steam(image, place, top, rng)

    points_px = np.full((len(POINTS.points), 2), np.nan, np.float32)
    points_px[: len(points)] = place(np.array(points))
    return image, points_px, np.int8([steaming, striped, handle])


def _placement(rng: np.random.Generator):
    """A function from the mug's own coordinates, its middle at (0, 0) and half its height 1, to pixels `(n, 2)`."""
    scale, angle = rng.uniform(17, 25), np.deg2rad(rng.uniform(-12, 12))
    turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = rng.uniform((42, 52), (78, 62))
    return lambda points: np.asarray(points) @ turned.T + middle


def _steam(image: np.ndarray, place, top: float, rng: np.random.Generator) -> np.ndarray:
    veil = image.copy()
    for x in (-0.5, 0, 0.5):
        y = np.linspace(-1.15, -2.0, 25)
        wave = 0.12 * np.sin(6 * y + rng.uniform(0, 2 * np.pi))
        _line(veil, place(np.stack([x * top + wave, y], axis=1)), (245, 245, 245), 2)
    return cv2.addWeighted(veil, 0.7, image, 0.3, 0)


_SHIFT = 4  # OpenCV takes sixteenths of a pixel


def _fill(image: np.ndarray, points, colour):
    cv2.fillPoly(image, [np.int32(np.round(np.asarray(points) * 2**_SHIFT))], colour, cv2.LINE_AA, _SHIFT)


def _line(image: np.ndarray, points, colour, thickness: int):
    cv2.polylines(image, [np.int32(np.round(np.asarray(points) * 2**_SHIFT))], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def main(argv: list[str] | None = None):
    """Command line."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data-dir", default="data", help="where prepared data sets lie")
    flags.add_argument("--samples", type=int, default=1000, help="how many mugs to draw")
    flags = flags.parse_args(argv)
    print(f"prepared: {Mugs(samples=flags.samples, data_dir=flags.data_dir).prepare()}")


if __name__ == "__main__":
    main()

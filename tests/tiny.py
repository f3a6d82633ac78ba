"""A small data set for tests, and trainings on it: dark pictures with a bright dot of its own colour on each landmark, and labels one can see."""

import cv2
import numpy as np

from smtn_keras.data.builder import Example, FaceBuilder
from smtn_keras.tasks import Attributes, Label, Landmarks

POINTS = Landmarks(
    points=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    flip_pairs=(("left_eye", "right_eye"), ("left_mouth", "right_mouth")),
)
LABELS = Attributes(labels=(Label("Bright"), Label("Big_Dots"), Label("Bar", classes=("left", "none", "right"), flip=(2, 1, 0))))
TASKS = (POINTS, LABELS)

FRAME = (80, 100)  # width and height of the pictures: not square, so that swapping or ignoring the two shows
COLOURS = np.float32([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]])  # RGB, in the order of the points
MEAN_SHAPE = np.float32([[0.32, 0.38], [0.68, 0.38], [0.5, 0.56], [0.36, 0.74], [0.64, 0.74]])  # in [0, 1] of the frame
COUNTS = {"train": 96, "validation": 21, "test": 13}
ASPECT = FRAME[1] / FRAME[0]
SIZE = 64  # side of the pictures as a network takes them
NOTHING = {"flip": False, "shift": 0, "scale": 0, "rotation": 0, "colour": 0}  # no variation
NARROW = ("--image-size", "32", "--width", "0.05")


def picture(landmarks_px, size=FRAME, bright=0, big_dots=0, bar=1):
    """An RGB picture `(height, width, 3)` uint8; pixel centres stand at half integers, a bar stands at the left (0) or right (2) edge."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    image = np.full((height, width, 3), 60.0 if bright else 20.0, np.float32)
    if bar != 1:
        image[:, : width // 16] = 230
        if bar == 2:
            image = image[:, ::-1].copy()
    for (px, py), colour in zip(landmarks_px, COLOURS, strict=True):
        share = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (4.0 if big_dots else 2.5) ** 2))[..., None]
        image = image * (1 - share) + colour * share
    return np.round(image).astype(np.uint8)


def find_dots(image):
    """Where the dots lie in an RGB picture, `(5, 2)` in [0, 1] of its sides in the order of COLOURS; NaN for one that is not in it."""
    height, width = image.shape[:2]
    pixels = image.reshape(-1, 3).astype(np.float32)
    bright = pixels.max(1)
    hue = pixels / np.maximum(bright, 1)[:, None]
    nearest = np.linalg.norm(hue[:, None] - COLOURS / 255, axis=-1)
    own = nearest.argmin(1)
    weight = np.where((bright > 110) & (nearest.min(1) < 0.6), bright - 100, 0)
    y, x = np.divmod(np.arange(height * width), width)
    dots = np.full((5, 2), np.nan, np.float32)
    for i in range(5):
        mine = weight * (own == i)
        if mine.sum():
            dots[i] = ((x + 0.5) * mine).sum() / mine.sum() / width, ((y + 0.5) * mine).sum() / mine.sum() / height
    return dots


class Dots:
    """A predictor that is never wrong: it finds the dots, and says how bright a picture is.

    Attributes:
        error: by how much of the sides it says its points are expected to be off; None to say nothing.
    """

    tasks = TASKS
    image_size = SIZE
    card = {"licence": "anything goes", "frame": {"size": FRAME, "mean_landmarks": {"landmarks": MEAN_SHAPE.tolist()}}}  # noqa: RUF012

    def __init__(self, error=None):
        self.error = error

    def __call__(self, pictures):
        bright = np.array([np.median(picture) / 255 for picture in pictures])
        answers = {
            "landmarks": np.stack([find_dots(picture) for picture in pictures]),
            "attributes": np.stack([bright, 1 - bright, bright, bright / 2, 1 - 1.5 * bright], 1),
        }
        return answers if self.error is None else answers | {"landmarks_error": np.full((len(pictures), 5), self.error)}


class Detector:
    """A detector that finds what it is told.

    Attributes:
        faces: points `(5, 2)` of each face in the next picture, in its pixels.
        calls: the pictures it was asked about.
    """

    def __init__(self, *faces):
        self.faces, self.calls = faces, []

    def detect_faces(self, picture):
        self.calls.append(picture)
        names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        return [
            {"box": [*(points.min(0) - 10), *(np.ptp(points, axis=0) + 20)], "keypoints": dict(zip(names, points, strict=True))}
            for points in self.faces
        ]


def off_by_px(image, landmarks_unit):
    """How far the landmarks lie from the dots, in pixels of the picture; NaN for a landmark that is missing or outside."""
    inside = (landmarks_unit > 0.06).all(1) & (landmarks_unit < 0.94).all(1)  # a dot at the border is cut off
    off = np.linalg.norm((find_dots(image) - landmarks_unit) * image.shape[0], axis=1)
    return np.where(inside, off, np.nan)


def example(split, i):
    """The picture `i` of a split; each seventh of the training part lacks something."""
    rng = np.random.default_rng([sorted(COUNTS).index(split), i])
    shape = (MEAN_SHAPE - 0.5) * rng.uniform(0.65, 1.0) + 0.5 + rng.uniform(-0.12, 0.12, 2)
    landmarks_px = np.float32(shape * FRAME)
    labels = np.int8([rng.integers(2), rng.integers(2), rng.integers(3)])
    image = picture(landmarks_px, bright=labels[0], big_dots=labels[1], bar=labels[2])
    if split == "train" and i % 7 == 0:
        landmarks_px = landmarks_px.copy()
        landmarks_px[i % 5 :] = np.nan
        labels[i % 3] = -1
    _, png = cv2.imencode(".png", image[..., ::-1])
    return Example(f"{split}_{i:03d}", png.tobytes(), FRAME, {"landmarks": landmarks_px, "attributes": labels})


class Tiny(FaceBuilder):
    """Dots for tests."""

    name = "tiny"
    tasks = TASKS
    first_pixel = 0.5
    licence = "anything goes"

    def splits(self):
        return {split: [example(split, i) for i in range(count)] for split, count in COUNTS.items()}


class TinyOther(FaceBuilder):
    """A few of the same pictures described by other tasks: one label only."""

    name = "tinyother"
    first_pixel = 0.5
    tasks = (POINTS, Attributes(labels=LABELS.labels[:1]))
    licence = "anything goes"

    def splits(self):
        return {split: [_with_one_label(example(split, i)) for i in range(1, 5)] for split in COUNTS}


class TinyStranger(FaceBuilder):
    """A few of the same pictures with a label that nobody knows."""

    name = "tinystranger"
    tasks = (Attributes(labels=(Label("Strange"),)),)
    licence = "ask first"

    def splits(self):
        return {split: [example(split, i)._replace(targets={"attributes": np.int8([i % 2])}) for i in range(1, 5)] for split in COUNTS}


def _with_one_label(example):
    return example._replace(targets=example.targets | {"attributes": example.targets["attributes"][:1]})


def flags(data_dir, *more, data="tiny"):
    """Arguments of `fit.main` for a quick training; runs are made in `data_dir/runs`."""
    return [
        "--data",
        data,
        "--data-dir",
        str(data_dir),
        "--runs",
        str(data_dir / "runs"),
        "--dtype",
        "float32",
        "--batch-size",
        "16",
        *more,
    ]


def train(data_dir, *more):
    """Trains, and returns the new run's folder."""
    from smtn_keras import fit

    runs = data_dir / "runs"
    before = set(runs.glob("*"))
    fit.main(flags(data_dir, *more))
    (folder,) = set(runs.glob("*")) - before
    return folder

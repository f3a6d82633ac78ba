"""What one look at every picture of a data set tells: copies of a picture, colours, and whether rows of targets belong to pictures."""

import itertools
from typing import NamedTuple

import cv2
import grain
import numpy as np
from tqdm import tqdm

from ..tasks import MISSING, Landmarks, Task
from .pipeline import READING

SIDE = 8  # of a thumbnail, in pixels
BITS = 5  # in which the hashes of copies differ at most
BANDS = BITS + 1  # of a hash, of which such copies share at least one
ALIKE = 0.95  # correlation of the pixels of copies
ROWS = 20_000  # samples that are enough to say whether rows belong to pictures


class Glance(NamedTuple):
    """What is kept of the pictures of a part.

    Attributes:
        thumbnails: `(samples, SIDE, SIDE, 3)` uint8 RGB.
        hashes: `(samples,)` uint64, of which few bits change where a picture is scaled, compressed or lightened.
        colours: `(samples, 3)` float32, mean RGB of the box around its points, or of the picture.
    """

    thumbnails: np.ndarray
    hashes: np.ndarray
    colours: np.ndarray


def glance(data, split: str) -> Glance:
    """Looks at every picture of a part of a `Prepared`."""
    records = data.source(split)
    task = next((task for task in data.tasks if isinstance(task, Landmarks)), None)
    looks = grain.MapDataset.source(records).map(lambda record: _look(record, task)).to_iter_dataset(READING)
    bar = tqdm(looks, f"{data.name} {split}", len(records), unit=" images", disable=None)
    return Glance(*(np.stack(column) for column in zip(*bar, strict=True)))


def _look(record: dict, task: Landmarks | None) -> tuple[np.ndarray, np.uint64, np.ndarray]:
    image = decoded(record)
    thumbnail = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return thumbnail, dhash(image), np.float32(_face(image, record, task).mean((0, 1)))


def _face(image: np.ndarray, record: dict, task: Landmarks | None) -> np.ndarray:
    """The box around the points, or all of the picture."""
    points = record[task.name] if task else np.empty((0, 2))
    points = points[np.isfinite(points).all(1)]
    if len(points) < 2:
        return image
    (left, top), (right, bottom) = np.floor(points.min(0)).clip(0).astype(int), np.ceil(points.max(0)).clip(0).astype(int)
    face = image[top : bottom + 1, left : right + 1]
    return face if face.size else image


def decoded(record: dict) -> np.ndarray:
    """The picture of a record, RGB `(h, w, 3)` uint8."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


# -- copies -----------------------------------------------------------------------------------------


def dhash(image: np.ndarray) -> np.uint64:
    """The difference hash of an RGB picture: whether each of 8 x 8 places is brighter than its right neighbour."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).view(np.uint64)[0]


def near(hashes: np.ndarray) -> np.ndarray:
    """Pairs `(pairs, 2)` of indices, the lower first, whose hashes differ in at most `BITS` bits.

    Of equal hashes each is paired with the first alone, so blank pictures do not cost the square of their number. Of others, only
    those that share one of `BANDS` bands of bits are compared (multi-index hashing, https://doi.org/10.1109/TPAMI.2013.231).
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    found = [np.stack([first[inverse], np.arange(len(hashes))], axis=1)]
    found[0] = found[0][found[0][:, 0] < found[0][:, 1]]
    edges = np.linspace(0, 64, BANDS + 1).astype(int).tolist()
    for low, high in itertools.pairwise(edges):
        keys = (unique >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(keys)
        keys, values, at = keys[order], unique[order], np.arange(len(unique))
        for step in range(1, len(unique)):
            at = at[at + step < len(unique)]
            at = at[keys[at] == keys[at + step]]  # sorted, so who differs here differs further on
            if not len(at):
                break
            close = at[np.bitwise_count(values[at] ^ values[at + step]) <= BITS]
            found.append(np.sort(first[np.stack([order[close], order[close + step]], axis=1)], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def alike(one: dict, other: dict) -> bool:
    """Whether two records show the same picture: its pixels at 32 x 32 correlate, whatever the light."""
    pixels = (cv2.resize(decoded(record), (32, 32), interpolation=cv2.INTER_AREA) for record in (one, other))
    return bool(correlation(*pixels) >= ALIKE)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of pictures `(..., h, w, 3)` about the means of their channels; 0 where one is blank."""
    a, b = (np.float32(x) - np.float32(x).mean((-3, -2), keepdims=True) for x in (a, b))
    size = np.sqrt((a**2).sum((-3, -2, -1)) * (b**2).sum((-3, -2, -1)))
    return (a * b).sum((-3, -2, -1)) / np.maximum(size, 1e-9)


# -- rows -------------------------------------------------------------------------------------------


def rows_explained(thumbnails: np.ndarray, task: Task, targets: np.ndarray) -> dict[int, float]:
    """How much of a task's targets thumbnails explain, for the rows as they are (0) and shifted by one either way (-1, 1).

    Returns:
        The mean over points or labels of R squared on a held-out half, by ridge regression, of those that most samples have; none
        with fewer than 50 samples.
    """
    count = min(len(thumbnails), ROWS)
    if count < 50:
        return {}
    values = targets[:count].reshape(count, -1).astype(np.float64)
    known = np.isfinite(values) if isinstance(task, Landmarks) else values != MISSING
    values, known = values[:, known.sum(0) > count // 2], known[:, known.sum(0) > count // 2]
    pixels = thumbnails[:count].reshape(count, -1).astype(np.float64)
    pixels = (pixels - pixels.mean(0)) / (pixels.std(0) + 1)
    return {lag: _r_squared(pixels, np.roll(values, -lag, 0), np.roll(known, -lag, 0)) for lag in (-1, 0, 1)}


def _r_squared(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    half = np.arange(len(x)) % 4 < 2  # neighbours on one side, which may show one person
    y = np.where(known, y, np.where(known, y, 0).sum(0) / known.sum(0))
    y = (y - y[half].mean(0)) / (y[half].std(0) + 1e-9)
    weights = np.linalg.solve(x[half].T @ x[half] + len(x) * 0.1 * np.eye(x.shape[1]), x[half].T @ y[half])
    rest, truth = known[~half], y[~half]
    error = np.where(rest, (x[~half] @ weights - truth) ** 2, 0).sum(0)
    spread = np.where(rest, truth**2, 0).sum(0)
    varies = spread > 0
    return float(np.clip(1 - error[varies] / spread[varies], 0, 1).mean()) if varies.any() else 0.0

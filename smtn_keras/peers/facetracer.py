"""FaceTracer: hand-made features of face regions, selected for each label, and an SVM (Kumar, Belhumeur and Nayar, ECCV 2008).

A feature is a region of the face, a type of its pixels, how these are normalised and how they are aggregated. Of all
combinations AdaBoost ranks those whose own SVMs tell a label best, and of the ranking as many are taken, from the first on,
as lower the error on held-out pictures; a last SVM takes these together.

What differs here, as CelebA is larger than what they trained on and its labels are more:

- The SVMs are linear (theirs have RBF kernels); those of single features and of the ranking's beginnings are least-squares
  SVMs (Suykens and Vandewalle, 1999), which learn all labels at once.
- Regions are boxes around the five points, and beside those of the face there is the whole picture, for hats and neckties.
- Faces are aligned as theirs, by landmarks: the true ones where the data has them, of the pictures it is asked about too. Of
  the other networks here only `panda_l` is told these. A picture without stays as it is, as if it had the mean shape.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..config import Config
from ..data.prepared import Prepared
from ..tasks import Attributes
from . import svm

# -- the features -----------------------------------------------------------------------------------

PIXELS = {"rgb": 3, "hsv": 3, "intensity": 1, "edge_magnitude": 1, "edge_orientation": 1}  # and their channels
NORMALISATIONS = ("none", "mean", "energy")
AGGREGATIONS = ("none", "histogram", "statistics")
BINS = 8
RANGES = {"none": (0.0, 1.0), "mean": (0.0, 2.0), "energy": (-2.5, 2.5)}  # of the histograms; what lies beyond counts as their ends
CELLS = 160  # so many, about, has each region's patch
MOST_SIDE = 24  # of a patch
SMALL = 1e-3  # in place of a mean or deviation that is less


class Feature(NamedTuple):
    """One way to describe a face by numbers."""

    region: str
    pixels: str
    normalisation: str
    aggregation: str


def all_features(regions) -> list[Feature]:
    """Every combination."""
    return [Feature(*parts) for parts in itertools.product(regions, PIXELS, NORMALISATIONS, AGGREGATIONS)]


def patch_sides(box, aspect: float) -> tuple[int, int]:
    """Height and width in cells of the patch of a box, left, top, right and bottom in [0, 1]: about `CELLS` in its own proportions."""
    left, top, right, bottom = box
    proportion = (bottom - top) * aspect / (right - left)
    height = np.clip(np.sqrt(CELLS * proportion), 3, MOST_SIDE)
    return round(float(height)), round(float(np.clip(CELLS / height, 3, MOST_SIDE)))


def pixel_values(patches: np.ndarray, pixels: str) -> np.ndarray:
    """Patches `(n, height, width, 3)` uint8 RGB as values `(n, height, width, channels)` float32 in [0, 1].

    Edges are the differences across a cell's neighbours: their length is over the longest there is, their orientation, from 0
    to half a turn, over half a turn.
    """
    from skimage.color import rgb2gray, rgb2hsv

    if pixels == "rgb":
        return patches.astype(np.float32) / 255
    if pixels == "hsv":
        return rgb2hsv(patches).astype(np.float32)
    intensity = rgb2gray(patches).astype(np.float32)
    if pixels == "intensity":
        return intensity[..., None]
    down, right = np.gradient(intensity, axis=(1, 2))
    if pixels == "edge_magnitude":
        return (np.hypot(down, right) / np.sqrt(2))[..., None]
    return (np.arctan2(down, right) / np.pi % 1)[..., None].astype(np.float32)


def normalised(values: np.ndarray, normalisation: str) -> np.ndarray:
    """Values `(n, height, width, channels)`; by `mean` each channel over its mean, by `energy` less its mean over its deviation."""
    if normalisation == "none":
        return values
    mean = values.mean(axis=(1, 2), keepdims=True)
    if normalisation == "mean":
        return values / np.maximum(mean, SMALL)
    return (values - mean) / np.maximum(values.std(axis=(1, 2), keepdims=True), SMALL)


def aggregated(values: np.ndarray, aggregation: str, low: float, high: float) -> np.ndarray:
    """Values `(n, height, width, channels)` as numbers `(n, numbers)`.

    All of them as they are; of each channel the shares in `BINS` equal parts from `low` to `high`; or its mean and deviation.
    """
    count, *_, channels = values.shape
    if aggregation == "none":
        return values.reshape(count, -1)
    if aggregation == "statistics":
        return np.concatenate([values.mean(axis=(1, 2)), values.std(axis=(1, 2))], axis=1)
    place = np.clip((values - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64).reshape(count, -1, channels)
    rows = (np.arange(count)[:, None, None] * channels + np.arange(channels)) * BINS + place
    counts = np.bincount(rows.ravel(), minlength=count * channels * BINS).reshape(count, channels * BINS)
    return (counts / place.shape[1]).astype(np.float32)


def compute(feature: Feature, patches: dict[str, np.ndarray]) -> np.ndarray:
    """The numbers `(n, numbers)` float32 of a feature, of patches by region."""
    values = normalised(pixel_values(patches[feature.region], feature.pixels), feature.normalisation)
    return aggregated(values, feature.aggregation, *RANGES[feature.normalisation])


# -- selecting them ---------------------------------------------------------------------------------

SELECTING = 3000  # pictures at most; half of them fit, half judge
ROUNDS = 10  # of AdaBoost, so features at most for a label
RIDGE = 0.5 / svm.COST  # the least-squares SVM's weight decay that the last SVM's cost stands for
FALLBACK = Feature("face", "rgb", "none", "none")  # of a label with too few samples to select by


def select(patches: dict[str, np.ndarray], problems: np.ndarray, features: list[Feature], seed: int) -> list[list[Feature]]:
    """The features of each label, the best first.

    Args:
        patches: `(n, height, width, 3)` by region.
        problems: `(n, labels)`, 1 yes, 0 no, -1 unknown.
    """
    fit, held = np.array_split(np.random.default_rng(seed).permutation(len(problems)), 2)
    signs = np.where(problems < 0, 0, 2 * problems.astype(np.float32) - 1)
    votes = np.empty((len(features), len(held), signs.shape[1]), np.int8)
    for i, feature in enumerate(tqdm(features, desc="features", unit=" features")):
        own, other = _kernels(compute(feature, patches), fit, held)
        decisions, middle = least_squares(own, other, signs[fit])
        votes[i] = np.where(decisions > middle, 1, -1)
    selected = []
    for column in tqdm(range(signs.shape[1]), desc="selection", unit=" labels"):
        mine, truth = signs[fit, column], signs[held, column]
        if min((part == sign).sum() for part in (mine, truth) for sign in (-1, 1)) < 2:
            selected.append([FALLBACK])
            continue
        ranking = [features[i] for i in boost(votes[:, :, column], truth, ROUNDS)]
        errors, owns, others = [], 0, 0
        for count, feature in enumerate(ranking, 1):
            own, other = _kernels(compute(feature, patches), fit, held)
            owns, others = owns + own, others + other  # the kernel of features side by side is the sum of theirs
            decisions, _ = least_squares(owns / count, others / count, mine[:, None])
            errors.append(((decisions[:, 0] - truth)[truth != 0] ** 2).mean())
        selected.append(ranking[: int(np.argmin(errors)) + 1])
    return selected


def least_squares(own: np.ndarray, other: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares SVMs of several labels from one kernel.

    Args:
        own: the kernel `(fit, fit)` of the samples to learn from.
        other: `(held, fit)`, of the samples to decide on with these.
        signs: `(fit, labels)`, 1 yes, -1 no; 0 unknown, which is taken for the label's mean.

    Returns:
        The decisions `(held, labels)`, and `(labels,)` the middle between the two classes' mean decisions in `fit`: most labels
        are rare, and a threshold of 0 would find hardly any of them.
    """
    from scipy.linalg import solve

    known = signs != 0
    mean = signs.sum(0) / np.maximum(known.sum(0), 1)
    weights = solve(own + RIDGE * np.eye(len(own), dtype=own.dtype), np.where(known, signs - mean, 0), assume_a="pos")
    fitted = own @ weights + mean
    middle = sum((np.where(signs == sign, fitted, 0).sum(0) / np.maximum((signs == sign).sum(0), 1)) for sign in (-1, 1)) / 2
    return other @ weights + mean, middle


def boost(votes: np.ndarray, truth: np.ndarray, rounds: int) -> list[int]:
    """The classifiers that AdaBoost takes, in its order, each once (Freund and Schapire, 1997). Both classes weigh the same at first.

    Args:
        votes: `(classifiers, samples)`, 1 or -1.
        truth: `(samples,)`, 1 or -1; 0 where unknown, which counts for nothing.
    """
    weight = np.zeros(len(truth))
    for sign in (-1, 1):
        weight[truth == sign] = 0.5 / max(1, (truth == sign).sum())
    taken = []
    wrong = votes != truth
    for _ in range(min(rounds, len(votes))):
        error = wrong @ weight
        error[taken] = np.inf
        best = int(error.argmin())
        if taken and error[best] >= 0.5:
            break
        taken.append(best)
        share = np.clip(error[best], 1e-6, 1 - 1e-6)
        weight *= np.where(wrong[best], np.sqrt((1 - share) / share), np.sqrt(share / (1 - share)))
        weight /= weight.sum()
    return taken


def _kernels(rows: np.ndarray, fit: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = svm.standard(rows[fit])
    own = (rows[fit] - mean) / scale
    return own @ own.T, ((rows[held] - mean) / scale) @ own.T


# -- training and answering -------------------------------------------------------------------------

MOST_PICTURES = 50_000  # that it trains on: some 300 MB of patches; more tell its few thousand weights little


def train(name: str, folder: Path, data: Prepared, config: Config) -> None:
    """Selects and trains into `facetracer.npz`; see `peers.train`. Of the settings of training it has the seed alone."""
    from .nets import chosen, settings
    from .parts import boxes, mean_shape

    task, seed = svm.attributes_of(data), config.training.seed
    indices, part = chosen(data, config, MOST_PICTURES)
    targets = {key: values[indices] for key, values in data.targets("train").items()}
    width, height = targets["size"].T
    placed = {
        "shape": mean_shape(targets, data.tasks),
        "aspect": np.float32(np.median(height / width)),
        "image_size": np.int32(settings(config).network.image_size),
    }
    patches = cut(part, "train", placed, "patches")
    problems = svm.binary_problems(targets[task.name], task)
    few = np.random.default_rng(seed).permutation(len(problems))[:SELECTING]
    features = all_features(boxes(placed["shape"]))
    selected = select({region: values[few] for region, values in patches.items()}, problems[few], features, seed)
    arrays = placed | {"names": svm.names(task)}
    for column, own in enumerate(tqdm(selected, desc="SVMs", unit=" labels")):
        rows, mean, scale = _side_by_side([compute(feature, patches) for feature in own])
        weights, bias = svm.separate(rows, problems[:, column], seed)
        arrays |= {f"{column}_features": np.array(own), f"{column}_mean": mean, f"{column}_scale": scale}
        arrays |= {f"{column}_weights": weights, f"{column}_bias": np.array(bias)}
    svm.write(folder / "facetracer.npz", arrays)


def answer(name: str, folder: Path, data: Prepared, split: str, task: Attributes) -> np.ndarray:
    """Probabilities of all pictures of a split; see `peers.answer`."""
    arrays = svm.read(folder / "facetracer.npz", task)
    patches = cut(data, split, arrays, f"{name} {split}")
    margins = []
    for column in range(len(arrays["names"])):
        rows = np.concatenate([compute(Feature(*feature), patches) for feature in arrays[f"{column}_features"].tolist()], axis=1)
        rows = (rows - arrays[f"{column}_mean"]) / arrays[f"{column}_scale"]
        margins.append(rows @ arrays[f"{column}_weights"] + arrays[f"{column}_bias"])
    return svm.probabilities(np.stack(margins, axis=1), task)


def cut(data, split: str, placed: dict[str, np.ndarray], title: str) -> dict[str, np.ndarray]:
    """The patches `(pictures, height, width, 3)` uint8 of all pictures of a split, by region.

    Args:
        data: a `Prepared` or a `nets.Part`.
        placed: `shape`, `aspect` and `image_size` of the training part.
    """
    import keras

    from ..data.pipeline import evaluation_batches
    from .parts import boxes, crop, landmarks_of, upright

    aspect, points = float(placed["aspect"]), landmarks_of(data.tasks)
    batches, steps = evaluation_batches(data, split, int(placed["image_size"]))
    patches = {region: [] for region in boxes(placed["shape"])}
    for images, targets in tqdm(batches, desc=title, total=steps, unit=" batches"):
        if points is not None and len(points.points) == len(placed["shape"]):
            images = upright(images, targets[points.name], placed["shape"], aspect)
        images = keras.ops.convert_to_tensor(images, dtype="float32")
        for region, box in boxes(placed["shape"]).items():
            patch = crop(images, np.float32([box]), *patch_sides(box, aspect))
            patches[region].append(np.round(keras.ops.convert_to_numpy(patch)).astype(np.uint8))
    return {region: np.concatenate(parts) for region, parts in patches.items()}


def _side_by_side(blocks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features as rows of which each block has its equal share, and the mean and scale that make them so."""
    moments = [svm.standard(block) for block in blocks]
    mean = np.concatenate([m for m, _ in moments])
    scale = np.concatenate([s for _, s in moments]) * np.float32(np.sqrt(len(blocks)))
    return (np.concatenate(blocks, axis=1) - mean) / scale, mean, scale

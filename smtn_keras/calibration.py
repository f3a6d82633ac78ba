"""Whether what a model says of its own certainty is so: probabilities of labels, predicted errors of points."""

import numpy as np

from .errors import UserError
from .losses import tempered
from .metrics import ALPHA, image_errors, mean, percent, point_errors
from .tasks import MISSING, Attributes, Landmarks

BINS = 15  # of equal width, as in Guo et al. 2017
CHANCES = 20  # draws of labels that a model would have foretold rightly
TEMPERATURES = 0.1, 10.0  # between which the best is looked for
SUREST = 0.9  # the share of the images that is kept when those of the largest predicted error are left out


# -- labels -----------------------------------------------------------------------------------------


def calibration(probabilities: np.ndarray, truth: np.ndarray, task: Attributes, temperature: float | None = None) -> dict:
    """The expected calibration error of each probability: how far it is from the share of samples for which it comes true.

    For each name `BINS` bins of equal width over [0, 1] (Guo et al. 2017, arXiv 1706.04599, there of the likeliest class; here of
    each class by itself, Kull et al. 2019).

    Args:
        probabilities: `(samples, probabilities)`.
        truth: `(samples, labels)`, -1 where missing.
        temperature: to tell what the error would be with it.

    Returns:
        Percent: `ece` by probability name (None where no sample has the label), their mean `ece_mean`, and `ece_by_chance`, that mean for
        a model that is right: so few samples are off by as much. With a temperature also that and `ece_tempered`, `ece_mean_tempered`.
    """
    came_true, present = _columns(truth, task)
    names = task.probability_names

    def errors(said, came):
        return {name: _calibration_error(said[has, i], came[has, i]) for i, (name, has) in enumerate(zip(names, present.T, strict=True))}

    rng = np.random.default_rng(0)
    chances = [mean(errors(probabilities, rng.random(probabilities.shape) < probabilities).values()) for _ in range(CHANCES)]
    ece = errors(probabilities, came_true)
    result = {
        "ece": ece,
        "ece_mean": mean(ece.values()),
        "ece_by_chance": mean(chances),
    }
    if temperature is not None:
        after = errors(np.asarray(tempered(probabilities, task, temperature)), came_true)
        result |= {"temperature": temperature, "ece_tempered": after, "ece_mean_tempered": mean(after.values())}
    return result


def best_temperature(answers: list[tuple[Attributes, np.ndarray, np.ndarray]]) -> float:
    """The one temperature of least cross-entropy over all labels that are there (Guo et al. 2017).

    Args:
        answers: task, probabilities and truth, as for `calibration`, of each data set's validation part.
    """

    def entropy(temperature):
        total = count = 0
        for task, probabilities, truth in answers:
            came_true, present = _columns(truth, task)
            p = np.asarray(tempered(probabilities, task, temperature), np.float64)
            # a binary label has one column for both its classes, a categorical one a column for each
            binary = np.arange(p.shape[1]) < task.binary_count
            of_truth = np.where(came_true, p, np.where(binary, 1 - p, 1.0))
            total -= np.log(np.maximum(of_truth, 1e-7))[present].sum()
            count += (truth != MISSING).sum()
        return total / count

    if not any((truth != MISSING).any() for *_, truth in answers):
        raise UserError("--calibrate: expected labels in the validation part, got none; leave it out")
    low, high = TEMPERATURES
    for _ in range(6):  # there is one valley: each time the grid closes in on its bottom
        grid = np.geomspace(low, high, 11)
        best = int(np.argmin([entropy(temperature) for temperature in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 10)]
    return round(float(grid[best]), 4)


def _columns(truth: np.ndarray, task: Attributes) -> tuple[np.ndarray, np.ndarray]:
    """Which of the `probability_names` came true, and for which the label is known; both `(samples, probabilities)`."""
    columns = [(truth[:, i] == 1, truth[:, i]) for i in range(task.binary_count)]
    for i, label in enumerate(task.categorical, task.binary_count):
        columns += [(truth[:, i] == c, truth[:, i]) for c in range(len(label.classes))]
    return np.stack([came for came, _ in columns], 1), np.stack([known != MISSING for _, known in columns], 1)


def _calibration_error(said: np.ndarray, came_true: np.ndarray) -> float | None:
    if not len(said):
        return None
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, said, BINS) - np.bincount(bins, came_true, BINS)  # of the sums: each bin weighs as it is filled
    return round(100 * float(np.abs(gaps).sum()) / len(said), 4)


# -- points -----------------------------------------------------------------------------------------


def confidence(
    said_unit: np.ndarray, landmarks_unit: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, task: Landmarks
) -> dict[str, float | None]:
    """Whether the predicted errors of points tell good images from bad ones.

    Args:
        said_unit: `(samples, points)`, by how much of the sides a coordinate is expected to be off.
        landmarks_unit, truth_px, sizes: as for `landmark_metrics`.

    Returns:
        `rank_correlation` (Spearman's) of an image's mean predicted error, over the predicted distance of the eyes, with its true one;
        `nme_surest` and `failure_rate_surest` of the `SUREST` share of images by the prediction, and `nme_best`, what they would be
        by the truth; `said` and `found`, the mean predicted and true error of a coordinate; percent of the sides, the others of the
        distance of the eyes.
    """
    errors, present = point_errors(landmarks_unit, truth_px, sizes, task)
    index, of_image = image_errors(errors, present)
    predicted_px = landmarks_unit * sizes[:, None]
    a, b = task.normaliser_index
    eyes = np.maximum(np.linalg.norm(predicted_px[:, a] - predicted_px[:, b], axis=-1), 1)
    said = (np.sqrt(sizes.prod(1)) * said_unit.mean(1) / eyes)[index]
    keep = max(round(SUREST * len(index)), 1)
    surest = of_image[np.argsort(said, kind="stable")[:keep]]
    off = np.abs(landmarks_unit - truth_px / sizes[:, None]).mean(-1)
    return {
        "rank_correlation": rank_correlation(said, of_image),
        "nme_surest": percent(surest),
        "failure_rate_surest": percent(~(surest <= ALPHA)),
        "nme_best": percent(np.sort(of_image)[:keep]),
        "said": percent(said_unit[present]),
        "found": percent(off[present]),
    }


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's: the correlation of the ranks, of equal values their mean rank; None where either does not vary."""
    if len(one) < 2 or min(np.ptp(one), np.ptp(other)) == 0:
        return None
    return round(float(np.corrcoef(_ranks(one), _ranks(other))[0, 1]), 4)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]

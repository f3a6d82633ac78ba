"""Linear support vector machines, one for each label, and the probabilities made of their margins."""

import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import model_files, runs
from ..errors import UserError
from ..tasks import MISSING, Attributes

COST = 0.5  # C, for rows of a squared length near 1; on 1,500 of CelebA's pictures FaceTracer does best with 0.3, PANDA with 1
MOST_NUMBERS = 10**8  # that one SVM trains on: liblinear takes 24 bytes for each, so 2.4 GB; CelebA's 162,770 pictures of 600 numbers fit
CERTAIN = 30.0  # the margin of a label that training saw in one class only


def attributes_of(data) -> Attributes:
    """The task of a data set that these methods learn.

    Raises:
        UserError: if it has none, or none with a binary label.
    """
    tasks = [task for task in data.tasks if isinstance(task, Attributes)]
    if not tasks:
        raise UserError(f"data set '{data.name}': expected attributes to train SVMs on, got landmarks only; name another --data")
    if not tasks[0].binary_count:
        raise UserError(
            f"data set '{data.name}': expected at least one binary label, got categorical ones only "
            f"({', '.join(label.name for label in tasks[0].labels)}); name another --data"
        )
    return tasks[0]


def binary_problems(truth: np.ndarray, task: Attributes) -> np.ndarray:
    """What each probability asks of each sample: 1 yes, 0 no, -1 unknown; of a categorical label, each class against the rest.

    Args:
        truth: class indices `(samples, labels)`, -1 where missing.

    Returns:
        `(samples, probabilities)` int8.
    """
    columns = [truth[:, : task.binary_count]]
    for label, classes in zip(task.categorical, truth[:, task.binary_count :].T, strict=True):
        one_hot = classes[:, None] == np.arange(len(label.classes))
        columns.append(np.where(classes[:, None] == MISSING, MISSING, one_hot))
    return np.concatenate(columns, axis=1).astype(np.int8)


def separate(features: np.ndarray, target: np.ndarray, seed: int, cost: float = COST) -> tuple[np.ndarray, float]:
    """The weights `(numbers,)` and bias of the SVM between the samples of 1 and those of 0; others are left out.

    The SVM's loss is the squared hinge, as of most linear ones. With one class only the margin is `CERTAIN` of it, and
    with no sample it is 0. Of more than `MOST_NUMBERS` numbers a part of the samples is drawn.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    known = np.flatnonzero(target >= 0)
    seen = np.unique(target[known])
    if len(seen) < 2:
        return np.zeros(features.shape[1]), {0: -CERTAIN, 1: CERTAIN}[int(seen[0])] if len(seen) else 0.0
    most = max(2, MOST_NUMBERS // features.shape[1])
    if len(known) > most:
        one_of_each = [known[target[known] == value][0] for value in seen]
        drawn = np.random.default_rng(seed).choice(known, most - 2, replace=False)
        known = np.union1d(drawn, one_of_each)
    with warnings.catch_warnings():  # a margin a little short of the optimum decides the same
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm = LinearSVC(C=cost, dual="auto", random_state=seed, max_iter=2000).fit(features[known], target[known])
    return svm.coef_[0], float(svm.intercept_[0])


def standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and scale `(numbers,)` that turn features `(samples, numbers)` into rows of a mean squared length of 1."""
    scale = features.std(axis=0, dtype=np.float64)
    scale[scale < 1e-6 * max(1.0, scale.max(initial=0))] = np.inf  # what never changes says nothing
    return features.mean(axis=0, dtype=np.float64).astype(np.float32), (scale * np.sqrt(features.shape[1])).astype(np.float32)


def fit(features: np.ndarray, truth: np.ndarray, task: Attributes, seed: int) -> dict[str, np.ndarray]:
    """An SVM for each probability, on the features as they stand.

    Args:
        features: `(samples, numbers)` float32.
        truth: class indices `(samples, labels)`, -1 where missing; the SVM of a label trains on the samples that have it.

    Returns:
        `mean`, `scale` `(numbers,)`, `weights` `(numbers, probabilities)`, `bias` `(probabilities,)` and the `names`.
    """
    mean, scale = standard(features)
    rows = (features - mean) / scale
    problems = tqdm(binary_problems(truth, task).T, desc="SVMs", unit=" labels")
    weights, bias = zip(*(separate(rows, target, seed) for target in problems), strict=True)
    return {"mean": mean, "scale": scale, "weights": np.stack(weights, axis=1), "bias": np.array(bias), "names": names(task)}


def decide(features: np.ndarray, svms: dict[str, np.ndarray]) -> np.ndarray:
    """The margins `(samples, probabilities)` of features by what `fit` returned."""
    return ((features - svms["mean"]) / svms["scale"]) @ svms["weights"] + svms["bias"]


def probabilities(margins: np.ndarray, task: Attributes) -> np.ndarray:
    """The logistic function of margins `(samples, probabilities)`; those of a categorical label's classes divided by their sum.

    It is not calibrated: a Platt scaling with an offset would move the decision away from 0.5, which is to be the SVM's own,
    and one without changes no decision. So these rank and decide, but a 0.8 is not right four times in five.
    """
    result = 1 / (1 + np.exp(-np.clip(margins, -CERTAIN, CERTAIN)))
    start = task.binary_count
    for label in task.categorical:
        stop = start + len(label.classes)
        result[:, start:stop] /= result[:, start:stop].sum(axis=1, keepdims=True)
        start = stop
    return result.astype(np.float32)


def names(task: Attributes) -> np.ndarray:
    """The names of a task's probabilities as an array to keep."""
    return np.array(task.probability_names)


def write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays as `.npz`, whole or not at all."""
    with runs.whole(file) as beside:
        np.savez(beside, **arrays)


def read(file: Path, task: Attributes) -> dict[str, np.ndarray]:
    """What `write` wrote, if it is of the same labels.

    Raises:
        UserError: if there is no such file, it is damaged or of other labels.
    """
    try:
        model_files.check_stored(file)
        with np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        trained_on = arrays["names"].tolist()
    except FileNotFoundError:
        raise UserError(f"{file}: expected a trained method's file, found none; train it first") from None
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise UserError(f"{file}: expected a trained method's arrays, got a damaged or other file ({error}); train it again") from None
    if trained_on != task.probability_names:
        raise UserError(
            f"{file}: expected data with the labels it was trained on ({', '.join(trained_on[:3])}, ...; {len(trained_on)} in all), "
            f"got {', '.join(task.probability_names[:3])}, ... ({len(task.probability_names)} in all); name another --data"
        )
    return arrays

"""Task-wise early stopping of TCDCN's auxiliary tasks (Zhang et al., ECCV 2014, section 3.2)."""

import json
from pathlib import Path

import keras
import numpy as np

from . import devices, reading, runs
from .errors import UserError
from .keeper import Answers
from .networks.tcdcn import gate_name
from .tasks import MISSING, Attributes

STRIP = 3  # epochs over which the training error's trend is taken; theirs are iterations, of a number not published
THRESHOLD = 0.5  # of the criterion; theirs is not published
LEAST = 1e-7  # a probability below it counts as this


class TaskwiseStopping(keras.callbacks.Callback):
    """At the end of each epoch closes the gates of the labels that no longer help, and says which.

    Errors are cross-entropies of the validation part and of as many training pictures, none of them varied. They are
    kept in the run's `stopping.json`, so that a resumed run goes on from the same.
    """

    def __init__(self, folder: Path, ask: Answers, sets, done: int):
        super().__init__()
        self._file, self._sets, self._ask = folder / "stopping.json", sets, ask
        self._task = next(task for task in sets[0].tasks if isinstance(task, Attributes))
        self._gate = ask.model.get_layer(gate_name(self._task))
        self._errors = self._read()[:done] if self._file.exists() else []  # an epoch: training, validation

    def _read(self) -> list:
        try:
            errors = json.loads(reading.read_bytes(self._file, reading.MAX_JSON))
            if np.float64(errors).shape[1:] != (2, len(self._task.labels)):
                raise ValueError("no errors of each label")
            return errors
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"{self._file}: expected the errors of a run's epochs, got something else ({error}); train the run anew"
            ) from None

    def on_epoch_end(self, epoch, logs=None):
        self._errors.append([self._label_errors(split).tolist() for split in ("train", "validation")])
        if devices.share()[0] == 0:
            runs.write(self._file, json.dumps(self._errors) + "\n")
        train, validation = np.array(self._errors).transpose(1, 2, 0)  # labels x epochs each
        still_open = np.array(self._gate.open) > 0
        stops = still_open & [criterion(*errors) > THRESHOLD for errors in zip(train, validation, strict=True)]
        if stops.any():
            names = [label.name for label, stopped in zip(self._task.labels, stops, strict=True) if stopped]
            print(f"stopped after epoch {epoch + 1}: {', '.join(names)}; {int((still_open & ~stops).sum())} labels go on")
            self._gate.open.assign((still_open & ~stops).astype("float32"))

    def _label_errors(self, split: str) -> np.ndarray:
        """The mean error `(labels,)` of each label over all sets' pictures that have it, NaN without any."""
        errors, counts = 0.0, 0
        for data in self._sets:
            most = data.counts["validation"]
            truth = data.targets(split)[self._task.name][:most]
            found = self._ask(data, split, most)[self._task.name]
            errors += cross_entropies(found, truth, self._task).sum(axis=0)
            counts += (truth != MISSING).sum(axis=0)
        with np.errstate(invalid="ignore"):
            return errors / counts


def criterion(train: np.ndarray, validation: np.ndarray, strip: int = STRIP) -> float:
    """How little a task has left to give: the trend of its training error times its gap to the validation (their Eq. 6).

    With E the training errors and med their median over the last `strip` + 1 epochs, the trend is
    `strip * med / (sum(E) - strip * med)`: about `strip` where E stands still, less while it falls. The gap is the last validation
    error's share above the least training error. Their division by the task's weight is left out: labels weigh alike here.

    Args:
        train, validation: `(epochs,)`, oldest first.

    Returns:
        0 while there are no `strip` + 1 epochs, or NaN errors, as of a label without samples.
    """
    if len(train) <= strip or np.isnan([*train, *validation]).any():
        return 0.0
    last = train[-strip - 1 :]
    level = strip * np.median(last)
    least = max(train.min(), LEAST)
    return float(level / max(last.sum() - level, LEAST) * (validation[-1] - least) / least)


def cross_entropies(probabilities: np.ndarray, truth: np.ndarray, task: Attributes) -> np.ndarray:
    """-log of the probability of each label's true class, `(samples, labels)`; 0 where it is missing.

    Args:
        probabilities: `(samples, columns)` as `task.probability_names` orders them.
        truth: `(samples, labels)` class indices.
    """
    count = task.binary_count
    yes = probabilities[:, :count]
    right = [np.where(truth[:, :count] == 1, yes, 1 - yes)]
    for i, label in enumerate(task.categorical, count):
        columns = slice(count, count := count + len(label.classes))
        right.append(np.take_along_axis(probabilities[:, columns], np.maximum(truth[:, i : i + 1], 0).astype(int), axis=1))
    return np.where(truth == MISSING, 0, -np.log(np.maximum(np.concatenate(right, axis=1), LEAST)))

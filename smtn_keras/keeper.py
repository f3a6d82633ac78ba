"""What keeps a run folder while a run trains: validation, history, last and best weights."""

import contextlib
import math
import time
from pathlib import Path

import keras

from . import runs
from .config import Config
from .evaluate import answers, broken, task_metrics
from .predictor import serving_model
from .tasks import Landmarks


class RunKeeper(keras.callbacks.Callback):
    """At the end of each epoch measures the model on each data set's validation part and writes the run's files, each whole.

    Attributes:
        rows: of the history so far.
        diverged_at: the epoch whose loss or answers were not finite, or None.
    """

    def __init__(self, folder: Path, model, config: Config, sets, done: int):
        super().__init__()
        self.folder, self.sets = folder, sets
        self.rows = runs.read_history(folder)[:done]
        self.diverged_at = None
        self._serving = serving_model(model, sets[0].tasks, config)
        self._truth = [data.targets("validation") for data in sets]

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        with averaged_weights(self.model):
            measured = self._measure()
            # the answers too: the loss of an epoch is taken before its last step
            if measured is None or not all(math.isfinite(value) for value in logs.values()):
                self.diverged_at = epoch
                self.model.stop_training = True
                return
            best = max((row["val_score"] for row in self.rows), default=-1.0)
            logs |= measured  # in place: the progress bar, which comes after, shows them too
            row = {
                "epoch": epoch + 1,
                "learning_rate": float(self.model.optimizer.learning_rate),
                **logs,
                "seconds": time.monotonic() - self._began,
            }
            self.rows.append({key: float(value) for key, value in row.items()})
            # last.keras comes last: --resume goes on from it and drops the row of an epoch whose weights were not kept
            runs.write_history(self.folder, self.rows)
            runs.write_events(self.folder, self.rows)
            if measured["val_score"] > best:
                self._save("best.keras")
        self._save("last.keras")

    def _measure(self) -> dict[str, float] | None:
        """The headline metrics of each data set's validation part in percent, and `val_score`, their mean, by which the best epoch is chosen.

        None if the answers are not finite.
        """
        measured, headlines = {}, []
        for data, truth in zip(self.sets, self._truth, strict=True):
            outputs = answers(self._serving, data, "validation")
            if broken(outputs):
                return None
            for task in data.tasks:
                metrics = task_metrics(task, outputs[task.name], truth)
                if not metrics["samples"]:
                    continue
                headline, *others = ("success_rate_average", "nme") if isinstance(task, Landmarks) else ("accuracy_mean",)
                for name in (headline, *others):
                    measured[f"val_{data.name}_{task.name}_{name}"] = metrics[name]
                headlines.append(metrics[headline])
        return measured | {"val_score": sum(headlines) / len(headlines)}

    def _save(self, name):
        with runs.whole(self.folder / name) as beside:
            self.model.save(beside)


@contextlib.contextmanager
def averaged_weights(model):
    """Gives a model the moving average of its weights, if its optimizer keeps one, and its own back at the end."""
    if not model.optimizer.use_ema:
        yield
        return
    own = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)

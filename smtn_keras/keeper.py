"""What keeps a run folder while a run trains: validation, history, last and best weights."""

import contextlib
import math
import signal
import threading
import time
from pathlib import Path

import keras
import numpy as np

from . import checkpoint, devices, networks, runs
from .checkpoint import Progress
from .config import Config
from .errors import UserError
from .evaluate import answers, broken, task_metrics
from .networks.weights import copy_layers
from .predictor import serving_model
from .tasks import Landmarks, Task


class Answers:
    """What a model in training answers, each host to its share of the pictures, on one device.

    Call it with a data set, a split and if wanted how many of its pictures: the answers to all of them on every host, as
    `evaluate.answers` gives them.

    Attributes:
        model, config, tasks: as given.
    """

    def __init__(self, model: keras.Model, config: Config, tasks: tuple[Task, ...]):
        self.model, self.config, self.tasks = model, config, tasks
        self._asked = model
        if keras.distribution.distribution():  # whose devices want equal shares of whole batches
            with devices.on_one():
                self._asked = networks.build(config, tasks)
        self._serving = serving_model(self._asked, tasks, config)

    def __call__(self, data, split: str, most: int | None = None) -> dict[str, np.ndarray]:
        with devices.on_one():
            if self._asked is not self.model:
                copy_layers(self.model, self._asked, {layer.name: layer.name for layer in self._asked.layers})
            part = answers(self._serving, data, split, most=most, share=devices.share())
        return devices.gathered(part, min(most or data.counts[split], data.counts[split]))


class RunKeeper(keras.callbacks.Callback):
    """Keeps a run's folder: on the first host it writes each file whole, the state of the training every few minutes and at the end of each epoch.

    At the end of an epoch it first measures the model on each data set's validation part.

    Args:
        progress: where the training goes on.
        minutes: after which the state is written again.

    Attributes:
        rows: of the history so far.
        diverged_at: the epoch whose loss or answers were not finite, or None.
    """

    def __init__(self, folder: Path, ask: Answers, sets, progress: Progress, minutes: float):
        super().__init__()
        self.folder, self.sets = folder, sets
        self.rows = runs.read_history(folder)[: progress.epoch]
        self.diverged_at = None
        self._ask, self._writes = ask, devices.share()[0] == 0
        self._truth = [data.targets("validation") for data in sets]
        self._from, self._minutes = progress, minutes
        self._signal = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._step = epoch, self._from.step
        self._began = time.monotonic() - self._from.seconds
        self._kept = time.monotonic()
        if self._from.state:
            checkpoint.restore(self.model, self._from)
        self._from = Progress()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        late = time.monotonic() - self._kept >= 60 * self._minutes
        if (self._signal or late) and math.isfinite(logs["loss"]):
            self._keep_state(self._epoch, self._step, time.monotonic() - self._began)
            self._kept = time.monotonic()
        if self._signal:
            raise UserError(
                f"training ended by {signal.Signals(self._signal).name} in epoch {self._epoch + 1} after {self._step} steps, which are kept; go on "
                f"with --resume --run {self.folder}"
            )

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
                "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
                **logs,
                "seconds": time.monotonic() - self._began,
            }
            self.rows.append({key: runs.as_kept(value) for key, value in row.items()})
            if self._writes:
                runs.write_history(self.folder, self.rows)
                runs.write_events(self.folder, self.rows)
                if self.rows[-1]["val_score"] > best:
                    with devices.on_one(), runs.kept(self.folder / "best.keras") as beside:
                        self.model.save(beside)
        # last: --resume goes on from it and drops the row of an epoch whose state was not kept
        self.model.reset_metrics()
        same = self.rows[-1]["val_score"] > best and not self.model.optimizer.use_ema
        self._keep_state(epoch + 1, 0, 0.0, self.folder / "best.keras" if same else None)

    def _keep_state(self, epoch: int, step: int, seconds: float, saved: Path | None = None):
        if self._writes:
            with devices.on_one():  # or what Keras computes in passing would be awaited from all hosts
                checkpoint.save(self.folder, self.model, Progress(epoch, step, seconds), saved)

    @contextlib.contextmanager
    def ending_on_signals(self):
        """A context in which SIGTERM and SIGINT end the training after the step, its state kept; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
            yield
            return

        def end(number, frame):
            self._signal = number
            signal.signal(number, before[number])

        heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _measure(self) -> dict[str, float] | None:
        """The headline metrics of each data set's validation part in percent, and `val_score`, their mean, by which the best epoch is chosen.

        None if the answers are not finite.
        """
        measured, headlines = {}, []
        for data, truth in zip(self.sets, self._truth, strict=True):
            outputs = self._ask(data, "validation")
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


@contextlib.contextmanager
def averaged_weights(model):
    """Gives a model the moving average of its weights, if its optimizer keeps one, and its own back at the end."""
    if not model.optimizer.use_ema:
        yield
        return
    own = [np.array(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    for variable in model.trainable_variables:  # copies: on JAX these are the optimizer's own arrays, which a prediction gives away
        variable.assign(np.array(variable))
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)

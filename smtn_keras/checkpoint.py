"""The whole state of a training in one file, `last.keras`: the model with its optimizer, and beside them what Keras leaves out."""

import io
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from . import files, model_files, runs
from .errors import UserError

FILE = "last.keras"
PROGRESS = "progress.npz"  # a member of that zip, which Keras does not look for


class Progress(NamedTuple):
    """Where in a training a checkpoint stands.

    Attributes:
        epoch: that it is in, from 0.
        step: batches of this epoch that were trained.
        seconds: that they took.
        state: values of the variables that are no weights: metrics of this epoch, and generators of random numbers.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    state: tuple[np.ndarray, ...] = ()


def save(folder: Path, model: keras.Model, progress: Progress, saved: Path | None = None):
    """Writes the state of a compiled model.

    Args:
        progress: where it stands, but for its `state`, which is read from the model.
        saved: a file that the model as it is was saved to, if there is one.
    """
    state = {f"state{i:04}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(_no_weights(model))}
    with files.kept(folder / FILE) as beside:
        if saved:
            shutil.copyfile(saved, beside)
        else:
            model.save(beside)
        with zipfile.ZipFile(beside, "a") as whole, whole.open(PROGRESS, "w") as member:
            np.savez(member, position=np.array([progress.epoch, progress.step, progress.seconds], np.float64), **state)


def load(folder: Path, model: keras.Model) -> Progress:
    """Gives a compiled model its weights and its optimizer's state; the rest is for `restore`, as Keras forgets metrics when an epoch begins.

    Raises:
        UserError: if the file holds something else.
    """
    runs.load_weights(model, folder / FILE)
    return read(folder)


def read(folder: Path) -> Progress:
    """Where the checkpoint of a run stands.

    Raises:
        UserError: if the file holds something else.
    """
    try:
        with zipfile.ZipFile(folder / FILE) as whole:
            content = io.BytesIO(whole.read(PROGRESS))
        model_files.check_stored(content)
        content.seek(0)
        with np.load(content, allow_pickle=False) as arrays:
            epoch, step, seconds = arrays["position"]
            return Progress(int(epoch), int(step), float(seconds), tuple(arrays[name] for name in sorted(arrays) if name != "position"))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder / FILE}: expected a training's state, got none that can be read ({error}); train the run again") from None


def build_metrics(model: keras.Model, batches):
    """Makes the metrics of a compiled model, which TensorFlow's trainer makes in its first step; weights stay as they are."""
    model.test_on_batch(*next(iter(batches)))


def restore(model: keras.Model, progress: Progress):
    """Gives the variables that are no weights their values."""
    for variable, value in zip(_no_weights(model), progress.state, strict=True):
        variable.assign(value)


def _no_weights(model: keras.Model) -> list:
    weights = {id(variable) for variable in model.weights}
    return list({id(v): v for v in (*model.variables, *model.metrics_variables) if id(v) not in weights}.values())

"""What PANDA and LNets+ANet share: the pictures they train on, a training, and reading features out."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers
from tqdm import tqdm

from .. import model_files
from ..config import Config
from ..data.pipeline import evaluation_batches
from ..data.prepared import Prepared
from ..errors import UserError
from ..losses import AttributesLoss
from ..runs import whole
from ..tasks import Attributes, Task

# -- the pictures -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Part:
    """Some records as a data set of their own, for `training_batches` and `evaluation_batches`."""

    tasks: tuple[Task, ...]
    records: Sequence[dict]

    def source(self, split: str) -> Sequence[dict]:
        """The records, whatever the split."""
        return self.records


class Chosen(Sequence):
    """The records at some indices, each with what `more` says of it."""

    def __init__(self, records: Sequence[dict], indices: np.ndarray, more: Callable[[dict], dict] = lambda record: {}):
        self.records, self.indices, self.more = records, indices, more

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        record = self.records[int(self.indices[index])]
        return record | self.more(record)


def chosen(data: Prepared, config: Config, most: int | None = None) -> tuple[np.ndarray, Part]:
    """The pictures that `training_batches` would train on: their indices in the training part, in its order, and they themselves.

    Args:
        most: take no more than so many, if not None.
    """
    records = data.source("train")
    indices = np.random.default_rng(config.training.seed).permutation(len(records))[: config.data.samples]
    indices = np.sort(indices[:most])
    return indices, Part(data.tasks, Chosen(records, indices))


def settings(config: Config, scale: int = 2) -> Config:
    """The same for pictures `scale` times as large, all of those that were chosen."""
    return config.with_(data={"samples": None}, network={"image_size": scale * config.network.image_size})


# -- training ---------------------------------------------------------------------------------------


def describe(x, count: int, name: str):
    """The features `(batch, count)` of a map: an FC layer as layer `name`, normalised, as else most of ANet's ReLUs died."""
    x = layers.Dense(count, use_bias=False, name=f"{name}_fc")(layers.Flatten(name=f"{name}_flatten")(x))
    return layers.ReLU(name=name)(layers.BatchNormalization(name=f"{name}_bn")(x))


def units(task: Attributes) -> int:
    """How many outputs the task has: one for each binary label, one for each class of the others."""
    return len(task.probability_names)


def train(model: keras.Model, task: Attributes, batches, steps: int, config: Config, title: str) -> None:
    """Trains all outputs of a model, a dictionary of logits of one task, by AdamW; the rate as of `--schedule cosine`.

    Args:
        batches: `(images, labels by output)` without end.
        title: of the progress bar.

    Raises:
        UserError: if the loss is not finite.
    """
    training = config.training
    warmup = min(steps, training.epochs * steps // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, training.epochs * steps - warmup), warmup_target=training.learning_rate, warmup_steps=warmup
    )
    loss = {name: AttributesLoss(task.binary_count, [len(label.classes) for label in task.categorical]) for name in model.output}
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=training.weight_decay),
        loss=loss,
        jit_compile="auto" if keras.backend.backend() == "jax" else False,  # on CPUs XLA is slower than TensorFlow's own kernels
    )
    with tqdm(total=training.epochs * steps, desc=title, unit=" steps") as bar:
        show = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: bar.update(),
            on_epoch_end=lambda epoch, logs: bar.set_postfix(loss=f"{logs['loss']:.3f}"),
        )
        stop = keras.callbacks.TerminateOnNaN()
        history = model.fit(batches, steps_per_epoch=steps, epochs=training.epochs, shuffle=False, callbacks=[show, stop], verbose=0)
    if not np.isfinite(history.history["loss"]).all():
        raise UserError(
            f"training diverged: expected finite losses, got NaN or infinity in '{title}'; "
            f"try a --learning-rate below {training.learning_rate:g}"
        )


# -- reading ----------------------------------------------------------------------------------------


def features(model: keras.Model, data, split: str, prepare: Callable, title: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The output `(pictures, numbers)` float32 of a model for all pictures of a split, and their targets by task name.

    Args:
        data: a `Prepared` or a `Part`.
        prepare: `(images, targets)` to the images that the model takes.
    """
    batches, steps = evaluation_batches(data, split, model.input.shape[1])
    rows, targets = [], []
    for images, truth in tqdm(batches, desc=title, total=steps, unit=" batches"):
        rows.append(keras.ops.convert_to_numpy(model.predict_on_batch(prepare(images, truth))))
        targets.append(truth)
    return np.concatenate(rows), {key: np.concatenate([truth[key] for truth in targets]) for key in targets[0]}


def save(model: keras.Model, file: Path) -> None:
    """Writes a model as `.keras`, whole or not at all."""
    with whole(file) as beside:
        model.save(beside)


def load(file: Path) -> keras.Model:
    """Reads what `save` wrote.

    Raises:
        UserError: if it is not there or no such file.
    """
    if not file.is_file():
        raise UserError(f"{file}: expected a trained method's nets, found no such file; train it first")
    try:
        model_files.check_keras(file)
        return keras.saving.load_model(file, compile=False, safe_mode=True)  # no code in the file is run
    except Exception as error:  # zipfile, h5py and Keras each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: expected a trained method's nets, got something else ({reason}); train it again") from None

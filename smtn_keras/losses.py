"""The losses of the tasks; missing labels take no part in them."""

import keras
from keras import ops

from .config import TrainingConfig
from .tasks import Attributes, Landmarks, Task


def task_losses(tasks: tuple[Task, ...], training: TrainingConfig) -> tuple[dict, dict]:
    """Losses and their weights by task name, for `model.compile`; their sum is Eq. 1 of the paper."""
    losses, weights = {}, {}
    for task in tasks:
        if isinstance(task, Landmarks):
            losses[task.name] = LandmarksLoss(training.landmarks_loss, training.landmark_scale)
            weights[task.name] = training.landmarks_weight
        else:
            losses[task.name] = AttributesLoss(task.binary_count, [len(label.classes) for label in task.categorical])
            weights[task.name] = training.attributes_weight
    return losses, weights


def mean_of_present(errors, present):
    """Per-sample values whose batch mean is the mean of the present errors.

    Keras averages what a loss returns over the batch; without this a sample that lacks a label would
    count as one without error.

    Args:
        errors: `(batch, n)`.
        present: `(batch, n)` booleans.

    Returns:
        `(batch,)`; all zero if nothing is present.
    """
    present = ops.cast(present, errors.dtype)
    total = ops.maximum(ops.sum(present), 1)
    batch = ops.cast(ops.shape(errors)[0], errors.dtype)
    return ops.sum(ops.where(present > 0, errors, 0), axis=-1) * batch / total


@keras.saving.register_keras_serializable("smtn_keras")
class LandmarksLoss(keras.losses.Loss):
    """Mean square (the paper's) or absolute error of the coordinates.

    Args:
        kind: `mse` or `l1`.
        scale: factor on the coordinates, which are in [0, 1] of the image, before the error is taken.
    """

    def __init__(self, kind: str = "mse", scale: float = 1.0, name: str = "landmarks_loss", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.kind, self.scale = kind, scale

    def call(self, y_true, y_pred):
        """`(batch, points, 2)` each, NaN where a point is missing; returns `(batch,)`."""
        present = ops.logical_not(ops.isnan(y_true))
        # the NaNs go before the difference is taken: a gradient through where() would still meet them
        difference = (y_pred - ops.where(present, y_true, y_pred)) * self.scale
        errors = ops.square(difference) if self.kind == "mse" else ops.abs(difference)
        flat = (ops.shape(errors)[0], -1)
        return mean_of_present(ops.reshape(errors, flat), ops.reshape(present, flat))

    def get_config(self):
        return {"kind": self.kind, "scale": self.scale, "name": self.name}


@keras.saving.register_keras_serializable("smtn_keras")
class AttributesLoss(keras.losses.Loss):
    """Softmax cross-entropy of each label, averaged over the labels that are present.

    Args:
        binary_count: how many binary labels come first.
        class_counts: the numbers of classes of the categorical labels that follow.
    """

    def __init__(self, binary_count: int, class_counts=(), name: str = "attributes_loss", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.binary_count, self.class_counts = binary_count, list(class_counts)

    def call(self, y_true, y_pred):
        """Class indices `(batch, labels)`, -1 where missing, and `(batch, units)` logits; returns `(batch,)`."""
        binary, categorical = split_logits(y_pred, self.binary_count, self.class_counts)
        present = y_true >= 0
        truth = ops.where(present, y_true, 0)
        errors = []
        if self.binary_count:
            # cross-entropy of a two-way softmax is that of a sigmoid over the difference of its logits
            sign = 1 - 2 * truth[:, : self.binary_count]
            errors.append(ops.softplus(sign * binary))
        for i, logits in enumerate(categorical):
            index = ops.cast(truth[:, self.binary_count + i], "int32")
            error = keras.losses.sparse_categorical_crossentropy(index, logits, from_logits=True)
            errors.append(ops.expand_dims(error, 1))
        return mean_of_present(ops.concatenate(errors, axis=1), present)

    def get_config(self):
        return {"binary_count": self.binary_count, "class_counts": self.class_counts, "name": self.name}


def split_logits(outputs, binary_count: int, class_counts):
    """Splits an attribute output into one logit for each binary label and the logits of each categorical one.

    Args:
        outputs: `(batch, units)`: two units a binary label (two-way softmax: no, yes) or one, then a
            unit for each class of the categorical labels.

    Returns:
        `(batch, binary_count)`, and a list of `(batch, classes)`.
    """
    rest = sum(class_counts)
    units = outputs.shape[-1] - rest
    binary = outputs[:, :units]
    if binary_count and units == 2 * binary_count:
        pairs = ops.reshape(binary, (-1, binary_count, 2))
        binary = pairs[:, :, 1] - pairs[:, :, 0]
    categorical, start = [], units
    for count in class_counts:
        categorical.append(outputs[:, start : start + count])
        start += count
    return binary, categorical


def probabilities(outputs, task: Attributes):
    """Probabilities `(batch, len(task.probability_names))` from an attribute output."""
    binary, categorical = split_logits(outputs, task.binary_count, [len(label.classes) for label in task.categorical])
    parts = [ops.sigmoid(binary)] if task.binary_count else []
    return ops.concatenate(parts + [ops.softmax(logits, axis=-1) for logits in categorical], axis=1)

"""Metrics: Keras ones to watch a training, NumPy ones for the numbers that are reported."""

import keras
import numpy as np
from keras import ops

from .losses import split_logits
from .tasks import MISSING, Attributes, Landmarks, Task

ALPHA = 0.1  # Eq. 2 of the paper: success is an error within this share of the eyes' distance


# -- while training ---------------------------------------------------------------------------------


def task_metrics(tasks: tuple[Task, ...], aspect: float) -> dict[str, list[keras.metrics.Metric]]:
    """Metrics by task name, for `model.compile`.

    Args:
        aspect: height over width of the published frame; errors are taken in its proportions.
    """
    return {
        task.name: [SuccessRate(task.normaliser_index, aspect), NME(task.normaliser_index, aspect)]
        if isinstance(task, Landmarks)
        else [LabelAccuracy(task.binary_count, [len(label.classes) for label in task.categorical])]
        for task in tasks
    }


class _MeanOfPresent(keras.metrics.Metric):
    """Mean over all present values of the epoch; a subclass gives `values_and_present`."""

    def __init__(self, name, **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values, present = self.values_and_present(ops.cast(y_true, "float32"), ops.cast(y_pred, "float32"))
        self.total.assign_add(ops.sum(ops.where(present, values, 0)))
        self.count.assign_add(ops.sum(ops.cast(present, "float32")))

    def result(self):
        return self.total / ops.maximum(self.count, 1)


class _PointErrors(_MeanOfPresent):
    """Errors of points over the distance of the two normalising points, in the frame's proportions."""

    def __init__(self, normaliser_index, aspect=1.0, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.normaliser_index, self.aspect = tuple(normaliser_index), float(aspect)

    def get_config(self):
        return {"normaliser_index": list(self.normaliser_index), "aspect": self.aspect, "name": self.name}

    def values_and_present(self, y_true, y_pred):
        frame = ops.convert_to_tensor([1.0, self.aspect], dtype="float32")
        a, b = self.normaliser_index
        eyes = ops.norm((y_true[:, a] - y_true[:, b]) * frame, axis=-1)[:, None]
        errors = ops.norm((y_true - y_pred) * frame, axis=-1) / eyes
        # only the truth decides what counts: a prediction of NaN is an error, not a missing point
        present = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1)) & (eyes > 0)
        return self.of_error(errors), present


@keras.saving.register_keras_serializable("smtn_keras")
class SuccessRate(_PointErrors):
    """Share of points within `ALPHA` of the eyes' distance (Eq. 2)."""

    def __init__(self, normaliser_index, aspect=1.0, name="success_rate", **kwargs):
        super().__init__(normaliser_index, aspect, name, **kwargs)

    def of_error(self, errors):
        return ops.cast(errors <= ALPHA, "float32")


@keras.saving.register_keras_serializable("smtn_keras")
class NME(_PointErrors):
    """Mean error of points over the eyes' distance."""

    def __init__(self, normaliser_index, aspect=1.0, name="nme", **kwargs):
        super().__init__(normaliser_index, aspect, name, **kwargs)

    def of_error(self, errors):
        return errors


@keras.saving.register_keras_serializable("smtn_keras")
class LabelAccuracy(_MeanOfPresent):
    """Share of present labels whose likeliest class is right."""

    def __init__(self, binary_count, class_counts=(), name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.binary_count, self.class_counts = binary_count, list(class_counts)

    def get_config(self):
        return {"binary_count": self.binary_count, "class_counts": self.class_counts, "name": self.name}

    def values_and_present(self, y_true, y_pred):
        binary, categorical = split_logits(y_pred, self.binary_count, self.class_counts)
        columns = [ops.cast(binary > 0, "float32")]
        columns += [ops.cast(ops.argmax(logits, axis=-1), "float32")[:, None] for logits in categorical]
        return ops.cast(ops.concatenate(columns, axis=1) == y_true, "float32"), y_true >= 0


# -- for reports ------------------------------------------------------------------------------------


def landmark_metrics(landmarks_unit: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, task: Landmarks) -> dict:
    """Success rate, NME and failure rate in the original pixels.

    Args:
        landmarks_unit: predictions `(samples, points, 2)` in [0, 1] of the images.
        truth_px: `(samples, points, 2)` in pixels of the original images, NaN where missing.
        sizes: `(samples, 2)` width and height of the original images.

    Returns:
        `success_rate` (Eq. 2) for each point and on average, `nme` and `failure_rate` (images whose
        mean error is above `ALPHA`); percent. `samples` counts the images with at least one point and
        a distance of the eyes.
    """
    errors = np.linalg.norm(landmarks_unit * sizes[:, None] - truth_px, axis=-1)
    a, b = task.normaliser_index
    eyes = np.linalg.norm(truth_px[:, a] - truth_px[:, b], axis=-1)
    # only the truth decides what counts: a prediction of NaN is a failure, not a missing point
    present = ~np.isnan(truth_px).any(-1) & (eyes > 0)[:, None]
    errors = errors / np.where(eyes > 0, eyes, 1)[:, None]
    success = {point: _percent((errors[:, i] <= ALPHA)[present[:, i]]) for i, point in enumerate(task.points)}
    used = present.any(1)
    per_image = np.where(present, errors, 0).sum(1)[used] / present.sum(1)[used]
    return {
        "samples": int(used.sum()),
        "success_rate": success,
        "success_rate_average": _mean(success.values()),
        "nme": _percent(per_image),
        "failure_rate": _percent(~(per_image <= ALPHA)),
    }


def attribute_metrics(classes: np.ndarray, truth: np.ndarray, task: Attributes) -> dict:
    """Accuracy and balanced accuracy (mean recall of the classes that occur) of each label, and their means.

    Args:
        classes: predicted class indices `(samples, labels)`.
        truth: `(samples, labels)`, -1 where missing.

    Returns:
        Percent; a label that no sample has is None and left out of the means.
    """
    accuracy, balanced = {}, {}
    for i, label in enumerate(task.labels):
        has = truth[:, i] != MISSING
        right = classes[has, i] == truth[has, i]
        accuracy[label.name] = _percent(right)
        balanced[label.name] = _mean(_percent(right[truth[has, i] == c]) for c in np.unique(truth[has, i]))
    return {
        "samples": int((truth != MISSING).any(1).sum()),
        "accuracy": accuracy,
        "accuracy_mean": _mean(accuracy.values()),
        "balanced_accuracy": balanced,
        "balanced_accuracy_mean": _mean(balanced.values()),
    }


def floor_metrics(task: Task, train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> dict:
    """What is reached without looking at a picture: the training part's mean shape, or its majority label.

    Args:
        train, test: arrays of all targets by task name, and `size`.
    """
    truth = test[task.name]
    if isinstance(task, Landmarks):
        mean_shape = np.nanmean(train[task.name] / train["size"][:, None], axis=0)
        return landmark_metrics(np.broadcast_to(mean_shape, truth.shape), truth, test["size"], task)
    majority = [np.bincount(column[column != MISSING], minlength=1).argmax() for column in train[task.name].astype(int).T]
    return attribute_metrics(np.broadcast_to(np.array(majority), truth.shape), truth, task)


def _percent(values) -> float | None:
    return round(100 * float(np.mean(values)), 4) if len(values) else None


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None

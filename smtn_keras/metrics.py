"""Metrics: Keras ones to watch a training, NumPy ones for the numbers that are reported."""

import keras
import numpy as np
from keras import ops

from .losses import split_logits
from .tasks import MISSING, Attributes, Label, Landmarks, Task

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
        errors = ops.norm((y_true - y_pred[..., :2]) * frame, axis=-1) / eyes  # behind x and y may stand a scale
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
        # a soft label of MixUp counts as its nearer class
        return ops.cast(ops.concatenate(columns, axis=1) == ops.round(y_true), "float32"), y_true >= 0


# -- for reports ------------------------------------------------------------------------------------

DETAILS = ("worst", "success_by_yaw", "confusion")
WORST = 24  # so many images of the highest error are named
THRESHOLDS = tuple(i / 100 for i in range(31))  # of the curve of success against threshold, over the eyes' distance
YAW_POINTS = ("left_eye", "right_eye", "nose")
YAW_EDGES = (0.1, 0.25, 0.4)  # of the nose's offset along the eye line from the middle of the eyes, over the eyes' distance
YAW_BINS = ("below 0.1", "0.1 to 0.25", "0.25 to 0.4", "above 0.4")


def landmark_metrics(landmarks_unit: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, task: Landmarks) -> dict:
    """Success rate, NME and failure rate in the original pixels.

    Args:
        landmarks_unit: predictions `(samples, points, 2)` in [0, 1] of the images.
        truth_px: `(samples, points, 2)` in pixels of the original images, NaN where missing.
        sizes: `(samples, 2)` width and height of the original images.

    Returns:
        `success_rate` (Eq. 2) for each point and on average, `nme` and `failure_rate` (images whose
        mean error is above `ALPHA`); percent. `samples` counts the images with at least one point and
        a distance of the eyes. `success_curve` is the average success rate at each of `THRESHOLDS` in the place of `ALPHA`. `worst`
        lists `[index, error]` of the `WORST` of them, the highest first; `success_by_yaw`, if the task has the `YAW_POINTS`,
        is as `landmark_metrics_by` with `YAW_BINS`.
    """
    errors, present = point_errors(landmarks_unit, truth_px, sizes, task)
    success = _success(errors, present)
    index, per_image = image_errors(errors, present)
    worst = np.argsort(-np.where(np.isnan(per_image), np.inf, per_image), kind="stable")[:WORST]
    result = {
        "samples": len(index),
        "success_rate": dict(zip(task.points, success, strict=True)),
        "success_rate_average": mean(success),
        "nme": percent(per_image),
        "failure_rate": percent(~(per_image <= ALPHA)),
        "success_curve": [mean(_success(errors, present, threshold)) for threshold in THRESHOLDS],
        "worst": [[int(index[i]), percent(per_image[[i]])] for i in worst],
    }
    if set(YAW_POINTS) <= set(task.points):
        result["success_by_yaw"] = _by_group(errors, present, yaw_bins(truth_px, task), YAW_BINS)
    return result


def landmark_metrics_by(
    landmarks_unit: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, task: Landmarks, classes: np.ndarray, label: Label
) -> dict:
    """Success rate and NME for each class of a label, such as the head's pose.

    Args:
        landmarks_unit, truth_px, sizes: as for `landmark_metrics`.
        classes: true class indices of the label `(samples,)`, -1 where missing.

    Returns:
        By class name its `samples`, `success_rate` (average of the points) and `nme`; percent, None where no sample is of the class.
    """
    return _by_group(*point_errors(landmarks_unit, truth_px, sizes, task), classes, label.classes)


def point_errors(landmarks_unit, truth_px, sizes, task) -> tuple[np.ndarray, np.ndarray]:
    """Errors over the eyes' distance, and which of them count; both `(samples, points)`."""
    errors = np.linalg.norm(landmarks_unit * sizes[:, None] - truth_px, axis=-1)
    a, b = task.normaliser_index
    eyes = np.linalg.norm(truth_px[:, a] - truth_px[:, b], axis=-1)
    # only the truth decides what counts: a prediction of NaN is a failure, not a missing point
    present = ~np.isnan(truth_px).any(-1) & (eyes > 0)[:, None]
    return errors / np.where(eyes > 0, eyes, 1)[:, None], present


def _success(errors, present, alpha=ALPHA) -> list[float | None]:
    """The success rate of each point."""
    return [percent((errors[:, i] <= alpha)[present[:, i]]) for i in range(errors.shape[1])]


def image_errors(errors, present) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that count, and their mean errors."""
    index = np.flatnonzero(present.any(1))
    return index, np.where(present, errors, 0).sum(1)[index] / present.sum(1)[index]


def _by_group(errors, present, groups, names) -> dict:
    """Samples, success rate and NME of the images whose entry in `groups` is the place of each name."""
    result = {}
    for i, name in enumerate(names):
        part = errors[groups == i], present[groups == i]
        per_image = image_errors(*part)[1]
        result[name] = {"samples": len(per_image), "success_rate": mean(_success(*part)), "nme": percent(per_image)}
    return result


def yaw_bins(truth_px, task) -> np.ndarray:
    """The place in `YAW_BINS` of each image `(samples,)`, -1 where a point is missing.

    Args:
        truth_px: `(samples, points, 2)` of a task with the `YAW_POINTS`.
    """
    left, right, nose = (truth_px[:, task.points.index(point)] for point in YAW_POINTS)
    eyes = right - left
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.abs(((nose - (left + right) / 2) * eyes).sum(-1)) / (eyes**2).sum(-1)
    return np.where(np.isfinite(offset), np.digitize(offset, YAW_EDGES), -1)


def attribute_metrics(classes: np.ndarray, truth: np.ndarray, task: Attributes) -> dict:
    """Accuracy and balanced accuracy (mean recall of the classes that occur) of each label, and their means.

    Args:
        classes: predicted class indices `(samples, labels)`.
        truth: `(samples, labels)`, -1 where missing.

    Returns:
        Percent; a label that no sample has is None and left out of the means. `confusion` counts the
        samples of each label, rows by their true and columns by their predicted class.
    """
    accuracy, balanced, confusion = {}, {}, {}
    for i, label in enumerate(task.labels):
        has = truth[:, i] != MISSING
        right = classes[has, i] == truth[has, i]
        accuracy[label.name] = percent(right)
        balanced[label.name] = mean(percent(right[truth[has, i] == c]) for c in np.unique(truth[has, i]))
        count = len(label.classes)
        pairs = truth[has, i].astype(int) * count + classes[has, i].astype(int)
        confusion[label.name] = np.bincount(pairs, minlength=count**2).reshape(count, count).tolist()
    return {
        "samples": int((truth != MISSING).any(1).sum()),
        "accuracy": accuracy,
        "accuracy_mean": mean(accuracy.values()),
        "balanced_accuracy": balanced,
        "balanced_accuracy_mean": mean(balanced.values()),
        "confusion": confusion,
    }


def best_thresholds(probabilities: np.ndarray, truth: np.ndarray, task: Attributes) -> np.ndarray:
    """For each binary label the threshold with the highest accuracy, `(binary labels,)`; of equal ones that nearest to 0.5.

    Args:
        probabilities: `(samples, probabilities)`, of a part that is not measured with them.
        truth: `(samples, labels)`, -1 where missing.
    """
    thresholds = np.full(task.binary_count, 0.5)
    for i in range(task.binary_count):
        has = truth[:, i] != MISSING
        p, yes = probabilities[has, i], truth[has, i] == 1
        if not len(p):
            continue
        order = np.argsort(p)
        values = np.concatenate([[0], p[order], [1]])
        # above the k lowest: right are the "no" among them and the "yes" among the others
        right = np.concatenate([[0], np.cumsum(~yes[order])]) + yes.sum() - np.concatenate([[0], np.cumsum(yes[order])])
        between = (values[:-1] + values[1:]) / 2
        apart = values[:-1] < values[1:]  # equal probabilities lie on one side of any threshold
        right, between = np.append(right[apart], ((p > 0.5) == yes).sum()), np.append(between[apart], 0.5)
        tied = right == right.max()
        thresholds[i] = between[tied][np.argmin(np.abs(between[tied] - 0.5))]
    return thresholds


def floor_metrics(task: Task, train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> dict:
    """What is reached without looking at a picture: the training part's mean shape, or its majority label.

    Args:
        train, test: arrays of all targets by task name, and `size`.

    Returns:
        The metrics of the task but for the `DETAILS`, which of a floor say nothing.
    """
    return {name: value for name, value in _floor_metrics(task, train, test).items() if name not in DETAILS}


def _floor_metrics(task, train, test) -> dict:
    truth = test[task.name]
    if isinstance(task, Landmarks):
        mean_shape = np.nanmean(train[task.name] / train["size"][:, None], axis=0)
        return landmark_metrics(np.broadcast_to(mean_shape, truth.shape), truth, test["size"], task)
    majority = [np.bincount(column[column != MISSING], minlength=1).argmax() for column in train[task.name].astype(int).T]
    return attribute_metrics(np.broadcast_to(np.array(majority), truth.shape), truth, task)


def percent(values) -> float | None:
    return round(100 * float(np.mean(values)), 4) if len(values) else None


def mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None

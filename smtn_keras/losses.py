"""The losses of the tasks; missing labels take no part in them."""

import keras
import numpy as np
from keras import ops

from .config import Config
from .tasks import MISSING, Attributes, Landmarks, Task

HUBER_DELTA = 1.0  # where the square becomes linear; Smooth L1 of Fast R-CNN (Girshick, ICCV 2015)
WING = {"w": 10.0, "eps": 2.0}  # in pixels of the paper's input (Feng et al., CVPR 2018)
ADAPTIVE_WING = {"omega": 14.0, "theta": 0.5, "eps": 1.0, "alpha": 2.1}  # of heatmap values in [0, 1] (Wang et al., ICCV 2019)
EYES_UNIT = (0.08, 0.25)  # distance of the eyes in sides of the image: the least that is divided by, and what stands in for a missing one
MIN_LOG_SCALE = -10.0  # of a predicted Laplace distribution: narrower ones count as this, so that no error over it is infinite
FOCAL_GAMMA = 2.0  # Lin et al., ICCV 2017
# Ridnik et al., ICCV 2021; gamma_pos is 0 there in the paper and in the trainings they publish (1 is only their class's default)
ASYMMETRIC = {"gamma_neg": 4.0, "margin": 0.05}
MOST_WEIGHT = 10.0  # of a rare class beside its label's commonest one


def task_losses(tasks: tuple[Task, ...], config: Config, train_targets: dict[str, np.ndarray] | None = None) -> tuple[dict, dict]:
    """Losses and their weights by task name, for `model.compile`; with `--balance fixed` their sum is Eq. 1 of the paper.

    Args:
        train_targets: targets of the training part by task name, `(samples, labels)`; only `--label-weighting frequency` needs them.
    """
    training = config.training
    losses, weights = {}, {}
    for task in tasks:
        if isinstance(task, Landmarks):
            normaliser = task.normaliser_index if training.landmark_unit == "eyes" else None
            loss = LandmarksLoss("laplace" if config.network.uncertainty else training.landmarks_loss, training.landmark_scale, normaliser)
            weights[task.name] = training.landmarks_weight
        else:
            loss = AttributesLoss(
                task.binary_count,
                [len(label.classes) for label in task.categorical],
                training.attributes_loss,
                training.label_smoothing,
                frequency_weights(train_targets[task.name], task) if training.label_weighting == "frequency" else None,
                training.attributes_mean == "faces",
            )
            weights[task.name] = training.attributes_weight
        losses[task.name] = LogOf(loss) if training.balance == "uncertainty" else loss
    return losses, weights


def mean_of_present(errors, present, by_sample: bool = False):
    """Per-sample values whose batch mean is the mean of the present errors.

    Keras averages what a loss returns over the batch; without this a sample that lacks a label would
    count as one without error.

    Args:
        errors: `(batch, n)`.
        present: `(batch, n)` booleans.
        by_sample: take the mean of the samples' own means.

    Returns:
        `(batch,)`; all zero if nothing is present.
    """
    present = ops.cast(present, errors.dtype)
    if by_sample:
        errors = errors / ops.maximum(ops.sum(present, axis=-1, keepdims=True), 1)
        total = ops.maximum(ops.sum(ops.max(present, axis=-1)), 1)
    else:
        total = ops.maximum(ops.sum(present), 1)
    batch = ops.cast(ops.shape(errors)[0], errors.dtype)
    return ops.sum(ops.where(present > 0, errors, 0), axis=-1) * batch / total


# -- landmarks --------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("smtn_keras")
class LandmarksLoss(keras.losses.Loss):
    """The mean error of the coordinates that are present.

    Of a coordinate that is off by d, times `scale`:

    - `mse`: d squared, the paper's.
    - `l1`: |d|.
    - `smooth_l1`: half the square up to `HUBER_DELTA`, linear beyond.
    - `wing`: w log(1 + |d| / eps) up to w, linear with slope 1 beyond (Feng et al., CVPR 2018). Their unit is a pixel of
      the input, so a `scale` near the image's side is right for it.
    - `adaptive_wing`: omega log(1 + |d / eps| ** (alpha - y)) up to theta, linear beyond (Wang et al., ICCV 2019). It is
      made for heatmap values y in [0, 1]. That it is taken of coordinates, with y = 1 as for a heatmap's foreground, is
      ours: the power is 1.1, so unlike Wing's its gradient vanishes with the error, as |d| ** 0.1.
    - `laplace`: |d| / b + log b, the negative log-likelihood of a Laplace distribution but for log 2. The prediction
      brings log b (in scaled units, one for each point) behind x and y. May be negative.

    Args:
        kind: one of these.
        scale: factor on the coordinates, which are in [0, 1] of the image, before the error is taken.
        normaliser_index: the two points by whose true distance a face's coordinates are divided first, so that the loss
            counts faces as NME does; None: by nothing. In a profile they nearly meet: see `EYES_UNIT`.
    """

    def __init__(
        self,
        kind: str = "mse",
        scale: float = 1.0,
        normaliser_index: tuple[int, int] | None = None,
        name: str = "landmarks_loss",
        **kwargs,
    ):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.kind, self.scale = kind, scale
        self.normaliser_index = tuple(normaliser_index) if normaliser_index else None

    def call(self, y_true, y_pred):
        """The error of each sample.

        Args:
            y_true: `(batch, points, 2)`, NaN where a point is missing.
            y_pred: `(batch, points, 2)`; `(batch, points, 3)` with log b for `laplace`, which the other kinds leave out.

        Returns:
            `(batch,)`.
        """
        present = ops.logical_not(ops.isnan(y_true))
        position = y_pred[..., :2]
        # the NaNs go before the difference is taken: a gradient through where() would still meet them
        distance = ops.abs(position - ops.where(present, y_true, position)) * self.scale
        if self.normaliser_index:
            a, b = self.normaliser_index
            eyes = ops.norm(y_true[:, a] - y_true[:, b], axis=-1)
            least, typical = EYES_UNIT
            distance = distance / ops.where(ops.isnan(eyes), typical, ops.maximum(eyes, least))[:, None, None]
        if self.kind == "laplace":
            log_scale = ops.maximum(y_pred[..., 2:], MIN_LOG_SCALE)
            errors = distance * ops.exp(-log_scale) + log_scale
        else:
            errors = _point_error(self.kind, distance)
        flat = (ops.shape(errors)[0], -1)
        return mean_of_present(ops.reshape(errors, flat), ops.reshape(present, flat))

    def get_config(self):
        return {"kind": self.kind, "scale": self.scale, "normaliser_index": self.normaliser_index, "name": self.name}


def _point_error(kind: str, distance):
    """The error of scaled distances >= 0, of any shape."""
    if kind == "mse":
        return ops.square(distance)
    if kind == "l1":
        return distance
    # the others are a curve up to a limit and a line beyond it
    if kind == "smooth_l1":
        limit, slope = HUBER_DELTA, HUBER_DELTA
        curve = ops.square(ops.minimum(distance, limit)) / 2
    elif kind == "wing":
        limit, slope = WING["w"], 1.0
        curve = limit * ops.log1p(ops.minimum(distance, limit) / WING["eps"])
    else:
        omega, limit, eps = (ADAPTIVE_WING[name] for name in ("omega", "theta", "eps"))
        power = ADAPTIVE_WING["alpha"] - 1
        at_limit = (limit / eps) ** power
        slope = omega * power * at_limit / (limit * (1 + at_limit))  # the curve's own at the limit
        curve = omega * ops.log1p((ops.minimum(distance, limit) / eps) ** power)
    return curve + slope * ops.relu(distance - limit)


# -- attributes -------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("smtn_keras")
class AttributesLoss(keras.losses.Loss):
    """The mean error of the labels that are present.

    With p the probability of a label's true class:

    - `cross_entropy`: -log p of the softmax over the label's classes, as in the paper.
    - `focal`: (1 - p) ** `FOCAL_GAMMA` of it (Lin et al., ICCV 2017; without their alpha, see `class_weights`).
    - `asymmetric`: binary labels only, categorical ones keep their cross-entropy (Ridnik et al., ICCV 2021). "yes" costs
      its cross-entropy, "no" costs q ** gamma_neg of -log(1 - q), where q is the probability of "yes" less the margin, at
      least 0. The gradient is that of the whole formula; their code leaves out that of the power.

    A soft target costs what its two classes cost, each by its share.

    Args:
        binary_count: how many binary labels come first.
        class_counts: the numbers of classes of the categorical labels that follow.
        kind: one of these.
        label_smoothing: the share of each target, 0 to 1, that is spread evenly over the label's classes.
        class_weights: for each label a list with the weight of each true class, such as `frequency_weights` makes; it
            multiplies the error of a label, the mean still divides by how many are present. None: 1 for all.
        by_face: take the mean of each face's labels first, so that faces with few labels count as much as others.
    """

    def __init__(
        self,
        binary_count: int,
        class_counts=(),
        kind: str = "cross_entropy",
        label_smoothing: float = 0.0,
        class_weights: list[list[float]] | None = None,
        by_face: bool = False,
        name: str = "attributes_loss",
        **kwargs,
    ):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.binary_count, self.class_counts = binary_count, list(class_counts)
        self.kind, self.label_smoothing, self.class_weights, self.by_face = kind, label_smoothing, class_weights, by_face

    def call(self, y_true, y_pred):
        """The error of each sample.

        Args:
            y_true: `(batch, labels)`, -1 where missing. Binary labels in [0, 1], soft ones included; categorical ones are
                class indices.
            y_pred: `(batch, units)` logits.

        Returns:
            `(batch,)`.
        """
        binary, categorical = split_logits(y_pred, self.binary_count, self.class_counts)
        present = y_true >= 0
        truth = ops.where(present, y_true, 0)
        errors = []
        if self.binary_count:
            yes = truth[:, : self.binary_count]
            errors.append(self._error(ops.stack([1 - yes, yes], axis=-1), self._binary_costs(binary), slice(self.binary_count)))
        for i, logits in enumerate(categorical, self.binary_count):
            one_hot = ops.one_hot(ops.cast(truth[:, i], "int32"), logits.shape[-1], dtype="float32")
            costs = self._costs(ops.log_softmax(logits, axis=-1))
            errors.append(self._error(one_hot[:, None], costs[:, None], slice(i, i + 1)))
        return mean_of_present(ops.concatenate(errors, axis=1), present, self.by_face)

    def _binary_costs(self, logits):
        """What "no" and "yes" cost if they are true: `(batch, n, 2)` from `(batch, n)`."""
        if self.kind != "asymmetric":
            # a two-way softmax is a sigmoid of the difference of its logits
            return self._costs(-ops.softplus(ops.stack([logits, -logits], axis=-1)))
        shifted = ops.relu(ops.sigmoid(logits) - ASYMMETRIC["margin"])
        no = -(shifted ** ASYMMETRIC["gamma_neg"]) * ops.log1p(-shifted)
        return ops.stack([no, ops.softplus(-logits)], axis=-1)

    def _costs(self, log_probabilities):
        """What each class costs if it is true, of the same shape."""
        if self.kind != "focal":
            return -log_probabilities
        return -((1 - ops.exp(log_probabilities)) ** FOCAL_GAMMA) * log_probabilities

    def _error(self, truth, costs, labels: slice):
        """Errors `(batch, n)` from the shares of the true classes and their costs, `(batch, n, classes)` each."""
        if self.class_weights:
            truth = truth * np.float32(self.class_weights[labels])
        # of a weighted truth the weighted share is spread: smoothing changes no label's weight
        smooth = self.label_smoothing
        truth = (1 - smooth) * truth + smooth * ops.mean(truth, axis=-1, keepdims=True)
        return ops.sum(truth * costs, axis=-1)

    def get_config(self):
        fields = ("binary_count", "class_counts", "kind", "label_smoothing", "class_weights", "by_face", "name")
        return {field: getattr(self, field) for field in fields}


def frequency_weights(targets: np.ndarray, task: Attributes) -> list[list[float]]:
    """Weights of the classes of each label by their rarity, for `AttributesLoss`.

    A class weighs the inverse of its frequency among the samples that have the label, but at most
    `MOST_WEIGHT` times what the commonest class does, so that a class of a few samples does not rule
    the loss; one of no sample counts as of one. The weights of a label are then scaled so that their
    mean over its samples is 1, which keeps the size of the loss.

    Args:
        targets: `(samples, labels)` class indices of the training part, -1 where missing.

    Returns:
        For each label the weights of its classes; all 1 if no sample has it.
    """
    weights = []
    for column, label in zip(targets.T, task.labels, strict=True):
        counts = np.bincount(column[column != MISSING].astype(int), minlength=len(label.classes))
        if not counts.any():
            weights.append([1.0] * len(counts))
            continue
        rarity = np.minimum(counts.max() / np.maximum(counts, 1), MOST_WEIGHT)
        weights.append((rarity / np.average(rarity, weights=counts)).tolist())
    return weights


# -- balance ----------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("smtn_keras")
class LogOf(keras.losses.Loss):
    """The logarithm of a loss's batch mean L, whose gradient is that of the loss over L, whatever its scale.

    Homoscedastic uncertainty (Kendall et al., CVPR 2018) learns a variance s for each task in L / 2s + log(s) / 2 or the
    like. For a batch the best one is s = L, which leaves this, up to constants, and has no state to train.

    Args:
        loss: a loss >= 0. Where it is 0, as without any label, the logarithm is that of Keras' epsilon and its gradient 0.
    """

    def __init__(self, loss: keras.losses.Loss, name: str = "log_of", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.loss = loss

    def call(self, y_true, y_pred):
        """What the loss takes; returns a scalar."""
        return ops.log(ops.mean(self.loss.call(y_true, y_pred)) + keras.config.epsilon())

    def get_config(self):
        return {"loss": keras.saving.serialize_keras_object(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"loss": keras.saving.deserialize_keras_object(config["loss"])})


# -- outputs ----------------------------------------------------------------------------------------


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


def tempered(probabilities, task: Attributes, temperature: float):
    """What `probabilities` would be with their logits divided by a temperature (Guo et al. 2017, arXiv 1706.04599).

    Of means over a picture and its mirror image, which have no logits, too: a power of the probabilities is the same.
    """
    powers = ops.power(probabilities, 1 / temperature)
    start = task.binary_count
    parts = [powers[:, :start] / (powers[:, :start] + ops.power(1 - probabilities[:, :start], 1 / temperature))] if start else []
    for label in task.categorical:
        of_label = powers[:, start : start + len(label.classes)]
        parts.append(of_label / ops.sum(of_label, axis=1, keepdims=True))
        start += len(label.classes)
    return ops.concatenate(parts, axis=1)

"""What follows a stack: from its maps to a task's output. Heads are float32 under every policy."""

import math

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Landmarks, Task
from .backbone import head_map


def maps_of(task: Task, config: NetworkConfig) -> tuple[str, ...]:
    """Names of the maps that a task's head takes."""
    if not isinstance(task, Landmarks) or config.head in ("paper", "pooled"):
        return ("end",)
    return (head_map(4, config), head_map(8, config)) + (("end",) if config.head == "both" else ())


def head(task: Task, maps: dict, config: NetworkConfig, beside=()):
    """The output tensor of a task, of a layer with its name.

    Args:
        maps: at least those of `maps_of`, after ReLU (and fusion), and the stack's `end`.
        beside: features `(batch, n)` that a task's FC layer takes too.

    Returns:
        Landmarks `(batch, points, 2)`, x and y in [0, 1]; with `uncertainty` `(batch, points, 3)`, the third the log of
        a point's Laplace scale, in the units of the loss (`LandmarksLoss`). Attributes `(batch, units)` logits.
    """
    if isinstance(task, Landmarks):
        return _landmarks(task, maps, config)
    hidden = _hidden(task, maps["end"], config, beside)
    units = task.binary_count * (2 if config.attribute_output == "softmax" else 1)
    units += sum(len(label.classes) for label in task.categorical)
    return layers.Dense(units, name=task.name, dtype="float32")(hidden)


def _landmarks(task: Landmarks, maps: dict, config: NetworkConfig):
    """Points from heatmaps, an FC layer, or the mean of both; beside them their log scales if configured."""
    last = f"{task.name}_points" if config.uncertainty else task.name
    if config.head == "both":
        expected, features = _soft_argmax(task, maps, config, f"{task.name}_expected")
        regressed, _ = _regressed(task, maps, config, f"{task.name}_regressed")
        points = layers.Average(name=last, dtype="float32")([expected, regressed])
    else:
        points, features = (_soft_argmax if config.head == "softargmax" else _regressed)(task, maps, config, last)
    if not config.uncertainty:
        return points
    # zero kernel: the likelihood starts as the absolute error
    scales = layers.Dense(len(task.points), kernel_initializer="zeros", name=f"{task.name}_log_scales", dtype="float32")(features)
    scales = layers.Reshape((len(task.points), 1), name=f"{task.name}_scale_each", dtype="float32")(scales)
    return layers.Concatenate(name=task.name, dtype="float32")([points, scales])


def _hidden(task: Task, end, config: NetworkConfig, beside=()):
    """The FC layer: 2048 wide on the whole map (Table 1), or 512 wide on a map averaged to about 4x4."""
    wide = config.head == "paper"
    if not wide and (size := end.shape[1] // 4) > 1:
        end = layers.AveragePooling2D(size, name=f"{task.name}_average", dtype="float32")(end)
    x = layers.Flatten(name=f"{task.name}_flatten", dtype="float32")(end)
    if beside:
        x = layers.Concatenate(name=f"{task.name}_beside", dtype="float32")([x, *beside])
    units = math.ceil((2048 if wide else 512) * config.width)
    x = layers.Dense(units, activation="relu", name=f"{task.name}_fc", dtype="float32")(x)
    return layers.Dropout(config.dropout, name=f"{task.name}_dropout", dtype="float32")(x) if config.dropout else x


def _regressed(task: Landmarks, maps: dict, config: NetworkConfig, name: str):
    """Points `(batch, points, 2)` from the FC layer, and its units `(batch, units)`."""
    hidden = _hidden(task, maps["end"], config)
    flat = layers.Dense(2 * len(task.points), name=f"{task.name}_output", dtype="float32")(hidden)
    return layers.Reshape(task.shape, name=name, dtype="float32")(flat), hidden


def _soft_argmax(task: Landmarks, maps: dict, config: NetworkConfig, name: str):
    """Points as expectations of heatmaps over conv3_3 and conv4_3, and the features before these, `(batch, channels)` on average."""
    coarse = layers.UpSampling2D(interpolation="bilinear", name=f"{task.name}_upsample", dtype="float32")(maps[head_map(8, config)])
    x = layers.Concatenate(name=f"{task.name}_both", dtype="float32")([maps[head_map(4, config)], coarse])
    # 1x1 first: it makes the 3x3 that follows cheap
    mix = layers.Conv2D(math.ceil(256 * config.width), 1, activation="relu", name=f"{task.name}_mix", dtype="float32")(x)
    x = layers.Conv2D(len(task.points), 3, padding="same", name=f"{task.name}_heatmaps", dtype="float32")(mix)
    features = layers.GlobalAveragePooling2D(name=f"{task.name}_mix_average", dtype="float32")(mix)
    return SoftArgmax(name=name, dtype="float32")(x), features


@keras.saving.register_keras_serializable("smtn_keras")
class SoftArgmax(layers.Layer):
    """Expected position under the softmax of each heatmap (integral regression, Sun et al., ECCV 2018).

    Input `(batch, height, width, points)` logits, output `(batch, points, 2)`: x and y in [0, 1] of
    the image, of which a heatmap's cells are equal parts.
    """

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3], 2)

    def call(self, heatmaps):
        _, height, width, points = heatmaps.shape
        weight = ops.softmax(ops.transpose(ops.reshape(heatmaps, (-1, height * width, points)), (0, 2, 1)), axis=-1)
        y, x = ops.meshgrid(
            (ops.arange(height, dtype="float32") + 0.5) / height, (ops.arange(width, dtype="float32") + 0.5) / width, indexing="ij"
        )
        centres = ops.stack([ops.reshape(x, (-1,)), ops.reshape(y, (-1,))], axis=-1)
        return ops.matmul(weight, centres)

"""What follows a stack: from its maps to a task's output. Heads are float32 under every policy."""

import math

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Landmarks, Task


def head(task: Task, maps: dict, config: NetworkConfig):
    """The output tensor of a task.

    Args:
        maps: `conv3_3` and `conv4_3` after ReLU (and fusion) and `pool4`.

    Returns:
        Landmarks `(batch, points, 2)` in [0, 1], or attributes `(batch, units)` logits.
    """
    if isinstance(task, Landmarks):
        if config.head == "softargmax":
            return _soft_argmax(task, maps, config)
        flat = _hidden(task, maps["pool4"], config)
        flat = layers.Dense(2 * len(task.points), name=f"{task.name}_output", dtype="float32")(flat)
        return layers.Reshape(task.shape, name=task.name, dtype="float32")(flat)
    hidden = _hidden(task, maps["pool4"], config)
    units = task.binary_count * (2 if config.attribute_output == "softmax" else 1)
    units += sum(len(label.classes) for label in task.categorical)
    return layers.Dense(units, name=task.name, dtype="float32")(hidden)


def _hidden(task: Task, pool4, config: NetworkConfig):
    """The FC layer: 2048 wide on the whole map (Table 1), or 512 wide on a map averaged to about 4x4."""
    wide = config.head == "paper"
    if not wide and (size := pool4.shape[1] // 4) > 1:
        pool4 = layers.AveragePooling2D(size, name=f"{task.name}_average", dtype="float32")(pool4)
    x = layers.Flatten(name=f"{task.name}_flatten", dtype="float32")(pool4)
    units = math.ceil((2048 if wide else 512) * config.width)
    return layers.Dense(units, activation="relu", name=f"{task.name}_fc", dtype="float32")(x)


def _soft_argmax(task: Landmarks, maps: dict, config: NetworkConfig):
    """A heatmap for each point over conv3_3 and conv4_3, and its expectation as the coordinate."""
    coarse = layers.UpSampling2D(interpolation="bilinear", name=f"{task.name}_upsample", dtype="float32")(maps["conv4_3"])
    x = layers.Concatenate(name=f"{task.name}_both", dtype="float32")([maps["conv3_3"], coarse])
    # 1x1 first: it makes the 3x3 that follows cheap
    x = layers.Conv2D(math.ceil(256 * config.width), 1, activation="relu", name=f"{task.name}_mix", dtype="float32")(x)
    x = layers.Conv2D(len(task.points), 3, padding="same", name=f"{task.name}_heatmaps", dtype="float32")(x)
    return SoftArgmax(name=task.name, dtype="float32")(x)


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

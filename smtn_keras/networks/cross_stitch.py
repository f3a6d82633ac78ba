"""Cross-stitch Networks: stacks that exchange their maps after each pooling (Misra et al., CVPR 2016)."""

import keras
import numpy as np
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .heads import head
from .inputs import image_input

OWN, OTHER = 0.9, 0.1  # at the start; their best choice
# for a hundred times the network's learning rate, as in the paper: AdamW takes no notice of a gradient's scale, so its step is
# larger by the factor; SGD's by its square
FACTORS = {"adamw": 100.0, "sgd": 10.0}


def build(config: NetworkConfig, tasks: tuple[Task, ...], factor: float = FACTORS["adamw"]) -> keras.Model:
    """A stack for each task, whose pooled maps are mixed channel by channel.

    The paper starts from the networks of the single tasks.

    Args:
        factor: see `CrossStitch`.
    """
    image, pixels = image_input(config)
    maps = backbone.run_side_by_side(
        [task.name for task in tasks], config, pixels, lambda ends, number: CrossStitch(factor, name=f"stitch{number}")(ends)
    )
    outputs = {task.name: head(task, maps[task.name], config) for task in tasks}
    return keras.Model(image, outputs, name="cross_stitch")


@keras.saving.register_keras_serializable("smtn_keras")
class CrossStitch(layers.Layer):
    """Each task's map becomes a weighted sum of all tasks' maps, with weights alpha for each channel.

    The paper gives alpha a learning rate of 10 to 1000 times the network's. Here alpha = start + factor * weight: a step of
    the weight moves alpha by `factor` times as much, and the weight's gradient is `factor` times alpha's.

    Input and output: a dictionary of maps `(batch, height, width, channels)` by task.
    """

    def __init__(self, factor: float, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        tasks, channels = len(input_shape), next(iter(input_shape.values()))[-1]
        start = np.where(np.eye(tasks), OWN, OTHER / max(1, tasks - 1))
        self.start = np.repeat(start[..., None], channels, axis=-1).astype("float32")
        self.change = self.add_weight((tasks, tasks, channels), initializer="zeros", name="stitch")

    def compute_output_shape(self, input_shape):
        return input_shape

    @property
    def alpha(self):
        """`(tasks, tasks, channels)`: of what each task takes (first axis) the share of each task (second)."""
        return self.start + self.factor * self.change

    def call(self, maps):
        alpha = ops.cast(self.alpha, self.compute_dtype)
        return {name: sum(alpha[i, j] * other for j, other in enumerate(maps.values())) for i, name in enumerate(maps)}

    def get_config(self):
        return super().get_config() | {"factor": self.factor}

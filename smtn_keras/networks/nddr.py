"""NDDR-CNN: stacks fused by 1x1 convolutions after each pooling (Gao et al., CVPR 2019)."""

import keras
from keras import layers

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .heads import head
from .inputs import image_input
from .normalisation import BatchNormalization
from .weights import NddrInitializer


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """A stack for each task; each takes after a pooling a 1x1 convolution of all tasks' maps, normalised.

    The paper starts from the networks of the single tasks.
    """
    image, pixels = image_input(config)
    maps = backbone.run_side_by_side([task.name for task in tasks], config, pixels, _reduce)
    outputs = {task.name: head(task, maps[task.name], config) for task in tasks}
    return keras.Model(image, outputs, name="nddr")


def _reduce(ends: dict, number: int) -> dict:
    return {name: _reduced(ends, name, number) for name in ends}


def _reduced(ends: dict, name: str, number: int):
    others = [tensor for other, tensor in ends.items() if other != name]
    x = layers.Concatenate(name=f"{name}_concat{number}")([ends[name], *others])
    x = layers.Conv2D(ends[name].shape[-1], 1, use_bias=False, kernel_initializer=NddrInitializer(), name=f"{name}_nddr{number}")(x)
    return layers.ReLU(name=f"{name}_nddr{number}_relu")(BatchNormalization(name=f"{name}_nddr{number}_bn")(x))

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
    names = [task.name for task in tasks]
    own, maps = dict.fromkeys(names, pixels), {name: {} for name in names}
    stacks = zip(*(backbone.blocks(name, config) for name in names), strict=True)
    for number, blocks in enumerate(stacks, 1):
        for name, block in zip(names, blocks, strict=True):
            new, own[name] = block(own[name])
            maps[name] |= new
        own = {name: _reduce(own, name, number) for name in names}
    outputs = {task.name: head(task, maps[task.name] | {"end": own[task.name]}, config) for task in tasks}
    return keras.Model(image, outputs, name="nddr")


def _reduce(own: dict, name: str, number: int):
    others = [tensor for other, tensor in own.items() if other != name]
    x = layers.Concatenate(name=f"{name}_concat{number}")([own[name], *others])
    x = layers.Conv2D(own[name].shape[-1], 1, use_bias=False, kernel_initializer=NddrInitializer(), name=f"{name}_nddr{number}")(x)
    return layers.ReLU(name=f"{name}_nddr{number}_relu")(BatchNormalization(name=f"{name}_nddr{number}_bn")(x))

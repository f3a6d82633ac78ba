"""MTAN: one shared stack, of which each task takes what its attention lets through (Liu et al., CVPR 2019)."""

import keras
from keras import layers

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .heads import head
from .inputs import image_input
from .normalisation import BatchNormalization


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """The shared stack, and for each task an attention module at each block (their Figure 2).

    A module makes a mask from the block's first map and from what it let through of the block before; the mask is laid on the
    block's last map.
    """
    image, x = image_input(config)
    shared = []
    for block in backbone.blocks("shared", config):
        maps, x = block(x)
        shared.append(maps)
    sides = [next(iter(maps.values())).shape[1] for maps in shared] + [x.shape[1]]
    outputs = {}
    for task in tasks:
        maps, own = {}, None
        for i, of_block in enumerate(shared):
            (_, first), (name, last) = next(iter(of_block.items())), list(of_block.items())[-1]
            below = first if own is None else layers.Concatenate(name=f"{task.name}_beside{i + 1}")([first, own])
            maps[name] = _masked(below, last, f"{task.name}_mask{i + 1}")
            following = shared[min(i + 1, len(shared) - 1)]
            own = _conv(maps[name], list(following.values())[-1].shape[-1], 3, f"{task.name}_conv{i + 1}", "relu")
            if sides[i] > sides[i + 1]:
                own = layers.MaxPooling2D(sides[i] // sides[i + 1], name=f"{task.name}_pool{i + 1}")(own)
        outputs[task.name] = head(task, maps | {"end": own}, config)
    return keras.Model(image, outputs, name="mtan")


def _masked(below, last, name: str):
    mask = _conv(_conv(below, last.shape[-1], 1, f"{name}_in", "relu"), last.shape[-1], 1, f"{name}_out", "sigmoid")
    return layers.Multiply(name=name)([mask, last])


def _conv(x, channels: int, size: int, name: str, activation: str):
    x = layers.Conv2D(channels, size, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(BatchNormalization(name=f"{name}_bn")(x))

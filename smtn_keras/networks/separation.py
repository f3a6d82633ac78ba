"""Separation Multi-task Networks: stage 2 of the paper (Figures 2, 3 and 5)."""

import keras
from keras import layers

from ..config import NetworkConfig
from ..tasks import Task
from . import vgg
from .heads import head
from .weights import NddrInitializer


def build(config: NetworkConfig, tasks: tuple[Task, ...], frozen: bool = True) -> keras.Model:
    """The shared stack, frozen in stage 2, and beside it a stack for each task, fused with it layer by layer.

    Args:
        config: `branch` is `input` (Figure 2: every stack sees the image) or the shared conv whose
            map the task stacks are fed instead of the image (Figure 5).
    """
    image, pixels = vgg.image_input(config)

    # the shared stack; while its layers do not train, batch normalisation keeps its statistics too
    shared_maps, pooled, x = {}, {"input": pixels}, pixels
    for conv in vgg.CONVS:
        shared_maps[conv] = vgg.conv_relu(x, "shared", conv, config, trainable=not frozen)
        pooled[conv] = x = vgg.pool(shared_maps[conv], "shared", conv)

    # the task stacks
    first = 0 if config.branch == "input" else vgg.CONVS.index(config.branch) + 1
    outputs = {}
    for task in tasks:
        maps, own = dict(shared_maps), pooled[config.branch]
        for conv in vgg.CONVS[first:]:
            own = vgg.conv_relu(own, task.name, conv, config)
            if config.fuse_at == "conv" or conv in vgg.LAST_OF_BLOCK:
                own = _fuse(own, shared_maps[conv], task.name, conv, config)
            maps[conv] = own
            own = vgg.pool(own, task.name, conv)
        outputs[task.name] = head(task, maps | {"pool4": own}, config)
    return keras.Model(image, outputs, name="separation")


def _fuse(own, shared, stack: str, conv: str, config: NetworkConfig):
    """A task's map beside the shared map of the same layer; with `channelwise` brought back to the layer's width."""
    number = conv.removeprefix("conv")
    if config.fusion == "concat":
        return layers.Concatenate(name=f"{stack}_fuse{number}")([own, shared])
    both = layers.Concatenate(name=f"{stack}_concat{number}")([own, shared])
    kernel = NddrInitializer() if config.fusion_init == "nddr" else "glorot_uniform"
    return layers.Conv2D(vgg.filters(conv, config), 1, kernel_initializer=kernel, name=f"{stack}_fuse{number}")(both)

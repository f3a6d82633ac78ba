"""Separation Multi-task Networks: stage 2 of the paper (Figures 2, 3 and 5)."""

import dataclasses

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .heads import head
from .inputs import image_input
from .weights import NddrInitializer


def build(config: NetworkConfig, tasks: tuple[Task, ...], frozen: bool = True) -> keras.Model:
    """The shared stack, frozen in stage 2, and beside it a stack for each task, fused with it layer by layer.

    Args:
        config: `branch` is `input` (Figure 2: every stack sees the image) or the shared conv whose
            map the task stacks are fed instead of the image (Figure 5).
    """
    image, pixels = image_input(config)
    branch = backbone.blocks_before(config.branch)
    stack = backbone.blocks("shared", config, trainable=not frozen)
    before = backbone.run(stack[:branch], pixels)
    shared = before | backbone.run(stack[branch:], before["end"])
    own_width = dataclasses.replace(config, width=config.task_width or config.width)
    outputs = {}
    for task in tasks:

        def fused(own, name, stack=task.name):
            fuses = config.fuse_at == "conv" or name in backbone.last_maps(config)
            return _fuse(own, shared[name], stack, name, config) if fuses else own

        maps = backbone.run(backbone.blocks(task.name, own_width)[branch:], before["end"], fused)
        outputs[task.name] = head(task, shared | maps, config)
    return keras.Model(image, outputs, name="separation")


def _fuse(own, shared, stack: str, name: str, config: NetworkConfig):
    """A task's map beside the shared map of the same layer; with `channelwise` brought back to the layer's width."""
    number = name.removeprefix("conv")
    if config.apart:
        own = Apart(config.apart, name=f"{stack}_apart{number}")([own, shared])
    if config.fusion == "concat":
        return layers.Concatenate(name=f"{stack}_fuse{number}")([own, shared])
    both = layers.Concatenate(name=f"{stack}_concat{number}")([own, shared])
    kernel = NddrInitializer() if config.fusion_init == "nddr" else "glorot_uniform"
    return layers.Conv2D(own.shape[-1], 1, kernel_initializer=kernel, name=f"{stack}_fuse{number}")(both)


@keras.saving.register_keras_serializable("smtn_keras")
class Apart(layers.Layer):
    """The first of two maps as it is, with a loss that is smallest where it says nothing that the second says.

    The mean squared correlation between the channels of both, over the batch's pixels: the difference loss of Domain Separation
    Networks (Bousmalis et al., NeurIPS 2016), there of whole feature vectors. It keeps shared and task features apart
    where nothing is frozen.

    Input: two maps `(batch, height, width, channels)`.
    """

    def __init__(self, weight: float, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def call(self, maps, training=False):
        if training:
            own, shared = (_standardised(ops.cast(tensor, "float32")) for tensor in maps)
            pixels = ops.cast(ops.shape(own)[0], "float32")
            self.add_loss(self.weight * ops.mean(ops.square(ops.matmul(ops.transpose(own), shared) / pixels)))
        return maps[0]

    def get_config(self):
        return super().get_config() | {"weight": self.weight}


def _standardised(x):
    """Pixels `(batch * height * width, channels)` with mean 0 and variance 1 in each channel."""
    x = ops.reshape(x, (-1, x.shape[-1]))
    mean, variance = ops.moments(x, axes=[0], keepdims=True)
    return (x - mean) * ops.rsqrt(variance + 1e-5)

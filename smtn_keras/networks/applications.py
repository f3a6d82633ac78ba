"""Stacks cut from `keras.applications`: ResNet50 and MobileNetV2 up to stride 16, in four blocks as VGG16's."""

import functools

import keras
from keras import layers

from ..config import NetworkConfig
from .inputs import IMAGENET_MEAN, PIXEL_SCALE
from .normalisation import BatchNormalization

# the last layer of each block, at strides 2, 4, 8 and 16
ENDS = {
    "resnet50": ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out"),
    "mobilenet_v2": ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add"),
}
LAST_MAPS = ("block1", "block2", "block3", "block4")
HEAD_MAPS = {4: "block2", 8: "block3"}  # by their stride
# pixels as the ImageNet weights expect them, but for ResNet50's BGR (weights.py): their scale, and their value at 0
PIXELS = {"resnet50": (1.0, [-mean for mean in IMAGENET_MEAN]), "mobilenet_v2": (1 / 127.5, [-1.0] * 3)}


def blocks(stack: str, config: NetworkConfig, trainable: bool = True) -> list:
    """The blocks of a stack, each one layer, `{stack}_block3`, with one map."""
    whole = keras.models.clone_model(application(config), clone_function=_cloned)
    start, found = whole.input, []
    for number, name in enumerate(ENDS[config.backbone], 1):
        end = whole.get_layer(name).output
        model = keras.Model(start, end, name=f"{stack}_block{number}")
        model.trainable = trainable
        found.append(functools.partial(_block, model=model, name=f"block{number}"))
        start = end
    scale, zero = PIXELS[config.backbone]
    offset = [z + mean * scale for z, mean in zip(zero, IMAGENET_MEAN, strict=True)]
    pixels = layers.Rescaling(PIXEL_SCALE * scale, offset, name=f"{stack}_pixels", dtype="float32")
    first = found[0]
    return [lambda x, after=None: first(pixels(x), after), *found[1:]]


def _block(x, after=None, *, model: keras.Model, name: str):
    x = layers.Identity(name=f"{model.name}_map")(model(x))  # a tensor of the whole network: the model's own output is not
    x = after(x, name) if after else x
    return {name: x}, x


def _cloned(layer: layers.Layer) -> layers.Layer:
    """A layer of its kind; batch normalisation as in the other stacks.

    MobileNetV2's has a momentum of 0.999: after four epochs of 7,500 pictures its statistics were still those of the start.
    """
    if isinstance(layer, layers.BatchNormalization):
        return BatchNormalization(epsilon=layer.epsilon, name=layer.name)
    return layer.__class__.from_config(layer.get_config())


def application(config: NetworkConfig, weights: str | None = None) -> keras.Model:
    """The network that the blocks are cut from, without top."""
    shape = (config.image_size, config.image_size, 3)
    if config.backbone == "resnet50":
        return keras.applications.ResNet50(include_top=False, weights=weights, input_shape=shape)
    return keras.applications.MobileNetV2(include_top=False, weights=weights, input_shape=shape, alpha=config.width)

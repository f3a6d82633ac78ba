"""The stack of TCDCN (Zhang et al., ECCV 2014, Figure 3): four convs, for faces of 40x40 pixels there."""

import functools

from keras import layers

from ..config import NetworkConfig
from .vgg import conv_relu

# side of the kernel and filters of each conv; theirs look at grey pictures
CONVS = {"conv1": (5, 16), "conv2": (3, 48), "conv3": (3, 64), "conv4": (2, 64)}
LAST_MAPS = tuple(CONVS)
HEAD_MAPS = {4: "conv3", 8: "conv4"}  # by their stride


def blocks(stack: str, config: NetworkConfig, trainable: bool = True) -> list:
    """The blocks of a stack, each a conv, of which all but the last end with a 2x2 max pooling.

    Theirs have an absolute tanh where these have batch normalisation, if configured, and a ReLU, as all stacks here. At
    `width` 0.25, the usual one here, they have their own number of filters.
    """
    return [functools.partial(_block, stack=stack, name=name, config=config, trainable=trainable) for name in CONVS]


def _block(x, after=None, *, stack: str, name: str, config: NetworkConfig, trainable: bool):
    side, filters = CONVS[name]
    x = conv_relu(x, f"{stack}_{name}", round(4 * filters * config.width), config, trainable, side)
    x = after(x, name) if after else x
    return {name: x}, x if name == "conv4" else layers.MaxPooling2D(name=f"{stack}_pool{name[-1]}")(x)

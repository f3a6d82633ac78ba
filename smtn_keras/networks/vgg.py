"""The stack of Table 1: VGG16 up to conv4_3, at any width."""

import functools

import keras
from keras import layers, ops

from ..config import NetworkConfig
from .normalisation import BatchNormalization

# block -> convs and VGG16's filters in each
BLOCKS = {1: (2, 64), 2: (2, 128), 3: (3, 256), 4: (3, 512)}
MAPS = {block: tuple(f"conv{block}_{i + 1}" for i in range(convs)) for block, (convs, _) in BLOCKS.items()}
CONVS = {conv for convs in MAPS.values() for conv in convs}
LAST_MAPS = tuple(maps[-1] for maps in MAPS.values())
HEAD_MAPS = {4: "conv3_3", 8: "conv4_3"}  # by their stride


def blocks(stack: str, config: NetworkConfig, trainable: bool = True) -> list:
    """The blocks of a stack: 3x3 convs, each with batch normalisation if configured and its ReLU, then a 2x2 max pooling.

    Layers are named as in Table 1, `{stack}_conv3_1` and `{stack}_pool3`.
    """
    return [functools.partial(_block, stack=stack, number=number, config=config, trainable=trainable) for number in BLOCKS]


def _block(x, after=None, *, stack: str, number: int, config: NetworkConfig, trainable: bool):
    maps = {}
    for conv in MAPS[number]:
        x = conv_relu(x, f"{stack}_{conv}", round(BLOCKS[number][1] * config.width), config, trainable)
        maps[conv] = x = after(x, conv) if after else x
    return maps, layers.MaxPooling2D(name=f"{stack}_pool{number}")(x)


def conv_relu(x, name: str, channels: int, config: NetworkConfig, trainable: bool, side: int = 3):
    """A conv, batch normalisation if configured, and its ReLU; of as many channels with CReLU, which needs half the filters.

    A separable one is a depthwise conv and a 1x1 (MobileNets, Howard et al., 2017), here without a ReLU between them.
    """
    crelu = config.activation == "crelu"
    if config.conv == "separable" and not name.endswith("conv1_1"):  # of three colours there is little to separate
        x = layers.DepthwiseConv2D(
            side, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depthwise", trainable=trainable
        )(x)
        side = 1
    x = layers.Conv2D(
        max(1, channels // 2 if crelu else channels),
        side,
        padding="same",
        use_bias=not config.batch_norm,
        kernel_initializer="he_normal",
        name=name,
        trainable=trainable,
    )(x)
    if config.batch_norm:
        x = BatchNormalization(name=f"{name}_bn", trainable=trainable)(x)
    return (CReLU if crelu else layers.ReLU)(name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable("smtn_keras")
class CReLU(layers.Layer):
    """ReLU of x and of -x, one behind the other: twice the channels of the conv before (Shang et al., ICML 2016).

    Filters of early layers come in pairs of opposite sign; with CReLU one does for both, so a layer of as many channels
    has half the weights.
    """

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])

    def call(self, x):
        # times -1, as devices have no 8-bit negation
        return ops.relu(ops.concatenate([x, x * -1.0], axis=-1))

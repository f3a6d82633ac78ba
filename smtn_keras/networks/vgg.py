"""The stack of Table 1: VGG16 up to conv4_3, at any width."""

import keras
from keras import layers

from ..config import NetworkConfig
from .normalisation import BatchNormalization

# block -> convs and VGG16's filters in each
BLOCKS = {1: (2, 64), 2: (2, 128), 3: (3, 256), 4: (3, 512)}
CONVS = [f"conv{block}_{i + 1}" for block, (convs, _) in BLOCKS.items() for i in range(convs)]
LAST_OF_BLOCK = {f"conv{block}_{convs}": block for block, (convs, _) in BLOCKS.items()}

# Pixels are normalised as (RGB - mean) / scale. VGG16's ImageNet weights expect BGR - mean; they are fitted to this
# input when they are loaded (weights.py), so all networks share one.
IMAGENET_MEAN = (123.68, 116.779, 103.939)
PIXEL_SCALE = 58.0


def filters(conv: str, config: NetworkConfig) -> int:
    """Filters of a conv layer such as `conv3_1` at the configured width."""
    return max(1, round(BLOCKS[int(conv[4])][1] * config.width))


def image_input(config: NetworkConfig):
    """The input tensor and the normalised image."""
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    offset = [-mean / PIXEL_SCALE for mean in IMAGENET_MEAN]
    return image, layers.Rescaling(1 / PIXEL_SCALE, offset, name="normalisation", dtype="float32")(image)


def conv_relu(x, stack: str, conv: str, config: NetworkConfig, trainable: bool = True):
    """A 3x3 conv and its ReLU, named `{stack}_{conv}`; with batch normalisation between if configured."""
    name = f"{stack}_{conv}"
    x = layers.Conv2D(
        filters(conv, config),
        3,
        padding="same",
        use_bias=not config.batch_norm,
        kernel_initializer="he_normal",
        name=name,
        trainable=trainable,
    )(x)
    if config.batch_norm:
        x = BatchNormalization(name=f"{name}_bn", trainable=trainable)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def pool(x, stack: str, conv: str):
    """The 2x2 max pooling if `conv` is the last of its block, else `x`."""
    if conv not in LAST_OF_BLOCK:
        return x
    return layers.MaxPooling2D(name=f"{stack}_pool{LAST_OF_BLOCK[conv]}")(x)

"""What all networks begin with: an RGB image of 0..255, normalised."""

import keras
from keras import layers

from ..config import NetworkConfig

# Pixels are normalised as (RGB - mean) / scale. ImageNet's weights expect other units; they are fitted to this input when
# they are loaded (weights.py), so all networks share one.
IMAGENET_MEAN = (123.68, 116.779, 103.939)
PIXEL_SCALE = 58.0


def image_input(config: NetworkConfig):
    """The input tensor and the normalised image."""
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    offset = [-mean / PIXEL_SCALE for mean in IMAGENET_MEAN]
    return image, layers.Rescaling(1 / PIXEL_SCALE, offset, name="normalisation", dtype="float32")(image)

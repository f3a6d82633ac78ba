"""A cascade of tasks: landmarks first, attributes from the features around them (Dai et al., CVPR 2016)."""

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Landmarks, Task
from . import backbone
from .heads import head
from .inputs import image_input

SIGMA = 0.06  # of the window around a point, in sides of the image: about a quarter of the eyes' distance


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """One shared stack; landmarks from its maps; attributes from its end, the points and the features around these.

    Theirs finds boxes, masks in them, and classes from the masked features. What is kept is that each task is fed the
    output of the one before, with gradients flowing back through it.
    """
    image, pixels = image_input(config)
    maps = backbone.run(backbone.blocks("shared", config), pixels)
    outputs, found = {}, []
    for task in sorted(tasks, key=lambda task: not isinstance(task, Landmarks)):
        outputs[task.name] = head(task, maps, config, beside=found)
        if isinstance(task, Landmarks):
            around = AroundPoints(SIGMA, name=f"{task.name}_around", dtype="float32")
            found += [around([maps[backbone.head_map(8, config)], outputs[task.name]])]
    return keras.Model(image, {task.name: outputs[task.name] for task in tasks}, name="cascade")


@keras.saving.register_keras_serializable("smtn_keras")
class AroundPoints(layers.Layer):
    """The mean of a map under a Gaussian window around each point, and the points.

    Input a map `(batch, height, width, channels)` and points `(batch, points, 2 or more)`, x and y in [0, 1] first; output
    `(batch, points * (channels + 2))`. It has a gradient to the points too.
    """

    def __init__(self, sigma: float, **kwargs):
        super().__init__(**kwargs)
        self.sigma = sigma

    def compute_output_shape(self, input_shape):
        (batch, _, _, channels), (_, points, _) = input_shape
        return (batch, points * (channels + 2))

    def call(self, inputs):
        features, points = inputs
        features, points = ops.cast(features, "float32"), points[..., :2]
        _, height, width, channels = features.shape
        x, y = ((ops.arange(side, dtype="float32") + 0.5) / side for side in (width, height))
        squares = ops.square(y - points[..., 1:])[..., :, None] + ops.square(x - points[..., :1])[..., None, :]
        weight = ops.softmax(ops.reshape(-squares / (2 * self.sigma**2), (-1, points.shape[1], height * width)), axis=-1)
        means = ops.matmul(weight, ops.reshape(features, (-1, height * width, channels)))
        return ops.reshape(ops.concatenate([means, points], axis=-1), (-1, points.shape[1] * (channels + 2)))

    def get_config(self):
        return super().get_config() | {"sigma": self.sigma}

"""The parts of a face: where they lie, and how pictures are turned upright and cut to them."""

import cv2
import keras
import numpy as np
from keras import layers, ops

from ..tasks import Landmarks

# Left, top, right, bottom. The unit is the span of the mean shape: of five points 0 and 1 are the eyes' centres in x, and
# the eyes and the mouth's corners in y.
REGIONS = {
    "face": (-0.75, -1.1, 1.75, 1.9),
    "hair": (-1.3, -2.2, 2.3, -0.8),
    "forehead": (-0.4, -1.2, 1.4, -0.45),
    "eyebrows": (-0.5, -0.6, 1.5, -0.05),
    "eyes": (-0.5, -0.3, 1.5, 0.3),
    "nose": (0.0, -0.1, 1.0, 0.85),
    "left_cheek": (-0.6, 0.25, 0.15, 1.1),
    "right_cheek": (0.85, 0.25, 1.6, 1.1),
    "upper_lip": (-0.1, 0.6, 1.1, 1.0),
    "mouth": (-0.2, 0.7, 1.2, 1.35),
    "chin": (-0.4, 1.15, 1.4, 2.0),
}
PICTURE = (0.0, 0.0, 1.0, 1.0)
SPAN = np.array([[0.35, 0.4], [0.65, 0.7]])  # of an upright face in the middle of its picture, for data without landmarks
LEAST_SPAN = 0.05  # of the picture's sides, for points that nearly meet


# -- where ------------------------------------------------------------------------------------------


def boxes(shape_unit: np.ndarray) -> dict[str, tuple[float, float, float, float]]:
    """The box of each of `REGIONS`, left, top, right and bottom in [0, 1] of the picture or beyond it, and that of the whole `picture`.

    Args:
        shape_unit: the mean shape `(points, 2)`, as `mean_shape` gives it.
    """
    known = shape_unit[~np.isnan(shape_unit).any(1)]
    low, high = (span := known if len(known) else SPAN).min(0), span.max(0)
    unit = np.maximum(high - low, LEAST_SPAN)
    return {name: tuple((np.tile(low, 2) + np.tile(unit, 2) * box).tolist()) for name, box in REGIONS.items()} | {"picture": PICTURE}


def landmarks_of(tasks) -> Landmarks | None:
    """The points that place a face, if a data set has any."""
    return next((task for task in tasks if isinstance(task, Landmarks)), None)


def mean_shape(targets: dict[str, np.ndarray], tasks) -> np.ndarray:
    """Where on average the points lie, `(points, 2)` float32 in [0, 1]; NaN for one that no picture has.

    Args:
        targets: of the training part, by task name, and `size`.
    """
    task = landmarks_of(tasks)
    if task is None:
        return np.zeros((0, 2), np.float32)
    points = targets[task.name] / targets["size"][:, None]
    with np.errstate(invalid="ignore"):
        return (np.nansum(points, axis=0) / (~np.isnan(points)).sum(axis=0)).astype(np.float32)


def upright(images: np.ndarray, landmarks_unit: np.ndarray, shape_unit: np.ndarray, aspect: float) -> np.ndarray:
    """Pictures shifted, scaled and turned so that their points come as near the mean shape as they can.

    A picture with fewer than two points stays as it is, as if its points were the mean shape's.

    Args:
        images: `(n, size, size, 3)` uint8.
        landmarks_unit: `(n, points, 2)` in [0, 1], NaN where missing.
        shape_unit: `(points, 2)`.
        aspect: height over width of the pictures before they were resized, x and y apart, to a square.
    """
    size = images.shape[1]
    # as complex numbers a shift, scaling and turn is z -> factor * z + offset; least squares as in Umeyama (PAMI 1991)
    goal = shape_unit[:, 0] + 1j * aspect * shape_unit[:, 1]
    turned = []
    for image, points in zip(images, landmarks_unit, strict=True):
        own = points[:, 0] + 1j * aspect * points[:, 1]
        both = ~np.isnan(own) & ~np.isnan(goal)
        spread = own[both] - own[both].mean() if both.any() else own[both]
        if (np.abs(spread) ** 2).sum() < 1e-6:
            turned.append(image)
            continue
        factor = (spread.conj() * goal[both]).sum() / (np.abs(spread) ** 2).sum()
        offset = goal[both].mean() - factor * own[both].mean()
        matrix = np.array(
            [[factor.real, -factor.imag * aspect, offset.real], [factor.imag / aspect, factor.real, offset.imag / aspect], [0, 0, 1]]
        )
        # pixel centres stand at half integers: a unit coordinate u is the pixel coordinate u * size - 0.5
        to_pixel = np.array([[size, 0, -0.5], [0, size, -0.5], [0, 0, 1]])
        warp = to_pixel @ matrix @ np.linalg.inv(to_pixel)
        turned.append(cv2.warpAffine(image, warp[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.stack(turned)


# -- what -------------------------------------------------------------------------------------------


def crop(images, box, height: int, width: int):
    """Boxes cut out of images and resized; beyond an image its border goes on.

    The weights are those of a linear interpolation, as wide as the cells of the result where these are wider than pixels.

    Args:
        images: `(n, rows, columns, channels)` floats.
        box: `(n, 4)` or `(1, 4)`: left, top, right, bottom in [0, 1].

    Returns:
        `(n, height, width, channels)`.
    """
    _, rows, columns, channels = images.shape
    x = ops.matmul(_weights(box[:, 1], box[:, 3], rows, height), ops.reshape(images, (-1, rows, columns * channels)))
    x = ops.reshape(x, (-1, height, columns, channels))
    return ops.matmul(_weights(box[:, 0], box[:, 2], columns, width)[:, None], x)


def _weights(low, high, size: int, cells: int):
    """The share of each of `size` pixels in each of `cells` between `low` and `high` `(n,)`; `(n, cells, size)`."""
    step = (high - low)[:, None] / cells
    centre = low[:, None] + (ops.arange(cells, dtype="float32") + 0.5) * step
    centre = ops.clip(centre, 0.5 / size, 1 - 0.5 / size)
    pixel = (ops.arange(size, dtype="float32") + 0.5) / size
    reach = ops.maximum(ops.absolute(step), 1 / size)[..., None]
    weight = ops.relu(1 - ops.absolute(centre[..., None] - pixel) / reach)
    return weight / ops.sum(weight, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("smtn_keras")
class Crop(layers.Layer):
    """`crop` to a square, at a box that is always the same or comes as a second input.

    Args:
        side: of the result in pixels.
        box: left, top, right, bottom in [0, 1]; None: the second input `(batch, 4)`.
    """

    def __init__(self, side: int, box=None, **kwargs):
        super().__init__(**kwargs)
        self.side, self.box = side, None if box is None else list(box)

    def compute_output_shape(self, images_shape, box_shape=None):
        return (images_shape[0], self.side, self.side, images_shape[3])

    def call(self, images, box=None):
        box = ops.convert_to_tensor([self.box], dtype="float32") if box is None else box
        return crop(images, box, self.side, self.side)

    def get_config(self):
        return super().get_config() | {"side": self.side, "box": self.box}

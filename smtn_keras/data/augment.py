"""Variations of a training picture that move its points and labels along."""

import cv2
import numpy as np

from ..config import DataConfig
from ..tasks import Landmarks, Task

GREY = np.float32([0.299, 0.587, 0.114])


def augment(image, targets: dict, tasks: tuple[Task, ...], frame_aspect: float, config: DataConfig, rng: np.random.Generator):
    """A random mirroring, shift, scaling and rotation, and a random colour.

    Args:
        image: `(size, size, 3)` uint8 RGB.
        targets: landmarks `(points, 2)` in [0, 1] of the image, labels `(labels,)`.
        frame_aspect: height over width of the original, so that a turned face stays a face although
            x and y were resized apart.

    Returns:
        The same two, varied; points may leave [0, 1].
    """
    if config.flip and rng.random() < 0.5:
        image = image[:, ::-1]
        targets = {task.name: task.flip(targets[task.name]) for task in tasks}
    if config.shift or config.scale or config.rotation:
        matrix = _affine(frame_aspect, config, rng)
        size = image.shape[0]
        # pixel centres stand at half integers: a unit coordinate u is the pixel coordinate u * size - 0.5
        to_pixel = np.array([[size, 0, -0.5], [0, size, -0.5], [0, 0, 1]])
        warp = to_pixel @ matrix @ np.linalg.inv(to_pixel)
        image = cv2.warpAffine(np.ascontiguousarray(image), warp[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        targets = targets | {
            task.name: (targets[task.name] @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)
            for task in tasks
            if isinstance(task, Landmarks)
        }
    if config.colour:
        image = _colour(image, config.colour, rng)
    return np.ascontiguousarray(image), targets


def _affine(frame_aspect: float, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """A 3x3 matrix on unit coordinates: rotation and scaling about the centre in the frame's proportions, then a shift."""
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    zoom = 1 + rng.uniform(-config.scale, config.scale)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, -sin * frame_aspect], [sin / frame_aspect, cos]])
    centre = np.array([0.5, 0.5])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + rng.uniform(-config.shift, config.shift, 2)
    return matrix


def _colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each times 1 plus or minus `strength`."""
    brightness, contrast, saturation = 1 + rng.uniform(-strength, strength, 3).astype(np.float32)
    x = image.astype(np.float32)
    grey = (x @ GREY)[..., None]
    x = grey + (x - grey) * saturation
    mean = grey.mean()
    x = (mean + (x - mean) * contrast) * brightness
    return np.clip(x, 0, 255).astype(np.uint8)

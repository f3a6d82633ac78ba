"""Variations of a training picture that move its points and labels along."""

import math

import cv2
import numpy as np

from ..config import DataConfig
from ..tasks import MISSING, Attributes, Landmarks, Task

GREY = np.array([0.299, 0.587, 0.114])
ERASED_SHARE = (0.02, 0.2)  # of the picture's area
ERASED_ASPECT = (0.3, 3.3)  # height over width; with a fifth of the area even the longest rectangle is shorter than the picture


def augment(image, targets: dict, tasks: tuple[Task, ...], frame_aspect: float, config: DataConfig, rng: np.random.Generator):
    """A random mirroring, shift, scaling and rotation; a random colour, blur, occlusion and compression.

    The later ones come in the order of a camera: light, lens, file. The occlusion stands behind the lens, or the
    blur would turn its noise into an even grey, and before the file, as compression touches all that a picture shows.

    Args:
        image: `(size, size, 3)` uint8 RGB.
        targets: landmarks `(points, 2)` in [0, 1] of the image, labels `(labels,)`.
        frame_aspect: height over width of the original, so that a turned face stays a face although
            x and y were resized apart.

    Returns:
        The same two, varied; points may leave [0, 1].
    """
    if config.flip and rng.random() < 0.5:
        image = cv2.flip(image, 1)
        targets = {task.name: task.flip(targets[task.name]) for task in tasks}
    if config.shift or config.scale or config.rotation:
        linear, moved = _affine(frame_aspect, config, rng)
        size = image.shape[0]
        # pixel centres stand at half integers: a unit coordinate u is the pixel coordinate u * size - 0.5
        warp = np.empty((2, 3))
        warp[:, :2], warp[:, 2] = linear, linear @ (0.5, 0.5) + size * moved - 0.5
        image = cv2.warpAffine(image, warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        targets = targets | {
            task.name: (targets[task.name] @ linear.T + moved).astype(np.float32) for task in tasks if isinstance(task, Landmarks)
        }
    if config.colour:
        image = _colour(image, config.colour, rng)
    if config.blur and rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), config.blur * (1 - rng.random()))  # OpenCV refuses 0, which random() may give
    if config.erase and rng.random() < config.erase:
        image = _erase(image, rng)
    if config.jpeg and rng.random() < 0.5:
        image = _compress(image, int(rng.integers(config.jpeg, 96)))
    return np.ascontiguousarray(image), targets


def _affine(frame_aspect: float, config: DataConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit coordinates x to `linear @ x + moved`: rotation and scaling about the centre in the frame's proportions, then a shift."""
    angle = math.radians(rng.uniform(-config.rotation, config.rotation))
    zoom = 1 + rng.uniform(-config.scale, config.scale)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[cos, -sin * frame_aspect], [sin / frame_aspect, cos]])
    return linear, 0.5 - linear @ (0.5, 0.5) + rng.uniform(-config.shift, config.shift, 2)


def _colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each times 1 plus or minus `strength`: together one affine map of RGB."""
    brightness, contrast, saturation = (1 + rng.uniform(-strength, strength, 3)).tolist()
    red, green, blue, _ = cv2.mean(image)
    mean_grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * (1 - saturation) * GREY
    matrix.flat[::5] += brightness * contrast * saturation  # the diagonal
    matrix[:, 3] = brightness * (1 - contrast) * mean_grey
    return cv2.transform(image, matrix)


def _erase(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random rectangle covered by noise."""
    # https://doi.org/10.1609/aaai.v34i07.7000; the aspect evenly on a logarithmic scale, so that tall is as likely as wide
    size = image.shape[0]
    area, aspect = size**2 * rng.uniform(*ERASED_SHARE), np.exp(rng.uniform(*np.log(ERASED_ASPECT)))
    height, width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
    top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
    image = image.copy()
    image[top : top + height, left : left + width] = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    return image


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG leaves of a picture."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


class MixUp:
    """Blends a random half of a batch's pictures, each with another one of the batch, and their labels alike.

    As in https://arxiv.org/abs/1710.09412, but a picture keeps at least half of itself, so that what cannot be blended
    has an owner: a categorical label stays where both have the same and is missing otherwise, as are all landmarks.
    """

    def __init__(self, tasks: tuple[Task, ...], alpha: float):
        self.tasks, self.alpha = tasks, alpha

    def __call__(self, batch: tuple[np.ndarray, dict], rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        """A copy of the batch, half of it blended.

        Args:
            batch: images `(batch, size, size, 3)` uint8; targets by task name: landmarks `(batch, points, 2)`, labels `(batch, labels)`.

        Returns:
            The same two; labels are float32, those of binary ones in a blended picture the share of "yes".
        """
        images, targets = batch
        half = len(images) // 2
        order = rng.permutation(len(images))
        blended, partners = order[:half], np.roll(order, 1)[:half]  # neighbours in that order, so nobody meets itself
        share = rng.beta(self.alpha, self.alpha, half).astype(np.float32)
        share = np.maximum(share, 1 - share)
        mixed_images = images.copy()
        for i, j, s in zip(blended, partners, share, strict=True):
            mixed_images[i] = cv2.addWeighted(images[i], s, images[j], 1 - s, 0)
        mixed_targets = {}
        for task in self.tasks:
            mixed = targets[task.name].astype(np.float32)
            mixed[blended] = np.nan if isinstance(task, Landmarks) else _mixed_labels(task, mixed[blended], mixed[partners], share[:, None])
            mixed_targets[task.name] = mixed
        return mixed_images, mixed_targets


def _mixed_labels(task: Attributes, own: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Labels `(pictures, labels)` of blended pictures: soft where binary, and what both have in common where categorical."""
    soft = np.where((own == MISSING) | (other == MISSING), MISSING, share * own + (1 - share) * other)
    common = np.where(own == other, own, MISSING)
    return np.where(np.arange(own.shape[1]) < task.binary_count, soft, common)

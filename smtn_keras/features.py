"""What the stacks of an SMTN see: their maps, what moves them most, what they add to the shared ones, and whom a fusion listens to."""

import numpy as np

from .data.pipeline import resize
from .errors import UserError
from .networks import backbone, vgg
from .runs import Run


def stack_maps(run: Run, pictures, layer: str | None = None) -> dict[str, np.ndarray]:
    """The maps of one layer in each stack, before any fusion.

    Args:
        run: of any network with stacks named `shared` or by its tasks.
        pictures: RGB `(h, w, 3)` uint8 each.
        layer: such as `conv1_2`; by itself the last of the first block, as in Figure 6 of the paper.

    Returns:
        `(pictures, height, width, channels)` float32 for each stack that has the layer: VGG16's maps are those after the ReLU.

    Raises:
        UserError: if no stack has it.
    """
    import keras

    layer = layer or backbone.last_maps(run.config.network)[0]
    layers = {found.name: found for found in run.model.layers}
    outputs = {}
    for stack in ("shared", *(task.name for task in run.tasks)):
        # a block of keras.applications has one map; behind a branch point a task's stack has only the later ones
        found = layers.get(f"{stack}_{layer}_relu") or layers.get(f"{stack}_{layer}_map")
        if found:
            outputs[stack] = found.output
    if not outputs:
        raise UserError(f"{run.folder}: expected a network whose stacks have a layer '{layer}', found none; name another layer or run")
    images = np.stack([resize(picture, run.config.network.image_size) for picture in pictures]).astype(np.float32)
    maps = keras.Model(run.model.input, outputs).predict(images, verbose=0)
    return {stack: np.asarray(of_stack, np.float32) for stack, of_stack in maps.items()}


def liveliest(maps: np.ndarray, count: int) -> np.ndarray:
    """The channels of `(pictures, height, width, channels)` that vary most, `(count,)`, the most varying one first."""
    return np.argsort(-maps.std((0, 1, 2)), kind="stable")[:count]


def strongest_crops(maps: np.ndarray, pictures, channel: int, count: int = 8, window: float = 0.2) -> list[np.ndarray]:
    """What moves a channel most: from each of the pictures with its highest values a square around that value.

    Args:
        maps: `(pictures, height, width, channels)`.
        pictures: as many RGB `(h, w, 3)` uint8.
        window: side of the square in shorter sides of a picture. It shows more than the channel sees, so that one knows the place.

    Returns:
        `count` squares, uint8, that of the highest value first; grey where they reach beyond the picture.
    """
    of_channel = maps[..., channel]
    best = np.argsort(-of_channel.max((1, 2)), kind="stable")[:count]
    return [_square(pictures[i], np.unravel_index(of_channel[i].argmax(), of_channel[i].shape), of_channel[i].shape, window) for i in best]


def _square(picture: np.ndarray, cell, cells, window: float) -> np.ndarray:
    height, width = picture.shape[:2]
    half = max(1, round(window * min(height, width) / 2))
    y, x = (int((c + 0.5) / n * side) for c, n, side in zip(cell, cells, (height, width), strict=True))
    padded = np.pad(picture, ((half, half), (half, half), (0, 0)), constant_values=128)
    return padded[y : y + 2 * half, x : x + 2 * half]


def added(own: np.ndarray, shared: np.ndarray) -> float:
    """The share of a task stack's maps that no linear mix of the shared maps at the same place makes, in [0, 1].

    It is the variance that least squares with a constant leave, over all channels, pictures and places: what the stack adds
    to the shared one.

    Args:
        own, shared: `(pictures, height, width, channels)`; the channels may differ.
    """
    own, shared = (maps.reshape(-1, maps.shape[-1]).astype(np.float64) for maps in (own, shared))
    own, shared = own - own.mean(0), shared - shared.mean(0)
    mix = np.linalg.lstsq(shared, own, rcond=None)[0]
    return float(((own - shared @ mix) ** 2).sum() / max((own**2).sum(), 1e-12))


def fusion_shares(run: Run) -> dict[str, dict[str, float]]:
    """For each task and layer the share of a fusion's weights, by absolute value, that lie on the task's own half; the rest is the shared one's.

    With `--fusion channelwise` these are the weights of the 1x1 convolution, with `concat` those of the conv that follows.

    Raises:
        UserError: if the run is no SMTN.
    """
    if run.config.kind != "separation":
        raise UserError(f"{run.folder}: expected a run of separation, got --network {run.config.kind}; name another run")
    layers = {layer.name: layer for layer in run.model.layers}
    network = run.config.network
    names = [conv for convs in vgg.MAPS.values() for conv in convs] if network.backbone == "vgg16" else backbone.last_maps(network)
    shares = {task.name: {} for task in run.tasks}
    for task in shares:
        for name, following in zip(names, (*names[1:], None), strict=True):
            number = name.removeprefix("conv")
            fusion = layers.get(f"{task}_fuse{number}")
            if fusion is None:
                continue
            reader = fusion if fusion.weights else layers.get(f"{task}_{following}")
            if reader is not None:  # behind the last concatenation come the heads
                kernel = np.abs(reader.get_weights()[0]).sum((0, 1, 3))  # by input channel, the task's own first
                own = layers.get(f"{task}_concat{number}", fusion).input[0].shape[-1]
                shares[task][name] = float(kernel[:own].sum() / kernel.sum())
    return shares

"""PANDA: a conv net for each part of a face, and linear SVMs on the features of all (Zhang et al., CVPR 2014).

Theirs takes some 150 poselets of the whole body, each with a net of four conv stages, and a net of the whole person that was
trained on ImageNet. Liu et al. (ICCV 2015), whose figures Table 3 quotes, and we take parts of the face instead, placed

- `panda_w`: by no landmarks: each part lies where it lies in the mean shape of the training part. In Liu et al. it is where
  a detector found the face and its points in the picture in the wild; CelebA's aligned frames, which we take, are kinder.
- `panda_l`: by the true landmarks, of the pictures it is asked about too. No other network here is told these.

Smaller than the original: seven parts, four conv stages at half the configured width, 64 features a part. No weights come
from elsewhere. All nets train at once, but apart from each other: they share no weight, and their losses are added.
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import layers

from ..config import Config, NetworkConfig
from ..data.pipeline import training_batches
from ..data.prepared import Prepared
from ..networks import vgg
from ..networks.inputs import image_input
from ..tasks import Attributes
from . import nets, svm
from .parts import Crop, boxes, landmarks_of, mean_shape, upright

PARTS = ("picture", "face", "hair", "eyebrows", "eyes", "nose", "mouth")
FEATURES = 64  # of each part
LEAST_WIDTH = 0.03


def train(name: str, folder: Path, data: Prepared, config: Config) -> None:
    """Trains the nets and the SVMs into `panda.keras` and `svm.npz`; see `peers.train`."""
    task = svm.attributes_of(data)
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy("float32")
    indices, part = nets.chosen(data, config)
    targets = {key: values[indices] for key, values in data.targets("train").items()}
    shape = mean_shape(targets, data.tasks)
    width, height = targets["size"].T
    placed = {"shape": shape, "aspect": np.float32(np.median(height / width))}

    config = nets.settings(config)
    model = build(config.network, task, shape)
    batches, steps = training_batches((part,), config)
    turn = _turn(name, placed, data)

    def example(batch):
        images, truth = batch
        return turn(images, truth), dict.fromkeys(PARTS, truth[task.name])

    nets.train(model, task, batches.map(example), steps, config, name)
    reader = _reader(model)
    rows, truth = nets.features(reader, part, "train", turn, "features")
    svms = svm.fit(rows, truth[task.name], task, config.training.seed)
    nets.save(reader, folder / "panda.keras")
    svm.write(folder / "svm.npz", svms | placed)


def answer(name: str, folder: Path, data: Prepared, split: str, task: Attributes) -> np.ndarray:
    """Probabilities of all pictures of a split; see `peers.answer`."""
    svms = svm.read(folder / "svm.npz", task)
    reader = nets.load(folder / "panda.keras")
    rows, _ = nets.features(reader, data, split, _turn(name, svms, data), f"{name} {split}")
    return svm.probabilities(svm.decide(rows, svms), task)


def build(config: NetworkConfig, task: Attributes, shape_unit: np.ndarray) -> keras.Model:
    """The nets of all parts as one model from the whole picture; logits by the part's name.

    Args:
        config: of a picture four times as large as the parts' nets take.
        shape_unit: the mean shape, which places the parts.
    """
    image, pixels = image_input(config)
    narrow = _narrow(config)
    outputs = {}
    for part, box in boxes(shape_unit).items():
        if part in PARTS:
            x = Crop(config.image_size // 4, box, name=f"{part}_crop")(pixels)
            for block in vgg.blocks(part, narrow):
                _, x = block(x)
            x = nets.describe(x, FEATURES, f"{part}_features")
            outputs[part] = layers.Dense(nets.units(task), name=part)(x)
    return keras.Model(image, outputs, name="panda")


def _reader(model: keras.Model) -> keras.Model:
    """From the picture to the features of all parts, `(batch, parts * features)`."""
    features = [model.get_layer(f"{part}_features").output for part in PARTS]
    return keras.Model(model.input, layers.Concatenate(name="features")(features), name="panda")


def _narrow(config: NetworkConfig) -> NetworkConfig:
    return dataclasses.replace(config, width=max(LEAST_WIDTH, config.width / 2), activation="relu", init=None, weights=None)


def _turn(name: str, placed: dict[str, np.ndarray], data: Prepared):
    """What is done to pictures before the parts are cut: nothing, or turning them upright by their true landmarks."""
    points = landmarks_of(data.tasks)
    if name == "panda_w" or points is None or len(points.points) != len(placed["shape"]):
        return lambda images, targets: images
    return lambda images, targets: upright(images, targets[points.name], placed["shape"], float(placed["aspect"]))

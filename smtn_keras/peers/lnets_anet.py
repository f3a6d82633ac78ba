"""LNets+ANet: two nets find the face, a third describes it for linear SVMs (Liu, Luo, Wang and Tang, ICCV 2015).

LNet_o finds the head in the picture and LNet_s the face in the head. Neither is told where they are: both learn the labels
of the whole picture, and where they respond most, there is what tells the labels. ANet takes the face; it learns persons
first and then labels, and the SVMs take its last features.

Smaller than the original, whose LNets are AlexNets trained on ImageNet and whose ANet learned 8,000 persons from 160,000
pictures. Here all start at random: LNets are the first three blocks of VGG16 at half the configured width, ANet all four at
the whole. Persons are those with at least two pictures among those trained on, by the publisher's list in
`--identities`; without a list ANet learns labels at once. SVMs take one patch of the face, where theirs average over several.

Three more things differ, as nets as small, that never saw ImageNet, hardly find a face by the average of their last maps. Each
label has a map of where it looks, a softmax that weighs its evidence (attention pooling, Ilse et al., ICML 2018); the response
is the average of these. LNets learn from pictures moved by up to `MOVED`, as in an aligned set a net can know the labels
without looking for the face. And the window is that of all the response above its mean (`Window`), where theirs scores
EdgeBoxes' candidates. They still need many pictures: after 8 epochs on 1,000 of CelebA's the face's window held all five
points of 55 % of the faces.
"""

import collections
import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from ..config import Config, NetworkConfig
from ..data.pipeline import training_batches
from ..data.prepared import Prepared
from ..data.published import parse_rows, read_lines
from ..errors import UserError
from ..networks import vgg
from ..networks.inputs import image_input
from ..tasks import Attributes, Label
from . import nets, svm
from .parts import PICTURE, Crop

FEATURES = 256  # of ANet
LEAST_WIDTH = 0.03
LEAST_SIDE = 0.25  # of a window, in sides of the picture that it lies in
MOVED = 0.2  # by so much, in sides of the picture, and enlarged or shrunk by up to this share
EXTENT = 2.0  # deviations of the response from a window's middle to its sides; of an even response 1.73 would hold all
_LIST = "CelebA's publishers (identity_CelebA.txt), or leave --identities out"

# -- training and answering -------------------------------------------------------------------------


def train(name: str, folder: Path, data: Prepared, config: Config) -> None:
    """Trains LNet_o, LNet_s, ANet and the SVMs into `lnets_anet.keras` and `svm.npz`; see `peers.train`."""
    task = svm.attributes_of(data)
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy("float32")
    indices, part = nets.chosen(data, config)
    persons = read_persons(Path(config.data.identities), data.targets("train")["name"][indices]) if config.data.identities else None
    wide = nets.settings(config)
    model = build(wide.network, task, persons.task if persons else None)

    moved = wide.with_(data={key: max(MOVED, getattr(wide.data, key)) for key in ("shift", "scale")})

    def step(output: str, settings: Config, taught=task, pictures=part):
        """Trains one of the nets, whose layers' names begin with its own, by one of its outputs."""
        net, *_ = output.split("-")
        for layer in model.layers:
            layer.trainable = layer.name.startswith(net)
        only = keras.Model(model.input, {output: model.get_layer(output).output}, name=net)
        batches, steps = training_batches((pictures,), settings)
        nets.train(only, taught, batches.map(lambda batch: (batch[0], {output: batch[1][taught.name]})), steps, settings, output)

    step("lnet_o", moved)
    step("lnet_s", moved)
    if persons:
        known = nets.Chosen(part.records, persons.indices, persons.label)
        step("anet-identity", wide, persons.task, nets.Part((persons.task,), known))
    step("anet", wide)

    reader = keras.Model(model.input, model.get_layer("anet_features").output, name=name)
    rows, truth = nets.features(reader, part, "train", lambda images, targets: images, "features")
    svms = svm.fit(rows, truth[task.name], task, config.training.seed)
    nets.save(reader, folder / "lnets_anet.keras")
    svm.write(folder / "svm.npz", svms)


def answer(name: str, folder: Path, data: Prepared, split: str, task: Attributes) -> np.ndarray:
    """Probabilities of all pictures of a split; see `peers.answer`."""
    svms = svm.read(folder / "svm.npz", task)
    reader = nets.load(folder / "lnets_anet.keras")
    rows, _ = nets.features(reader, data, split, lambda images, targets: images, f"{name} {split}")
    return svm.probabilities(svm.decide(rows, svms), task)


# -- the nets ---------------------------------------------------------------------------------------


def build(config: NetworkConfig, task: Attributes, identity: Attributes | None = None) -> keras.Model:
    """All three nets as one model from the whole picture; logits as `lnet_o`, `lnet_s`, `anet` and, with persons, `anet-identity`.

    The boxes of the head and the face, left, top, right and bottom in [0, 1] of the picture, are the outputs of the layers
    `head_window` and `face_window`.

    Args:
        config: of a picture twice as large as the nets take.
        identity: the persons as a categorical label.
    """
    side = config.image_size // 2
    image, pixels = image_input(config)
    plain = dataclasses.replace(config, image_size=side, activation="relu", init=None, weights=None)
    narrow = dataclasses.replace(plain, width=max(LEAST_WIDTH, config.width / 2))
    outputs = {}
    head, outputs["lnet_o"] = _localiser(Crop(side, PICTURE, name="picture")(pixels), "lnet_o", narrow, task)
    head = Window(name="head_window")(head)
    face, outputs["lnet_s"] = _localiser(Crop(side, name="head")(pixels, head), "lnet_s", narrow, task)
    face = Window(name="face_window")(face, head)
    x = Crop(side, name="face")(pixels, face)
    for block in vgg.blocks("anet", plain):
        _, x = block(x)
    if (size := x.shape[1] // 4) > 1:
        x = layers.AveragePooling2D(size, name="anet_average")(x)
    x = nets.describe(x, FEATURES, "anet_features")
    if identity:
        outputs["anet-identity"] = layers.Dense(nets.units(identity), name="anet-identity")(x)
    outputs["anet"] = layers.Dense(nets.units(task), name="anet")(x)
    return keras.Model(image, outputs, name="lnets_anet")


def _localiser(x, name: str, config: NetworkConfig, task: Attributes):
    """An LNet's responses, a map for each logit at a quarter of the sides, and its logits."""
    maps = {}
    for block in vgg.blocks(name, config)[:3]:
        new, x = block(x)
        maps |= new
    last = maps[vgg.HEAD_MAPS[4]]
    attention = Attention(name=f"{name}_attention")(layers.Conv2D(nets.units(task), 1, name=f"{name}_response")(last))
    evidence = layers.Conv2D(nets.units(task), 1, name=f"{name}_evidence")(last)
    attended = layers.Multiply(name=f"{name}_attended")([attention, evidence])
    return attention, layers.GlobalAveragePooling2D(name=name)(attended)


@keras.saving.register_keras_serializable("smtn_keras")
class Attention(layers.Layer):
    """The softmax of each map `(batch, rows, columns, maps)` over its places, times their number: 1 is an even share."""

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, maps):
        _, rows, columns, count = maps.shape
        shares = ops.softmax(ops.reshape(maps, (-1, rows * columns, count)), axis=1)
        return ops.reshape(shares * (rows * columns), (-1, rows, columns, count))


@keras.saving.register_keras_serializable("smtn_keras")
class Window(layers.Layer):
    """The box in which a map responds most.

    The response is the mean of the channels, as in the paper, as far as it is above its mean in the picture. The box lies
    around its mean place, `EXTENT` standard deviations to each side, at least `LEAST_SIDE` wide and high. A map that is
    the same everywhere gives the whole picture.

    Inputs a map `(batch, rows, columns, channels)` and, if what it was made of is itself a box of a picture, that
    `(batch, 4)`; output `(batch, 4)`, left, top, right and bottom in [0, 1] of the picture.
    """

    def compute_output_shape(self, maps_shape, inside_shape=None):
        return (maps_shape[0], 4)

    def call(self, maps, inside=None):
        response = ops.mean(maps, axis=-1)
        response = ops.relu(response - ops.mean(response, axis=(1, 2), keepdims=True)) + 1e-6
        left, right = _extent(ops.sum(response, axis=1))
        top, bottom = _extent(ops.sum(response, axis=2))
        box = ops.stack([left, top, right, bottom], axis=-1)
        if inside is not None:
            origin, side = ops.tile(inside[:, :2], (1, 2)), ops.tile(inside[:, 2:] - inside[:, :2], (1, 2))
            box = origin + side * box
        return ops.stop_gradient(box)


def _extent(weight):
    """From where to where in [0, 1] a weight `(batch, cells)` lies, `(batch,)` each."""
    cells = weight.shape[1]
    place = (ops.arange(cells, dtype="float32") + 0.5) / cells
    weight = weight / ops.sum(weight, axis=1, keepdims=True)
    middle = ops.sum(weight * place, axis=1)
    half = EXTENT * ops.sqrt(ops.sum(weight * ops.square(place - middle[:, None]), axis=1) + 1 / (12 * cells**2))
    half = ops.maximum(half, LEAST_SIDE / 2)
    return ops.maximum(middle - half, 0.0), ops.minimum(middle + half, 1.0)


# -- persons ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Persons:
    """Who is on the pictures.

    Attributes:
        task: the persons with at least two pictures, as the classes of a label.
        indices: of the pictures that show one of them.
        classes: by picture name.
    """

    task: Attributes
    indices: np.ndarray
    classes: dict[str, int]

    def label(self, record: dict) -> dict[str, np.ndarray]:
        """What a record's target is."""
        return {self.task.name: np.int32([self.classes[record["name"].decode()]])}


def read_persons(file: Path, names: np.ndarray) -> Persons | None:
    """The persons on pictures of these names, by lines such as `000001.jpg 2880`; None if fewer than two have two pictures.

    Raises:
        UserError: if there is no such file, it is no such list, or it names none of the pictures.
    """
    listed, numbers = parse_rows(file, read_lines(file, _LIST), 1, 1)
    person_of = dict(zip(listed, numbers[:, 0].astype(int).tolist(), strict=True))
    pictures = collections.Counter(person_of[name] for name in names if name in person_of)
    if not pictures:
        raise UserError(
            f"--identities {file}: expected a list that names pictures of the data, got {len(listed)} others; take the data's own or leave it out"
        )
    people = sorted(person for person, count in pictures.items() if count > 1)
    if len(people) < 2:
        return None
    place = {person: i for i, person in enumerate(people)}
    classes = {name: place[person_of[name]] for name in names.tolist() if person_of.get(name) in place}
    task = Attributes(labels=(Label("person", classes=tuple(map(str, people))),), name="identity")
    return Persons(task, np.flatnonzero([name in classes for name in names.tolist()]), classes)

"""Where weights come from before a training: the stage-1 run, ImageNet, or a fusion's identity-like start."""

from pathlib import Path

import keras
import numpy as np

from ..config import Config, NetworkConfig
from ..errors import UserError
from ..tasks import Task
from . import applications, vgg
from .inputs import PIXEL_SCALE

# Keras' own names of the files, which tell a user what to look for
FILES = {
    "vgg16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "resnet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenet_v2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_WIDTH_SIZE_no_top.h5",
}


@keras.saving.register_keras_serializable("smtn_keras")
class NddrInitializer(keras.initializers.Initializer):
    """A 1x1 kernel that starts at 0.9 of the own and 0.1 of the shared map (NDDR-CNN, Gao et al., CVPR 2019).

    A random one scrambles what pretrained task stacks know.
    """

    def __init__(self, own: float = 0.9, shared: float = 0.1):
        self.own, self.shared = own, shared

    def __call__(self, shape, dtype=None):
        own = shape[3]
        kernel = np.concatenate([self.own * np.eye(own), self.shared * np.eye(shape[2] - own, own)])
        return keras.ops.convert_to_tensor(kernel[None, None], dtype=dtype)

    def get_config(self):
        return {"own": self.own, "shared": self.shared}


def load_initial(model: keras.Model, config: Config, tasks: tuple[Task, ...], before: keras.Model | None):
    """Gives an untrained model the weights its configuration asks for.

    Args:
        before: the model of the stage before; None in stage 1.
    """
    network, stacks = config.network, [task.name for task in tasks]
    if config.stage == 3:
        return copy_layers(before, model, {layer.name: layer.name for layer in model.layers})
    separation = config.stage == 2 and config.kind == "separation"
    if separation:
        copy_layers(before, model, {layer.name: layer.name for layer in model.layers if layer.name.startswith("shared_")})
    if network.init == "imagenet":
        load_imagenet(model, stacks if separation else ["shared", *stacks], network)
    elif network.init == "stage1" and separation:
        start_from_stage1(before, model, tasks)
    elif network.init == "stage1":  # cross-stitch and NDDR: the single tasks' networks, of which they have every layer
        copy_layers(before, model, {layer.name: layer.name for layer in before.layers})


def start_from_stage1(stage1: keras.Model, model: keras.Model, tasks: tuple[Task, ...]):
    """The paper's fine-tuning: task stacks start as copies of the shared stack, heads as stage 1's heads."""
    names = {}
    for layer in model.layers:
        for task in tasks:
            if layer.name.startswith((f"{task.name}_conv", f"{task.name}_block")):  # VGG16's, those of other backbones
                names[layer.name] = "shared" + layer.name.removeprefix(task.name)
            elif layer.name == task.name or (layer.name.startswith(f"{task.name}_") and "_fuse" not in layer.name):
                names[layer.name] = layer.name
    copy_layers(stage1, model, names)


def copy_layers(source: keras.Model, target: keras.Model, names: dict[str, str]):
    """Copies weights between layers: `names` maps a layer of the target to one of the source.

    Raises:
        UserError: if a layer is missing in the source or differs in shape.
    """
    theirs = {layer.name: layer for layer in source.layers}
    for ours, name in names.items():
        layer = target.get_layer(ours)
        if not layer.weights:
            continue
        shapes = [tuple(w.shape) for w in layer.weights]
        found = [tuple(w.shape) for w in theirs[name].weights] if name in theirs else []
        if shapes != found:
            raise UserError(
                f"layer {ours}: expected weights {shapes} in the {name} of the run before, got {found or 'none'}; "
                "use a run of the same width, normalisation and tasks"
            )
        layer.set_weights(theirs[name].get_weights())


def load_imagenet(model: keras.Model, stacks: list[str], config: NetworkConfig):
    """Starts stacks from a backbone's ImageNet weights, as `keras.applications` has them.

    Args:
        stacks: names such as `shared`; those that a network lacks are passed over.
        config: `weights` is a Keras .h5 file of the backbone without top; None for Keras' own download, whose checksum Keras knows.

    Raises:
        UserError: if the file is missing or is none, or the download fails, is another file or has no known checksum.
    """
    pretrained = _pretrained(config)
    for layer in model.layers:
        stack, _, name = layer.name.partition("_")
        if stack in stacks and layer.weights:
            if config.backbone == "vgg16" and name in vgg.CONVS:
                _copy_vgg16(pretrained.get_layer(f"block{name[4]}_conv{name[6]}"), layer, name)
            elif config.backbone != "vgg16" and name in applications.LAST_MAPS:
                _copy_block(pretrained, layer, config)


def _copy_vgg16(theirs, ours, name: str):
    """A conv of VGG16.

    Its weights expect BGR minus a mean: the channels are turned in conv1_1. Our pixels are smaller by `PIXEL_SCALE`, and the
    biases are made so too: ReLU passes a factor on, so every map is VGG16's behind its own `preprocess_input`, divided by
    `PIXEL_SCALE`. At VGG16's own scale (values up to thousands) a fresh head diverges at the paper's learning rate.
    """
    kernel, bias = theirs.get_weights()
    kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel
    # a bias before batch normalisation has no effect, so such layers have none
    ours.set_weights([kernel, bias / PIXEL_SCALE][: len(ours.weights)])


def _copy_block(theirs: keras.Model, block: keras.Model, config: NetworkConfig):
    """The layers of a block by name; ResNet50 was trained on BGR, ours sees RGB."""
    for layer in block.layers:
        weights = theirs.get_layer(layer.name).get_weights() if layer.weights else []
        if weights and config.backbone == "resnet50" and layer.name == "conv1_conv":
            weights[0] = weights[0][:, :, ::-1]
        layer.set_weights(weights)


def _pretrained(config: NetworkConfig) -> keras.Model:
    path = config.weights
    if not path and config.backbone == "mobilenet_v2":
        raise UserError(
            "--init imagenet: expected --weights FILE for mobilenet_v2, got none, and Keras knows no checksum of its download; "
            f"name a file that you trust ('{FILES[config.backbone]}')"
        )
    try:
        if path and not Path(path).is_file():
            raise FileNotFoundError("no such file")  # Keras says this at length
        if config.backbone == "vgg16":
            return keras.applications.VGG16(include_top=False, weights=path or "imagenet", input_shape=(None, None, 3))
        return applications.application(config, path or "imagenet")
    except Exception as error:  # h5py, urllib and Keras each raise their own
        where = f"in {path}" if path else "from Keras' own download"
        raise UserError(
            f"ImageNet weights: expected those of {config.backbone} without top ('{FILES[config.backbone]}') {where}, "
            f"got {type(error).__name__}: {str(error).splitlines()[0]}; name a local copy with --weights"
        ) from None

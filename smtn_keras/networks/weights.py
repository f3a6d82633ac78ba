"""Where weights come from before a training: the stage-1 run, ImageNet, or a fusion's identity-like start."""

import keras
import numpy as np

from ..config import NetworkConfig
from ..errors import UserError
from ..tasks import Task
from . import vgg


@keras.saving.register_keras_serializable("smtn_keras")
class NddrInitializer(keras.initializers.Initializer):
    """A 1x1 kernel that starts at 0.9 of the own and 0.1 of the shared map (NDDR-CNN, Gao et al., CVPR 2019).

    A random one scrambles what pretrained task stacks know.
    """

    def __init__(self, own: float = 0.9, shared: float = 0.1):
        self.own, self.shared = own, shared

    def __call__(self, shape, dtype=None):
        identity = np.eye(shape[3])
        return keras.ops.convert_to_tensor(np.concatenate([self.own * identity, self.shared * identity])[None, None], dtype=dtype)

    def get_config(self):
        return {"own": self.own, "shared": self.shared}


def load_initial(model: keras.Model, stage: int, config: NetworkConfig, tasks: tuple[Task, ...], before: keras.Model | None):
    """Gives an untrained model the weights its configuration asks for.

    Args:
        before: the model of the stage before; None in stage 1.
    """
    if stage == 3:
        return copy_layers(before, model, {layer.name: layer.name for layer in model.layers})
    if stage == 2:
        copy_layers(before, model, {layer.name: layer.name for layer in model.layers if layer.name.startswith("shared_")})
    stacks = ["shared"] if stage == 1 else []
    if stage == 2 or config.branch != "end":
        stacks += [task.name for task in tasks]
    if config.init == "imagenet":
        load_imagenet(model, stacks, config.weights)
    elif config.init == "stage1":
        start_from_stage1(before, model, tasks)


def start_from_stage1(stage1: keras.Model, model: keras.Model, tasks: tuple[Task, ...]):
    """The paper's fine-tuning: task stacks start as copies of the shared stack, heads as stage 1's heads."""
    names = {}
    for layer in model.layers:
        for task in tasks:
            if layer.name.startswith(f"{task.name}_conv"):
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


def load_imagenet(model: keras.Model, stacks: list[str], path: str | None):
    """Starts stacks from VGG16's ImageNet weights.

    The weights expect BGR minus a mean; the order of the channels is turned in conv1_1. Our pixels are
    smaller by `PIXEL_SCALE`, and the biases are made so too: ReLU passes a factor on, so every map is
    VGG16's behind its own `preprocess_input`, divided by `PIXEL_SCALE`. At VGG16's own scale (values
    up to thousands) a fresh head diverges at the paper's learning rate.

    Args:
        stacks: names such as `shared`.
        path: a Keras .h5 file of VGG16 without top; None for Keras' own download.

    Raises:
        UserError: if the file is missing or is none, or the download fails.
    """
    vgg16 = _vgg16(path)
    for stack in stacks:
        for conv in vgg.CONVS:
            try:
                layer = model.get_layer(f"{stack}_{conv}")
            except ValueError:  # a stack may begin or end at a branch point
                continue
            kernel, bias = vgg16.get_layer(f"block{conv[4]}_conv{conv[6]}").get_weights()
            if conv == "conv1_1":
                kernel = kernel[:, :, ::-1]
            # a bias before batch normalisation has no effect, so such layers have none
            layer.set_weights([kernel, bias / vgg.PIXEL_SCALE][: len(layer.weights)])


def _vgg16(path: str | None) -> keras.Model:
    what = "ImageNet weights"
    try:
        return keras.applications.VGG16(include_top=False, weights=path or "imagenet", input_shape=(None, None, 3))
    except Exception as error:  # h5py, urllib and Keras each raise their own
        where = f"in {path}" if path else "from Keras' own download"
        raise UserError(
            f"{what}: expected VGG16's without top ('vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5') {where}, "
            f"got {type(error).__name__}: {str(error).splitlines()[0]}; name a local copy with --weights"
        ) from None

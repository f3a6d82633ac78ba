"""A training step of each network on whichever backend there is, its saving and its reading back: the checks of test_steps.py."""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from smtn_keras import backend, networks, runs
from smtn_keras.config import Config, NetworkConfig, TrainingConfig
from smtn_keras.fit import _with_own_step
from smtn_keras.losses import task_losses
from smtn_keras.tasks import Attributes, Label, Landmarks

TASKS = (
    Landmarks(points=("left_eye", "right_eye", "nose")),
    Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right")))),
)
# stage, network and training of each
VARIANTS = {
    "single_task": (1, {"kind": "single_task"}, {}),
    "hard_sharing": (1, {"kind": "hard_sharing"}, {}),
    "hard_sharing, gradnorm": (1, {"kind": "hard_sharing"}, {"balance": "gradnorm"}),
    "hard_sharing, pcgrad": (1, {"kind": "hard_sharing"}, {"balance": "pcgrad"}),
    "separation": (2, {"kind": "separation"}, {}),
    "separation, concat": (2, {"kind": "separation", "fusion": "concat"}, {}),
    "separation, crelu": (2, {"kind": "separation", "activation": "crelu"}, {}),
    "separation, separable": (2, {"kind": "separation", "conv": "separable", "fuse_at": "block", "width": 0.1, "task_width": 0.05}, {}),
    "separation end to end, apart": (1, {"kind": "separation", "apart": 0.1}, {}),
    "separation, mobilenet_v2": (2, {"kind": "separation", "backbone": "mobilenet_v2", "width": 0.35}, {}),
    "soft_sharing, l2": (1, {"kind": "soft_sharing", "sharing": "l2"}, {}),
    "soft_sharing, trace": (1, {"kind": "soft_sharing", "sharing": "trace"}, {}),
    "cross_stitch": (2, {"kind": "cross_stitch"}, {}),
    "nddr": (2, {"kind": "nddr"}, {}),
    "mtan": (1, {"kind": "mtan"}, {}),
    "cascade": (1, {"kind": "cascade"}, {}),
    "tcdcn, shallow": (1, {"kind": "tcdcn", "backbone": "shallow"}, {}),
}
# each network once: on JAX a step takes seconds to compile
ON_JAX = ["hard_sharing, gradnorm", "hard_sharing, pcgrad", "separation, crelu", "cascade"]
ON_JAX_TOO = ["single_task", "soft_sharing, trace", "cross_stitch", "nddr", "mtan", "tcdcn, shallow"]


def check(name: str, folder: Path):
    """Builds a network, trains a step, saves it and reads it back."""
    stage, network, training = VARIANTS[name]
    config = Config(
        stage=stage, network=NetworkConfig(**({"image_size": 32, "width": 0.05} | network)), training=TrainingConfig(**training)
    )
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    model = _with_own_step(networks.build(config, TASKS), config, TASKS)
    losses, weights = task_losses(TASKS, config)
    # on JAX the other way takes longer still
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=losses, loss_weights=weights, jit_compile=keras.backend.backend() == "jax")
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    truth = {"landmarks": rng.uniform(0.2, 0.8, (4, 3, 2)).astype("float32"), "attributes": rng.integers(0, 2, (4, 3)).astype("int8")}
    truth["landmarks"][0], truth["attributes"][1] = np.nan, -1  # as of faces that lack them

    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    loss = model.train_on_batch(images, truth, return_dict=True)["loss"]
    assert np.isfinite(loss), f"{name}: loss {loss}"
    moved = [not np.array_equal(old, keras.ops.convert_to_numpy(new)) for old, new in zip(before, model.trainable_weights, strict=True)]
    still = [weight.path for weight, has_moved in zip(model.trainable_weights, moved, strict=True) if not has_moved]
    # ReLUs may be dead in so narrow a network, but a path without gradient would show in more than a few
    assert sum(moved) > 0.8 * len(moved), f"{name}: a step moved {sum(moved)} of {len(moved)} weights, not {still}"

    model.save(folder / "model.keras")
    keras.utils.set_random_seed(1)
    again = networks.build(config, TASKS)
    runs.load_weights(again, folder / "model.keras")
    for task, output in model(images, training=False).items():
        read = keras.ops.convert_to_numpy(again(images, training=False)[task])
        assert np.array_equal(keras.ops.convert_to_numpy(output), read), f"{name}: {task} differs after reading back"


if __name__ == "__main__":
    backend.start()
    for variant in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as work:
            check(variant, Path(work))
        print("checked", variant, flush=True)

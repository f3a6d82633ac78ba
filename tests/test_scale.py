"""Several devices and hosts, steps in parts, and what a frozen stack costs."""

import collections
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from smtn_keras import devices, fit, networks, runs
from smtn_keras.config import Config, NetworkConfig, TrainingConfig
from smtn_keras.data.celeba import TASKS
from smtn_keras.errors import UserError
from smtn_keras.losses import task_losses
from smtn_keras.settings import RunConfig

# few steps of a network without batch normalisation, whose statistics each device of TensorFlow takes of its own part
FLAGS = "--width 0.03 --image-size 16 --batch-size 16 --epochs 2 --samples 48 --dtype float32 --no-batch-norm --optimizer sgd".split()  # noqa: SIM905


def batch(count=8, side=32):
    rng = np.random.default_rng(0)
    truth = {"landmarks": rng.uniform(0.2, 0.8, (count, 5, 2)), "attributes": rng.integers(0, 2, (count, 40))}
    return rng.uniform(0, 255, (count, side, side, 3)).astype("float32"), {k: v.astype("float32") for k, v in truth.items()}


def compiled(model, config, steps=10):
    losses, weights = task_losses(TASKS, config)
    model.compile(optimizer=fit._optimizer(config, steps), loss=losses, loss_weights=weights, jit_compile=False)
    return model


# -- the frozen stack --------------------------------------------------------------------------------


def test_no_gradient_is_computed_for_the_frozen_stack():
    """Of 52 convs the 10 of the shared stack have no gradient of their kernel or input, and the first of each task stack none of the image."""
    from tensorflow.python.eager import context  # has no public name

    config = Config(2, network=NetworkConfig(image_size=32, width=0.05))
    model = compiled(networks.build(config, TASKS), config)
    context.enable_run_metadata()
    model.train_on_batch(*batch())
    graphs = context.export_run_metadata().function_graphs
    context.disable_run_metadata()
    # after TensorFlow has left out what nobody asks for
    executed = collections.Counter(node.op for graph in graphs for node in graph.post_optimization_graph.node)
    assert executed["Conv2D"] + executed["_FusedConv2D"] == 52
    assert executed["Conv2DBackpropFilter"] == 52 - 10
    assert executed["Conv2DBackpropInput"] == 52 - 10 - 2
    assert executed["FusedBatchNormGradV3"] == 20


# -- steps in parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(optimizer):
    network = NetworkConfig(image_size=32, width=0.05, batch_norm=False)
    images, truth = batch()
    models = []
    for parts in (1, 4):
        config = Config(network=network, training=TrainingConfig(batch_size=8, accumulate=parts, optimizer=optimizer, schedule="constant"))
        keras.utils.set_random_seed(0)
        model = compiled(networks.build(config, TASKS), config)
        for part in np.split(np.arange(8), parts):
            model.train_on_batch(images[part], {name: values[part] for name, values in truth.items()})
        assert int(model.optimizer.iterations) == 1
        models.append(model)
    for whole, in_parts in zip(*(model.trainable_variables for model in models), strict=True):
        np.testing.assert_allclose(whole, in_parts, rtol=1e-4, atol=1e-5)


def test_parts_must_divide_the_batch():
    with pytest.raises(UserError, match="--accumulate 3: expected a divisor of --batch-size, got --batch-size 32"):
        TrainingConfig(accumulate=3)


# -- several devices of one host ---------------------------------------------------------------------

PROGRAM = """
import sys
if sys.argv[1] == "tensorflow":
    import tensorflow as tf
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from smtn_keras import fit
fit.main(sys.argv[2:])
"""


def training(drawn, folder, *more, backend="jax", program=("-m", "smtn_keras.fit"), **environment):
    """A process that trains a few steps on drawn faces."""
    command = [sys.executable, *program, *FLAGS, "--data-dir", str(drawn / "data"), "--run", str(folder), *more]
    return subprocess.Popen(
        command, env=os.environ | {"KERAS_BACKEND": backend} | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes, code=0):
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), said
    return said


def assert_same_run(ours, theirs):
    """Weights to 1e-5, and the validation's answers."""
    for weights in ("last.keras", "best.keras"):
        models = [runs.load(folder, weights).model for folder in (ours, theirs)]
        for one, two in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
    for one, two in zip(runs.read_history(ours), runs.read_history(theirs), strict=True):
        assert one.keys() == two.keys()
        assert {k: v for k, v in one.items() if k != "seconds"} == pytest.approx({k: v for k, v in two.items() if k != "seconds"}, abs=1e-3)


@pytest.fixture(scope="module")
def alone(drawn):
    """The run of one process on one device, on JAX."""
    finish(training(drawn, drawn / "alone"))
    return drawn / "alone"


def test_two_hosts_train_as_one_does(drawn, alone):
    """Two processes, each with half of every batch; the second one reads where they meet from Keras' variables."""
    address, folder = f"127.0.0.1:{free_port()}", drawn / "hosts"
    first = training(drawn, folder, "--hosts", "2", "--host", "0", "--coordinator", address)
    names = ("NUM_PROCESSES", "PROCESS_ID", "JOB_ADDRESSES")
    second = training(
        drawn, folder, **{f"KERAS_DISTRIBUTION_{name}": value for name, value in zip(names, ("2", "1", address), strict=True)}
    )
    said, of_second = finish(first, second)
    assert "Epoch 2/2" in said and "Epoch" not in of_second  # one of them shows the progress
    assert_same_run(folder, alone)


@pytest.mark.slow
def test_two_devices_of_jax_train_as_one_does(drawn, alone):
    finish(training(drawn, drawn / "devices", XLA_FLAGS="--xla_force_host_platform_device_count=2"))
    assert_same_run(drawn / "devices", alone)


@pytest.mark.slow
def test_two_devices_of_tensorflow_train_as_one_does(drawn):
    """With batch normalisation only that it trains, as each device takes its own statistics."""
    program = ("-c", PROGRAM, "tensorflow")
    finish(training(drawn, drawn / "one", backend="tensorflow"), training(drawn, drawn / "two", backend="tensorflow", program=program))
    assert_same_run(drawn / "two", drawn / "one")
    finish(training(drawn, drawn / "normalised", "--batch-norm", "--ema", "0.9", backend="tensorflow", program=program))
    finish(training(drawn, drawn / "normalised", "--resume", backend="tensorflow", program=program))


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_host_ends_the_other_and_all_can_go_on(drawn, lost):
    folder, address = drawn / f"killed{lost}", f"127.0.0.1:{free_port()}"

    def start(*more):
        return [training(drawn, folder, "--hosts", "2", "--host", str(host), "--coordinator", address, *more) for host in (0, 1)]

    both = start("--epochs", "100000")
    while not (folder / "last.keras").exists():
        assert all(process.poll() is None for process in both)
    both[lost].kill()
    said, _ = both[1 - lost].communicate(timeout=60)
    assert both[1 - lost].returncode == 2
    assert f"host {1 - lost}: expected to train with 1 more, lost one" in said and f"--resume --run {folder}" in said
    both[lost].communicate()
    done = len(runs.read_history(folder))
    settings = (folder / "config.json").read_text().replace("100000", str(done + 2))
    with runs.kept(folder / "config.json") as beside:
        beside.write_text(settings)
    finish(*start("--resume"))
    assert len(runs.read_history(folder)) == done + 2


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize(
    ("named", "refusal"),
    [
        ({"hosts": 2, "host": 2, "coordinator": "a:1"}, "--host: expected a number from 0 to 1 beside --hosts 2, got 2"),
        ({"hosts": 2, "host": 1}, "--hosts 2: expected --host and --coordinator ADDRESS:PORT of host 0 beside it"),
        ({"hosts": 2, "coordinator": "a:1"}, "--hosts 2: expected --host and --coordinator"),
        ({"hosts": 2, "host": 0, "coordinator": "a:1", "run": None}, "--hosts 2: expected --run, the one folder that all of them mean"),
        ({"hosts": 2, "host": 0, "coordinator": "a:1"}, "--hosts 2: expected KERAS_BACKEND=jax, got tensorflow"),
    ],
)
def test_hosts_that_are_not_named_as_they_must_be_are_refused(named, refusal):
    with pytest.raises(UserError, match=refusal):
        devices.join_hosts(RunConfig(**{"run": "here"} | named))


def test_a_batch_must_split_evenly():
    with pytest.raises(UserError, match="expected a multiple of the 3 devices that share each batch"):
        devices._check_batch(32, 3)

"""The devices and the hosts that a training uses: all that this process sees, and with `--hosts` those of other machines.

On JAX `keras.distribution` splits each batch over them, on TensorFlow `MirroredStrategy` over the GPUs of this host. Weights are whole
on each device, their gradients are averaged.
"""

import contextlib
import os
import sys
import traceback
from pathlib import Path

import numpy as np

from .errors import UserError
from .settings import RunConfig

HEARTBEAT = 30  # seconds without a sign of life after which a host counts as lost
LOST = "Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED"  # how JAX's errors, of several kinds, speak of its network
# Keras' own variables, for cluster managers that set them
ENVIRONMENT = {
    "hosts": "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "host": "KERAS_DISTRIBUTION_PROCESS_ID",
    "coordinator": "KERAS_DISTRIBUTION_JOB_ADDRESSES",
}


def join_hosts(run: RunConfig):
    """Waits until all hosts of a training are there. To be called before the backend's first operation.

    Raises:
        UserError: if they are not named as they must be, or do not come.
    """
    hosts, host, coordinator = _named(run)
    if hosts == 1:
        return
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(f"--hosts {hosts}: expected KERAS_BACKEND=jax, got {keras.backend.backend()}, which trains on one host; set it")
    import jax

    try:
        # what keras.distribution.initialize calls, which cannot say how soon a lost host is missed
        jax.distributed.initialize(coordinator, hosts, host, heartbeat_timeout_seconds=HEARTBEAT)
    except Exception as error:  # JAX raises many kinds
        raise UserError(
            f"--coordinator {coordinator}: expected {hosts} hosts to meet there, got '{_first_line(error)}'; check it"
        ) from None


def _named(run: RunConfig) -> tuple[int, int, str | None]:
    """How many hosts there are, which of them this is, and where they meet."""
    said = {name: getattr(run, name) for name in ENVIRONMENT}
    for name, variable in ENVIRONMENT.items():
        if said[name] is None and variable in os.environ:
            said[name] = os.environ[variable]
    try:
        hosts, host = int(said["hosts"] or 1), int(said["host"] or 0)
    except ValueError:
        raise UserError(f"--hosts and --host: expected numbers, got {said['hosts']} and {said['host']}; check them") from None
    if hosts < 1 or not 0 <= host < hosts:
        raise UserError(f"--host: expected a number from 0 to {hosts - 1} beside --hosts {hosts}, got {host}; count hosts from 0")
    if hosts > 1 and (said["coordinator"] is None or said["host"] is None):
        raise UserError(f"--hosts {hosts}: expected --host and --coordinator ADDRESS:PORT of host 0 beside it; add them")
    if hosts > 1 and not run.run:
        raise UserError(f"--hosts {hosts}: expected --run, the one folder that all of them mean, got none; add it")
    return hosts, host, said["coordinator"]


def is_first(run: RunConfig) -> bool:
    """Whether this is the host that writes the run's files; may be asked before the hosts have met."""
    return _named(run)[1] == 0


def share() -> tuple[int, int]:
    """Which host this is, from 0, and of how many, once they have met."""
    import keras

    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def distribute(batch_size: int) -> contextlib.AbstractContextManager:
    """A context in which a model is built, compiled and filled so that it trains on all devices.

    Args:
        batch_size: of all devices together, as one part of an accumulated step takes it.

    Raises:
        UserError: if the batch cannot be split evenly.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        return _mirrored(batch_size)
    devices = keras.distribution.list_devices()
    if len(devices) == 1:
        return contextlib.nullcontext()
    _check_batch(batch_size, len(devices))
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))
    return contextlib.nullcontext()


def _mirrored(batch_size: int):
    import tensorflow as tf

    # several processors there are only where somebody has split one
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return contextlib.nullcontext()
    _check_batch(batch_size, len(devices))
    return tf.distribute.MirroredStrategy([device.name for device in devices]).scope()


def _check_batch(size: int, devices: int):
    if size % devices:
        raise UserError(
            f"--batch-size: expected a multiple of the {devices} devices that share each batch (over --accumulate), got {size}; change it"
        )


@contextlib.contextmanager
def on_one():
    """A context in which models are built and asked on one device of this host alone."""
    import keras

    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def gathered(answers: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """What all hosts answer, each for the pictures `host::hosts`, in the order of the pictures: arrays `(count, ...)`."""
    _, hosts = share()
    if hosts == 1:
        return answers
    from jax.experimental import multihost_utils

    longest = -(-count // hosts)
    even = {name: np.pad(part, [(0, longest - len(part)), *[(0, 0)] * (part.ndim - 1)]) for name, part in answers.items()}
    of_all = multihost_utils.process_allgather(even)  # (hosts, longest, ...)
    return {name: np.asarray(parts).swapaxes(0, 1).reshape(-1, *parts.shape[2:])[:count] for name, parts in of_all.items()}


@contextlib.contextmanager
def together(folder: Path):
    """A training of the run in `folder`: what `distribute` sets holds to its end.

    A host of several ends with its process, whatever ends it in the block, as JAX would first wait for the others to come to their end. They notice, and
    say that one is lost.
    """
    import keras

    try:
        yield
    except BaseException as error:
        host, hosts = share()
        if hosts == 1:
            raise
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        elif any(word in str(error) for word in LOST):
            print(
                f"error: host {host}: expected to train with {hosts - 1} more, lost one ('{_first_line(error)[:200]}'); start all of them again "
                f"with --resume --run {folder}",
                file=sys.stderr,
            )
        else:
            traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(2)
    finally:
        keras.distribution.set_distribution(None)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

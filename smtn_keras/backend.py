"""Starting Keras and its backend: quietly, and with the arithmetic that the device does best."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from . import devices
from .config import Config
from .settings import RunConfig


def start(run: RunConfig | None = None):
    """Imports Keras and wakes its backend, without TensorFlow's notes on GPUs, and Grain's on JAX, that are not there, and on many networks.

    Args:
        run: whose other hosts are waited for, if it has any.
    """
    logging.getLogger("absl").addFilter(lambda record: "jax profiler" not in record.getMessage())
    noise = "retracing", "Assets written"  # of one network after another; in a notebook, where TensorFlow says more
    logging.getLogger("tensorflow").addFilter(lambda record: not any(words in record.getMessage() for words in noise))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_code():
        import keras

        if keras.backend.backend() == "jax":
            # Keras asks whether TensorFlow is there by importing it, when it seeds and when it saves; JAX needs none
            from keras.src.utils import module_utils

            module_utils.tensorflow._available = False
        if run:
            devices.join_hosts(run)
        keras.ops.zeros(1) + 1


@contextlib.contextmanager
def quiet_native_code():
    """Keeps what native libraries write to stderr off the terminal, unless the block fails.

    Most of TensorFlow's messages come before its own log level is read, so only the file descriptor stops them.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            with open(terminal, "wb", closefd=False) as out:
                shutil.copyfileobj(kept, out)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def compute_dtype(config: Config) -> str:
    """`float32` or `bfloat16`: what was asked for, or for `auto` bfloat16 where the device computes the network's convs faster in it."""
    import keras

    if config.training.dtype != "auto":
        return config.training.dtype
    if any(kind in str(device).lower() for device in keras.distribution.list_devices() for kind in ("gpu", "cuda", "tpu")):
        return "bfloat16"
    network = config.network
    if network.backbone == "mobilenet_v2" or (network.backbone == "vgg16" and network.width < 0.25):
        return "float32"  # on a CPU a step with depthwise convs, or with less than 16 filters, took 1.2 to 1.8 times as long in bfloat16
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text() if processor.exists() else ""
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    # on such a processor JAX's bfloat16 convolutions took 1.3 to 1.6 times as long as its float32 ones
    return "bfloat16" if native and keras.backend.backend() == "tensorflow" else "float32"

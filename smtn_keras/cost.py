"""What a network costs: multiply-adds, which are counted, and seconds, which are measured."""

import functools
import math
import time
from collections.abc import Callable
from statistics import median

import keras
import numpy as np
from keras import layers

COUNTED = (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
WARM_UP, ROUNDS = 3, 31


def multiply_adds(model: keras.Model) -> int:
    """The multiply-adds of a functional model for one input, in its conv, depthwise conv and dense layers.

    Each element of a kernel is used once at each place of the output, padding included. A layer that is called twice counts
    twice; models inside are counted through. Left out is what costs little beside these: biases, normalisation, activations,
    poolings, resizing, and the products inside layers such as `SoftArgmax`.
    """
    total = 0

    def call(layer, *args, **kwargs):
        nonlocal total
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
        elif isinstance(layer, COUNTED):
            total += math.prod(outputs.shape[1:-1]) * math.prod(layer.kernel.shape)
        return outputs

    keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)  # a walk through the graph
    return total


def seconds_an_image(models: dict[str, keras.Model], rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of each model for one picture, batch 1, in float32 on this machine as it is just now.

    Args:
        models: networks that take `(batch, size, size, 3)`; what their weights are makes no difference.
    """
    return seconds_a_call({name: functools.partial(model.predict_on_batch, _image(model)) for name, model in models.items()}, rounds)


def seconds_a_call(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of each call.

    All take turns in each round, so that other work on the machine slows them alike: the ratios mean more than the numbers.
    """
    times = {name: [] for name in calls}
    for _ in range(WARM_UP + rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: median(of_call[WARM_UP:]) for name, of_call in times.items()}


def _image(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (1, *model.input.shape[1:])).astype("float32")

"""How far a figure is from what the machine can do: the multiply-adds of a training step, and the machine's measured peak."""

import math
import time

KINDS = ("product", "convolution")
DTYPES = ("float32", "bfloat16")


def step_multiply_adds(model, needs: bool = False) -> int:
    """The multiply-adds of one training step of a functional Keras model for one picture, in the layers that `cost.multiply_adds` counts.

    A layer's forward pass counts once, the gradient of its kernel once more if it trains, and the gradient of its input once more if
    anything before it trains: 1 for a frozen layer behind nothing that trains, 2 for a first layer, 3 for those behind it. A layer
    whose input is partly frozen, as after a fusion, counts in full.

    Args:
        needs: whether a gradient is asked for the model's own input.
    """
    import keras

    from smtn_keras.cost import COUNTED

    total, asked = 0, set()  # of the tensors that need a gradient

    def call(layer, *args, **kwargs):
        nonlocal total
        inputs = [tensor for tensor in keras.tree.flatten((args, kwargs)) if isinstance(tensor, keras.KerasTensor)]
        behind = needs or any(id(tensor) in asked for tensor in inputs)
        outputs = layer(*args, **kwargs)
        if behind or layer.trainable_weights:
            asked.update(id(tensor) for tensor in keras.tree.flatten(outputs))
        alive.append(outputs)
        if isinstance(layer, keras.Model):
            total += step_multiply_adds(layer, behind)
        elif isinstance(layer, COUNTED):
            once = math.prod(outputs.shape[1:-1]) * math.prod(layer.kernel.shape)
            total += once * (1 + bool(layer.trainable_weights) + behind)
        return outputs

    alive = []  # an id is one tensor's only while it lives
    keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)  # a walk through the graph
    return total


def contender(framework: str, size: int):
    """The peak as a framework reaches it: large products of matrices and convolutions in both dtypes, as `contender.py` serves it.

    Args:
        size: the side of the matrices; the convolution is a 3x3 one of 256 channels on 32 maps of a side of size / 128.
    """
    side = max(4, size // 128)
    flops = {"product": 2 * size**3, "convolution": 2 * 32 * side**2 * 9 * 256**2}
    work = {f"{kind} {dtype}": calls for dtype in DTYPES for kind, calls in zip(KINDS, _calls(framework, size, side, dtype), strict=True)}
    for call in work.values():
        call()

    def answer(**_):
        seconds = {}
        for name, call in work.items():
            began = time.perf_counter()
            call()
            seconds[name] = [time.perf_counter() - began]
        return {"seconds": seconds}

    return {"flops": {name: flops[name.split()[0]] for name in work}}, answer


def _calls(framework: str, size: int, side: int, dtype: str):
    """A product and a convolution, which return when they are done."""
    import numpy as np

    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(2, size, size)).astype("float32")
    maps = rng.normal(size=(32, side, side, 256)).astype("float32")
    kernel = rng.normal(size=(3, 3, 256, 256)).astype("float32")
    if framework == "tensorflow":
        import tensorflow as tf

        a, b, maps, kernel = (tf.cast(array, dtype) for array in (*matrices, maps, kernel))
        return lambda: tf.matmul(a, b)[0, 0].numpy(), lambda: tf.nn.conv2d(maps, kernel, 1, "SAME")[0, 0, 0, 0].numpy()
    if framework == "jax":
        import jax

        a, b, maps, kernel = (jax.numpy.asarray(array, dtype) for array in (*matrices, maps, kernel))
        product = jax.jit(jax.numpy.matmul)
        convolution = jax.jit(lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return lambda: product(a, b).block_until_ready(), lambda: convolution(maps, kernel).block_until_ready()
    import torch

    torch.set_grad_enabled(False)
    a, b, maps, kernel = (torch.from_numpy(array).to(getattr(torch, dtype)) for array in (*matrices, maps, kernel))
    maps = maps.permute(0, 3, 1, 2)
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    return lambda: a @ b, lambda: torch.nn.functional.conv2d(maps, kernel, padding=1)


def peaks(probes) -> dict[str, float]:
    """The most FLOP/s by dtype that any of some contenders reached, each by the median of its times."""
    best = {}
    for probe in probes:
        for name, taken in probe.seconds.items():
            if taken:
                dtype = name.split()[1]
                best[dtype] = max(best.get(dtype, 0), probe.facts["flops"][name] / probe.median(name))
    return best

"""Soft parameter sharing: a network for each task, whose weights are kept alike (Figure 1b of the paper)."""

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Task
from . import single_task

TINY = 1e-12  # a squared singular value below it has no direction


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """The networks of `single_task`, with a penalty on each layer that all their stacks have.

    Args:
        config: `sharing` is `l2`, half the squared distance of the kernels from their mean over tasks (Duong et al., ACL
            2015, have two parsers and penalise their distance, which is this but for a factor), or `trace`, the trace norm
            of the tasks' kernels, flattened and stacked as rows (Yang and Hospedales, ICLR workshop 2017, "last axis
            flattening"); `sharing_weight` is its factor.
    """
    model = single_task.build(config, tasks)
    penalty = {"l2": distance, "trace": trace_norm}[config.sharing]
    first, *others = (_convs(model, task.name) for task in tasks)
    for name, conv in first.items():
        twins = [other[name].kernel for other in others if name in other]  # a head may take nothing from the last block
        if twins:
            conv.kernel.regularizer = Tied(penalty, twins, config.sharing_weight)
    return keras.Model(model.input, model.output, name="soft_sharing")


def _convs(model: keras.Model, stack: str) -> dict:
    """The convs of a stack by name, those within its blocks included, and not those of its head."""
    found = {}
    for layer in model.layers:
        if layer.name.startswith((f"{stack}_conv", f"{stack}_block")):
            found |= {part.name.removeprefix(f"{stack}_"): part for part in getattr(layer, "layers", [layer])}
    return {name: part for name, part in found.items() if isinstance(part, (layers.Conv2D, layers.DepthwiseConv2D))}


class Tied(keras.regularizers.Regularizer):
    """A penalty on a kernel and its twins in other stacks. Keras asks a variable for its own; that it reads others too is ours."""

    def __init__(self, penalty, twins: list, weight: float):
        self.penalty, self.twins, self.weight = penalty, twins, weight

    def __call__(self, kernel):
        rows = [ops.reshape(ops.convert_to_tensor(weight), (-1,)) for weight in (kernel, *self.twins)]
        return self.weight * self.penalty(ops.stack(rows))


def distance(rows):
    """Half the summed squared distance of rows `(tasks, weights)` from their mean."""
    return ops.sum(ops.square(rows - ops.mean(rows, axis=0))) / 2


def trace_norm(rows):
    """The sum of the singular values of rows `(tasks, weights)`.

    They are the roots of the eigenvalues of the small matrix of the rows' products. The subgradient is U V^T, of the
    singular vectors with a value above zero.
    """
    return _trace_norm(rows)


@ops.custom_gradient
def _trace_norm(rows):
    squares, u = ops.linalg.eigh(ops.matmul(rows, ops.transpose(rows)))
    values = ops.sqrt(ops.maximum(squares, 0))

    def backward(upstream):
        inverse = ops.where(squares > TINY, 1 / ops.maximum(values, TINY**0.5), 0)
        return upstream * ops.matmul(u * inverse, ops.matmul(ops.transpose(u), rows))

    return ops.sum(values), backward

"""Training steps that see each task's own gradient for each weight: PCGrad and GradNorm."""

import keras
from keras import layers, ops

from .errors import UserError

# how strongly GradNorm holds back the tasks that learn fast. Of their two values, 1.5 left so little to the landmarks, whose loss falls
# several times as far as that of the attributes, that 75 % of CelebA's validation points were found, where this one had 86 % of them
ALPHA = 0.12
RATE = 0.025  # at which its weights of the losses learn, as theirs do
LEAST_WEIGHT = 1e-3  # of a loss; theirs may fall below zero, which would turn a task round


class TaskGradients(keras.Model):
    """A functional model whose training step takes one gradient a task and joins them as a subclass says.

    Compile it with a loss and a loss weight for each task, by name.
    """

    def compile(self, *args, loss: dict, loss_weights: dict, **kwargs):
        super().compile(*args, loss=loss, loss_weights=loss_weights, **kwargs)
        self._tasks = [(name, loss[name], loss_weights[name]) for name in loss]

    def join(self, losses: list, gradients: list[list]) -> list:
        """One gradient for each trainable weight. May assign to variables of the model.

        Args:
            losses: a scalar for each task, times its loss weight.
            gradients: for each task its gradient for each trainable weight, zeros where it has none.
        """
        raise NotImplementedError

    def train_step(self, *args):
        """Keras' own, which is called with a batch on TensorFlow, with all variables' values and a batch on JAX."""
        return (self._tensorflow_step if keras.backend.backend() == "tensorflow" else self._jax_step)(*args)

    def _loss_of_each(self, y: dict, outputs: dict) -> list:
        return [weight * loss(y[name], outputs[name]) for name, loss, weight in self._tasks]

    def _tensorflow_step(self, data):
        import tensorflow as tf

        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(x, training=True)
            losses = self._loss_of_each(y, outputs)
        self._loss_tracker.update_state(self.compute_loss(x=x, y=y, y_pred=outputs), sample_weight=tf.shape(x)[0])
        weights = self.trainable_weights
        gradients = [
            [
                ops.zeros_like(weight) if gradient is None else gradient
                for gradient, weight in zip(tape.gradient(loss, weights), weights, strict=True)
            ]
            for loss in losses
        ]
        self.optimizer.apply(self.join(losses, gradients), weights)
        return self.compute_metrics(x, y, outputs)

    def _jax_step(self, state, data):
        import jax

        trainable, non_trainable, optimizer, metrics = state
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)

        def forward(trainable):
            outputs, after = self.stateless_call(trainable, non_trainable, x, training=True)
            losses = ops.stack(self._loss_of_each(y, outputs))
            return losses, (losses, outputs, after)

        by_weight, (losses, outputs, non_trainable) = jax.jacrev(forward, has_aux=True)(trainable)
        losses = list(losses)
        gradients = [[of_weight[task] for of_weight in by_weight] for task in range(len(losses))]
        with keras.StatelessScope(state_mapping=list(zip(self.non_trainable_variables, non_trainable, strict=True))) as scope:
            joined = self.join(losses, gradients)
        changed = (scope.get_current_value(variable) for variable in self.non_trainable_variables)
        non_trainable = [old if new is None else new for old, new in zip(non_trainable, changed, strict=True)]
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, joined, trainable)
        # the metrics of the single losses
        loss, (_, _, metrics) = self.stateless_compute_loss(trainable, non_trainable, metrics, x=x, y=y, y_pred=outputs)
        logs, metrics = self._update_metrics_variables(metrics, loss, x, y, outputs, None)
        return logs, (trainable, non_trainable, optimizer, metrics)


class PCGrad(TaskGradients):
    """Of two tasks' gradients that point against each other each loses that part (Yu et al., NeurIPS 2020, Algorithm 1).

    A gradient is that of all trainable weights at once. Theirs meet the others in random order, which makes no difference
    with two tasks; here it is the tasks' own.
    """

    def join(self, losses, gradients):
        return pcgrad(gradients)


class GradNorm(TaskGradients):
    """Learns weights of the losses, so that all tasks learn at a similar rate (Chen et al., ICML 2018, Algorithm 1).

    The weights multiply what the loss weights given make of the losses. Gradients are measured at the kernel of the last layer that
    all tasks share.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        shared = last_shared_kernel(self)
        self._at = next(i for i, weight in enumerate(self.trainable_weights) if weight is shared)
        self.balance = _Balance(len(self.output), name="gradnorm")

    def join(self, losses, gradients):
        balance, losses = self.balance, ops.stack(losses)
        weights, first = ops.convert_to_tensor(balance.weights_of_tasks), ops.convert_to_tensor(balance.first)
        joined = [sum(weights[task] * g for task, g in enumerate(of_weight)) for of_weight in zip(*gradients, strict=True)]
        norms = ops.stack([ops.norm(ops.reshape(of_task[self._at], (-1,))) for of_task in gradients])
        first = ops.where(first > 0, first, losses)  # before the first step there is none
        balance.first.assign(first)
        balance.weights_of_tasks.assign(gradnorm(weights, losses, first, norms))
        return joined


class _Balance(layers.Layer):
    """What GradNorm remembers: the weight of each task's loss, and its loss at the first step."""

    def __init__(self, tasks: int, **kwargs):
        super().__init__(**kwargs)
        self.weights_of_tasks = self.add_weight((tasks,), initializer="ones", trainable=False, name="weights")
        self.first = self.add_weight((tasks,), initializer="zeros", trainable=False, name="first")


def pcgrad(gradients: list[list]) -> list:
    """The sum of the tasks' gradients, each first freed of what goes against another's.

    Args:
        gradients: for each task its gradient for each weight.

    Returns:
        A gradient for each weight.
    """
    freed = []
    for i, own in enumerate(gradients):
        for j, other in enumerate(gradients):
            if i != j:
                along = ops.minimum(_dot(own, other), 0) / ops.maximum(_dot(other, other), 1e-20)
                own = [a - ops.cast(along, a.dtype) * b for a, b in zip(own, other, strict=True)]
        freed.append(own)
    return [sum(of_weight) for of_weight in zip(*freed, strict=True)]


def gradnorm(weights, losses, first, norms):
    """GradNorm's next weights of the losses.

    Args:
        weights: `(tasks,)`, those in use.
        losses, first: `(tasks,)`, the losses without these weights, now and at the first step.
        norms: `(tasks,)`, of the gradients of these losses for the last shared kernel.

    Returns:
        `(tasks,)` of mean 1: weights after a step of gradient descent on sum |w G - mean(w G) r ** ALPHA|, in which the targets
        count as constants and r is a task's share of its first loss over the mean of these shares.
    """
    rates = losses / first
    sizes = weights * norms
    targets = ops.mean(sizes) * (rates / ops.mean(rates)) ** ALPHA
    weights = ops.maximum(weights - RATE * norms * ops.sign(sizes - targets), LEAST_WEIGHT)
    return weights / ops.mean(weights)


def last_shared_kernel(model: keras.Model):
    """The kernel of the last layer that trains for all tasks.

    Raises:
        UserError: if there is none.
    """
    kernels = [w for layer in model.layers if layer.name.startswith("shared_") for w in layer.trainable_weights if len(w.shape) > 1]
    if not kernels:
        raise UserError(f"--balance gradnorm: expected a network with a shared stack that trains, got {model.name}; use --balance fixed")
    return kernels[-1]


def _dot(a: list, b: list):
    return sum(ops.sum(ops.cast(x, "float32") * ops.cast(y, "float32")) for x, y in zip(a, b, strict=True))

"""Balance between the tasks where their gradients meet: at the end of the shared stack."""

import keras
from keras import layers, ops

TINY = 1e-20  # a norm below it is that of no gradient


@keras.saving.register_keras_serializable("smtn_keras")
class UnitGradient(layers.Layer):
    """The identity, through which a gradient comes back with norm 1.

    Put where each task's branch leaves the shared stack it makes the tasks' gradients there equally long, whatever the
    scale of their losses and their weights. (GradNorm, Chen et al., ICML 2018, learns weights of the losses to balance
    norms; this sets the norms.) Beyond the layer, in the task's own layers, gradients stay as they are.

    The norm is L2, over all tensors of a call and the whole batch, taken in float32. A gradient of zeros stays zero.
    Outside training the layer is no operation at all, so exports know nothing of it.

    Input and output: a dictionary of tensors by name, all of them used by what follows.
    """

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, maps, training=False):
        if not training:
            return maps
        return dict(zip(maps, _unit_gradient(*maps.values()), strict=True))


@ops.custom_gradient
def _unit_gradient(*tensors):
    def backward(*upstream):
        gradients = keras.tree.flatten(upstream)  # TensorFlow gives them one by one, JAX as one tuple
        squares = sum(ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients)
        factor = 1 / ops.maximum(ops.sqrt(squares), TINY)
        return tuple(ops.cast(ops.cast(gradient, "float32") * factor, gradient.dtype) for gradient in gradients)

    return tensors, backward

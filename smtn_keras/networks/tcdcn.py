"""TCDCN: landmarks as the main task, attributes as auxiliary ones that stop when they no longer help (Zhang et al., ECCV 2014)."""

import keras
from keras import layers, ops

from ..config import NetworkConfig
from ..tasks import Landmarks, Task
from . import hard_sharing


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """Hard sharing whose labels are auxiliary tasks: each has a gate, which `stopping.py` closes.

    Args:
        config: `backbone` is `shallow`, their four convs, or another.
    """
    shared = hard_sharing.build(config, tasks)
    outputs = dict(shared.output)
    for task in tasks:
        if not isinstance(task, Landmarks):
            units = [2 if config.attribute_output == "softmax" else 1] * task.binary_count
            units += [len(label.classes) for label in task.categorical]
            outputs[task.name] = Gate(units, name=gate_name(task), dtype="float32")(outputs[task.name])
    return keras.Model(shared.input, outputs, name="tcdcn")


def gate_name(task: Task) -> str:
    """The name of a task's gates in the network."""
    return f"{task.name}_gate"


@keras.saving.register_keras_serializable("smtn_keras")
class Gate(layers.Layer):
    """The identity, which lets a label's gradient back only while the label's gate is open.

    The gates are a weight, so that a saved and resumed training goes on with the same labels.

    Args:
        units: how many of the input's columns each label has.

    Attributes:
        open: `(labels,)`, 1 or 0.
    """

    def __init__(self, units: list[int], **kwargs):
        super().__init__(**kwargs)
        self.units = list(units)

    def build(self, input_shape):
        self.open = self.add_weight((len(self.units),), initializer="ones", trainable=False, name="open")

    def call(self, logits, training=False):
        if not training:
            return logits
        of_label = [label for label, count in enumerate(self.units) for _ in range(count)]
        through = ops.take(ops.convert_to_tensor(self.open), of_label)
        return through * logits + (1 - through) * ops.stop_gradient(logits)

    def get_config(self):
        return super().get_config() | {"units": self.units}

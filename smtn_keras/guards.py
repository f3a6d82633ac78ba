"""What must hold while a network trains, and would be broken without an error."""

import keras
import numpy as np

from .config import Config


class Guards(keras.callbacks.Callback):
    """Ends a training in which an output has no loss, or a layer trains or drifts that is frozen.

    Keras trains happily with a loss left out, with `trainable` set after `compile`, and with batch normalisation that follows its batches
    in a frozen layer. Such a network is not the configuration's, and only its numbers would tell.

    Raises:
        RuntimeError: at the start of the training, or at the end of the epoch that changed a frozen layer.
    """

    def __init__(self, config: Config):
        super().__init__()
        self._shared_is_frozen = config.stage == 2 and config.kind == "separation"

    def on_train_begin(self, logs=None):
        if without := set(self.model.output) - set(self.model.loss):
            raise RuntimeError(f"{self.model.name}: expected a loss for each output, got none for {', '.join(sorted(without))}")
        shared = [layer for layer in self.model.layers if layer.name.startswith("shared_")] if self._shared_is_frozen else []
        if training := [layer.name for layer in shared if layer.trainable_weights]:
            raise RuntimeError(f"{self.model.name}: expected a frozen shared stack in stage 2, got weights of {training[0]} that train")
        self._frozen = [(layer.name, w, _value(w)) for layer in self.model.layers if not layer.trainable for w in layer.weights]

    def on_epoch_end(self, epoch, logs=None):
        for name, weight, before in self._frozen:
            if not np.array_equal(_value(weight), before):
                raise RuntimeError(
                    f"{self.model.name}: expected frozen layers to stay as they were, got another {weight.name} of {name} after epoch {epoch + 1}"
                )


def _value(weight) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(weight))  # a copy: what a backend gives may be its own memory

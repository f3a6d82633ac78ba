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
        if self._shared_is_frozen and (training := [w.path for w in self.model.trainable_weights if w.path.startswith("shared_")]):
            raise RuntimeError(
                f"{self.model.name}: expected a frozen shared stack in stage 2, got {training[0]} among the weights that train"
            )
        self._before = self._frozen()

    def on_epoch_end(self, epoch, logs=None):
        for path, value in self._frozen().items():
            if not np.array_equal(value, self._before[path]):
                raise RuntimeError(
                    f"{self.model.name}: expected frozen layers to stay as they were, got another {path} after epoch {epoch + 1}"
                )

    def _frozen(self) -> dict[str, np.ndarray]:
        """The weights of frozen layers, statistics of batch normalisation among them, by their paths."""
        frozen = (layer for layer in self.model.layers if not layer.trainable)
        return {weight.path: keras.ops.convert_to_numpy(weight).copy() for layer in frozen for weight in layer.weights}

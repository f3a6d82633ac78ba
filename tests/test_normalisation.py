"""Our batch normalisation is Keras' own, computed faster."""

import keras
import numpy as np
import pytest

from smtn_keras.networks.normalisation import BatchNormalization

X = np.random.default_rng(0).normal(3, 2, (8, 5, 4, 3)).astype("float32")


def trained(cls, dtype="float32"):
    """The layer's outputs in and after training, and its weights, after ten steps of SGD toward zero."""
    layer = cls(momentum=0.8, dtype=dtype)
    model = keras.Sequential([keras.Input(X.shape[1:]), layer])
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    in_training = np.asarray(keras.ops.cast(layer(X, training=True), "float32"))
    for _ in range(10):
        model.train_on_batch(X, np.zeros_like(X))
    return in_training, model.predict(X, verbose=0), layer.get_weights()


def test_it_trains_as_keras_own():
    ours, theirs = trained(BatchNormalization), trained(keras.layers.BatchNormalization)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    gamma, beta, mean, variance = ours[2]
    np.testing.assert_allclose([gamma, beta, mean], theirs[2][:3], atol=1e-3)
    # of 160 values an axis, once over n - 1 and once over n
    np.testing.assert_allclose(variance, theirs[2][3], rtol=1 / 100)
    assert np.abs(gamma - 1).min() > 0.1 and np.abs(mean).min() > 1  # otherwise this test would say nothing
    np.testing.assert_allclose(ours[1], theirs[1], atol=0.02)


def test_it_takes_bfloat16():
    ours, plain = trained(BatchNormalization, "mixed_bfloat16"), trained(keras.layers.BatchNormalization)
    np.testing.assert_allclose(ours[0], plain[0], atol=0.03)
    np.testing.assert_allclose(ours[2][2], plain[2][2], rtol=0.01)


@pytest.mark.parametrize("training", [True, False])
def test_a_frozen_one_keeps_its_statistics_and_uses_them(training):
    layer = BatchNormalization(trainable=False)
    layer.build(X.shape)
    layer.set_weights([np.float32([2, 2, 2]), np.float32([1, 1, 1]), np.float32([3, 3, 3]), np.float32([4, 4, 4])])
    before = layer.get_weights()
    expected = 2 * (X - 3) / np.sqrt(4 + layer.epsilon) + 1
    np.testing.assert_allclose(np.asarray(layer(X, training=training)), expected, atol=1e-4)
    for ours, theirs in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)

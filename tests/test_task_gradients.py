"""PCGrad and GradNorm against steps computed by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from smtn_keras.errors import UserError
from smtn_keras.task_gradients import LEAST_WEIGHT, RATE, GradNorm, PCGrad, gradnorm, last_shared_kernel, pcgrad


def arrays(values):
    return [np.asarray(ops.convert_to_numpy(value)) for value in values]


# -- formulas ---------------------------------------------------------------------------------------


def test_gradients_that_agree_are_added():
    (joined,) = arrays(pcgrad([[np.float32([1, 0])], [np.float32([1, 1])]]))
    np.testing.assert_allclose(joined, [2, 1])


def test_of_gradients_that_disagree_each_loses_its_part_against_the_other():
    # a.b = -1, |a|^2 = 1, |b|^2 = 2: a + b / 2 = (0.5, 0.5), b + a = (0, 1)
    (joined,) = arrays(pcgrad([[np.float32([1, 0])], [np.float32([-1, 1])]]))
    np.testing.assert_allclose(joined, [0.5, 1.5], rtol=1e-6)


def test_a_gradient_is_that_of_all_weights_at_once():
    # per weight both would disagree in the first and agree in the second; together a.b = -1 + 3 > 0
    joined = arrays(pcgrad([[np.float32([1]), np.float32([3])], [np.float32([-1]), np.float32([1])]]))
    np.testing.assert_allclose(np.concatenate(joined), [0, 4])


def test_a_task_without_gradient_changes_nothing():
    (joined,) = arrays(pcgrad([[np.float32([1, -2])], [np.float32([0, 0])]]))
    np.testing.assert_allclose(joined, [1, -2])


@pytest.mark.parametrize(("norms", "steps"), [((2.0, 2.0), (1, -1)), ((2.1, 1.9), (-1, 1))])
def test_gradnorm_gives_weight_to_the_task_that_learns_slowly_as_far_as_alpha_goes(norms, steps):
    # losses fell to 0.9 and 0.5 of their start: r = 0.9 / 0.7 and 0.5 / 0.7, targets 2 * r ** 0.12 = 2.06 and 1.92
    (found,) = arrays([gradnorm(np.float32([1, 1]), np.float32([0.9, 1.0]), np.float32([1.0, 2.0]), np.float32(norms))])
    raw = 1 + RATE * np.multiply(norms, steps)
    np.testing.assert_allclose(found, raw / raw.mean(), rtol=1e-6)


def test_gradnorm_brings_down_the_larger_of_two_gradients_at_the_same_rate():
    (found,) = arrays([gradnorm(np.float32([1, 1]), np.float32([1, 1]), np.float32([1, 1]), np.float32([3, 1]))])
    raw = np.array([1 - RATE * 3, 1 + RATE * 1])  # targets are 2 and 2
    np.testing.assert_allclose(found, raw / raw.mean(), rtol=1e-6)


def test_gradnorms_weights_stay_positive():
    (found,) = arrays([gradnorm(np.float32([0.01, 1.99]), np.float32([1, 1]), np.float32([1, 1]), np.float32([400, 1]))])
    assert found.min() > 0
    np.testing.assert_allclose(found[0] / found[1], LEAST_WEIGHT / (1.99 + RATE), rtol=1e-3)


# -- steps ------------------------------------------------------------------------------------------


def network(kind, start=(1.0, 2.0)):
    """y_a = y_b = x . w, the two tasks pull w to different sides."""
    x = keras.Input((2,), name="image")
    shared = keras.layers.Dense(1, use_bias=False, name="shared_dense")(x)
    model = kind(x, {name: keras.layers.Identity(name=name)(shared) for name in ("a", "b")})
    model.get_layer("shared_dense").set_weights([np.float32(start)[:, None]])
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss={"a": keras.losses.MeanSquaredError(), "b": keras.losses.MeanAbsoluteError()},
        loss_weights={"a": 1.0, "b": 3.0},
    )
    return model


X = np.float32([[1, 0], [0, 1]])
Y = {"a": np.float32([[2], [2]]), "b": np.float32([[0], [4]])}
# a: errors -1 and 0, gradient of the mean square (-1, 0); b: signs 1 and -1, times 3 / 2: (1.5, -1.5)
OF_A, OF_B = np.array([-1, 0]), np.array([1.5, -1.5])


def test_a_step_of_pcgrad():
    model = network(PCGrad)
    logs = model.train_on_batch(X, Y, return_dict=True)
    # a.b = -1.5, |a|^2 = 1, |b|^2 = 4.5: a + b / 3 = (-0.5, -0.5), b + 1.5 a = (0, -1.5)
    np.testing.assert_allclose(model.get_layer("shared_dense").get_weights()[0][:, 0], [1 + 0.05, 2 + 0.2], rtol=1e-6)
    assert logs["loss"] == pytest.approx(0.5 + 3 * 1.5)  # mean of 1 and 0; 3 times the mean of 1 and 2


def test_steps_of_gradnorm():
    model = network(GradNorm)
    model.train_on_batch(X, Y)
    np.testing.assert_allclose(
        model.get_layer("shared_dense").get_weights()[0][:, 0], [1 - 0.1 * 0.5, 2 + 0.1 * 1.5], rtol=1e-6
    )  # still weights of 1
    norms = np.array([1, np.sqrt(4.5)])
    np.testing.assert_allclose(model.balance.first, [0.5, 4.5], rtol=1e-6)
    raw = 1 + RATE * norms * [1, -1]  # at the first step all rates are 1: both norms go to their mean
    expected = raw / raw.mean()
    np.testing.assert_allclose(model.balance.weights_of_tasks, expected, rtol=1e-6)

    before = model.get_layer("shared_dense").get_weights()[0][:, 0]
    error = before - 2  # of a
    model.train_on_batch(X, Y)
    step = expected[0] * error + expected[1] * OF_B
    np.testing.assert_allclose(model.get_layer("shared_dense").get_weights()[0][:, 0], before - 0.1 * step, rtol=1e-5)


def test_gradnorm_goes_on_from_a_saved_state_and_a_plain_network_reads_its_weights(tmp_path):
    model = network(GradNorm)
    model.train_on_batch(X, Y)
    model.save(tmp_path / "last.keras")
    other = network(GradNorm, start=(0, 0))
    other.load_weights(tmp_path / "last.keras")
    np.testing.assert_array_equal(other.balance.weights_of_tasks, model.balance.weights_of_tasks)
    plain = network(lambda x, y: keras.Model(x, y), start=(0, 0))
    plain.load_weights(tmp_path / "last.keras")
    np.testing.assert_array_equal(plain.predict(X, verbose=0)["a"], model.predict(X, verbose=0)["a"])


def test_gradnorm_needs_a_shared_stack_that_trains():
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Dense(1, name="own")(x), name="single_task")
    with pytest.raises(UserError, match="expected a network with a shared stack that trains, got single_task"):
        last_shared_kernel(model)

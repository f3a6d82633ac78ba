"""Losses by hand, with everything, something and nothing missing."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from smtn_keras.config import TrainingConfig
from smtn_keras.losses import AttributesLoss, LandmarksLoss, probabilities, split_logits, task_losses
from smtn_keras.tasks import Attributes, Label, Landmarks

NAN = float("nan")
POINTS = Landmarks(points=("left_eye", "right_eye"))
LABELS = Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right"))))
LN2, LN3 = math.log(2), math.log(3)

TRUTH = [[[0.2, 0.3], [0.6, 0.5]]]
PREDICTED = [[[0.3, 0.3], [0.6, 0.1]]]  # off by 0.1, 0, 0 and -0.4


def value(loss, truth, predicted):
    return float(loss(np.float32(truth), np.float32(predicted)))


# -- landmarks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [
        ("mse", 1, 0.0425),  # (0.01 + 0 + 0 + 0.16) / 4
        ("mse", 10, 4.25),  # (1 + 0 + 0 + 16) / 4
        ("l1", 1, 0.125),  # (0.1 + 0 + 0 + 0.4) / 4
        ("l1", 10, 1.25),  # (1 + 0 + 0 + 4) / 4
    ],
)
def test_landmark_errors_by_hand(kind, scale, expected):
    assert value(LandmarksLoss(kind, scale), TRUTH, PREDICTED) == pytest.approx(expected, rel=1e-5)


def test_a_missing_point_takes_no_part():
    # left: 0.1 and 0: (1 + 0) / 2 at scale 10
    truth = [[TRUTH[0][0], [NAN, NAN]]]
    assert value(LandmarksLoss("mse", 10), truth, PREDICTED) == pytest.approx(0.5, rel=1e-5)


def test_a_sample_without_points_does_not_count_as_one_without_error():
    # the mean over the four present coordinates, not over eight
    truth = [TRUTH[0], [[NAN, NAN], [NAN, NAN]]]
    assert value(LandmarksLoss("mse", 10), truth, PREDICTED * 2) == pytest.approx(4.25, rel=1e-5)


def test_all_present_coordinates_of_a_batch_weigh_the_same():
    # sample 1 whole (squares 1, 0, 0, 16), sample 2 with its second point (0, 16): 33 / 6
    truth = [TRUTH[0], [[NAN, NAN], TRUTH[0][1]]]
    assert value(LandmarksLoss("mse", 10), truth, PREDICTED * 2) == pytest.approx(5.5, rel=1e-5)


def test_no_landmark_at_all_gives_zero():
    assert value(LandmarksLoss("l1", 10), np.full((2, 2, 2), NAN), PREDICTED * 2) == 0


# -- attributes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("truth", "expected"), [(1, 0.2876821), (0, 1.3862944)])  # -ln 3/4 and -ln 1/4
def test_binary_cross_entropy_by_hand(truth, expected):
    # logit ln 3 is probability 3/4, as are the units (no, yes) = (0, ln 3)
    assert value(AttributesLoss(1), [[truth]], [[LN3]]) == pytest.approx(expected, rel=1e-5)
    assert value(AttributesLoss(1), [[truth]], [[0, LN3]]) == pytest.approx(expected, rel=1e-5)
    assert value(AttributesLoss(1), [[1 - truth]], [[LN3, 0]]) == pytest.approx(expected, rel=1e-5)


def test_categorical_cross_entropy_by_hand():
    # logits 0, ln 2, ln 3: probabilities 1/6, 2/6, 3/6
    for truth, expected in ((0, math.log(6)), (1, LN3), (2, LN2)):
        assert value(AttributesLoss(0, [3]), [[truth]], [[0, LN2, LN3]]) == pytest.approx(expected, rel=1e-5)


def test_every_label_weighs_the_same():
    # binary 0.28768 and 1.38629 as above, the pose 0.69315: mean 0.789041
    loss = AttributesLoss(2, [3])
    assert value(loss, [[1, 0, 2]], [[LN3, LN3, 0, LN2, LN3]]) == pytest.approx((0.2876821 + 1.3862944 + 0.6931472) / 3, rel=1e-5)


def test_missing_labels_take_no_part():
    loss = AttributesLoss(2, [3])
    logits = [[LN3, LN3, 0, LN2, LN3]] * 2
    assert value(loss, [[1, -1, -1], [-1, -1, -1]], logits) == pytest.approx(0.2876821, rel=1e-5)
    assert value(loss, [[-1, -1, 2], [-1, 0, -1]], logits) == pytest.approx((0.6931472 + 1.3862944) / 2, rel=1e-5)


def test_no_label_at_all_gives_zero():
    assert value(AttributesLoss(2, [3]), np.full((2, 3), -1), np.ones((2, 5))) == 0


def test_two_way_softmax_equals_its_logits_form_and_the_papers_cross_entropy():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (4, 40))
    units = rng.normal(0, 3, (4, 80)).astype("float32")
    pairs = units.reshape(4, 40, 2)
    softmax = np.exp(pairs) / np.exp(pairs).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(softmax, truth[..., None], -1)).mean()
    assert value(AttributesLoss(40), truth, units) == pytest.approx(expected, rel=1e-5)
    assert value(AttributesLoss(40), truth, pairs[..., 1] - pairs[..., 0]) == pytest.approx(expected, rel=1e-5)


def test_large_logits_give_large_finite_losses():
    assert value(AttributesLoss(1), [[0]], [[1000.0]]) == pytest.approx(1000)
    assert value(AttributesLoss(0, [2 + 1]), [[0]], [[0.0, 1000.0, 0.0]]) == pytest.approx(1000)


# -- both -------------------------------------------------------------------------------------------


def two_headed(optimizer):
    x = keras.Input((3,))
    points = keras.layers.Reshape((2, 2), name="landmarks")(keras.layers.Dense(4)(x))
    model = keras.Model(x, {"landmarks": points, "attributes": keras.layers.Dense(7, name="attributes")(x)})
    losses, weights = task_losses((POINTS, LABELS), TrainingConfig())
    model.compile(optimizer, loss=losses, loss_weights=weights)
    return model


def batch(landmarks, labels):
    x = np.random.default_rng(0).normal(size=(len(labels), 3)).astype("float32")
    return x, {"landmarks": np.float32(landmarks), "attributes": np.int8(labels)}


def test_gradients_are_finite_where_something_is_missing():
    keras.utils.set_random_seed(0)
    model = two_headed(keras.optimizers.SGD(0.1))
    before = model.get_weights()
    model.train_on_batch(*batch([TRUTH[0], [[NAN, NAN], [0.5, 0.5]], [[NAN] * 2] * 2], [[1, -1, 2], [-1, -1, -1], [0, 1, -1]]))
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert not np.array_equal(old, new)


def test_a_batch_with_everything_missing_moves_nothing():
    keras.utils.set_random_seed(0)
    model = two_headed(keras.optimizers.SGD(0.1))
    before = model.get_weights()
    logs = model.train_on_batch(*batch(np.full((2, 2, 2), NAN), np.full((2, 3), -1)), return_dict=True)
    assert float(logs["loss"]) == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_tasks_missing_labels_do_not_touch_the_other_task():
    keras.utils.set_random_seed(0)
    model = two_headed(keras.optimizers.SGD(0.1))
    before = [weight.numpy().copy() for weight in model.get_layer("attributes").weights]
    model.train_on_batch(*batch(TRUTH * 2, np.full((2, 3), -1)))
    for old, new in zip(before, model.get_layer("attributes").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_losses_by_task_take_the_configured_kind_scale_and_weights():
    training = TrainingConfig(landmarks_loss="mse", landmark_scale=10, landmarks_weight=3, attributes_weight=0.5)
    losses, weights = task_losses((POINTS, LABELS), training)
    assert weights == {"landmarks": 3, "attributes": 0.5}
    assert value(losses["landmarks"], TRUTH, PREDICTED) == pytest.approx(4.25, rel=1e-5)
    assert (losses["attributes"].binary_count, losses["attributes"].class_counts) == (2, [3])


@pytest.mark.parametrize("loss", [LandmarksLoss("l1", 7.0), AttributesLoss(2, [3])])
def test_losses_survive_saving(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()


def test_outputs_split_into_binary_and_categorical_logits():
    binary, (pose,) = split_logits(ops.convert_to_tensor([[1.0, 4.0, 5.0, 3.0, 7.0, 8.0, 9.0]]), 2, [3])  # no, yes, no, yes, the pose
    assert ops.convert_to_numpy(binary).tolist() == [[3, -2]]
    assert ops.convert_to_numpy(pose).tolist() == [[7, 8, 9]]


def test_probabilities_by_hand():
    softmax = probabilities(ops.convert_to_tensor([[0.0, LN3, LN3, 0.0, 0.0, LN2, LN3]]), LABELS)
    np.testing.assert_allclose(ops.convert_to_numpy(softmax), [[0.75, 0.25, 1 / 6, 2 / 6, 3 / 6]], rtol=1e-5)
    logits = probabilities(ops.convert_to_tensor([[LN3, -LN3, 0.0, LN2, LN3]]), LABELS)
    np.testing.assert_allclose(ops.convert_to_numpy(logits), [[0.75, 0.25, 1 / 6, 2 / 6, 3 / 6]], rtol=1e-5)

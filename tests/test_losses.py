"""Losses by hand, with everything, something and nothing missing."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from smtn_keras.config import Config, NetworkConfig, TrainingConfig
from smtn_keras.losses import AttributesLoss, LandmarksLoss, LogOf, frequency_weights, probabilities, split_logits, task_losses
from smtn_keras.metrics import LabelAccuracy
from smtn_keras.tasks import Attributes, Label, Landmarks

NAN = float("nan")
POINTS = Landmarks(points=("left_eye", "right_eye"))
LABELS = Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right"))))
LN2, LN3 = math.log(2), math.log(3)

TRUTH = [[[0.2, 0.3], [0.6, 0.5]]]
PREDICTED = [[[0.3, 0.3], [0.6, 0.1]]]  # off by 0.1, 0, 0 and -0.4


def value(loss, truth, predicted):
    return float(loss(np.float32(truth), np.float32(predicted)))


class Offset(keras.layers.Layer):
    """Adds a weight to each number of a batch of fixed shape."""

    def build(self, shape):
        self.offset = self.add_weight(shape=shape, initializer="zeros")

    def call(self, x):
        return x + self.offset


def gradient(loss, truth, predicted):
    """The gradient by the prediction, on any backend: one step of SGD with rate 1 goes that far."""
    predicted = np.float32(predicted)
    model = keras.Sequential([keras.Input(batch_shape=predicted.shape), Offset()])
    model.compile(keras.optimizers.SGD(1.0), loss=loss, run_eagerly=True)
    model.train_on_batch(predicted, np.float32(truth))
    return -model.get_weights()[0]


# -- landmarks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [
        ("mse", 1, 0.0425),  # (0.01 + 0 + 0 + 0.16) / 4
        ("mse", 10, 4.25),  # (1 + 0 + 0 + 16) / 4
        ("l1", 1, 0.125),  # (0.1 + 0 + 0 + 0.4) / 4
        ("l1", 10, 1.25),  # (1 + 0 + 0 + 4) / 4
        ("smooth_l1", 1, 0.02125),  # (0.01 + 0.16) / 2 / 4
        ("smooth_l1", 10, 1.0),  # (1 / 2 + 4 - 1 / 2) / 4
        ("wing", 10, 3.7601935),  # errors 1 and 4: 10 (ln 1.5 + ln 3) / 4
        ("wing", 100, 16.4587973),  # errors 10 and 40: (10 ln 6 + 40 - 10 + 10 ln 6) / 4
        ("adaptive_wing", 1, 14 * (math.log(1 + 0.1**1.1) + math.log(1 + 0.4**1.1)) / 4),
        # errors 1 and 4, beyond theta: A d - C (Eq. 3 of its paper) with A = 14 / (1 + 0.5 ** 1.1) 1.1 0.5 ** 0.1, C = 0.5 A - 14 ln(1 + 0.5 ** 1.1)
        ("adaptive_wing", 10, (4 * 9.797850 + 28 * math.log(1 + 0.5**1.1)) / 4),
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


def test_the_laplace_likelihood_by_hand():
    # errors 1, 0 with b = 2 and 0, 4 with b = 1: 1 / 2 + ln 2, ln 2, 0, 4
    scaled = [[[*PREDICTED[0][0], LN2], [*PREDICTED[0][1], 0]]]
    loss = LandmarksLoss("laplace", 10)
    assert value(loss, TRUTH, scaled) == pytest.approx((4.5 + 2 * LN2) / 4, rel=1e-5)
    assert value(loss, [[TRUTH[0][0], [NAN, NAN]]], scaled) == pytest.approx((0.5 + 2 * LN2) / 2, rel=1e-5)


def test_the_laplace_scale_is_pulled_to_the_error():
    # d / d log b of |d| / b + log b is 1 - |d| / b: b of 2 is too wide for errors 1 and 0, b of 1 too narrow for 0 and 4
    scaled = [[[*PREDICTED[0][0], LN2], [*PREDICTED[0][1], 0]]]
    by_scale = gradient(LandmarksLoss("laplace", 10), TRUTH, scaled)[0, :, 2]
    np.testing.assert_allclose(by_scale, [(0.5 + 1) / 4, (1 - 3) / 4], rtol=1e-4)


def test_a_point_without_a_scale_has_its_own_kinds_error():
    with_scale = [[[*point, 5.0] for point in PREDICTED[0]]]
    assert value(LandmarksLoss("l1", 10), TRUTH, with_scale) == pytest.approx(1.25, rel=1e-5)


@pytest.mark.parametrize("kind", ["mse", "l1", "smooth_l1", "wing", "adaptive_wing", "laplace"])
def test_gradients_of_points_are_finite_and_zero_where_one_is_missing(kind):
    # one point off, one exactly right, one missing; scales from far too narrow to far too wide
    truth = [[[0.2, 0.3], [0.6, 0.5], [NAN, NAN]]]
    predicted = np.float32([[[0.3, 0.1, 50], [0.6, 0.5, -500], [0.1, 0.1, -500]]])[..., : 3 if kind == "laplace" else 2]
    slope = gradient(LandmarksLoss(kind, 10), truth, predicted)
    assert np.isfinite(slope).all()
    assert (slope[0, 2] == 0).all()
    assert slope[0, 0, 0] > 0 > slope[0, 0, 1]  # x is too large, y too small


def test_curved_losses_have_the_slopes_of_their_papers():
    # one coordinate off by d, the other right: the mean halves the slope
    def slope(kind, d):
        return 2 * gradient(LandmarksLoss(kind), [[[0.0, 0.0]]], [[[d, 0.0]]])[0, 0, 0]

    assert slope("smooth_l1", 0.5) == pytest.approx(0.5, rel=1e-4)
    assert slope("smooth_l1", -3) == pytest.approx(-1, rel=1e-4)
    assert slope("wing", 3) == pytest.approx(10 / (2 + 3), rel=1e-4)  # w / (eps + d)
    assert slope("wing", 11) == pytest.approx(1, rel=1e-4)
    assert slope("adaptive_wing", 0.2) == pytest.approx(14 * 1.1 * 0.2**0.1 / (1 + 0.2**1.1), rel=1e-4)
    assert slope("adaptive_wing", 5) == pytest.approx(slope("adaptive_wing", 0.499), rel=1e-2)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ([[[0.2, 0.3], [0.6, 0.6]]], (0.1 + 0 + 0 + 0.5) / 4 / 0.5),  # the eyes are 0.4 and 0.3 apart: 0.5
        ([[[0.31, 0.3], [0.35, 0.3]]], (0.01 + 0 + 0.25 + 0.2) / 4 / 0.08),  # a profile: 0.04, which counts as 0.08
        ([[[0.2, 0.3], [NAN, NAN]]], (0.1 + 0) / 2 / 0.25),  # an eye is missing: a typical distance
    ],
)
def test_in_the_unit_of_the_eyes_a_face_counts_as_in_nme(truth, expected):
    loss = LandmarksLoss("l1", normaliser_index=(0, 1))
    assert value(loss, truth, PREDICTED) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(gradient(loss, truth, PREDICTED)).all()


def test_the_unit_is_taken_from_the_configuration():
    losses, _ = task_losses((POINTS,), Config(training=TrainingConfig(landmark_unit="eyes", landmark_scale=5)))
    assert (losses["landmarks"].normaliser_index, losses["landmarks"].scale) == ((0, 1), 5)
    assert task_losses((POINTS,), Config())[0]["landmarks"].normaliser_index is None


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


COSTS = {  # of "no" and "yes" if "yes" has the probability 3/4
    "cross_entropy": (1.3862944, 0.2876821),
    "focal": (0.7797906, 0.0179801),  # 0.75 ** 2 and 0.25 ** 2 of these
    "asymmetric": (0.2890739, 0.2876821),  # (0.75 - 0.05) ** 4 of -ln(1 - 0.7)
}


@pytest.mark.parametrize("kind", COSTS)
@pytest.mark.parametrize("target", [0, 1, 0.3])
def test_binary_losses_by_hand_of_hard_and_soft_labels(kind, target):
    no, yes = COSTS[kind]
    expected = (1 - target) * no + target * yes
    assert value(AttributesLoss(1, kind=kind), [[target]], [[LN3]]) == pytest.approx(expected, rel=1e-4)
    # a share of 0.2 spread over two classes
    target = 0.8 * target + 0.1
    expected = (1 - target) * no + target * yes
    assert value(AttributesLoss(1, kind=kind, label_smoothing=0.2), [[(target - 0.1) / 0.8]], [[LN3]]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "costs"),
    [
        ("cross_entropy", (math.log(6), LN3, LN2)),
        ("focal", (25 / 36 * math.log(6), 16 / 36 * LN3, 9 / 36 * LN2)),
        ("asymmetric", (math.log(6), LN3, LN2)),  # made for binary labels
    ],
)
def test_categorical_losses_by_hand(kind, costs):
    logits = [[0, LN2, LN3]]  # 1/6, 2/6, 3/6
    for truth in range(3):
        assert value(AttributesLoss(0, [3], kind), [[truth]], logits) == pytest.approx(costs[truth], rel=1e-5)
        smooth = 0.7 * costs[truth] + 0.1 * sum(costs)
        assert value(AttributesLoss(0, [3], kind, label_smoothing=0.3), [[truth]], logits) == pytest.approx(smooth, rel=1e-5)


def test_an_easy_absent_label_costs_an_asymmetric_loss_nothing():
    loss = AttributesLoss(2, kind="asymmetric")
    slope = gradient(loss, [[0, 1]], [[-4.0, -4.0]])  # probability 0.018, below the margin
    assert slope[0, 0] == 0
    assert slope[0, 1] == pytest.approx(-0.982 / 2, rel=1e-2)


def test_class_weights_multiply_the_errors_and_not_the_count():
    weights = [[0.5, 2.0], [1.0, 1.0], [3.0, 1.0, 0.25]]
    no, yes = COSTS["cross_entropy"]
    logits = [[LN3, LN3, 0, LN2, LN3]]
    loss = AttributesLoss(2, [3], class_weights=weights)
    assert value(loss, [[1, 0, 2]], logits) == pytest.approx((2 * yes + no + 0.25 * LN2) / 3, rel=1e-5)
    assert value(loss, [[0, -1, 0]], logits) == pytest.approx((0.5 * no + 3 * math.log(6)) / 2, rel=1e-5)
    assert value(loss, [[0.3, -1, -1]], logits) == pytest.approx(0.7 * 0.5 * no + 0.3 * 2 * yes, rel=1e-5)


def test_smoothing_keeps_the_weight_of_a_label():
    no, yes = COSTS["cross_entropy"]
    loss = AttributesLoss(1, class_weights=[[0.5, 2.0]], label_smoothing=0.2)
    assert value(loss, [[1]], [[LN3]]) == pytest.approx(2 * (0.9 * yes + 0.1 * no), rel=1e-5)


@pytest.mark.parametrize("kind", COSTS)
def test_gradients_of_labels_are_finite_for_any_logit_and_zero_where_one_is_missing(kind):
    logits = np.float32([[1000, -1000, 0, 1000, 0, -1000], [-1000, 1000, 3, 1000, 0, -1000]])
    truth = [[0, 0, -1, 2], [0.5, 1, -1, -1]]
    slope = gradient(AttributesLoss(3, [3], kind, label_smoothing=0.1), truth, logits)
    assert np.isfinite(slope).all()
    assert (slope[:, 2] == 0).all()
    assert (slope[1, 3:] == 0).all()
    assert np.abs(slope[1, 0]) > 0


def test_soft_labels_count_by_their_nearer_class():
    accuracy = LabelAccuracy(2)
    accuracy.update_state(np.float32([[0.7, 0.2], [0.4, -1], [0.6, 1]]), np.float32([[1, -1], [1, 1], [-1, 1]]))
    assert float(accuracy.result()) == pytest.approx(3 / 5)  # 0.4 as yes and 0.6 as no are wrong


# -- the weights of classes -------------------------------------------------------------------------


def test_frequency_weights_by_hand():
    # Male: 3 no, 1 yes: 1 and 3, over their mean of 6 / 4; Smiling: nobody has it; Pose: 2, 2 and none, which counts as one
    targets = np.int8([[0, -1, 0], [0, -1, 0], [0, -1, 1], [1, -1, 1], [-1, -1, -1]])
    male, smiling, pose = frequency_weights(targets, LABELS)
    np.testing.assert_allclose(male, [2 / 3, 2])
    assert smiling == [1, 1]
    np.testing.assert_allclose(pose, [1, 1, 2])


def test_a_class_of_few_samples_weighs_at_most_ten_times_the_commonest():
    task = Attributes(labels=(Label("Bald"),))
    targets = np.int8([[0]] * 1000 + [[1]])
    (no, yes) = frequency_weights(targets, task)[0]
    assert yes / no == pytest.approx(10)
    assert (1000 * no + yes) / 1001 == pytest.approx(1)


def test_losses_take_frequency_weights_from_the_training_part():
    targets = {"attributes": np.int8([[0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 2]])}
    losses, _ = task_losses((POINTS, LABELS), Config(training=TrainingConfig(label_weighting="frequency")), targets)
    assert losses["attributes"].class_weights == frequency_weights(targets["attributes"], LABELS)
    assert task_losses((POINTS, LABELS), Config(), targets)[0]["attributes"].class_weights is None


# -- balance ----------------------------------------------------------------------------------------


def test_the_logarithm_of_a_loss_is_that_of_its_batch_mean():
    loss = LogOf(LandmarksLoss("mse", 10))
    assert value(loss, TRUTH, PREDICTED) == pytest.approx(math.log(4.25), rel=1e-5)
    assert value(loss, [*TRUTH, *PREDICTED], PREDICTED * 2) == pytest.approx(math.log(4.25 / 2), rel=1e-5)


def test_the_gradient_of_a_balanced_loss_is_relative_to_it():
    loss = LandmarksLoss("l1", 10)
    plain = gradient(loss, TRUTH, PREDICTED)
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(gradient(LogOf(loss), TRUTH, PREDICTED), plain / 1.25, rtol=1e-4)
    # so the loss's scale is of no account
    np.testing.assert_allclose(gradient(LogOf(LandmarksLoss("l1", 500)), TRUTH, PREDICTED), plain / 1.25, rtol=1e-4)


def test_a_balanced_loss_of_nothing_is_finite_and_moves_nothing():
    loss = LogOf(LandmarksLoss("l1", 10))
    assert math.isfinite(value(loss, np.full((2, 2, 2), NAN), PREDICTED * 2))
    assert (gradient(loss, np.full((2, 2, 2), NAN), PREDICTED * 2) == 0).all()


def test_losses_by_task_are_balanced_if_asked():
    config = Config(training=TrainingConfig(balance="uncertainty", landmarks_loss="mse", landmark_scale=10, landmarks_weight=3))
    losses, weights = task_losses((POINTS, LABELS), config)
    assert weights == {"landmarks": 3, "attributes": 1}
    assert value(losses["landmarks"], TRUTH, PREDICTED) == pytest.approx(math.log(4.25), rel=1e-5)
    assert value(losses["attributes"], [[1, -1, -1]], [[0, LN3, 0, 0, 0, 0, 0]]) == pytest.approx(math.log(0.2876821), rel=1e-5)


def test_faces_with_few_labels_may_count_as_much_as_others():
    # three faces: two labels that cost ln 2 each, one that costs ln 4, none
    truth = [[1, 0, -1], [1, -1, -1], [-1, -1, -1]]
    logits = [[0, 0, 0, 0, 0, 0, 0], [LN3, 0, 0, 0, 0, 0, 0], [5, 0, 0, 5, 0, 9, 0]]
    by_label = AttributesLoss(2, [3])
    by_face = AttributesLoss(2, [3], by_face=True)
    assert value(by_label, truth, logits) == pytest.approx((LN2 + LN2 + 2 * LN2) / 3, rel=1e-5)
    assert value(by_face, truth, logits) == pytest.approx((LN2 + 2 * LN2) / 2, rel=1e-5)
    assert value(by_face, truth[2:], logits[2:]) == 0
    config = Config(training=TrainingConfig(attributes_mean="faces"))
    assert task_losses((LABELS,), config)[0]["attributes"].by_face
    assert not task_losses((LABELS,), Config())[0]["attributes"].by_face


# -- extremes ---------------------------------------------------------------------------------------


def test_large_logits_give_large_finite_losses():
    assert value(AttributesLoss(1), [[0]], [[1000.0]]) == pytest.approx(1000)
    assert value(AttributesLoss(0, [2 + 1]), [[0]], [[0.0, 1000.0, 0.0]]) == pytest.approx(1000)


# -- both -------------------------------------------------------------------------------------------


def two_headed(optimizer, training=TrainingConfig()):  # noqa: B008
    x = keras.Input((3,))
    points = keras.layers.Reshape((2, 2), name="landmarks")(keras.layers.Dense(4)(x))
    model = keras.Model(x, {"landmarks": points, "attributes": keras.layers.Dense(7, name="attributes")(x)})
    losses, weights = task_losses((POINTS, LABELS), Config(training=training))
    model.compile(optimizer, loss=losses, loss_weights=weights)
    return model


def batch(landmarks, labels):
    x = np.random.default_rng(0).normal(size=(len(labels), 3)).astype("float32")
    return x, {"landmarks": np.float32(landmarks), "attributes": np.int8(labels)}


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_gradients_are_finite_where_something_is_missing(balance):
    keras.utils.set_random_seed(0)
    model = two_headed(keras.optimizers.SGD(0.1), TrainingConfig(balance=balance))
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
    losses, weights = task_losses((POINTS, LABELS), Config(training=training))
    assert weights == {"landmarks": 3, "attributes": 0.5}
    assert value(losses["landmarks"], TRUTH, PREDICTED) == pytest.approx(4.25, rel=1e-5)
    assert (losses["attributes"].binary_count, losses["attributes"].class_counts) == (2, [3])


def test_losses_by_task_take_the_configured_kinds():
    training = TrainingConfig(landmarks_loss="wing", attributes_loss="focal", label_smoothing=0.1)
    losses, _ = task_losses((POINTS, LABELS), Config(training=training))
    assert (losses["landmarks"].kind, losses["attributes"].kind, losses["attributes"].label_smoothing) == ("wing", "focal", 0.1)
    losses, _ = task_losses((POINTS, LABELS), Config(network=NetworkConfig(uncertainty=True)))
    assert losses["landmarks"].kind == "laplace"


@pytest.mark.parametrize(
    "loss",
    [
        LandmarksLoss("l1", 7.0),
        AttributesLoss(2, [3]),
        LogOf(AttributesLoss(1, kind="focal", label_smoothing=0.1, class_weights=[[0.5, 2.0]])),
    ],
)
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

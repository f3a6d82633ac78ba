"""Whether certainty is what it says: calibration errors, temperatures, predicted errors and contradictions by hand."""

import numpy as np
import pytest

from smtn_keras.calibration import best_temperature, calibration, confidence, rank_correlation
from smtn_keras.certainty import sentences
from smtn_keras.contradictions import contradictions, exclusive_pairs
from smtn_keras.errors import UserError
from smtn_keras.losses import probabilities, tempered
from smtn_keras.tasks import Attributes, Label, Landmarks

NAN = float("nan")
HAT = Attributes(labels=(Label("Hat"),))
LABELS = Attributes(labels=(Label("Male"), Label("Hat"), Label("Pose", classes=("left", "frontal", "right"))))
POINTS = Landmarks(points=("left_eye", "right_eye", "nose"))


# -- calibration ------------------------------------------------------------------------------------


def test_the_calibration_error_by_hand():
    # bins are 1/15 wide: 0.9 and 0.91 share one, of which one comes true; 0.2 is alone, 0.5 is in the middle one and has no label
    said, truth = np.float32([[0.9], [0.91], [0.2], [0.5]]), np.int8([[1], [0], [0], [-1]])
    result = calibration(said, truth, HAT)
    assert result["ece"] == {"Hat": pytest.approx(100 * (abs(1.81 - 1) + 0.2) / 3, abs=1e-3)}
    assert result["ece_mean"] == result["ece"]["Hat"]
    assert "temperature" not in result


def test_what_is_said_too_high_and_too_low_does_not_cancel_across_bins():
    said, truth = np.float32([[0.9], [0.1]]), np.int8([[0], [1]])
    assert calibration(said, truth, HAT)["ece"]["Hat"] == pytest.approx(90, abs=1e-3)
    # 14/15 is between these two
    assert calibration(np.float32([[0.92], [0.94]]), truth[::-1], HAT)["ece"]["Hat"] == pytest.approx(100 * (0.08 + 0.94) / 2, abs=1e-3)
    assert calibration(np.float32([[1.0], [0.0]]), np.int8([[1], [0]]), HAT)["ece"]["Hat"] == 0  # 1 is in the last bin


def test_each_class_of_a_categorical_label_has_an_error_and_a_label_that_is_missing_none():
    said = np.float32([[0.5, 0.5, 0.2, 0.7, 0.1]])
    result = calibration(said, np.int8([[1, -1, 1]]), LABELS)
    expected = {"Male": 50, "Hat": None, "Pose=left": 20, "Pose=frontal": 30, "Pose=right": 10}
    assert result["ece"] == {name: value if value is None else pytest.approx(value, abs=1e-3) for name, value in expected.items()}
    assert result["ece_mean"] == pytest.approx((50 + 20 + 30 + 10) / 4, abs=1e-3)


def test_a_model_that_is_right_is_off_by_chance_on_few_samples_only():
    rng = np.random.default_rng(1)
    few, many = (np.full((count, 1), 0.5) for count in (16, 4096))
    truth = [np.int8(rng.random(part.shape) < part) for part in (few, many)]
    by_chance = [calibration(part, labels, HAT)["ece_by_chance"] for part, labels in zip((few, many), truth, strict=True)]
    # the mean distance of a share of n throws from a half is sqrt(1 / (2 pi n)): 10 % of 16, 0.6 % of 4096
    assert by_chance == [pytest.approx(10, abs=4), pytest.approx(0.62, abs=0.25)]
    assert calibration(many, truth[1], HAT)["ece_mean"] < 2.5


# -- temperature ------------------------------------------------------------------------------------


def test_a_temperature_divides_the_logits():
    logits = np.float32([[1.5, -4.0, 2.0, 0.0, -1.0], [-0.5, 0.0, 0.0, 3.0, 1.0]])
    for temperature in (0.5, 1.0, 3.0):
        after = tempered(probabilities(logits, LABELS), LABELS, temperature)
        np.testing.assert_allclose(after, probabilities(logits / temperature, LABELS), atol=1e-6)
    sure = np.float32([[1.0, 0.0, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(tempered(sure, LABELS, 2.0), sure)


def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5)).astype("float32")
    right = np.asarray(probabilities(logits, LABELS))
    pose = (rng.random((4000, 1)) > right[:, 2:].cumsum(1)[:, :2]).sum(1)
    truth = np.column_stack([rng.random(4000) < right[:, 0], rng.random(4000) < right[:, 1], pose]).astype("int8")
    truth[::10, 0] = -1
    for temperature in (0.4, 1.0, 2.5):
        said = np.asarray(tempered(right, LABELS, 1 / temperature))  # too sure by that temperature
        assert best_temperature([(LABELS, said, truth)]) == pytest.approx(temperature, rel=0.05)
    halves = [(LABELS, said[part], truth[part]) for part in (slice(0, 2000), slice(2000, None))]
    assert best_temperature(halves) == pytest.approx(2.5, rel=0.05)  # of several data sets as of one
    result = calibration(said, truth, LABELS, 2.5)
    assert result["ece_mean_tempered"] < 3 < 7 < result["ece_mean"]
    assert result["ece_tempered"].keys() == result["ece"].keys()


def test_the_temperature_is_that_of_least_cross_entropy():
    pose, rng = Attributes(labels=LABELS.categorical), np.random.default_rng(3)
    said = rng.dirichlet([0.3, 0.5, 1], 300).astype("float32")
    truth = np.int8([[rng.choice(3, p=p / p.sum() * 0.6 + [0.1, 0.1, 0.2])] for p in np.float64(said)])

    def entropy(temperature):
        powers = np.float64(said) ** (1 / temperature)
        return -np.log((powers / powers.sum(1, keepdims=True))[np.arange(300), truth[:, 0]]).mean()

    grid = np.geomspace(0.1, 10, 2000)
    assert best_temperature([(pose, said, truth)]) == pytest.approx(grid[np.argmin([entropy(t) for t in grid])], rel=0.005)


def test_without_labels_there_is_no_temperature():
    with pytest.raises(UserError, match="--calibrate: expected labels in the validation part, got none"):
        best_temperature([(HAT, np.float32([[0.5]]), np.int8([[-1]]))])


# -- points -----------------------------------------------------------------------------------------


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([10, 20, 30, 1000])) == 1
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1])) == -1
    assert rank_correlation(np.array([1, 2, 3]), np.array([2, 1, 3])) == 0.5  # 1 - 6 (1 + 1 + 0) / (3 * 8)
    # ranks 1.5, 1.5, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert rank_correlation(np.array([1, 1, 2, 3]), np.array([1, 2, 3, 4])) == pytest.approx(0.9487, abs=1e-3)
    assert rank_correlation(np.array([1, 1, 1]), np.array([1, 2, 3])) is None


def test_confidence_by_hand():
    # ten images of 100 x 100 pixels with eyes 40 px apart; image i is off by i + 1/4 px in y at each point, the last has no truth
    truth = np.repeat(np.float32([[[30, 40], [70, 40], [50, 60]]]), 11, axis=0)
    off = np.append(np.arange(10) + 0.25, 50)
    landmarks = (truth + np.float32([0, 1]) * off[:, None, None]) / 100
    truth[10] = NAN
    said = np.repeat(off[:, None] / 200, 3, axis=1)  # x is right, so of a coordinate it is half
    said[[8, 9]] = said[[9, 8]]  # two change places: the worst is not left out, but the last but one
    result = confidence(said, landmarks, truth, np.int32([[100, 100]] * 11), POINTS)
    assert result == {
        "rank_correlation": pytest.approx(1 - 6 * 2 / (10 * 99), abs=1e-4),
        "nme_surest": pytest.approx(100 * ((sum(range(8)) + 9) / 9 + 0.25) / 40, abs=1e-3),
        "failure_rate_surest": pytest.approx(100 * 5 / 9, abs=1e-3),  # 4, 5, 6, 7 and 9 of at most 4 px
        "nme_best": pytest.approx(100 * (sum(range(9)) / 9 + 0.25) / 40, abs=1e-3),
        "said": pytest.approx(2.375, abs=1e-3),
        "found": pytest.approx(2.375, abs=1e-3),
    }
    (line,) = sentences({"landmarks": {"metrics": {"samples": 10, "confidence": result}}})
    assert f"rank correlation with the true ones {result['rank_correlation']}" in line and "was by 2.3" in line


# -- contradictions ---------------------------------------------------------------------------------

THREE = Attributes(labels=(Label("Bald"), Label("Bangs"), Label("Young"), Label("Pose", classes=("left", "frontal", "right"))))


def training_labels(bald=20, bangs=50, both=0, count=100):
    """So many samples, the first of them bald and those behind with bangs, all young."""
    labels = np.zeros((count, 4), np.int8)
    labels[:bald, 0] = labels[bald - both : bald - both + bangs, 1] = labels[:, 2] = 1
    return labels


def test_a_pair_is_exclusive_if_it_never_stands_together_though_ten_would_by_chance():
    assert exclusive_pairs(training_labels(), THREE) == [(0, 1)]  # 20 * 50 / 100 = 10 by chance
    assert exclusive_pairs(training_labels(bald=19), THREE) == []  # 9.5
    assert exclusive_pairs(training_labels(both=1), THREE) == []  # one there is


def test_only_samples_that_have_both_labels_count():
    labels = np.concatenate([training_labels(), training_labels()])
    labels[100:, 1] = -1  # half of them say nothing of bangs: still 10 by chance, not 40 * 50 / 200 of all
    labels[100:, 0] = 1
    assert exclusive_pairs(labels, THREE) == [(0, 1)]
    labels[0, 1] = -1  # 19 * 50 / 99
    assert exclusive_pairs(labels, THREE) == []


def test_contradictions_are_counted_in_predictions_and_labels():
    said = np.int8([[1, 1, 0, 1], [1, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 2]])
    truth = np.int8([[1, 0, 0, 1], [1, 1, 1, 0], [-1, 1, 1, 0], [0, 1, 1, 2]])
    result = contradictions(said, truth, training_labels(), THREE)
    assert result == {"known": 1, "images": 2, "images_in_truth": 1, "pairs": {"Bald + Bangs": 2}}
    (line,) = sentences({"attributes": {"metrics": {"samples": 4, "contradictions": result}}})
    assert "2 of 4 images (by their own labels 1) show one of 1 pairs" in line and line.endswith("Bald + Bangs 2.")
    none = contradictions(said, truth, training_labels(both=1), THREE)
    assert none == {"known": 0, "images": 0, "images_in_truth": 0, "pairs": {}}

"""Metrics by hand, and those of the training against those of the report."""

import math

import numpy as np
import pytest

from smtn_keras.metrics import (
    ALPHA,
    NME,
    THRESHOLDS,
    LabelAccuracy,
    SuccessRate,
    attribute_metrics,
    floor_metrics,
    landmark_metrics,
    task_metrics,
)
from smtn_keras.tasks import Attributes, Label, Landmarks

NAN = float("nan")
POINTS = Landmarks(points=("left_eye", "right_eye", "nose"))
LABELS = Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right"))))

# A frame of 200 x 100 pixels with eyes 40 px apart: success is an error of at most 4 px.
SIZE = (200, 100)
TRUTH_PX = [[[60, 40], [100, 40], [80, 60]]] * 2
# off by 3 px in x; 3 px in y, which in x would be 6 px; 7 px in x, which in y would be 3.5 px: 13 / 3 / 40 on average
FIRST_UNIT = [[0.315, 0.40], [0.50, 0.43], [0.435, 0.60]]
FIRST_NME = 13 / 3 / 40
# off by 4.5 px (2.7, 3.6); 0; 0: 4.5 / 3 / 40 on average
SECOND_UNIT = [[0.3135, 0.436], [0.50, 0.40], [0.40, 0.60]]
SECOND_NME = 1.5 / 40


def measured(landmarks_unit, truth_px, sizes=None):
    truth_px = np.float32(truth_px)
    return landmark_metrics(np.float32(landmarks_unit), truth_px, np.int32(sizes or [SIZE] * len(truth_px)), POINTS)


def watched(metric, truth, predicted, batch=3):
    for start in range(0, len(truth), batch):
        metric.update_state(np.asarray(truth)[start : start + batch], np.asarray(predicted)[start : start + batch])
    return float(metric.result())


# -- landmarks --------------------------------------------------------------------------------------


def test_success_nme_and_failures_by_hand_in_original_pixels():
    others = ("worst", "success_by_yaw", "success_curve")  # which have tests of their own
    assert {k: v for k, v in measured([FIRST_UNIT, SECOND_UNIT], TRUTH_PX).items() if k not in others} == {
        "samples": 2,
        "success_rate": {"left_eye": 50.0, "right_eye": 100.0, "nose": 50.0},  # 3 and 4.5; 3 and 0; 7 and 0 px
        "success_rate_average": pytest.approx(200 / 3, abs=1e-3),
        "nme": pytest.approx(7.2917, abs=1e-3),  # the mean of 10.8333 % and 3.75 %
        "failure_rate": 50.0,  # 10.8 % is above 10 %
    }


def test_the_curve_of_success_by_hand():
    # of 40 px: the left eye 7.5 and 11.25 %, the right 7.5 and 0, the nose 17.5 and 0
    curve = dict(zip(THRESHOLDS, measured([FIRST_UNIT, SECOND_UNIT], TRUTH_PX)["success_curve"], strict=True))
    assert [curve[t] for t in (0.07, 0.08, 0.12, 0.17, 0.18, 0.3)] == pytest.approx(
        [100 / 3, 200 / 3, 250 / 3, 250 / 3, 100, 100], abs=1e-3
    )
    assert curve[ALPHA] == measured([FIRST_UNIT, SECOND_UNIT], TRUTH_PX)["success_rate_average"]


def test_a_failure_is_an_image_whose_mean_error_is_above_a_tenth():
    almost = [FIRST_UNIT[0], FIRST_UNIT[1], [0.429, 0.60]]  # (3 + 3 + 5.8) / 3 = 3.93 px of 4 px, though one point is off by more
    assert measured([FIRST_UNIT, FIRST_UNIT], TRUTH_PX)["failure_rate"] == 100
    assert measured([almost, SECOND_UNIT], TRUTH_PX)["failure_rate"] == 0


def test_each_image_is_measured_in_its_own_frame():
    # 0.02 of a width of 200 are 4 px of 40 px; of a width of 100 with eyes 40 px apart they are 2 px
    truth = [[[60, 40], [100, 40], [80, 60]], [[30, 40], [70, 40], [50, 60]]]
    sizes = [(200, 100), (100, 100)]
    unit = np.float32(truth) / np.float32(sizes)[:, None] + np.float32([0.02, 0])
    assert measured(unit, truth, sizes)["nme"] == pytest.approx((10 + 5) / 2, abs=1e-3)


def test_missing_points_are_left_out():
    truth = [TRUTH_PX[0], [[60, 40], [100, 40], [NAN, NAN]]]
    result = measured([FIRST_UNIT, SECOND_UNIT], truth)
    assert result["samples"] == 2
    assert result["success_rate"] == {"left_eye": 50.0, "right_eye": 100.0, "nose": 0.0}
    assert result["nme"] == pytest.approx(100 * (FIRST_NME + 4.5 / 2 / 40) / 2, abs=1e-3)


def test_images_without_points_or_without_an_eye_are_not_counted():
    nothing, one_eyed = np.full((3, 2), NAN), [[NAN, NAN], [100, 40], [80, 60]]
    result = measured([FIRST_UNIT, SECOND_UNIT, SECOND_UNIT], [TRUTH_PX[0], nothing, one_eyed])
    assert result["samples"] == 1
    assert result["nme"] == pytest.approx(100 * FIRST_NME, abs=1e-3)


def test_nothing_to_measure_gives_none():
    result = measured([FIRST_UNIT], np.full((1, 3, 2), NAN))
    assert result["samples"] == 0
    assert {result[key] for key in ("success_rate_average", "nme", "failure_rate")} == {None}


def test_a_prediction_that_is_no_number_is_not_passed_over():
    result = measured([np.full((3, 2), NAN), SECOND_UNIT], TRUTH_PX)
    assert result["samples"] == 2
    assert result["success_rate"]["right_eye"] == 50
    assert result["failure_rate"] == 50


@pytest.fixture
def random_points():
    """Sixty images of 80 x 100 pixels; predictions about as good as a tenth of the eyes' distance."""
    rng = np.random.default_rng(0)
    truth_px = np.float32([[25, 40], [55, 42], [40, 60]]) + rng.normal(0, 4, (60, 3, 2)).astype("float32")
    predicted_px = truth_px + rng.normal(0, 2.5, truth_px.shape).astype("float32")
    return truth_px, predicted_px / np.float32([80, 100]), np.int32([[80, 100]] * 60)


@pytest.mark.parametrize("missing", [False, True])
def test_what_a_training_watches_is_what_the_report_says(random_points, missing):
    truth_px, unit, sizes = random_points
    if missing:
        truth_px[::7] = NAN
    report = landmark_metrics(unit, truth_px, sizes, POINTS)
    success, nme = task_metrics((POINTS,), aspect=100 / 80)["landmarks"]
    assert 20 < report["success_rate_average"] < 90
    assert 100 * watched(success, truth_px / sizes[:, None], unit) == pytest.approx(report["success_rate_average"], abs=1e-2)
    assert 100 * watched(nme, truth_px / sizes[:, None], unit) == pytest.approx(report["nme"], abs=1e-2)


def test_the_watched_metrics_count_each_present_point_once():
    # left eye missing in image 2, so its distance of the eyes is unknown; the nose missing in image 3
    truth = np.float32([TRUTH_PX[0], [[NAN, NAN], [100, 40], [80, 60]], [[60, 40], [100, 40], [NAN, NAN]]]) / SIZE
    predicted = [FIRST_UNIT, SECOND_UNIT, SECOND_UNIT]
    # present: 3, 3 and 7 px, none, 4.5 and 0 px
    assert watched(SuccessRate((0, 1), 0.5), truth, predicted) == pytest.approx(3 / 5)
    assert watched(NME((0, 1), 0.5), truth, predicted) == pytest.approx(17.5 / 5 / 40, rel=1e-5)


def test_eyes_on_one_spot_spoil_no_metric():
    truth_px = np.float32([TRUTH_PX[0], [[60, 40], [60, 40], [80, 60]]])
    predicted = [FIRST_UNIT, SECOND_UNIT]
    assert measured(predicted, truth_px)["samples"] == 1
    assert measured(predicted, truth_px)["nme"] == pytest.approx(100 * FIRST_NME, abs=1e-3)
    assert watched(NME((0, 1), 0.5), truth_px / SIZE, predicted) == pytest.approx(FIRST_NME, rel=1e-4)
    assert watched(SuccessRate((0, 1), 0.5), truth_px / SIZE, predicted) == pytest.approx(2 / 3)


def test_a_watched_prediction_that_is_no_number_does_not_pass_for_a_good_one():
    truth = np.float32(TRUTH_PX) / SIZE
    predicted = [np.full((3, 2), NAN), SECOND_UNIT]
    assert watched(SuccessRate((0, 1), 0.5), truth, predicted) == pytest.approx(2 / 6)
    assert not watched(NME((0, 1), 0.5), truth, predicted) < 0.1


def test_a_watched_metric_starts_anew_each_epoch():
    metric = NME((0, 1), 0.5)
    truth = np.float32(TRUTH_PX) / SIZE
    assert watched(metric, truth[:1], [FIRST_UNIT]) == pytest.approx(FIRST_NME, rel=1e-4)
    metric.reset_state()
    assert watched(metric, truth[:1], [SECOND_UNIT]) == pytest.approx(SECOND_NME, rel=1e-4)


# -- attributes -------------------------------------------------------------------------------------


def test_accuracy_and_balanced_accuracy_by_hand():
    truth = np.int8([[1, 0, 2], [1, 0, 1], [1, 0, 2], [0, -1, 0], [-1, -1, -1]])
    classes = np.int8([[1, 0, 2], [1, 1, 1], [0, 0, 0], [0, 0, 1], [1, 1, 1]])
    assert attribute_metrics(classes, truth, LABELS) == {
        "samples": 4,
        "accuracy": {"Male": 75.0, "Smiling": pytest.approx(66.6667), "Pose": 50.0},  # 3 of 4, 2 of 3, 2 of 4
        "accuracy_mean": pytest.approx(63.8889),
        # Male: yes 2 of 3, no 1 of 1; Smiling: no 2 of 3, no yes occurs; Pose: left 0 of 1, frontal 1 of 1, right 1 of 2
        "balanced_accuracy": {"Male": pytest.approx(83.3333, abs=1e-3), "Smiling": pytest.approx(66.6667), "Pose": 50.0},
        "balanced_accuracy_mean": pytest.approx(66.6667, abs=1e-3),
        "confusion": {"Male": [[1, 0], [1, 2]], "Smiling": [[2, 1], [0, 0]], "Pose": [[0, 1, 0], [0, 1, 0], [1, 0, 1]]},
    }


def test_a_label_that_no_sample_has_is_none_and_left_out_of_the_means():
    result = attribute_metrics(np.int8([[1, 1, 2]]), np.int8([[1, -1, 0]]), LABELS)
    assert result["accuracy"] == {"Male": 100.0, "Smiling": None, "Pose": 0.0}
    assert result["accuracy_mean"] == 50
    assert result["balanced_accuracy"]["Smiling"] is None


@pytest.mark.parametrize("softmax", [True, False])
def test_the_watched_accuracy_is_the_reports(softmax):
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.integers(-1, 2, (50, 2)), rng.integers(-1, 3, (50, 1))], axis=1).astype("int8")
    outputs = rng.normal(size=(50, (4 if softmax else 2) + 3)).astype("float32")
    binary = outputs[:, 1:4:2] > outputs[:, 0:4:2] if softmax else outputs[:, :2] > 0
    classes = np.column_stack([binary, outputs[:, -3:].argmax(1)]).astype("int8")
    report = attribute_metrics(classes, truth, LABELS)
    counts = (truth >= 0).sum(0)
    pooled = sum(rate * count for rate, count in zip(report["accuracy"].values(), counts, strict=True)) / counts.sum()
    (metric,) = task_metrics((LABELS,), aspect=1)["attributes"]
    assert isinstance(metric, LabelAccuracy)
    assert 100 * watched(metric, truth, outputs) == pytest.approx(pooled, abs=1e-2)


# -- floors -----------------------------------------------------------------------------------------


def test_the_landmarks_floor_is_the_mean_shape_of_the_training_part():
    # the mean in [0, 1]: a frame of 200 x 100 and one of 100 x 100; the second has no nose
    train = {
        "landmarks": np.float32([[[60, 40], [100, 40], [80, 60]], [[40, 40], [70, 44], [NAN, NAN]]]),
        "size": np.int32([[200, 100], [100, 100]]),
    }
    # left eye (0.3 + 0.4) / 2 = 0.35, 0.4; right eye (0.5 + 0.7) / 2 = 0.6, 0.42; nose 0.4, 0.6
    test = {"landmarks": np.float32([TRUTH_PX[0]]), "size": np.int32([SIZE])}
    # errors: left eye 70 - 60 = 10 px; right eye 120 - 100 = 20 and 2 px; nose 0
    expected = (10 + math.hypot(20, 2) + 0) / 3 / 40
    result = floor_metrics(POINTS, train, test)
    assert result["nme"] == pytest.approx(100 * expected, abs=1e-2)
    assert result["success_rate"] == {"left_eye": 0.0, "right_eye": 0.0, "nose": 100.0}


def test_the_attributes_floor_is_the_majority_of_the_training_part():
    train = {"attributes": np.int8([[1, 0, 2], [1, -1, 2], [0, 0, 1], [-1, 1, -1]])}  # majorities yes, no, right
    test = {"attributes": np.int8([[1, 1, 2], [0, 0, 2], [0, 0, -1]])}
    result = floor_metrics(LABELS, train, test)
    assert result["accuracy"] == {"Male": pytest.approx(33.3333), "Smiling": pytest.approx(66.6667), "Pose": 100.0}
    assert result["balanced_accuracy"] == {"Male": 50.0, "Smiling": 50.0, "Pose": 100.0}

"""The descriptions of tasks: what a mirroring does, round trips, refusals."""

import json

import numpy as np
import pytest

from smtn_keras.errors import UserError
from smtn_keras.tasks import MISSING, Attributes, Label, Landmarks, tasks_from_json, tasks_to_json

FIVE = Landmarks(
    points=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    flip_pairs=(("left_eye", "right_eye"), ("left_mouth", "right_mouth")),
)
CAT = Landmarks(points=("chin", "a", "b"), flip_pairs=(("b", "a"),), normaliser=("a", "b"), name="cat")
LABELS = Attributes(
    labels=(
        Label("Male"),
        Label("Looks_Left", classes=("no", "yes"), flip=None),
        Label("Pose", ("left", "frontal", "right", "up"), (2, 1, 0, 3)),
    )
)


def test_flip_order_exchanges_the_pairs_and_keeps_the_rest():
    assert FIVE.flip_order == [1, 0, 2, 4, 3]
    assert CAT.flip_order == [0, 2, 1]
    assert Landmarks(points=("left_eye", "right_eye", "nose")).flip_order == [0, 1, 2]


def test_mirrored_landmarks_change_sides_and_names():
    unit = np.float32([[0.3, 0.4], [0.7, 0.45], [0.6, 0.5], [0.35, 0.8], [0.65, 0.75]])
    # each x becomes 1 - x, and what was the right eye at 0.7 is the left one at 0.3
    mirrored = [[0.3, 0.45], [0.7, 0.4], [0.4, 0.5], [0.35, 0.75], [0.65, 0.8]]
    np.testing.assert_allclose(FIVE.flip(unit), mirrored, rtol=1e-6)
    assert FIVE.flip(unit).dtype == np.float32


def test_mirroring_twice_gives_the_landmarks_back():
    unit = np.random.default_rng(0).random((5, 2), np.float32)
    np.testing.assert_allclose(FIVE.flip(FIVE.flip(unit)), unit, atol=1e-6)


def test_a_missing_landmark_changes_sides_too():
    unit = np.float32([[np.nan, np.nan], [0.7, 0.45], [0.6, 0.5], [0.35, 0.8], [0.65, 0.75]])
    assert np.isnan(FIVE.flip(unit)).tolist() == [[False, False], [True, True], *[[False, False]] * 3]


@pytest.mark.parametrize(
    ("labels", "mirrored"),
    [([1, 0, 0], [1, 0, 2]), ([0, 1, 2], [0, 1, 0]), ([0, 1, 1], [0, 1, 1]), ([1, 1, 3], [1, 1, 3]), ([-1, 0, -1], [-1, 0, -1])],
)
def test_mirrored_labels_follow_their_flip_map(labels, mirrored):
    labels = np.int8(labels)
    before = labels.copy()
    flipped = LABELS.flip(labels)
    assert flipped.tolist() == mirrored
    assert flipped.dtype == np.int8
    np.testing.assert_array_equal(labels, before)


def test_a_binary_label_may_have_sides():
    winks = Attributes(labels=(Label("Winks", classes=("left", "right"), flip=(1, 0)),))
    assert [winks.flip(np.int8([label])).tolist() for label in (0, 1, MISSING)] == [[1], [0], [MISSING]]


def test_names_and_sizes():
    assert FIVE.shape == (5, 2)
    assert FIVE.normaliser_index == (0, 1)
    assert CAT.normaliser_index == (1, 2)
    assert LABELS.shape == (3,)
    assert LABELS.binary_count == 2
    assert [label.name for label in LABELS.categorical] == ["Pose"]
    assert LABELS.probability_names == ["Male", "Looks_Left", "Pose=left", "Pose=frontal", "Pose=right", "Pose=up"]


def test_likeliest_classes():
    probabilities = np.float32([[0.9, 0.2, 0.1, 0.2, 0.4, 0.3], [0.49, 0.51, 0.6, 0.2, 0.1, 0.1]])
    classes = LABELS.classes_from(probabilities)
    assert classes.tolist() == [[1, 0, 2], [0, 1, 0]]
    assert classes.dtype == np.int8


def test_likeliest_classes_without_binary_or_without_categorical_labels():
    assert Attributes(labels=LABELS.labels[2:]).classes_from(np.float32([[0.1, 0.2, 0.3, 0.4]])).tolist() == [[3]]
    assert Attributes(labels=LABELS.labels[:2]).classes_from(np.float32([[0.1, 0.8]])).tolist() == [[0, 1]]


def test_tasks_survive_json():
    tasks = (FIVE, CAT, LABELS)
    assert tasks_from_json(json.loads(json.dumps(tasks_to_json(tasks)))) == tasks
    assert hash(tasks_from_json(tasks_to_json(tasks))) == hash(tasks)  # tuples again, not lists


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ({"points": ("a", "b")}, "left_eye|right_eye"),  # the default normaliser
        ({"points": ("a", "b"), "normaliser": ("a", "c")}, "'c'"),
        ({"points": ("a", "b"), "normaliser": ("a", "b"), "flip_pairs": (("a", "ear"),)}, "'ear'"),
    ],
)
def test_landmarks_refuse_names_that_are_no_points(description, named):
    with pytest.raises(UserError, match=rf"task 'landmarks': expected one of the points a, b, got .*({named})"):
        Landmarks(**description)


def test_attributes_refuse_categorical_labels_before_binary_ones():
    with pytest.raises(UserError, match=r"binary labels before categorical ones, got \['Pose', 'Male'\]"):
        Attributes(labels=(LABELS.labels[2], LABELS.labels[0]))

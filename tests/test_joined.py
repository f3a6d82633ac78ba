"""Several data sets trained as one: tasks matched by name, what a face lacks is missing, and sets are drawn as asked."""

import dataclasses

import numpy as np
import pytest
import tiny

from smtn_keras import evaluate, fit, runs
from smtn_keras.config import Config, DataConfig, NetworkConfig, TrainingConfig, read_config
from smtn_keras.data.pipeline import training_batches
from smtn_keras.data.prepared import open_prepared, open_sets
from smtn_keras.errors import UserError
from smtn_keras.tasks import Attributes, Label, Landmarks, joint_tasks

HAIR = Label("Hair", classes=("none", "short", "long"))


# -- tasks ------------------------------------------------------------------------------------------


def test_points_and_labels_of_one_name_are_one_and_binary_labels_come_first():
    ours = (tiny.POINTS, Attributes(labels=(Label("Male"), HAIR)))
    theirs = (tiny.POINTS, Attributes(labels=(Label("Smiling"), Label("Male"))))
    points, attributes = joint_tasks([ours, theirs])
    assert points == tiny.POINTS
    assert [label.name for label in attributes.labels] == ["Male", "Smiling", "Hair"]


def test_a_task_that_one_set_lacks_is_a_task_of_the_whole():
    assert joint_tasks([(tiny.POINTS,), (tiny.LABELS,)]) == (tiny.POINTS, tiny.LABELS)


def test_more_points_make_a_larger_task_with_both_flip_rules():
    chin = Landmarks(points=("left_eye", "right_eye", "left_ear", "right_ear"), flip_pairs=(("left_ear", "right_ear"),))
    (joint,) = joint_tasks([(tiny.POINTS,), (chin,)])
    assert joint.points == (*tiny.POINTS.points, "left_ear", "right_ear")
    assert joint.flip_order == [1, 0, 2, 4, 3, 6, 5]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (Attributes(labels=(Label("Hair", classes=("no", "yes")),)), "label 'Hair': expected the same classes"),
        (Landmarks(points=("left_eye", "right_eye"), name="attributes"), "task 'attributes': expected one kind of task"),
    ],
)
def test_what_shares_a_name_and_is_something_else_is_refused(other, sentence):
    with pytest.raises(UserError, match=sentence):
        joint_tasks([(Attributes(labels=(HAIR,)),), (other,)])


def test_another_normaliser_is_refused():
    with pytest.raises(UserError, match="expected joined data sets with one normaliser"):
        joint_tasks([(tiny.POINTS,), (dataclasses.replace(tiny.POINTS, normaliser=("left_eye", "nose")),)])


# -- samples ----------------------------------------------------------------------------------------


def test_samples_keep_what_they_have_and_miss_the_rest(tiny_dir):
    _, other = open_sets(("tiny", "tinyother"), tiny_dir)
    assert other.tasks == tiny.TASKS
    published = open_prepared("tinyother", tiny_dir).targets("train")
    targets = other.targets("train")
    np.testing.assert_array_equal(targets["landmarks"], published["landmarks"])
    np.testing.assert_array_equal(targets["attributes"][:, :1], published["attributes"])
    assert (targets["attributes"][:, 1:] == -1).all() and targets["attributes"].dtype == np.int8


def test_a_set_described_by_other_points_has_them_by_name(tiny_dir):
    fewer = Landmarks(points=("nose", "right_eye", "left_eye", "chin"))
    described = open_prepared("tiny", tiny_dir).described_by((fewer, Attributes(labels=(Label("Hat"),), name="clothes")))
    record, published = described.source("test")[0], tiny.example("test", 0).targets["landmarks"]
    np.testing.assert_array_equal(record["landmarks"][:3], published[[2, 1, 0]])
    assert np.isnan(record["landmarks"][3]).all()
    assert record["clothes"].tolist() == [-1]
    # twice described is described from the records, not from the first description
    again = described.described_by(tiny.TASKS)
    np.testing.assert_array_equal(again.targets("test")["landmarks"], open_prepared("tiny", tiny_dir).targets("test")["landmarks"])


def shares(tiny_dir, steps=24, **data):
    """How many pictures of each batch come from tinyother, which lack the second label."""
    sets = open_sets(("tiny", "tinyother"), tiny_dir)
    config = Config(
        data=DataConfig(data="tiny+tinyother", **data),
        network=NetworkConfig(image_size=16),
        training=TrainingConfig(batch_size=10),
    )
    dataset, per_epoch = training_batches(sets, config)
    stream = iter(dataset)
    # of tiny's pictures each seventh may lack that label as well, but then its first or third one too
    counts = [int(((t["attributes"][:, 1] == -1) & (t["attributes"][:, 2] == -1)).sum()) for _, t in (next(stream) for _ in range(steps))]
    return counts, per_epoch


def test_batches_hold_the_sets_by_their_sizes(tiny_dir):
    counts, steps = shares(tiny_dir)
    assert steps == (96 + 4) // 10
    assert sum(counts[:10]) == 4 and sum(counts[10:20]) == 4


def test_sampling_weights_decide_how_often_a_set_is_drawn_from(tiny_dir):
    counts, steps = shares(tiny_dir, sampling=(1.0, 1.0))
    assert counts == [5] * 24 and steps == 10
    assert shares(tiny_dir, sampling=(4.0, 1.0))[0] == [2] * 24


def test_a_part_of_the_pictures_is_the_same_each_epoch_and_another_with_another_seed(tiny_dir):
    def seen(seed, epochs):
        config = Config(
            data=DataConfig(samples=20, flip=False, shift=0, scale=0, rotation=0, colour=0),
            network=NetworkConfig(image_size=16),
            training=TrainingConfig(batch_size=10, seed=seed),
        )
        dataset, steps = training_batches((open_prepared("tiny", tiny_dir),), config)
        assert steps == 2
        stream = iter(dataset)
        return {image.tobytes() for _ in range(epochs * steps) for image in next(stream)[0]}

    assert len(seen(0, 1)) == 20
    assert seen(0, 4) == seen(0, 1) != seen(1, 1)


# -- training ---------------------------------------------------------------------------------------


def test_joined_sets_train_one_model_that_is_measured_on_each(tiny_dir, tmp_path, capsys):
    run = tmp_path / "joined"
    argv = tiny.flags(tiny_dir, *tiny.NARROW, "--epochs", "1", "--run", str(run), "--sampling", "3", "1", data="tiny+tinyother")
    fit.main(argv)
    assert read_config(run).data.sampling == (3, 1)
    row = runs.read_history(run)[0]
    assert {"val_tiny_landmarks_nme", "val_tinyother_landmarks_nme", "val_tinyother_attributes_accuracy_mean"} <= row.keys()
    card = runs.read_data_card(run)
    assert (card["name"], card["counts"]["train"], card["licence"]) == ("tiny+tinyother", 100, "anything goes")
    capsys.readouterr()
    evaluate.main(["--run", str(run), "--split", "test"])
    assert runs.read_metrics(run).keys() == {"tiny/test", "tinyother/test"}
    said = capsys.readouterr().out
    assert said.index("tiny/test") < said.index("tinyother/test")


def test_a_set_named_twice_and_wrong_weights_are_refused():
    with pytest.raises(UserError, match="expected each data set once"):
        DataConfig(data="tiny+tiny")
    with pytest.raises(UserError, match=r"--sampling: expected 2 positive numbers"):
        DataConfig(data="tiny+tinyother", sampling=(1.0,))
    with pytest.raises(UserError, match=r"--sampling: expected 2 positive numbers"):
        DataConfig(data="tiny+tinyother", sampling=(1.0, 0.0))

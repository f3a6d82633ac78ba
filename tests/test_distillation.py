"""Distillation: its distance by hand, what a teacher changes, and that it stays out of the student's files."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny

from smtn_keras import fit, runs
from smtn_keras.config import read_config
from smtn_keras.distillation import distance, taught
from smtn_keras.losses import task_losses
from smtn_keras.networks import build
from smtn_keras.tasks import Attributes, Label, Landmarks

LABELS = Attributes(labels=(Label("Smiling"), Label("Pose", classes=("left", "frontal", "right"))))


def logit(probability):
    return math.log(probability / (1 - probability))


def test_the_distance_of_landmarks_is_the_mean_of_their_coordinates():
    task = Landmarks(points=("left_eye", "right_eye"))
    student = np.float32([[[0.5, 0.5, -3], [0.1, 0.2, -3]]])  # a log scale behind x and y takes no part
    teacher = np.float32([[[0.6, 0.5, 9], [0.1, 0.5, 9]]])
    assert float(distance(student, teacher, task, 20)) == pytest.approx(20 * (0.1 + 0.3) / 4)


def test_the_distance_of_attributes_is_the_cross_entropy_of_each_label():
    student = np.float32([[logit(0.8), math.log(2), 0, 0]])  # the classes of the pose: 1/2, 1/4 and 1/4
    teacher = np.float32([[logit(0.6), 0, 0, 0]])
    smiling = -0.6 * math.log(0.8) - 0.4 * math.log(0.2)
    pose = -(math.log(1 / 2) + 2 * math.log(1 / 4)) / 3
    assert float(distance(student, teacher, LABELS, 20)) == pytest.approx((smiling + pose) / 2, rel=1e-5)


def test_a_sure_teacher_gives_a_finite_distance():
    assert np.isfinite(float(distance(np.float32([[99, 99, 0, 0]]), np.float32([[-99, 0, 99, 0]]), LABELS, 20)))


def config_of(teacher, **training):
    config = read_config(teacher)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, teacher=str(teacher), **training))


def test_a_student_like_its_teacher_learns_nothing_from_it_and_another_does(tiny_stage1):
    config = config_of(tiny_stage1, attributes_weight=0)
    teacher = runs.load(tiny_stage1).model
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")

    def lesson(model):
        student = taught(model, config, tiny.TASKS)
        return float(student.lesson(images, student(images, training=False)))

    assert lesson(teacher) == pytest.approx(0, abs=1e-6)
    assert lesson(build(config, tiny.TASKS)) > 0.01


def test_a_teacher_teaches_labels_that_the_faces_lack(tiny_stage1):
    config = config_of(tiny_stage1, optimizer="sgd")
    model = taught(build(config, tiny.TASKS), config, tiny.TASKS)
    nothing = {"landmarks": np.full((2, 5, 2), np.nan, "float32"), "attributes": np.full((2, 3), -1, "int8")}
    losses, weights = task_losses(tiny.TASKS, config)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=losses, loss_weights=weights)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    before = model.get_layer("attributes").get_weights()[0]
    loss = model.train_on_batch(images, nothing, return_dict=True)["loss"]
    assert np.isfinite(loss) and loss > 0
    assert not np.array_equal(before, model.get_layer("attributes").get_weights()[0])


def test_a_taught_run_is_a_run_like_any_other(tiny_dir, tiny_stage1):
    run = tiny.train(tiny_dir, "--stage", "1", "--image-size", "16", "--width", "0.03", "--epochs", "1", "--teacher", str(tiny_stage1))
    assert (
        runs.load(run).model.count_params() == runs.read_environment(run)["parameters"] < runs.read_environment(tiny_stage1)["parameters"]
    )
    settings = json.loads((run / "config.json").read_text())
    assert settings["training"]["teacher"] == str(tiny_stage1)
    settings["training"]["epochs"] = 2
    with runs.kept(run / "config.json") as beside:
        beside.write_text(json.dumps(settings))
    fit.main(["--resume", "--run", str(run)])
    assert [row["epoch"] for row in runs.read_history(run)] == [1, 2]


@pytest.mark.parametrize(
    ("teacher", "data", "sentence"),
    [
        ("tiny-stage1-small-1", "tinyother", "expected a run with the points and labels of --data tinyother, got other ones"),
        ("none", "tiny", "expected a file of a run, found none"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, data, sentence, tiny_dir, tiny_stage1, capsys):
    with pytest.raises(SystemExit) as end:
        fit.main(tiny.flags(tiny_dir, *tiny.NARROW, "--teacher", str(tiny_stage1.with_name(teacher)), data=data))
    assert end.value.code == 2 and sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_student_is_taught_on_jax(tiny_dir, tiny_stage1, tmp_path):
    argv = tiny.flags(tiny_dir, "--image-size", "16", "--width", "0.03", "--epochs", "1", "--run", str(tmp_path / "jax"))
    code = f"from smtn_keras import fit; fit.main({[*argv, '--teacher', str(tiny_stage1)]!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"})
    assert done.returncode == 0, done.stderr
    assert len(runs.read_history(tmp_path / "jax")) == 1

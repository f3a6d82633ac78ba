"""Tasks trained alone, and joined into one run."""

import shutil

import numpy as np
import pytest
import tiny

from smtn_keras import fit, merge, runs
from smtn_keras.config import Config, DataConfig, NetworkConfig, read_config
from smtn_keras.data.prepared import open_prepared
from smtn_keras.errors import UserError
from smtn_keras.evaluate import answers
from smtn_keras.predictor import serving_model

STAGE2 = ("--stage", "2", "--epochs", "1")


@pytest.fixture(scope="module")
def train(tmp_path_factory, tiny_dir, tiny_stage1):
    """Trains stage 2 of some tasks, or of all, and returns the run's folder."""

    def run(*names):
        folder = tmp_path_factory.mktemp("alone") / "_".join(names or ("all",))
        fit.main(tiny.flags(tiny_dir, *STAGE2, "--from", str(tiny_stage1), *(("--tasks", *names) if names else ()), "--run", str(folder)))
        return folder

    return run


@pytest.fixture(scope="module")
def alone(train):
    """Stage-2 runs of each task by its name."""
    return {name: train(name) for name in ("landmarks", "attributes")}


@pytest.fixture(scope="module")
def joined(tmp_path_factory, alone):
    return merge.merge(list(alone.values()), tmp_path_factory.mktemp("merge") / "joined")


def says(folder, data):
    run = runs.load(folder)
    return answers(serving_model(run.model, run.tasks, run.config), data, "test")


def test_a_task_alone_has_no_stack_of_the_other(alone):
    run = runs.load(alone["landmarks"])
    assert run.tasks == (tiny.POINTS,)
    assert {layer.name.split("_")[0] for layer in run.model.layers if layer.weights} == {"shared", "landmarks"}
    assert list(runs.read_history(alone["landmarks"])[0]) and not any(
        "attributes" in key for key in runs.read_history(alone["landmarks"])[0]
    )


def test_a_joined_run_answers_as_its_parts_do(tiny_dir, alone, joined):
    data = open_prepared("tiny", tiny_dir)
    together = says(joined, data)
    for name, folder in alone.items():
        np.testing.assert_array_equal(together[name], says(folder, data)[name])
    assert (runs.read_tasks(joined), read_config(joined).data.tasks) == (tiny.TASKS, None)
    config = read_config(joined)
    assert runs.finished(joined, config) and runs.leads_to(Config(3, network=config.network), config)


def test_apart_they_learn_what_they_learn_together(tiny_dir, train, joined):
    """With the shared stack frozen no task's gradient reaches another task's weights."""
    data = open_prepared("tiny", tiny_dir)
    apart, together = says(joined, data), says(train(), data)
    for name, values in together.items():
        np.testing.assert_allclose(apart[name], values, atol=1e-4)


def refusal(capsys, argv, main=merge.main):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_does_not_go_together_is_refused(capsys, tmp_path, tiny_dir, tiny_stage1, alone):
    points, labels = map(str, alone.values())
    into = ["--run", str(tmp_path / "new")]
    assert "expected each task in one run, got landmarks, landmarks" in refusal(capsys, [points, points, *into])
    assert "expected a stage-2 run of separation, got stage 1 of hard_sharing" in refusal(capsys, [points, str(tiny_stage1), *into])
    assert "expected at least two runs, got 1" in refusal(capsys, [points, *into])
    assert "expected a folder that does not exist yet" in refusal(capsys, [points, labels, "--run", points])
    stranger = tmp_path / "stranger"
    shutil.copytree(labels, stranger)
    model = runs.load(stranger).model
    model.get_layer("shared_conv3_1").kernel.assign_add(model.get_layer("shared_conv3_1").kernel)
    with runs.kept(stranger / "best.keras") as beside:
        model.save(beside)
    assert "expected the shared stack of" in refusal(capsys, [points, str(stranger), *into])
    assert not (tmp_path / "new").exists()


def test_tasks_that_are_not_there_or_not_to_be_parted_are_refused(capsys, tiny_dir):
    assert "--tasks: expected some of landmarks, attributes, got 'hats'" in refusal(
        capsys, tiny.flags(tiny_dir, "--tasks", "hats"), fit.main
    )
    with pytest.raises(
        UserError, match="--tasks landmarks: expected --network single_task, hard_sharing or separation beside it, got mtan"
    ):
        Config(data=DataConfig(tasks=("landmarks",)), network=NetworkConfig(kind="mtan"))

"""Training from end to end on the dots of tiny.py: both stages, resuming, diverging, and what does not fit."""

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny

from smtn_keras import fit, runs
from smtn_keras.config import read_config
from smtn_keras.data.prepared import open_prepared
from smtn_keras.errors import UserError
from smtn_keras.presets import preset

FILES = {"config.json", "data.json", "environment.json", "history.csv", "best.keras", "last.keras", "tensorboard", "checksums.sha256"}


def weights_of(run, file="best.keras"):
    """Weights by layer."""
    model = runs.load(run, file).model
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for layer, weights in ours.items():
        for our, their in zip(weights, theirs[layer], strict=True):
            np.testing.assert_array_equal(our, their, err_msg=layer)


def refusal(capsys, argv):
    """What `fit` says before it exits with code 2: one line."""
    with pytest.raises(SystemExit) as end:
        fit.main(argv)
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


# -- stage 1 ----------------------------------------------------------------------------------------


def test_a_run_is_a_folder_with_all_that_describes_it(tiny_dir, tiny_stage1):
    assert tiny_stage1 == tiny_dir / "runs" / "tiny-stage1-small-1"
    assert {file.name for file in tiny_stage1.iterdir() if not file.name.endswith("lock")} == FILES
    config = read_config(tiny_stage1)
    assert (config.stage, config.preset, config.network.width, config.network.branch, config.network.init) == (
        1,
        "small",
        0.05,
        "end",
        "scratch",
    )
    assert runs.read_tasks(tiny_stage1) == tiny.TASKS
    card = runs.read_data_card(tiny_stage1)
    assert (card["name"], card["licence"], card["counts"]) == ("tiny", "anything goes", tiny.COUNTS)
    assert card["frame"]["size"] == list(tiny.FRAME)
    environment = json.loads((tiny_stage1 / "environment.json").read_text())
    assert (environment["backend"], environment["compute_dtype"]) == ("tensorflow", "float32")
    assert environment["versions"]["keras"]
    assert list((tiny_stage1 / "tensorboard").glob("events.out.tfevents.*"))


def test_the_history_has_a_row_an_epoch_with_losses_and_metrics_of_each_task(tiny_stage1):
    with (tiny_stage1 / "history.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    watched = {"loss", "landmarks_loss", "attributes_loss", "landmarks_success_rate", "landmarks_nme", "attributes_accuracy"}
    validation = {f"val_tiny_{n}" for n in ("landmarks_success_rate_average", "landmarks_nme", "attributes_accuracy_mean")}
    assert watched | validation <= set(rows[0])
    for row in rows:
        assert all(np.isfinite(float(value)) for value in row.values())
        # Eq. 1, with the weights of the preset
        assert float(row["loss"]) == pytest.approx(float(row["landmarks_loss"]) + 3 * float(row["attributes_loss"]), rel=1e-4)
        assert float(row["val_score"]) == pytest.approx(
            (float(row["val_tiny_landmarks_success_rate_average"]) + float(row["val_tiny_attributes_accuracy_mean"])) / 2
        )
    assert rows == [{key: format(value, ".8g") for key, value in row.items()} for row in runs.read_history(tiny_stage1)]


def test_the_data_cards_mean_landmarks_are_those_of_the_training_part(tiny_dir, tiny_stage1):
    train = open_prepared("tiny", tiny_dir).targets("train")
    mean = np.nanmean(train["landmarks"] / np.float32(tiny.FRAME), axis=0)
    np.testing.assert_allclose(runs.read_data_card(tiny_stage1)["frame"]["mean_landmarks"]["landmarks"], mean, atol=1e-4)


def test_the_last_weights_are_the_last_epochs_and_the_best_the_best_ones(tiny_dir, tiny_stage1):
    first, second = (row["val_score"] for row in runs.read_history(tiny_stage1))
    best, last = weights_of(tiny_stage1), weights_of(tiny_stage1, "last.keras")
    after_one = weights_of(tiny_dir / "after_one", "last.keras")
    assert_same_weights(best, last if second > first else after_one)
    with pytest.raises(AssertionError):
        assert_same_weights(last, after_one)


def test_training_beats_the_mean_shape_and_the_majority_by_far(tiny_dir, tmp_path):
    from smtn_keras.evaluate import EvaluateConfig, evaluate

    easy = [
        "--image-size",
        "32",
        "--width",
        "0.1",
        "--no-batch-norm",
        "--epochs",
        "20",
        "--learning-rate",
        "0.005",
        "--rotation",
        "0",
        "--colour",
        "0",
        "--shift",
        "0.02",
        "--scale",
        "0.02",
    ]
    fit.main([*tiny.flags(tiny_dir, *easy), "--batch-size", "8", "--run", str(tmp_path / "easy")])
    history = runs.read_history(tmp_path / "easy")
    assert history[-1]["loss"] < history[0]["loss"] / 2
    result = evaluate(EvaluateConfig(run=str(tmp_path / "easy")))["tiny/validation"]
    points, labels = result["landmarks"], result["attributes"]
    assert points["floor"]["success_rate_average"] < 15  # the dots move about
    assert points["metrics"]["success_rate_average"] > 35
    assert points["metrics"]["nme"] < points["floor"]["nme"] / 2
    assert labels["metrics"]["accuracy_mean"] > labels["floor"]["accuracy_mean"] + 15


def test_the_same_command_gives_the_same_weights(tiny_dir, tiny_stage1, tmp_path):
    again = str(tmp_path / "again")
    fit.main(tiny.flags(tiny_dir, "--stage", "1", *tiny.NARROW, "--epochs", "2", "--weight-decay", "0.5", "--run", again))
    assert_same_weights(weights_of(again, "last.keras"), weights_of(tiny_stage1, "last.keras"))


# -- stage 2 ----------------------------------------------------------------------------------------


def test_the_shared_stack_is_bit_identical_after_stage_2(tiny_stage1, tiny_stage2):
    stage1 = {layer: weights for layer, weights in weights_of(tiny_stage1).items() if layer.startswith("shared_")}
    assert len(stage1) == 20  # ten convs and their batch normalisations
    for file in ("best.keras", "last.keras"):
        stage2 = weights_of(tiny_stage2, file)
        assert_same_weights({layer: stage2[layer] for layer in stage2 if layer.startswith("shared_")}, stage1)


def test_stage_2_trains_every_layer_of_the_task_stacks(tiny_stage1, tiny_stage2):
    stage1, stage2 = weights_of(tiny_stage1), weights_of(tiny_stage2, "last.keras")
    for layer, weights in stage2.items():
        task, _, rest = layer.partition("_")
        if task == "shared":
            continue
        if rest.startswith("conv"):  # they started as copies of the shared stack
            assert not np.array_equal(weights[0], stage1[f"shared_{rest}"][0]), layer
        elif rest.startswith("fuse"):  # they started at 0.9 and 0.1
            assert len(np.unique(weights[0])) > 3, layer
        else:
            assert not np.array_equal(weights[0], stage1[layer][0]), layer


def test_stage_2_finds_its_stage_1_run_and_takes_its_backbone(tiny_dir, tiny_stage1, tiny_stage2):
    assert tiny_stage2 == tiny_dir / "runs" / "tiny-stage2-small-1"
    assert {file.name for file in tiny_stage2.iterdir() if not file.name.endswith("lock")} == FILES
    config = read_config(tiny_stage2)
    assert config.run.from_run == str(tiny_stage1)
    assert (config.network.image_size, config.network.width) == (32, 0.05)
    assert (config.network.branch, config.network.init, config.network.fusion) == ("input", "stage1", "channelwise")


def test_stage_2_without_a_run_names_the_command_that_makes_one(tiny_dir, tmp_path, capsys):
    line = refusal(capsys, ["--stage", "2", "--data", "tiny", "--data-dir", str(tiny_dir), "--runs", str(tmp_path), "--preset", "demo"])
    assert "expected a finished stage-1 run with --data tiny --preset demo" in line
    assert "python -m smtn_keras.fit --stage 1 --data tiny --preset demo" in line
    assert not list(tmp_path.iterdir())


def fake_run(folder, stage=1, data="tiny", name="small", branch="end", epochs=3, done=3, age=0, kind=None):
    folder.mkdir(parents=True)
    config = preset(name, stage).with_(
        data={"data": data}, network={"branch": branch if kind is None else None, "kind": kind}, training={"epochs": epochs}
    )
    (folder / "config.json").write_text(config.to_json())
    if done:
        runs.write_history(folder, [{"epoch": epoch + 1} for epoch in range(done)])
        os.utime(folder / "history.csv", (1e9 - age, 1e9 - age))


def stage2(runs_folder):
    return preset("small", 2).with_(data={"data": "tiny"}, run={"runs": str(runs_folder)})


def test_the_newest_finished_stage_1_run_on_the_data_is_taken(tmp_path):
    fake_run(tmp_path / "a", age=3)
    fake_run(tmp_path / "b", age=2)  # this one
    fake_run(tmp_path / "unfinished", done=2)
    fake_run(tmp_path / "not_begun", done=0)
    fake_run(tmp_path / "second", stage=2, branch="input")
    fake_run(tmp_path / "other_data", data="celeba")
    fake_run(tmp_path / "branched", branch="conv2_2")
    fake_run(tmp_path / "other_network", kind="single_task")
    assert runs.newest_before(stage2(tmp_path)) == tmp_path / "b"
    os.utime(tmp_path / "a" / "history.csv", (1e9, 1e9))
    assert runs.newest_before(stage2(tmp_path)) == tmp_path / "a"
    assert runs.newest_before(stage2(tmp_path).with_(network={"kind": "nddr"})) == tmp_path / "other_network"


def test_a_named_preset_narrows_the_search(tmp_path):
    fake_run(tmp_path / "demo", name="demo")
    fake_run(tmp_path / "small", age=5)
    assert runs.newest_before(stage2(tmp_path)) == tmp_path / "demo"
    assert runs.newest_before(stage2(tmp_path), "small") == tmp_path / "small"
    with pytest.raises(UserError, match="--preset paper"):
        runs.newest_before(stage2(tmp_path), "paper")


def test_a_folder_that_is_no_run_does_not_stop_the_search(tmp_path):
    fake_run(tmp_path / "a")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    assert runs.newest_before(stage2(tmp_path)) == tmp_path / "a"


@pytest.mark.parametrize(
    ("flag", "theirs"),
    [(("--width", "0.1"), "0.05"), (("--image-size", "48"), "32"), (("--head", "pooled"), "softargmax"), (("--no-batch-norm",), "True")],
)
def test_a_stage_1_run_of_another_backbone_is_refused(tiny_dir, tiny_stage1, tmp_path, capsys, flag, theirs):
    line = refusal(capsys, tiny.flags(tiny_dir, "--stage", "2", "--from", str(tiny_stage1), "--run", str(tmp_path / "run"), *flag))
    assert f"{tiny_stage1}: expected a stage-1 run of hard_sharing with {flag[0].replace('--no-', '--')}" in line
    assert theirs in line
    assert not (tmp_path / "run").exists()


def test_a_stage_1_run_on_other_tasks_is_refused(tiny_dir, tiny_stage1, tmp_path, capsys):
    line = refusal(
        capsys, tiny.flags(tiny_dir, "--stage", "2", "--from", str(tiny_stage1), "--run", str(tmp_path / "run"), data="tinyother")
    )
    assert "expected a stage-1 run of hard_sharing with the tasks of 'tinyother', got those of 'tiny'" in line
    assert not (tmp_path / "run").exists()


def test_a_stage_2_run_is_no_start_for_stage_2(tiny_dir, tiny_stage2, capsys):
    line = refusal(capsys, tiny.flags(tiny_dir, "--stage", "2", "--from", str(tiny_stage2)))
    assert "expected a stage-1 run of hard_sharing with --branch end, got stage 2 of separation with --branch input" in line


def test_from_a_folder_that_is_no_run_is_refused(tiny_dir, tmp_path, capsys):
    assert "expected a run folder with a config.json, found none" in refusal(
        capsys, tiny.flags(tiny_dir, "--stage", "2", "--from", str(tmp_path))
    )


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", b"PK\x05\x06" + bytes(18)])
def test_a_keras_file_that_is_none_is_refused(tiny_dir, tiny_stage1, tmp_path, capsys, content):
    broken = shutil.copytree(tiny_stage1, tmp_path / "broken")
    with runs.kept(broken / "best.keras") as beside:
        beside.write_bytes(content)
    line = refusal(capsys, tiny.flags(tiny_dir, "--stage", "2", "--from", str(broken)))
    assert f"{broken / 'best.keras'}: expected a .keras file of this run's network, got something else" in line


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_a_keras_file_of_another_network_is_refused(tiny_stage1, tiny_stage2, tmp_path):
    broken = shutil.copytree(tiny_stage1, tmp_path / "broken")
    with runs.kept(broken / "best.keras") as beside:
        shutil.copy(tiny_stage2 / "best.keras", beside)
    with pytest.raises(UserError, match=r"best\.keras: expected a \.keras file of this run's network"):
        runs.load(broken)


# -- stage 3 ----------------------------------------------------------------------------------------


def test_stage_3_goes_on_from_stage_2_with_nothing_frozen(tiny_dir, tiny_stage2, tmp_path):
    still, moving = str(tmp_path / "still"), str(tmp_path / "moving")
    argv = tiny.flags(tiny_dir, "--stage", "3", "--epochs", "1")
    fit.main([*argv, "--run", still, "--learning-rate", "1e-30", "--weight-decay", "0"])
    config = read_config(still)
    assert config.run.from_run == str(tiny_stage2)  # found by itself
    assert config.network == read_config(tiny_stage2).network
    before, after = weights_of(tiny_stage2), weights_of(still, "last.keras")
    for layer, weights in before.items():  # all but the statistics of batch normalisation, which follow the batches
        np.testing.assert_allclose(after[layer][0], weights[0], atol=1e-6, err_msg=layer)
    fit.main([*argv, "--run", moving])
    after = weights_of(moving, "last.keras")
    assert not [layer for layer, weights in before.items() if np.array_equal(after[layer][0], weights[0])]


def test_stage_3_needs_a_stage_2_run(tiny_dir, tiny_stage1, tmp_path, capsys):
    line = refusal(capsys, tiny.flags(tiny_dir, "--stage", "3", "--from", str(tiny_stage1), "--run", str(tmp_path / "run")))
    assert f"{tiny_stage1}: expected a stage-2 run of separation, got stage 1 of hard_sharing" in line
    line = refusal(capsys, ["--stage", "3", "--data", "tiny", "--data-dir", str(tiny_dir), "--runs", str(tmp_path)])
    assert "expected a finished stage-2 run" in line and "fit --stage 2 --data tiny" in line


# -- a moving average of the weights ----------------------------------------------------------------


def test_the_best_weights_are_the_moving_average_and_the_last_are_what_trains(tiny_dir, tiny_stage1, tmp_path):
    argv = tiny.flags(tiny_dir, *tiny.NARROW, "--weight-decay", "0.5", "--epochs", "1")
    fit.main([*argv, "--ema", "0.5", "--run", str(tmp_path / "average")])
    fit.main([*argv, "--run", str(tmp_path / "plain")])
    plain = weights_of(tmp_path / "plain", "last.keras")
    assert_same_weights(weights_of(tmp_path / "average", "last.keras"), plain)
    best = weights_of(tmp_path / "average")
    assert not np.array_equal(best["shared_conv1_1"][0], plain["shared_conv1_1"][0])


def test_a_resumed_run_goes_on_with_its_average(tiny_dir, tmp_path):
    argv = tiny.flags(tiny_dir, *tiny.NARROW, "--ema", "0.9", "--epochs", "2")
    fit.main([*argv, "--run", str(tmp_path / "whole")])
    folder = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.runs, "write_events", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            fit.main([*argv, "--run", str(folder)])
    assert len(runs.read_history(folder)) == 2
    fit.main(["--resume", "--run", str(folder)])
    assert_same_weights(weights_of(folder), weights_of(tmp_path / "whole"))


def stop_in_the_second_epoch(folder, rows):
    if len(rows) == 2:
        raise KeyboardInterrupt


# -- run folders and resuming -----------------------------------------------------------------------


def test_an_existing_run_folder_is_refused(tiny_dir, tiny_stage1, capsys):
    before = {file.name: file.stat().st_mtime_ns for file in tiny_stage1.iterdir()}
    line = refusal(capsys, tiny.flags(tiny_dir, *tiny.NARROW, "--run", str(tiny_stage1)))
    assert "--resume" in line and "another --run" in line
    assert {file.name: file.stat().st_mtime_ns for file in tiny_stage1.iterdir()} == before


def test_a_file_in_place_of_a_run_folder_is_refused(tiny_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "another --run" in refusal(capsys, tiny.flags(tiny_dir, "--run", str(tmp_path / "file")))


def test_runs_are_numbered(tmp_path):
    config = preset("demo", 1).with_(run={"runs": str(tmp_path)})
    assert runs.new_folder(config) == tmp_path / "synthetic-stage1-demo-1"
    (tmp_path / "synthetic-stage1-demo-1").mkdir()
    assert runs.new_folder(config) == tmp_path / "synthetic-stage1-demo-2"


def test_a_resumed_run_equals_an_unbroken_one(tiny_dir, tiny_stage1, tmp_path):
    resumed = shutil.copytree(tiny_dir / "after_one", tmp_path / "resumed")
    assert len(runs.read_history(resumed)) == 1
    fit.main(["--resume", "--run", str(resumed)])
    assert_same_weights(weights_of(resumed, "last.keras"), weights_of(tiny_stage1, "last.keras"))
    assert_same_weights(weights_of(resumed), weights_of(tiny_stage1))
    for ours, theirs in zip(runs.read_history(resumed), runs.read_history(tiny_stage1), strict=True):
        ours.pop("seconds"), theirs.pop("seconds")
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_resuming_a_finished_run_changes_nothing(tiny_stage1, capsys):
    before = (tiny_stage1 / "last.keras").stat().st_mtime_ns
    fit.main(["--resume", "--run", str(tiny_stage1)])
    assert "all 2 epochs are done" in capsys.readouterr().out
    assert (tiny_stage1 / "last.keras").stat().st_mtime_ns == before


def test_a_run_killed_between_its_history_and_its_weights_repeats_that_epoch(tiny_dir, tiny_stage1, tmp_path):
    killed = shutil.copytree(tiny_dir / "after_one", tmp_path / "killed")
    runs.write_history(killed, runs.read_history(tiny_stage1))  # last.keras is of epoch 1, the history ends at 2
    assert not runs.finished(killed, read_config(killed)), "or stage 2 and compare would take its best.keras, too, which may be older"
    fit.main(["--resume", "--run", str(killed)])
    assert runs.finished(killed, read_config(killed))
    assert [row["epoch"] for row in runs.read_history(killed)] == [1, 2]
    assert_same_weights(weights_of(killed, "last.keras"), weights_of(tiny_stage1, "last.keras"))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (None, r"expected the run to go on with in --run"),
        ("folder", r"expected a run folder with a config\.json, found none"),
        ("last.keras", r"last\.keras: expected a file of this run, as checksums\.sha256 lists it, found none"),
        ("content", r"last\.keras: expected what the training wrote, as checksums\.sha256 says, got other content"),
        ("both", r"last\.keras: expected a \.keras file of this run's network"),
    ],
)
def test_what_cannot_be_resumed_is_refused(tiny_dir, tiny_stage1, tmp_path, capsys, broken, sentence):
    run = tmp_path / "run"
    if broken == "folder":
        run.mkdir()
    elif broken:
        shutil.copytree(tiny_dir / "after_one", run)
        (run / "last.keras").unlink()
        if broken != "last.keras":
            (run / "last.keras").write_text("<html>quota exceeded</html>")
        if broken == "both":
            (run / "checksums.sha256").unlink()
    argv = ["--resume", "--run", str(run)] if broken else ["--resume"]
    assert re.search(sentence, refusal(capsys, argv))


# -- diverging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", ["16", "96"])  # the loss is NaN within the first epoch; or finite, but after it no weight is of use
def test_a_training_that_diverges_ends_with_a_sentence_and_keeps_no_useless_weights(tiny_dir, tmp_path, capsys, batch_size):
    run = tmp_path / "run"
    wild = [
        "--no-batch-norm",
        "--optimizer",
        "sgd",
        "--schedule",
        "constant",
        "--learning-rate",
        "1e30",
        "--epochs",
        "3",
        "--batch-size",
        batch_size,
    ]
    line = refusal(capsys, [*tiny.flags(tiny_dir, *tiny.NARROW), *wild, "--run", str(run)])
    assert "training diverged" in line and "try a --learning-rate below 1e+30" in line
    pictures = np.zeros((1, 32, 32, 3), "float32")
    for file in run.glob("*.keras"):
        assert all(np.isfinite(np.asarray(output)).all() for output in runs.load(run, file.name).model(pictures).values()), file.name


def test_a_full_disk_ends_with_a_sentence_and_nothing_half_written(tiny_dir, tmp_path, capsys, monkeypatch):
    def full(model, file, *args, **kwargs):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras.Model, "save", full)
    line = refusal(capsys, [*tiny.flags(tiny_dir, *tiny.NARROW), "--run", str(tmp_path / "run"), "--epochs", "1"])
    assert "No space left on device" in line
    assert not [file.name for file in (tmp_path / "run").iterdir() if "partial" in file.name or file.suffix == ".keras"]


def test_runs_in_a_place_that_is_no_folder_end_with_a_sentence(tiny_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    line = refusal(capsys, [*tiny.flags(tiny_dir, *tiny.NARROW), "--run", str(tmp_path / "file" / "run")])
    assert f"cannot write {tmp_path / 'file'}: File exists" in line and "name another folder" in line
    assert (tmp_path / "file").read_text() == "kept"


def test_a_diverged_run_is_no_finished_one(tmp_path):
    fake_run(tmp_path / "run", epochs=3, done=1)
    assert not runs.finished(tmp_path / "run", read_config(tmp_path / "run"))


# -- data that is not there, and the other backend --------------------------------------------------


def test_an_unknown_and_an_unprepared_data_set_are_refused(tmp_path, capsys):
    assert "expected one of synthetic, celeba, mtfl, got 'nope'" in refusal(capsys, tiny.flags(tmp_path, data="nope"))
    line = refusal(capsys, tiny.flags(tmp_path, data="celeba"))
    assert "python -m smtn_keras.prepare celeba --source FOLDER" in line
    assert not (tmp_path / "runs").exists()


def test_the_same_command_trains_on_jax_without_tensorflow(tiny_dir, tmp_path):
    argv = tiny.flags(tiny_dir, "--image-size", "16", "--width", "0.03", "--epochs", "1", "--run", str(tmp_path / "jax"))
    code = f"import sys; from smtn_keras import fit; fit.main({argv!r}); print('tensorflow', 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"})
    assert done.returncode == 0, done.stderr
    assert "jax backend" in done.stdout
    assert done.stdout.endswith("tensorflow False\n")
    assert len(runs.read_history(tmp_path / "jax")) == 1
    # and its run is read by the other backend
    assert runs.load(tmp_path / "jax").model.count_params() > 0

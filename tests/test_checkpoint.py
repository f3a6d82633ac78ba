"""Trainings that are broken off anywhere: what is kept, what goes on, and who may write."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import filelock
import keras
import numpy as np
import pytest
import tiny
from same import arrays, assert_same_to_the_bit

from smtn_keras import checkpoint, evaluate, files, fit, keeper, runs
from smtn_keras.errors import UserError

# whatever else of a training has a state: dropout's random numbers, a moving average, the optimizer's moments, mixed pictures
ALL = ("--stage", "1", *tiny.NARROW, "--dropout", "0.3", "--ema", "0.9", "--mixup", "0.4", "--epochs", "3")


@contextlib.contextmanager
def breaking_off(after):
    """A training that is broken off after so many steps of this process."""
    ends, steps = keeper.RunKeeper.on_train_batch_end, []

    def count(self, batch, logs=None):
        ends(self, batch, logs)
        steps.append(batch)
        if len(steps) == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper.RunKeeper, "on_train_batch_end", count)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture(scope="module")
def unbroken(tiny_dir, tmp_path_factory):
    run = tmp_path_factory.mktemp("unbroken") / "run"
    fit.main(tiny.flags(tiny_dir, *ALL, "--run", str(run)))
    return run


def test_a_training_broken_off_in_mid_epoch_goes_on_to_the_same_weights(tiny_dir, unbroken, tmp_path):
    """In the first epoch, and again in the middle of the next; each time some steps after the last checkpoint are lost."""
    run = tmp_path / "run"
    keep, often = checkpoint.save, []

    def save_each_second(folder, model, progress, saved=None):
        often.append(progress[:2])
        if progress.step % 2 == 0:
            keep(folder, model, progress, saved)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_each_second)
        with breaking_off(after=3):
            fit.main(tiny.flags(tiny_dir, *ALL, "--run", str(run), "--checkpoint-minutes", "0"))
        with breaking_off(after=9):
            fit.main(["--resume", "--run", str(run)])
    assert often == [(0, 1), (0, 2), (0, 3), (0, 3), (0, 4), (0, 5), (0, 6), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
    fit.main(["--resume", "--run", str(run)])
    assert_same_to_the_bit(run, unbroken)


@pytest.mark.slow
def test_a_training_broken_off_before_its_first_checkpoint_begins_anew(tiny_dir, unbroken, tmp_path):
    run = tmp_path / "run"
    with breaking_off(after=2):
        fit.main(tiny.flags(tiny_dir, *ALL, "--run", str(run)))
    assert not (run / "last.keras").exists()
    fit.main(["--resume", "--run", str(run)])
    assert_same_to_the_bit(run, unbroken)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_training_with_its_state_kept(tiny_dir, tmp_path, capsys, number):
    run, count = tmp_path / "run", keeper.RunKeeper.on_train_batch_begin

    def send(self, batch, logs=None):
        count(self, batch, logs)
        if batch == 3:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(keeper.RunKeeper, "on_train_batch_begin", send)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, which tests may be, ignores it
        fit.main(tiny.flags(tiny_dir, *ALL, "--run", str(run)))
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert f"training ended by {number.name} in epoch 1 after 4 steps, which are kept; go on with --resume --run {run}" in said
    files.check(run)
    np.testing.assert_array_equal(arrays(run / "last.keras")["position"], [0, 4])


@pytest.mark.parametrize("cache", ["--cache", pytest.param("--no-cache", marks=pytest.mark.slow)])
def test_data_removed_in_mid_epoch_end_a_training_that_can_go_on(tiny_dir, tmp_path, capsys, cache):
    data, run, begins = tmp_path / "data", tmp_path / "run", keeper.RunKeeper.on_train_batch_begin
    shutil.copytree(tiny_dir / "tiny", data / "tiny")

    def remove(self, batch, logs=None):
        begins(self, batch, logs)
        if self.rows and batch == 1:
            shutil.rmtree(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper.RunKeeper, "on_train_batch_begin", remove)
        said = refusal(capsys, [*tiny.flags(data, *ALL, cache), "--run", str(run), "--batch-size", "8"])
    assert f"error: {data / 'tiny' / '2.0.0'}: expected the prepared data to stay there" in said
    files.check(run)
    shutil.copytree(tiny_dir / "tiny", data / "tiny")
    fit.main(["--resume", "--run", str(run)])
    assert [row["epoch"] for row in runs.read_history(run)] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("after", [4, 8])
def test_a_training_on_jax_goes_on_to_the_same_weights(tiny_dir, tmp_path, after):
    """The same as on TensorFlow, to the bit."""
    program = f"""
import pathlib, sys
import test_checkpoint as here, tiny
from smtn_keras import fit
data, broken, unbroken = map(pathlib.Path, sys.argv[1:])
fit.main(tiny.flags(data, *here.ALL, "--run", str(unbroken)))
with here.breaking_off(after={after}):
    fit.main(tiny.flags(data, *here.ALL, "--run", str(broken), "--checkpoint-minutes", "0"))
fit.main(["--resume", "--run", str(broken)])
"""
    here = os.path.dirname(__file__)
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_dir, tmp_path / "broken", tmp_path / "unbroken"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_same_to_the_bit(tmp_path / "broken", tmp_path / "unbroken")


# -- one writer, and files that agree ------------------------------------------------------------------


def refusal(capsys, argv, main=fit.main):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_a_second_training_of_a_run_is_refused(unbroken, capsys):
    with filelock.FileLock(unbroken / ".lock"):
        assert "expected to train this run alone, got another process at it" in refusal(capsys, ["--resume", "--run", str(unbroken)])


def test_two_new_runs_do_not_share_a_folder(unbroken, tmp_path):
    """Both have found the folder free; the second comes too late."""
    arguments = runs.read_config(unbroken), runs.read_data_card(unbroken), 1, {"compute_dtype": "float32"}
    runs.start(tmp_path / "run", *arguments)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match="another training has just done so; name another --run"):
        runs.start(tmp_path / "run", *arguments)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("file", ["config.json", "data.json", "environment.json", "history.csv", "best.keras", "last.keras"])
def test_a_run_of_which_a_file_has_changed_is_refused(unbroken, tmp_path, capsys, file):
    run = shutil.copytree(unbroken, tmp_path / "run")
    content = bytearray((run / file).read_bytes())
    content[len(content) // 2] ^= 1
    (run / file).write_bytes(content)
    for argv, main in ((["--run", str(run)], evaluate.main), (["--resume", "--run", str(run)], fit.main)):
        assert f"{run / file}: expected what the training wrote" in refusal(capsys, argv, main)
    (run / file).unlink()
    assert f"{run / file}: expected a file of this run, as checksums.sha256 lists it, found none" in refusal(
        capsys, ["--run", str(run)], evaluate.main
    )


def test_the_list_is_one_that_sha256sum_reads(unbroken):
    done = subprocess.run(["sha256sum", "--check", files.CHECKSUMS], cwd=unbroken, capture_output=True, text=True)
    assert done.returncode == 0 and "best.keras: OK" in done.stdout, done.stderr


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_replaced_by_a_killed_process_still_agrees_with_the_list(tmp_path, monkeypatch, moment):
    """Killed just before the new file takes its place, or just after."""
    file, replace = tmp_path / "file", os.replace
    with files.kept(file) as beside:
        beside.write_text("old")

    def killed(source, target):
        if target != file or moment == "after":
            replace(source, target)
        if target == file:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        with files.kept(file) as beside:
            beside.write_text("new")
    assert file.read_text() == ("old" if moment == "before" else "new")
    files.check(tmp_path)
    with files.kept(file) as beside:
        beside.write_text("newer")
    files.check(tmp_path)
    file.write_text("old")
    with pytest.raises(UserError, match="got other content"):
        files.check(tmp_path)


def test_a_list_of_other_things_is_refused(tmp_path):
    (tmp_path / files.CHECKSUMS).write_text("0" * 64 + "  ../../etc/passwd\n")
    with pytest.raises(UserError, match="expected checksums and names of files"):
        files.check(tmp_path)


def test_what_is_no_weight_comes_back_too():
    """Metrics of the epoch so far, and the generators of random numbers."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(inputs)))
    model.compile("adam", "mse", metrics=["mae"])
    batch = np.ones((2, 4), "float32"), np.ones((2, 1), "float32")
    model.train_on_batch(*batch)
    kept = [np.array(variable) for variable in checkpoint._no_weights(model)]
    assert len(kept) > 3  # the generator's, and a sum and a count of each metric
    model.train_on_batch(*batch)
    checkpoint.restore(model, checkpoint.Progress(state=tuple(kept)))
    for variable, value in zip(checkpoint._no_weights(model), kept, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)

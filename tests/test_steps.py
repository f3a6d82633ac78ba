"""Each network trains a step on both backends, is read back bit by bit, and goes the way of a user: fit, evaluate, export."""

import os
import subprocess
import sys
from pathlib import Path

import one_step
import pytest
import tiny

from smtn_keras import evaluate, export, fit
from smtn_keras.card import CARD


@pytest.mark.parametrize("name", one_step.VARIANTS)
def test_a_step_moves_the_weights_and_reading_back_is_exact(name, tmp_path):
    one_step.check(name, tmp_path)


@pytest.mark.parametrize("names", [one_step.ON_JAX, pytest.param(one_step.ON_JAX_TOO, marks=pytest.mark.slow)], ids=["some", "others"])
def test_a_step_of_each_network_on_jax(names):
    done = subprocess.run(
        [sys.executable, "one_step.py", *names],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"checked {name}" for name in names]


@pytest.fixture(scope="module")
def runs_dir(tiny_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems")
    train(tiny_dir, folder, "single_task")  # from which others start
    return folder


def train(tiny_dir, folder, kind, *more):
    flags = tiny.flags(tiny_dir, "--network", kind, "--epochs", "1", "--samples", "32", "--run", str(folder / kind), *more)
    fit.main(flags + ([] if "--from" in more else list(tiny.NARROW)))
    return folder / kind


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        pytest.param("single_task", None, marks=pytest.mark.slow),
        pytest.param("soft_sharing", None, marks=pytest.mark.slow),
        ("mtan", None),
        ("cascade", None),
        pytest.param("tcdcn", None, marks=pytest.mark.slow),
        ("cross_stitch", "single_task"),
        pytest.param("nddr", "single_task", marks=pytest.mark.slow),
    ],
)
def test_each_network_goes_from_fit_to_export(kind, before, runs_dir, tiny_dir, tmp_path, capsys):
    run = runs_dir / kind
    if not run.exists():
        train(tiny_dir, runs_dir, kind, *(["--stage", "2", "--from", str(runs_dir / before)] if before else []))
    result = evaluate.evaluate(evaluate.EvaluateConfig(run=str(run)))["tiny/validation"]
    assert set(result) == {"landmarks", "attributes"}
    export.main(["--run", str(run), "--out", str(tmp_path / "exported")])  # which checks that all formats answer alike
    assert (tmp_path / "exported" / CARD).is_file() and (tmp_path / "exported/model.tflite").stat().st_size > 1000

"""The real faces: what they hold, the published floors, and that a short training clears them."""

import pytest

from smtn_keras import evaluate, fit, prepare
from smtn_keras.data.prepared import open_prepared
from smtn_keras.metrics import floor_metrics

pytestmark = pytest.mark.faces


@pytest.fixture(scope="module")
def data_dir(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    for name in ("celeba", "mtfl"):
        prepare.prepare(name, folder, source=faces / name)
    return folder


def floors(name, data_dir):
    data = open_prepared(name, data_dir)
    train, test = data.targets("train"), data.targets("test")
    return data, *(floor_metrics(task, train, test) for task in data.tasks)


def test_floors_of_the_celeba_slice(data_dir):
    # the slice's own notes: mean shape 95.6 / 95.9 / 29.2 / 72.1 / 73.8, average 73.3, NME 8.37; majority label 80.56
    data, landmarks, attributes = floors("celeba", data_dir)
    assert data.counts == {"train": 7498, "validation": 500, "test": 1001}
    assert [round(value, 1) for value in landmarks["success_rate"].values()] == [95.6, 95.9, 29.2, 72.1, 73.8]
    assert landmarks["success_rate_average"] == pytest.approx(73.3, abs=0.05)
    assert landmarks["nme"] == pytest.approx(8.37, abs=0.005)
    assert attributes["accuracy_mean"] == pytest.approx(80.56, abs=0.005)


def test_floors_of_mtfl(data_dir):
    # its own notes: average success 13.1, NME 23.95, failures 96.9; majority 39.6 / 52.2 / 93.8 / 62.5. They take the mean
    # over all 10,000 training faces; 960 of them are our validation part, so the mean shape differs a little.
    data, landmarks, attributes = floors("mtfl", data_dir)
    assert data.counts["train"] + data.counts["validation"] == 10000
    assert data.counts["test"] == 1000
    assert landmarks["success_rate_average"] == pytest.approx(13.1, abs=0.5)
    assert landmarks["nme"] == pytest.approx(23.95, abs=0.2)
    assert landmarks["failure_rate"] == pytest.approx(96.9, abs=0.5)
    assert list(attributes["accuracy"].values()) == pytest.approx([39.6, 52.2, 93.8, 62.5], abs=0.05)


def test_two_epochs_on_celeba_clear_the_floors(data_dir, tmp_path):
    run = str(tmp_path / "run")
    fit.main(["--data", "celeba", "--data-dir", str(data_dir), "--run", run, "--epochs", "2", "--image-size", "48"])
    result = evaluate.evaluate(evaluate.EvaluateConfig(run=run, split="validation"), quiet=True)["celeba/validation"]
    for task, key in (("landmarks", "success_rate_average"), ("attributes", "accuracy_mean")):
        assert result[task]["metrics"][key] > result[task]["floor"][key] + 3

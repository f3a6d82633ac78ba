"""TCDCN's early stopping against values computed by hand."""

import json

import numpy as np
import pytest
import tiny

from smtn_keras import fit, runs, stopping
from smtn_keras.stopping import criterion, cross_entropies
from smtn_keras.tasks import Attributes, Label


def test_a_task_that_stands_still_with_a_gap_scores_high():
    # strip 3: median 0.2, sum 0.8: 0.6 / (0.8 - 0.6) = 3; gap (0.3 - 0.2) / 0.2 = 0.5
    assert criterion(np.full(4, 0.2), np.full(4, 0.3), strip=3) == pytest.approx(1.5)


def test_a_falling_training_error_keeps_a_task_alive():
    # of 0.8, 0.4, 0.2, 0.1 the median is 0.3: 0.9 / (1.5 - 0.9) = 1.5; gap (0.3 - 0.1) / 0.1 = 2
    assert criterion(np.array([0.8, 0.4, 0.2, 0.1]), np.array([0.9, 0.6, 0.4, 0.3]), strip=3) == pytest.approx(3.0)
    still = criterion(np.array([0.1, 0.1, 0.1, 0.1]), np.array([0.3, 0.3, 0.3, 0.3]), strip=3)
    assert still == pytest.approx(6.0)  # twice as much for the same gap


def test_the_trend_is_that_of_the_last_strip_and_the_least_error_that_of_all_epochs():
    train = np.array([0.1, 9.0, 0.2, 0.2, 0.2, 0.2])
    assert criterion(train, np.full(6, 0.3), strip=3) == pytest.approx(3 * (0.3 - 0.1) / 0.1)


def test_without_a_gap_nothing_stops():
    assert criterion(np.full(4, 0.2), np.full(4, 0.2), strip=3) == 0
    assert criterion(np.full(4, 0.2), np.full(4, 0.1), strip=3) < 0


def test_nothing_stops_before_the_strip_is_full_or_without_samples():
    assert criterion(np.full(3, 0.2), np.full(3, 9.0), strip=3) == 0
    assert criterion(np.full(4, np.nan), np.full(4, 0.3), strip=3) == 0


def test_cross_entropies_of_binary_and_categorical_labels():
    task = Attributes(labels=(Label("A"), Label("B"), Label("Pose", classes=("left", "frontal", "right"))))
    probabilities = np.array([[0.25, 0.5, 0.2, 0.7, 0.1], [0.25, 0.5, 0.2, 0.7, 0.1]])
    truth = np.array([[1, -1, 2], [0, 1, -1]])
    expected = [[-np.log(0.25), 0, -np.log(0.1)], [-np.log(0.75), -np.log(0.5), 0]]
    np.testing.assert_allclose(cross_entropies(probabilities, truth, task), expected)


def test_a_stopped_label_is_named_in_the_log_and_stays_stopped_after_a_resume(tiny_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stopping, "STRIP", 0)  # so that the first epoch is enough
    asked = []

    def second_label_is_done(train, validation):
        asked.append(len(train))
        return 1.0 if len(asked) % 3 == 2 else 0.0

    monkeypatch.setattr(stopping, "criterion", second_label_is_done)
    run = tmp_path / "tcdcn"
    network = ("--network", "tcdcn", "--backbone", "shallow", *tiny.NARROW)
    fit.main([*tiny.flags(tiny_dir, *network, "--samples", "32", "--epochs", "1"), "--run", str(run)])
    said = capsys.readouterr().out
    assert "stopped after epoch 1: Big_Dots; 2 labels go on" in said
    assert np.shape(json.loads((run / "stopping.json").read_text())) == (1, 2, 3)  # epochs, training and validation, labels

    config = json.loads((run / "config.json").read_text())
    config["training"]["epochs"] = 2
    with runs.kept(run / "config.json") as beside:
        beside.write_text(json.dumps(config))
    fit.main(["--resume", "--run", str(run)])
    assert "stopped after" not in capsys.readouterr().out  # a label stops once
    assert asked == [1, 1, 1, 2, 2, 2]
    gate = runs.load(run, "last.keras").model.get_layer("attributes_gate")
    np.testing.assert_array_equal(gate.open, [1, 0, 1])

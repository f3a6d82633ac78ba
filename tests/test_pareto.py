"""The front of accuracy against time: by hand, and of records whose times are given."""

import json

import pytest

from smtn_keras import pareto, report
from smtn_keras.config import Config
from smtn_keras.data.celeba import TASKS
from smtn_keras.tasks import tasks_to_json


@pytest.mark.parametrize(
    ("costs", "values", "first"),
    [
        ([1, 2, 3], [10, 20, 30], [True, True, True]),
        ([1, 2, 3], [20, 10, 30], [True, False, True]),
        ([1, 1, 2], [10, 20, 20], [False, True, False]),  # as good and slower, or as fast and worse
        ([1, 1], [10, 10], [True, True]),
    ],
)
def test_on_the_front_is_what_no_other_beats(costs, values, first):
    assert pareto.front(costs, values).tolist() == first


@pytest.fixture
def make(tmp_path):
    def write(name, success, accuracy, seed=0, **network):
        folder = tmp_path / name
        folder.mkdir()
        config = Config().with_(data={"data": "celeba"}, network={"image_size": 16, "width": 0.05} | network, training={"seed": seed})
        (folder / "config.json").write_text(config.resolved().to_json())
        (folder / "data.json").write_text(json.dumps({"tasks": tasks_to_json(TASKS)}))
        result = {
            "landmarks": {"metrics": {"samples": 9, "success_rate_average": success, "nme": 5.0}},
            "attributes": {"metrics": {"samples": 9, "accuracy_mean": accuracy}},
        }
        (folder / "metrics.json").write_text(json.dumps({"celeba/validation": result}))
        return str(folder)

    return write


def test_a_table_by_time_with_the_front_in_bold(make, monkeypatch):
    monkeypatch.setattr(pareto, "_file", lambda folder: b"0" * (1_000_000 if folder.name == "wide" else 250_000))
    monkeypatch.setattr(pareto, "_milliseconds", lambda files: {0: 2.0, 1: 0.5, 2: 3.0})
    narrow = make("narrow", 70, 60, width=0.03), make("narrow1", 74, 64, seed=1, width=0.03)
    text, candidates = pareto.pareto((make("wide", 90, 80), *narrow, make("large", 80, 80, image_size=32)))
    assert [(c.name.split(":")[0], c.score, c.megabytes, c.milliseconds, c.first) for c in candidates] == [
        ("--width 0.03", 67, 0.25, 0.5, True),
        ("base", 85, 1.0, 2.0, True),
        ("--image-size 32", 80, 0.25, 3.0, False),
    ]
    rows = [line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert (
        rows[0]
        == "| 1 | **`--width 0.03`** | 0.50 | 0.25 | 67.00 | 72.00 <sub>4.00</sub> | 5.00 <sub>0.00</sub> | 62.00 <sub>4.00</sub> | 2 |"
    )
    assert rows[2].startswith("| 3 | `--image-size 32` | 3.00 |")


def test_files_are_made_timed_and_drawn(make, tmp_path, capsys):
    pytest.importorskip("litert_quantizer")
    figure = tmp_path / "front.png"
    report.main([make("one", 90, 80), make("two", 70, 60, image_size=32), "--show", "pareto", "--figure", str(figure)])
    said = capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG") and "![Accuracy against the time of a face](" in said
    times = [float(line.split("|")[3]) for line in said.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(times) == 2 and all(time > 0 for time in times)


def test_a_run_that_was_not_measured_is_named(make, capsys):
    with pytest.raises(SystemExit) as end:
        report.main([make("one", 90, 80), "--show", "pareto", "--split", "test"])
    assert end.value.code == 2 and "expected metrics of the test part" in capsys.readouterr().err

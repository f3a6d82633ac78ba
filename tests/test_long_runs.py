"""The experiments with memory of tests/reliability, small; docs/reliability.md has the large ones."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "reliability"))

import long_fit
import memory
import predict_many


def faults(rows):
    return {row["what"].partition(": ")[2]: row["note"] for row in rows if row["faults"]}


@pytest.mark.slow
def test_predict_names_each_bad_picture_of_many_and_its_memory_stays_flat(tmp_path):
    rows = predict_many.measure(600, seed=1, folder=tmp_path)
    assert faults(rows) == {}
    assert [row["tried"] for row in rows] == [6, 594, 594, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("held = []; [(held.append(b'x' * 2**21), say(line)) for line in good]", {"memory flat after a tenth"}),
        ("[say(line) for line in good[1:]]", {"others answered"}),
        ("[say(line) for line in good]; bad = bad * 2", {"broken pictures named once"}),
        ("[say(line) for line in good]; bad = bad[1:]", {"broken pictures named once"}),
        ("[say(line) for line in good]; code = 0", {"exit code 2"}),
    ],
)
def test_faults_of_predict_are_seen(tmp_path, monkeypatch, program, found):
    """A stand-in for `predict` that does one thing wrong."""
    (tmp_path / "package/smtn_keras").mkdir(parents=True)
    (tmp_path / "package/smtn_keras/__init__.py").touch()
    (tmp_path / "package/smtn_keras/predict.py").write_text(
        "import json, sys, pathlib, time\ncode, good, bad = 2, [], []\n"
        "say = lambda line: (print(line, flush=True), time.sleep(0.01))\n"
        "for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    whole = file.read_bytes()[:2] == b'\\xff\\xd8' and file.read_bytes()[-2:] == b'\\xff\\xd9'\n"
        "    good.append(json.dumps({'image': str(file)})) if whole else bad.append(f'error: {file}: expected a picture')\n"
        f"{program}\nfor line in bad: print(line, file=sys.stderr)\nsys.exit(code)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "package"))
    monkeypatch.setattr(predict_many, "BREAKS", {kind: predict_many.BREAKS[kind] for kind in ("cut off", "a web page")})
    monkeypatch.chdir(tmp_path)
    assert set(faults(predict_many.measure(200, seed=0, folder=tmp_path))) == found


@pytest.mark.slow
def test_a_training_holds_no_more_memory_with_time_and_ends_when_told(tmp_path):
    rows = long_fit.measure(1, seed=0, folder=tmp_path)
    assert set(faults(rows)) <= {"memory flat after a fifth"}, "a minute is too short to tell"
    assert rows[0]["note"].endswith(" epochs in 1 minutes")


def test_growth_counts_from_the_end_of_the_warm_up():
    warming = [*np.linspace(100, 1000, 20), *[1000.0] * 80]
    assert memory.growth(warming, 0.2) == 0
    assert memory.growth(list(np.linspace(1000, 1100, 100)), 0.0) == pytest.approx(1095.5 / 1004.5 - 1, abs=1e-3)
    assert math.isnan(memory.growth([1.0] * 19, 0.1))


def test_the_memory_of_a_process_holds_that_of_those_it_started():
    hold = "import subprocess, sys, time; {}; held = b'x' * {}; print('held', flush=True); time.sleep(600)"
    start = f"subprocess.Popen([sys.executable, '-c', {hold.format('pass', 200_000_000)!r}])"
    with subprocess.Popen([sys.executable, "-c", hold.format(start, 100_000_000)], stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert [child.stdout.readline() for _ in range(2)] == [b"held\n"] * 2
            assert 300 < memory.resident_mb(child.pid) < 400
        finally:
            os.killpg(child.pid, 9)
    assert math.isnan(memory.resident_mb(child.pid))

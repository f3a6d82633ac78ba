"""The experiments of tests/reliability, small; docs/reliability.md has the large ones."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "reliability"))

import kills


def assert_no_faults(rows):
    assert rows and all(row["faults"] == 0 for row in rows), rows


def test_five_kills_lose_nothing_but_steps_since_the_last_checkpoint(tmp_path):
    rows = kills.measure(5, seed=0, folder=tmp_path, names=("prepare", "fit_1"))
    assert_no_faults(rows)
    assert [row["tried"] for row in rows] == [3, 2]


@pytest.mark.slow
def test_fifty_kills_lose_nothing_but_steps_since_the_last_checkpoint(tmp_path):
    rows = kills.measure(50, seed=1, folder=tmp_path)
    assert_no_faults(rows)
    assert sum(row["tried"] for row in rows) == 50

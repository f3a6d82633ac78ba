"""The experiments of tests/reliability, small; docs/reliability.md has the large ones."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from smtn_keras import evaluate, export, fit, prepare, report

sys.path.insert(0, str(Path(__file__).parent / "reliability"))

import full_disk
import kills

mounting = pytest.mark.skipif(not full_disk.may_mount(), reason="expected a user who may mount file systems")


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


@mounting
@pytest.mark.slow
def test_full_disks_are_told_and_break_nothing(tmp_path):
    assert_no_faults(full_disk.measure(10, seed=0, folder=tmp_path))


@mounting
@pytest.mark.slow
def test_a_read_only_disk_ends_each_command_with_a_sentence(drawn, tiny_dir, tmp_path, capsys):
    with full_disk.small_disk(tmp_path / "disk", 100_000_000) as disk:
        shutil.copytree(drawn / "stage2", disk / "run")
        before = {file: file.read_bytes() for file in (disk / "run").rglob("*") if file.is_file()}
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        run = str(disk / "run")
        for main, argv in (
            (fit.main, tiny.flags(tiny_dir, *tiny.NARROW, "--run", f"{disk}/new")),
            (fit.main, ["--resume", "--run", run]),
            (evaluate.main, ["--run", run, "--split", "test"]),
            (export.main, ["--run", run, "--out", f"{disk}/exported"]),
            (report.main, [run, "--out", f"{disk}/report"]),
            (prepare.main, ["synthetic", "--samples", "20", "--data-dir", f"{disk}/data"]),
        ):
            with pytest.raises(SystemExit) as end:
                main(argv)
            *_, line = capsys.readouterr().err.splitlines()
            assert end.value.code == 2 and line.startswith("error: ") and str(disk) in line, (main.__module__, line)
        assert {file: file.read_bytes() for file in (disk / "run").rglob("*") if file.is_file()} == before

"""Tables say what metrics.json says."""

import json
import shutil
from pathlib import Path

import pytest

from smtn_keras import report
from smtn_keras.errors import UserError

ROOT = Path(__file__).parent.parent


def cells(text, first):
    """The cells of the table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_holds_the_runs_numbers_and_the_floors(drawn):
    text = report.report((str(drawn / "stage1"), str(drawn / "stage2")))
    head = cells(text, "network")
    stage2 = dict(zip(head, cells(text, "SMTN channelwise, from stage 1"), strict=True))
    floor = dict(zip(head, cells(text, "*floor"), strict=True))
    written = json.loads((drawn / "stage2" / "metrics.json").read_text())["synthetic/test"]
    assert stage2["nose"] == f"{written['landmarks']['metrics']['success_rate']['nose']:.2f}"
    assert stage2["NME"] == f"{written['landmarks']['metrics']['nme']:.2f}"
    assert stage2["accuracy"] == f"{written['attributes']['metrics']['accuracy_mean']:.2f}"
    assert floor["NME"] == f"{written['landmarks']['floor']['nme']:.2f}"
    assert stage2["seed"] == "0"
    assert "synthetic" in text


def test_a_run_without_metrics_is_named_with_the_command(drawn, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(drawn / "stage1", copy)
    (copy / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"smtn_keras\.evaluate --run .* --split test"):
        report.report((str(copy),))


def test_into_replaces_only_what_stands_between_the_markers(drawn, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.main([str(drawn / "stage1"), "--into", str(page)])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "hard sharing" in text


def test_a_page_without_markers_is_refused_and_kept(drawn, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n")
    with pytest.raises(UserError, match="found them not"):
        report.insert(page, "table")
    assert page.read_text() == "text\n"


def test_the_readme_says_what_the_recorded_runs_say():
    folders = sorted(str(folder) for folder in (ROOT / "docs" / "runs").iterdir())
    shown = (ROOT / "README.md").read_text().split(report.BEGIN)[1].split(report.END)[0]
    assert shown.strip() == report.report(tuple(folders))
    assert shown.count("floor") == 3  # one table for each data set

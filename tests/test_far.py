"""benchmarks/far.py: crops are changed together with their points, and counted if they are warned of."""

import sys
from pathlib import Path

import numpy as np
import tiny

from smtn_keras import predictor

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import far


def test_points_go_where_the_picture_goes_and_warnings_are_counted(tiny_dir, monkeypatch, tmp_path, capsys):
    """By a model that finds the dots wherever they are; those of a few crops leave the picture, or are lost among few pixels."""
    monkeypatch.setattr(predictor, "load_predictor", lambda path, threads: tiny.Dots())
    monkeypatch.setattr(predictor, "find_model", lambda name: name)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- far: begin -->\n<!-- far: end -->\n")
    far.main(["--data", "tiny", "--data-dir", str(tiny_dir), "--count", "8", "--into", str(page)])
    assert "| crops | tiny warned of | tiny NME |" in page.read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    warned, nme = ({row[0]: float(row[i]) for row in rows[2:]} for i in (1, 2))
    for name in ("as they are", "of 72 pixels a side", "upside down", "half as large", "twice as wide"):
        assert nme[name] < 4, name
    # two thirds to all of the mean size, of which 0.8 are let pass
    eyes = [np.ptp(tiny.example("test", i).targets["landmarks"][:2, 0]) / (0.36 * 80) for i in range(8)]
    assert warned["as they are"] == 100 * np.mean([size < 0.8 for size in eyes])
    assert {warned[name] for name in ("of 24 pixels a side", "upside down", "half as large", "twice as wide")} == {100}

"""The demo makes everything it says."""

import json

import cv2
import pytest

from smtn_keras import demo


def test_demo_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "demo"
    demo.main(["--out", str(out), "--samples", "100", "--epochs", "1"])
    printed = capsys.readouterr().out
    metrics = json.loads((out / "stage2" / "metrics.json").read_text())["synthetic/test"]
    row = next(line for line in printed.splitlines() if line.startswith("NME"))
    assert row.split()[-1] == f"{metrics['landmarks']['metrics']['nme']:.2f}"
    assert row.split()[-3] == f"{metrics['landmarks']['floor']['nme']:.2f}"
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 12  # 12 % of 100
    sheet = cv2.imread(str(out / "predictions.png"))[..., ::-1].astype(int)
    red = (sheet[..., 0] > 230) & (sheet[..., 1:].max(-1) < 40)
    green = (sheet[..., 1] > 230) & (sheet[..., [0, 2]].max(-1) < 40)
    assert red.sum() > 100
    assert green.sum() > 100
    for name in ("exported/saved_model", "exported/model.tflite", "predictions.png"):
        assert (out / name).exists()
        assert name in printed


def test_demo_refuses_a_folder_that_is_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        demo.main(["--out", str(tmp_path)])
    assert end.value.code == 2
    assert "does not exist yet" in capsys.readouterr().err

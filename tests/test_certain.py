"""benchmarks/certain.py: answers to changed pictures are brought back before their spread is taken, and cards are read."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from smtn_keras import predictor

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import certain

MOBILE = Path(__file__).parent.parent / "exported" / "mobile"


class Biased(tiny.Dots):
    """It finds the dots, but too far right by a little that depends on the picture, and knows nothing of it."""

    def run(self, images):
        answers = {"landmarks": np.stack([tiny.find_dots(image) for image in images])}
        answers["landmarks"] += np.array([[(image.mean() / 255 - 0.2) / 10, 0] for image in images])[:, None]
        return answers | {"landmarks_error": np.full(answers["landmarks"].shape[:2], 0.01)}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_bias_shows_in_the_mirror_image(tiny_dir, monkeypatch):
    """Shifts move picture and points alike, so that they show nothing: the spread is all of the mirror image."""
    monkeypatch.setattr(predictor, "load_predictor", lambda path: Biased())
    monkeypatch.setattr(predictor, "find_model", lambda name: name)
    text = certain.spread(certain.CertainConfig(data=("tiny",), data_dir=str(tiny_dir)))
    _, _, said, mirrored, both = map(cells, text.splitlines())
    assert said[:2] == ["tiny, predicted errors", "-"] or abs(float(said[1])) < 0.9  # a constant over the distance of the eyes
    assert mirrored[0].endswith("mirror image") and float(mirrored[1]) > 0.9
    assert both[0].endswith("mirror image and 4 shifts") and float(both[1]) > 0.9


@pytest.mark.parametrize("by", [*certain.SHIFTS, (2, -1)])
def test_a_shifted_picture_has_the_border_where_nothing_was(by):
    images = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    moved = certain._shifted(images, *by)
    right, down = by
    rows, columns = (np.clip(np.arange(8) - shift, 0, 7) for shift in (down, right))
    np.testing.assert_array_equal(moved, images[:, rows][:, :, columns])


def test_tables_are_those_of_the_cards(tmp_path, capsys):
    text = certain.temperatures(certain.CertainConfig(models=(str(MOBILE),), data=("celeba", "mtfl")))
    readme = (MOBILE / "README.md").read_text()
    for line in text.splitlines()[2:]:
        _, error, tempered, chance, temperature = cells(line)
        assert f"probabilities: {error}%, {tempered}% at the temperature {temperature} that suits" in readme
        assert f"a model that is right has {chance}%" in readme


def test_what_a_card_lacks_is_asked_for_before_anything_is_measured(tmp_path, capsys):
    shutil.copytree(MOBILE, tmp_path / "mobile")
    with pytest.raises(SystemExit) as end:
        certain.main(["--models", str(tmp_path / "mobile"), "--data", "synthetic"])
    assert end.value.code == 2
    assert "--data synthetic --split test --calibrate" in capsys.readouterr().err

"""The benchmark in the browser: that it asks the networks that it times."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from smtn_keras import web
from smtn_keras.errors import UserError
from smtn_keras.predictor import load_predictor, shipped

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "browser.py"


@pytest.fixture(scope="module")
def benchmark():
    module = runpy.run_path(str(BENCHMARK))
    try:
        web.npm_files(module["PACKAGES"], "npm ci")
        web.page_files(shipped())
        with module["Browser"](peers=()):
            return module
    except UserError as error:
        if "found none" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def astronaut():
    """A public-domain photo, whose eyes are known to lie at about (204, 100) and (245, 102)."""
    return pytest.importorskip("skimage.data").astronaut()


def test_it_asks_the_same_network_as_python(benchmark, astronaut):
    folder = shipped()
    crop = astronaut[20:240, 135:315]
    with benchmark["Browser"]([folder]) as browser:
        (five, took), (sixty_eight, _), (none, _) = browser.ask(crop)
        assert browser.usable_ms > 0
    expected = load_predictor(folder)([crop])["landmarks"][0] * crop.shape[1::-1]
    np.testing.assert_allclose(five, expected, atol=0.02 * np.linalg.norm(expected[1] - expected[0]))
    assert took > 0
    assert sixty_eight.shape == (68, 2)
    assert none.shape == (0, 2)


def test_face_api_sees_the_eyes(benchmark, astronaut):
    with benchmark["FaceApi"]() as face_api:
        points_px, milliseconds = face_api.landmarks(astronaut[60:180, 165:285])
    np.testing.assert_allclose([points_px[36:42].mean(0), points_px[42:48].mean(0)], [[39, 40], [80, 42]], atol=4)
    assert milliseconds > 0
    assert [file.suffix for file in face_api.files] == [".bin", ".bin"]


def test_it_prints_a_row_for_each(benchmark, capsys, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- browser: begin -->\n<!-- browser: end -->")
    benchmark["main"](("mobile",), rounds=2, into=str(page))
    said = capsys.readouterr().out
    assert page.read_text() == f"<!-- browser: begin -->\n{said}<!-- browser: end -->"
    head, _, *rows = [line.split(" | ") for line in said.splitlines()[:5]]
    assert head == ["| ", "ms", "MB |"]
    assert [row[0] for row in rows] == ["| mobile", "| face-api, 68 points", "| face-api, age and gender"]
    assert all(float(row[1]) > 0 and float(row[2].removesuffix(" |")) > 0 for row in rows)
    assert "The page of mobile takes photos " in said


def test_without_a_model(benchmark):
    with pytest.raises(UserError, match="expected a model and at least one round, got 0 and 200"):
        benchmark["main"](())

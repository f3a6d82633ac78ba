"""The example in C: it compiles without a warning, and says what Python says."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from smtn_keras.data.pipeline import resize
from smtn_keras.data.synthetic import draw_face
from smtn_keras.predictor import load_predictor

SOURCE = Path(__file__).parents[1] / "examples" / "c" / "main.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    import ai_edge_litert

    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = Path(ai_edge_litert.__path__[0]) / "libLiteRt.so"
    if not library.is_file():
        pytest.skip("this ai-edge-litert has no libLiteRt.so to link with")
    out = tmp_path_factory.mktemp("c") / "face"
    strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *strict, SOURCE, "-o", out, library, f"-Wl,-rpath,{library.parent}"], check=True)
    return out


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def write_crop(file, size):
    picture = resize(draw_face(seed=9, index=4)[0], size)
    cv2.imwrite(str(file), picture[..., ::-1])
    return picture


def test_it_answers_like_python(program, exported, tmp_path):
    picture = write_crop(tmp_path / "crop.ppm", 32)
    said = run(program, exported / "model.tflite", tmp_path / "crop.ppm")
    assert said.returncode == 0
    rows = [line.split() for line in said.stdout.splitlines()]
    predictor = load_predictor(exported)
    answer, (points, labels) = predictor([picture]), predictor.tasks
    assert [row[0] for row in rows[:5]] == list(points.points)
    np.testing.assert_allclose(np.float64([row[1:] for row in rows[:5]]), answer["landmarks"][0] * 32, atol=0.01)
    surest = np.argsort(-answer["attributes"][0], kind="stable")[:5]
    assert [row[0] for row in rows[5:]] == [labels.probability_names[i] for i in surest]
    np.testing.assert_allclose([float(row[1]) for row in rows[5:]], answer["attributes"][0][surest], atol=0.001)


def test_bad_input_is_one_sentence(program, exported, tmp_path):
    write_crop(tmp_path / "large.ppm", 40)
    write_crop(tmp_path / "crop.ppm", 32)
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "crop.ppm").read_bytes()[:-1])
    model = exported / "model.tflite"
    for arguments, expected in (
        ((model, tmp_path / "large.ppm"), "large.ppm: expected a binary PPM (P6) of 32 x 32 pixels and 8 bits"),
        ((model, tmp_path / "cut.ppm"), "cut.ppm: expected as many pixels as its header says"),
        ((model, tmp_path / "nothing.ppm"), "nothing.ppm: expected a readable file"),
        ((tmp_path / "crop.ppm", tmp_path / "crop.ppm"), "crop.ppm: expected a LiteRT model"),
        ((), "expected two arguments: MODEL.tflite CROP.ppm"),
    ):
        said = run(program, *arguments)
        assert said.returncode == 1 and said.stdout == ""
        assert said.stderr.splitlines()[-1].startswith("error: ") and said.stderr.splitlines()[-1].endswith(expected)

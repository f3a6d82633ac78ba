"""The models that come with the package: whole, small, and right about a photo and drawn faces."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from smtn_keras import card as cards
from smtn_keras import litert, predict, predictor
from smtn_keras.data.celeba import ATTRIBUTES
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.faces import find, mtcnn

MOST_BYTES = {"mobile": 2_000_000, "mobile_tiny": 600_000, "mobile_synthetic": 2_000_000}
SEEN_PHOTOS = "mobile", "mobile_tiny"
DRAWN = 40

each = pytest.mark.parametrize("name", MOST_BYTES)


@pytest.fixture(scope="module")
def load():
    """A shipped model by name, loaded once."""
    loaded = {}

    def by_name(name):
        if name not in loaded:
            loaded[name] = predictor.load_predictor(predictor.shipped(name), threads=1)
        return loaded[name]

    return by_name


@pytest.fixture(scope="module")
def detector():
    return mtcnn()


@each
def test_it_is_small_and_its_card_tells_of_it(name):
    folder = predictor.shipped(name)
    card = json.loads((folder / cards.CARD).read_text())
    assert card["name"] == name and card["quantisation"]["preset"] == "int8"
    assert (folder / cards.FILE).stat().st_size == card["file"]["bytes"] <= MOST_BYTES[name]
    assert card["file"] == cards.describe_file(folder / cards.FILE)
    sets = ["celeba", "mtfl"] if name in SEEN_PHOTOS else ["synthetic"]
    for data in sets:
        for result in card["metrics"][f"{data}/test"].values():
            measured, floor = result["metrics"], result["floor"]
            for key, better in (("success_rate_average", 1), ("nme", -1), ("accuracy_mean", 1), ("balanced_accuracy_mean", 1)):
                assert key not in measured or better * (measured[key] - floor[key]) > 0, (data, key)
    page = (folder / cards.README).read_text()
    assert page == cards.text(card), "both forms say the same"
    assert ("arXiv 2210.07356" in page) == (name in SEEN_PHOTOS), "what CelebA's labels are worth"
    assert ("research" in page) == (name in SEEN_PHOTOS), "what its licence allows"


@each
def test_its_names_are_inside_the_file(name):
    folder = predictor.shipped(name)
    names = litert.names_in((folder / cards.FILE).read_bytes(), ["landmarks", "attributes"])
    assert names["landmarks"] == ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    assert set(ATTRIBUTES) <= set(names["attributes"])


@each
def test_it_sees_the_astronaut(name, load, detector):
    """The public-domain photo, whose five points are known to a few pixels; from eye to eye are 41."""
    photo = pytest.importorskip("skimage.data").astronaut()
    (face,) = find(photo, load(name), detector)
    truth = {"left_eye": (204, 100), "right_eye": (245, 102), "nose": (225, 127), "left_mouth": (202, 139), "right_mouth": (244, 141)}
    off = {point: np.linalg.norm(np.subtract(face["landmarks"][point], there)) for point, there in truth.items()}
    assert max(off.values()) < (5 if name in SEEN_PHOTOS else 8), off
    if name in SEEN_PHOTOS:
        said = {attribute for attribute, probability in face["attributes"].items() if probability > 0.5}
        assert {"Smiling", "Bangs", "High_Cheekbones", "Mouth_Slightly_Open", "No_Beard"} <= said
        assert not said & {"Goatee", "Bald", "Eyeglasses", "Mustache", "Gray_Hair", "Wearing_Hat"}


@each
def test_it_sees_drawn_faces(name, load):
    pictures, points, labels = zip(*(draw_face(seed=7, index=i) for i in range(DRAWN)), strict=True)
    model, truth = load(name), np.stack(points)
    answer = model(list(pictures))
    height, width, _ = pictures[0].shape
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    nme = (np.linalg.norm(answer["landmarks"] * (width, height) - truth, axis=2) / eyes[:, None]).mean()
    # they are new to a model of photos, and it finds its way
    assert nme < (0.1 if name in SEEN_PHOTOS else 0.04)
    said = answer["attributes"][:, [model.tasks[1].probability_names.index(attribute) for attribute in ATTRIBUTES]] > 0.5
    right = dict(zip(ATTRIBUTES, (said == np.stack(labels)).mean(0), strict=True))
    assert right["Male"] > 0.7 and right["Smiling"] > 0.7, right


def test_the_shipped_model_follows_a_photo_that_moves(tmp_path, capsys, monkeypatch):
    """The public-domain astronaut goes round in a circle, up to 8 pixels a frame; the detector sees the first frame only."""
    data = pytest.importorskip("skimage.data")
    photo, file = data.astronaut()[:400, :450], tmp_path / "clip.avi"
    turn = np.linspace(0, 2 * np.pi, 40)
    path = np.round(np.stack([50 + 50 * np.sin(turn), 40 + 40 * np.cos(turn)], 1)).astype(int)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 30, (560, 490))
    for x, y in path:
        canvas = np.full((490, 560, 3), 127, np.uint8)
        canvas[y : y + 400, x : x + 450] = photo
        writer.write(canvas[..., ::-1])
    writer.release()
    eyes = np.float64([[204, 100], [245, 102]])
    at_first = np.float64([*eyes, [224, 126], [202, 139], [244, 140]]) + path[0]
    monkeypatch.setattr(predict, "mtcnn", lambda: tiny.Detector(at_first))
    predict.main([str(file), "--json", "--detect-every", "1000"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["frame"], line["id"]) for line in lines] == [(i, 1) for i in range(40)]
    found = np.array([[line["landmarks"]["left_eye"], line["landmarks"]["right_eye"]] for line in lines])
    off = np.linalg.norm(found - (eyes + path[:, None]), axis=2)
    assert off.mean() < 3 and off.max() < 6, "of 41 pixels from eye to eye"
    assert min(line["attributes"]["Smiling"] for line in lines) > 0.8


# -- where they lie -------------------------------------------------------------------------------


def test_the_shipped_model_is_found_in_a_checkout_and_in_an_install(tmp_path, monkeypatch):
    def make(folder):
        folder.mkdir(parents=True)
        (folder / "model.json").write_text("{}")
        return folder

    monkeypatch.setattr(predictor, "__file__", str(tmp_path / "smtn_keras" / "predictor.py"))
    with pytest.raises(UserError, match=r"^mobile: expected a shipped model \(there is none here\) or a path that exists; check --model$"):
        predictor.shipped()
    of_checkout = make(tmp_path / "exported" / "mobile")
    assert predictor.shipped() == of_checkout
    of_install = make(tmp_path / "smtn_keras" / "exported" / "mobile")
    other = make(tmp_path / "smtn_keras" / "exported" / "mobile_synthetic")
    assert predictor.shipped() == of_install
    assert predictor.shipped("mobile_synthetic") == other
    with pytest.raises(UserError, match=r"^mobil: expected a shipped model \(mobile, mobile_synthetic\)"):
        predictor.shipped("mobil")


def test_an_install_holds_the_shipped_models_and_nobody_elses(tmp_path):
    pytest.importorskip("setuptools")
    root = Path(__file__).parent.parent
    for name in ("setup.py", "README.md", "LICENSE", "smtn_keras/__init__.py", "web/package.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    for name in ("mobile/model.tflite", "mobile/model.json", "mobile/README.md", "mobile/saved_model/saved_model.pb", "own/model.tflite"):
        (tmp_path / "exported" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "exported" / name).write_text("{}")
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", "out"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    installed = tmp_path / "out" / "smtn_keras" / "exported"
    assert sorted(str(file.relative_to(installed)) for file in installed.rglob("*.*")) == [
        "mobile/README.md",
        "mobile/model.json",
        "mobile/model.tflite",
    ]


def test_a_folder_here_stands_for_a_shipped_model_only_if_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobile").mkdir()
    assert predictor.find_model(None) == predictor.shipped()
    assert predictor.find_model("mobile") == Path("mobile")
    assert predictor.find_model("mobile_tiny") == predictor.shipped("mobile_tiny")
    assert predictor.find_model("runs/mobile") == Path("runs/mobile")

"""From a photo to points in its pixels."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from smtn_keras import predict
from smtn_keras.data.celeba import FIVE_POINTS
from smtn_keras.data.synthetic import draw_face


class Centre:
    """A predictor that always answers the points it was made with."""

    tasks = (FIVE_POINTS,)

    def __init__(self, landmarks_unit):
        mean = [[0.39, 0.51], [0.6, 0.51], [0.49, 0.62], [0.4, 0.7], [0.59, 0.7]]
        self.card = {"frame": {"size": [178, 218], "mean_landmarks": {"landmarks": mean}}}
        self.mean = np.array(mean)
        self.answer = np.array(landmarks_unit if landmarks_unit is not None else mean)
        self.crops = []

    def __call__(self, crops):
        self.crops += crops
        return {"landmarks": np.repeat(self.answer[None], len(crops), axis=0)}


def detector(*faces):
    """A detector that finds faces at the given points, `(5, 2)` each."""
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    found = [{"box": [*points.min(0), *np.ptp(points, axis=0)], "keypoints": dict(zip(names, points, strict=True))} for points in faces]
    return SimpleNamespace(detect_faces=lambda photo: found)


@pytest.mark.parametrize("zoom", [0.4, 1.0, 3.0])
def test_points_come_back_into_the_photo(zoom):
    predictor = Centre(None)
    # the mean face, turned by 20 degrees, enlarged and moved: its answer must be where the detector saw it
    angle = np.deg2rad(20)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (predictor.mean * [178, 218]) @ turn.T + [300, 40]
    photo = np.zeros((900, 900, 3), np.uint8)
    for x, y in points:
        cv2.circle(photo, (round(x), round(y)), max(1, round(4 * zoom)), (255, 255, 255), -1)
    face = predict.find(photo, predictor, detector(points))[0]
    np.testing.assert_allclose(list(face["landmarks"].values()), points, atol=0.02)
    # and in the crop the dots stand at the mean points
    crop = predictor.crops[0]
    assert crop.shape == (218, 178, 3)
    for x, y in predictor.mean * [178, 218]:
        assert crop[int(y), int(x)].mean() > 100


def test_a_crop_needs_no_detector():
    face = predict.find(np.zeros((100, 50, 3), np.uint8), Centre(np.full((5, 2), [0.5, 0.25])))[0]
    assert face["landmarks"]["nose"] == [25.0, 25.0]
    assert face["box"] == [0, 0, 50, 100]


def test_largest_face_comes_first():
    small, large = Centre(None).mean * 50, Centre(None).mean * 300
    faces = predict.find(np.zeros((400, 400, 3), np.uint8), Centre(None), detector(small, large))
    assert [face["box"][2] for face in faces] == [int(np.ptp(large[:, 0])), int(np.ptp(small[:, 0]))]


def test_command_line_names_bad_pictures_and_does_the_others(drawn, tmp_path, capsys):
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    cv2.imwrite(str(good), draw_face(seed=3, index=0)[0][..., ::-1])
    bad.write_bytes(b"no picture")
    with pytest.raises(SystemExit) as end:
        predict.main([str(good), str(bad), "--no-detect", "--model", str(drawn / "stage2"), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    printed = capsys.readouterr()
    line = json.loads(printed.out)
    assert line["image"] == str(good)
    assert set(line["landmarks"]) == set(FIVE_POINTS.points)
    assert len(line["attributes"]) == 40
    assert next(text for text in printed.err.splitlines() if text.startswith("error:")).startswith(f"error: {bad}: expected an image")
    drawing = cv2.imread(str(tmp_path / "out" / "good_faces.png"))
    assert drawing.shape[:2] == (3 * 218, 3 * 178), "enlarged, or nobody could read it"


def test_drawings_write_over_neither_photos_nor_each_other(drawn, tmp_path):
    photos = [tmp_path / "face.png", tmp_path / "more" / "face.png"]
    photos[1].parent.mkdir()
    for i, photo in enumerate(photos):
        cv2.imwrite(str(photo), draw_face(seed=3, index=i)[0][..., ::-1])
    before = photos[0].read_bytes()
    predict.main([*map(str, photos), "--no-detect", "--model", str(drawn / "stage2"), "--out", str(tmp_path)])
    assert photos[0].read_bytes() == before
    first, second = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("face_faces.png", "face_faces-2.png"))
    assert np.abs(first - second).mean() > 5, "two different faces"


def test_a_real_photo(drawn, tmp_path, capsys):
    """The public-domain astronaut: one face, whose eyes are known to lie at about (204, 100) and (245, 102)."""
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("mtcnn")
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), data.astronaut()[..., ::-1])
    predict.main([str(photo), "--model", str(drawn / "stage2")])
    line = json.loads(capsys.readouterr().out)
    x, y, w, h = line["box"]
    assert x < 204 < 245 < x + w
    assert y < 101 < y + h
    # a network of one epoch is far from exact, but its points lie in the frame cut around the face
    for px, py in line["landmarks"].values():
        assert x - w < px < x + 2 * w
        assert y - h < py < y + 2 * h


def test_a_picture_without_a_face(drawn, tmp_path, capsys):
    pytest.importorskip("mtcnn")
    photo = tmp_path / "blank.png"
    cv2.imwrite(str(photo), np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(SystemExit) as end:
        predict.main([str(photo), "--model", str(drawn / "stage2")])
    assert end.value.code == 2
    assert f"{photo}: expected a face, found none" in capsys.readouterr().err

"""faces.py: from a photo to a cut face, and its points back."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tiny

from smtn_keras import faces
from smtn_keras.data.celeba import FIVE_POINTS


class Centre:
    """A predictor that always answers the points it was made with."""

    tasks = (FIVE_POINTS,)
    image_size = 64

    def __init__(self, landmarks_unit):
        mean = [[0.39, 0.51], [0.6, 0.51], [0.49, 0.62], [0.4, 0.7], [0.59, 0.7]]
        self.card = {"frame": {"size": [178, 218], "mean_landmarks": {"landmarks": mean}}}
        self.mean = np.array(mean)
        self.answer = np.array(landmarks_unit if landmarks_unit is not None else mean)
        self.crops = []

    def __call__(self, crops):
        self.crops += crops
        return {"landmarks": np.repeat(self.answer[None], len(crops), axis=0)}


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
    face = faces.find(photo, predictor, tiny.Detector(points))[0]
    np.testing.assert_allclose(list(face["landmarks"].values()), points, atol=0.02)
    # and in the crop the dots stand at the mean points
    crop = predictor.crops[0]
    assert crop.shape == (218, 178, 3)
    for x, y in predictor.mean * [178, 218]:
        assert crop[int(y), int(x)].mean() > 100


@pytest.mark.parametrize("zoom", [0.5, 3.0])
def test_a_cut_moves_nothing_by_half_a_pixel(zoom):
    """Pixels have an extent: enlarged by 3, what lay at 10 lies at 30, the centre of the first pixel at 1.5."""
    points = tiny.MEAN_SHAPE * tiny.FRAME
    photo = cv2.resize(tiny.picture(points), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    (face,) = faces.find(photo, tiny.Dots(), tiny.Detector(zoom * points))
    np.testing.assert_allclose(list(face["landmarks"].values()), zoom * points, atol=0.2 * zoom)


def test_a_crop_needs_no_detector():
    face = faces.find(np.zeros((100, 50, 3), np.uint8), Centre(np.full((5, 2), [0.5, 0.25])))[0]
    assert face["landmarks"]["nose"] == [25.0, 25.0]
    assert face["box"] == [0, 0, 50, 100]


def test_largest_face_comes_first():
    small, large = Centre(None).mean * 50, Centre(None).mean * 300
    found = faces.find(np.zeros((400, 400, 3), np.uint8), Centre(None), tiny.Detector(small, large))
    assert [face["box"][2] for face in found] == [int(np.ptp(large[:, 0]) + 20), int(np.ptp(small[:, 0]) + 20)]


def test_a_detector_sees_a_large_photo_shrunk():
    here = Centre(None).mean * [178, 218] + 100  # of the 1600 x 800 pixels that it sees
    sides = []

    def detect_faces(picture):
        sides.append(picture.shape[:2])
        return tiny.Detector(here).detect_faces(picture)

    (face,) = faces.find(np.zeros((2000, 4000, 3), np.uint8), Centre(None), SimpleNamespace(detect_faces=detect_faces))
    assert sides == [(800, 1600)]
    np.testing.assert_allclose(list(face["landmarks"].values()), 2.5 * here, atol=0.02)
    np.testing.assert_allclose(face["box"], 2.5 * np.array([*(here.min(0) - 10), *(np.ptp(here, axis=0) + 20)]), atol=1)

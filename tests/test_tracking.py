"""Faces followed from frame to frame, and smoothed."""

import numpy as np
import pytest
import tiny

from smtn_keras.tracking import OneEuro, Smoother, Tracker

FPS = 30
SHAPE = tiny.MEAN_SHAPE * tiny.FRAME  # of a face of 29 pixels from eye to eye


def scene(*faces):
    """A picture `(240, 320, 3)` with a face of dots at each `(5, 2)` points."""
    return np.maximum.reduce([tiny.picture(points, (320, 240)) for points in faces] or [np.full((240, 320, 3), 20, np.uint8)])


def follow(tracker, *paths, detector=None, start=0):
    """The answers to frames in which faces go along paths `(frames, 2)` of their upper left corners; a NaN there: not in this frame."""
    answers = []
    for i, corners in enumerate(zip(*paths, strict=True), start):
        faces = [SHAPE + corner for corner in corners if np.isfinite(corner).all()]
        if detector:
            detector.faces = faces
        answers.append(tracker(scene(*faces), i / FPS))
    return answers


def points(face):
    return np.array(list(face["landmarks"].values()))


def still(frames, x=100.0, y=60.0):
    return np.tile([x, y], (frames, 1))


# -- smoothing --------------------------------------------------------------------------------------


def test_one_euro_by_hand():
    # at 10 Hz a cutoff of 1 Hz weighs a new value with 1 / (1 + 1 / (2 pi 1 0.1)) = 0.385870
    still = OneEuro(min_cutoff=1, beta=0, speed_cutoff=1)
    assert still(np.array([0.0]), 0.0) == 0
    assert still(np.array([1.0]), 0.1) == pytest.approx(0.385870, abs=1e-6)
    # a step of 1 in 0.1 s is a speed of 10, smoothed 3.858697; beta 2 lifts the cutoff to 8.717395 Hz, whose weight is 0.845614
    moving = OneEuro(min_cutoff=1, beta=2, speed_cutoff=1)
    moving(np.array([0.0, 0.0]), 0.0)
    np.testing.assert_allclose(moving(np.array([1.0, 0.0]), 0.1), [0.845614, 0], atol=1e-6)
    # in units of 2 the speed is half as large: 1 + 2 * 1.929349 = 4.858697 Hz, weight 0.753258
    scaled = OneEuro(min_cutoff=1, beta=2, speed_cutoff=1)
    scaled(np.array([0.0]), 0.0)
    assert scaled(np.array([1.0]), 0.1, unit=2.0) == pytest.approx(0.753258, abs=1e-6)


def test_one_euro_at_a_clock_that_stands_still():
    smooth = OneEuro()
    smooth(np.array([1.0]), 5.0)
    for seconds in (5.0, 4.0):
        assert np.isfinite(smooth(np.array([2.0]), seconds)).all()


def test_smoothing_lowers_jitter_and_lags_little():
    rng, eyes = np.random.default_rng(0), 40.0
    noise = rng.normal(0, 0.5, (300, 5, 2))
    moving = np.arange(300)[:, None, None] * np.array([2 * eyes / FPS, 0])  # two distances of the eyes a second

    def steps(values):
        return np.abs(np.diff(values[FPS:], axis=0)).mean()

    def smoothed(values):
        smooth = OneEuro()
        return np.array([smooth(value, i / FPS, eyes) for i, value in enumerate(values)])

    assert steps(smoothed(noise)) < 0.25 * steps(noise)
    lag = (moving - smoothed(moving + noise))[FPS:].mean((0, 1))
    assert 0 < lag[0] < 0.03 * eyes
    assert abs(lag[1]) < 0.05


def test_attributes_are_averaged_over_half_a_second():
    smooth = Smoother()
    face = {"landmarks": {}, "attributes": {"Smiling": 0.0, "Male": 1.0}}
    assert smooth(face, 0.0, 1.0)["attributes"] == face["attributes"]
    # after half a second 1 - 1/e of the new value counts
    assert smooth({"landmarks": {}, "attributes": {"Smiling": 1.0, "Male": 1.0}}, 0.5, 1.0)["attributes"] == {
        "Smiling": 0.6321,
        "Male": 1.0,
    }


# -- following --------------------------------------------------------------------------------------


def test_a_moving_face_is_followed_with_few_detections():
    turn = np.linspace(0, 2 * np.pi, 36)
    path = np.stack([120 + 60 * np.sin(turn), 70 + 40 * np.cos(turn)], 1)  # up to 10 pixels a frame
    detector = tiny.Detector()
    answers = follow(Tracker(tiny.Dots(), detector, every=15, smooth=False), path, detector=detector)
    assert len(detector.calls) == 3, "frames 0, 15 and 30"
    for (face,), corner in zip(answers, path, strict=True):
        np.testing.assert_allclose(points(face), SHAPE + corner, atol=0.5)
        assert face["id"] == 1
        x, y, width, height = face["box"]  # as wide as the detector's, which adds 10 pixels on each side
        np.testing.assert_allclose([x, y], (SHAPE + corner).min(0) - 10, atol=2)
        np.testing.assert_allclose([width, height], np.ptp(SHAPE, axis=0) + 20, atol=2)


def test_smooth_points_stay_close_to_a_moving_face():
    path = np.stack([20 + 3.0 * np.arange(40), np.full(40, 60.0)], 1)  # three distances of the eyes a second
    answers = [
        follow(Tracker(tiny.Dots(), detector, smooth=smooth), path, detector=detector)
        for smooth, detector in ((False, tiny.Detector()), (True, tiny.Detector()))
    ]
    behind = np.array([points(raw) - points(smooth) for (raw,), (smooth,) in zip(*answers, strict=True)])[10:]
    assert 0.05 < behind[..., 0].mean() < 1.5, "smoothing lags, but by less than 5 % of the distance of the eyes"


def test_two_faces_keep_their_ids_when_the_detector_swaps_them():
    left, right = still(12, 20), still(12, 180)
    detector = tiny.Detector()
    tracker = Tracker(tiny.Dots(), detector, every=2)
    answers = follow(tracker, left, right, detector=detector)
    answers += follow(tracker, right, left, detector=detector, start=12)
    for frame in answers:
        assert [face["id"] for face in frame] == [1, 2]
        assert [face["landmarks"]["nose"][0] for face in frame] == pytest.approx([20 + SHAPE[2, 0], 180 + SHAPE[2, 0]], abs=0.5)


def test_a_lost_face_is_looked_for_less_and_less_often():
    detector = tiny.Detector()
    gone = np.full((20, 2), np.nan)
    answers = follow(Tracker(tiny.Dots(), detector, every=8), np.concatenate([still(3), gone]), detector=detector)
    assert [len(faces) for faces in answers] == [1] * 3 + [0] * 20
    # at frame 0; at once when it is lost, 3; then 2, 4, 8 and 8 frames later: 5, 9, 17, of 23 frames
    assert len(detector.calls) == 5


@pytest.mark.parametrize(("frames_away", "number"), [(6, 1), (45, 2)])
def test_a_face_that_comes_back_soon_keeps_its_id(frames_away, number):
    detector = tiny.Detector()
    path = np.concatenate([still(3), np.full((frames_away, 2), np.nan), still(10)])
    answers = follow(Tracker(tiny.Dots(), detector, every=4), path, detector=detector)
    assert [face["id"] for face in answers[-1]] == [number]


def test_a_face_that_leaves_the_picture_is_lost():
    path = np.stack([250 + 8.0 * np.arange(12), np.full(12, 60.0)], 1)
    detector = tiny.Detector()
    answers = follow(Tracker(tiny.Dots(), detector, every=1000), path[:1], detector=detector)
    assert len(answers[0]) == 1
    tracker = Tracker(tiny.Dots(), detector, every=1000)
    follow(tracker, path[:1], detector=detector)
    detector.faces = []
    counts = [len(tracker(scene(SHAPE + corner), (1 + i) / FPS)) for i, corner in enumerate(path[1:])]
    assert counts[0] == 1 and counts[-1] == 0


def test_a_new_face_is_found_at_the_next_detection():
    detector = tiny.Detector()
    new = np.concatenate([np.full((2, 2), np.nan), still(8, 180)])
    answers = follow(Tracker(tiny.Dots(), detector, every=5), still(10, 20), new, detector=detector)
    assert [len(faces) for faces in answers] == [1] * 5 + [2] * 5


@pytest.mark.parametrize(("error", "kept"), [(0.01, True), (0.1, False)])
def test_a_large_predicted_error_ends_a_track(error, kept):
    """0.1 of the sides of 80 x 100 pixels is 8.9 pixels, 31 % of the distance of the eyes."""
    detector, predictor = tiny.Detector(SHAPE + 60), tiny.Dots(error=0.005)
    tracker = Tracker(predictor, detector, every=1000)
    tracker(scene(SHAPE + 60), 0.0)
    predictor.error, detector.faces = error, []
    assert bool(tracker(scene(SHAPE + 60), 1 / FPS)) == kept
    assert len(detector.calls) == (1 if kept else 2)


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(lambda landmarks: landmarks[:, [2, 0, 4, 1, 3]], id="points in each other's places"),
        pytest.param(lambda landmarks: 0.5 + 0.3 * (landmarks - 0.5), id="a face shrunk to a third from one frame to the next"),
        pytest.param(lambda landmarks: landmarks + 3, id="points beyond the picture"),
        pytest.param(lambda landmarks: landmarks * np.nan, id="no numbers"),
    ],
)
def test_what_does_not_look_like_a_face_ends_a_track(nonsense, monkeypatch):
    detector, predictor = tiny.Detector(SHAPE + 60), tiny.Dots()
    tracker = Tracker(predictor, detector, every=1000)
    assert len(tracker(scene(SHAPE + 60), 0.0)) == len(tracker(scene(SHAPE + 60), 1 / FPS)) == 1
    real = tiny.Dots.__call__
    monkeypatch.setattr(
        tiny.Dots, "__call__", lambda self, crops: real(self, crops) | {"landmarks": nonsense(real(self, crops)["landmarks"])}
    )
    detector.faces = []
    assert tracker(scene(SHAPE + 60), 2 / FPS) == []


def test_a_weak_network_is_believed_where_the_detector_finds_a_face():
    detector = tiny.Detector()
    answers = follow(Tracker(tiny.Dots(error=0.1), detector, every=8), still(16), detector=detector)
    assert all(len(faces) == 1 for faces in answers)
    assert len(detector.calls) == 2


def test_the_detector_may_miss_a_face_of_which_the_model_is_sure_three_times():
    detector = tiny.Detector(SHAPE + 60)
    tracker = Tracker(tiny.Dots(error=0.005), detector, every=1)
    tracker(scene(SHAPE + 60), 0.0)
    detector.faces = []
    assert [len(tracker(scene(SHAPE + 60), i / FPS)) for i in range(1, 6)] == [1, 1, 1, 0, 0]


def test_two_tracks_on_one_face_become_one():
    """A detector that finds a face twice, at first."""
    detector = tiny.Detector(SHAPE + 60, SHAPE + 61)
    tracker = Tracker(tiny.Dots(error=0.005), detector, every=5)
    ids = [[face["id"] for face in tracker(scene(SHAPE + 60), 0.0)]]
    detector.faces = [SHAPE + 60]
    ids += [[face["id"] for face in tracker(scene(SHAPE + 60), i / FPS)] for i in range(1, 10)]
    assert ids == [[1, 2]] * 5 + [[1]] * 5


def test_face_crops_are_one_face():
    tracker = Tracker(tiny.Dots(), None)
    answers = [tracker(tiny.picture(SHAPE), i * 10.0) for i in range(3)]
    assert [[face["id"] for face in faces] for faces in answers] == [[1]] * 3
    np.testing.assert_allclose(points(answers[0][0]), SHAPE, atol=0.3)
    assert answers[0][0]["box"] == [0, 0, 80, 100]

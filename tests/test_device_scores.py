"""benchmarks/peers: which points of a peer are ours, and what they are worth."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from peers import scores, serve

# left eye, right eye, nose and mouth: 40 px between the eyes
FACE = np.float64([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
SIZES = np.array([[100, 100]])


# -- which points are ours --------------------------------------------------------------------------


def mesh_of(count, places):
    """A mesh that is nowhere but at the named places, so that a point taken from elsewhere shows."""
    mesh = np.full((count, 2), 1e6)
    for place, at in places.items():
        mesh[place] = at
    return mesh


def around(centre, places):
    """A contour of points on an ellipse; their mean is its centre."""
    angles = 2 * np.pi * np.arange(len(places)) / len(places)
    return {place: centre + 5 * np.array([2 * np.cos(a), np.sin(a)]) for place, a in zip(places, angles, strict=True)}


def test_the_mesh_gives_centres_of_the_eyes_tip_of_the_nose_and_corners_of_the_mouth():
    # 33 and 133, 362 and 263: the corners of the eyes from the left of the picture to its right, as MediaPipe's drawings show them
    assert {33, 133} < set(serve.MESH_LEFT_EYE) and {362, 263} < set(serve.MESH_RIGHT_EYE)
    mesh = mesh_of(
        478,
        around(FACE[0], serve.MESH_LEFT_EYE) | around(FACE[1], serve.MESH_RIGHT_EYE) | {4: FACE[2], 61: FACE[3], 291: FACE[4]},
    )
    np.testing.assert_allclose(serve.five_of_mesh(mesh), FACE)


def test_the_68_points_give_the_five():
    mesh = mesh_of(68, around(FACE[0], range(36, 42)) | around(FACE[1], range(42, 48)) | {30: FACE[2], 48: FACE[3], 54: FACE[4]})
    np.testing.assert_allclose(serve.five_of_68(mesh), FACE)


def test_dlibs_five_points_give_three_and_begin_at_the_right():
    corners = np.float64([[78, 40], [62, 40], [22, 40], [38, 40], [50, 70]])
    np.testing.assert_allclose(serve.three_of_5(corners), [[30, 40], [70, 40], [50, 70]])


def test_a_view_beyond_the_picture_repeats_its_edge():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # 6 wide, 4 high
    crop, corner = serve.cut(picture, [-1 / 6, 0.25, 0.5, 1.5])
    assert corner.tolist() == [-1, 1] and crop.shape == (5, 4, 3)
    np.testing.assert_array_equal(crop[:3, 1:], picture[1:, :3])
    np.testing.assert_array_equal(crop[:, 0], crop[:, 1])
    np.testing.assert_array_equal(crop[3:], crop[[2, 2]])


# -- what they are worth ----------------------------------------------------------------------------


def test_a_fixed_offset_turns_and_grows_with_the_face():
    points = np.stack([FACE, 2 * FACE, (FACE - 50) @ [[0, 1], [-1, 0]] + 50])  # as it is, twice as large, turned to the side
    truth = points.copy()
    # the true nose lies a tenth of the eyes' distance further along the eyes and a fifth further down, as the face sees it
    truth[:, 2] += [[4, 8], [8, 16], [-8, 4]]
    offset = scores.fixed_offset(points, truth)
    np.testing.assert_allclose(offset, [0, 0, 0.1 + 0.2j, 0, 0], atol=1e-12)
    np.testing.assert_allclose(scores.moved(points, offset), truth)


def test_the_offset_is_that_of_most_faces_and_zero_without_points():
    points = np.stack([FACE] * 5)
    truth = points.copy()
    truth[:, 2, 0] += [4, 4, 4, 4, 400]
    points[:, 3:] = np.nan
    points[0] = np.nan  # not found
    np.testing.assert_allclose(scores.fixed_offset(points, truth), [0, 0, 0.1, 0, 0], atol=1e-12)


def test_a_face_not_found_is_a_failure_and_no_part_of_the_nme():
    points = np.stack([FACE] * 4)
    points[1] = np.nan
    points[2] += [6, 0]  # all points 15 % off
    points[3, 0] += [6, 0]  # one of five 15 % off: 3 % on average
    truth = np.stack([FACE] * 4)
    result = scores.metrics(points, truth, SIZES.repeat(4, 0), np.zeros(5))
    assert (result["samples"], result["points"], result["not_found"], result["failure_rate"]) == (4, 5, 25, 50)
    assert result["nme"] == pytest.approx((0 + 15 + 3) / 3, abs=1e-3)
    assert result["success_rate"] == pytest.approx((25 + 4 * 50) / 5)  # of four faces the left eye of one, the others of two


def test_a_point_that_a_peer_lacks_takes_no_part():
    points = np.stack([FACE, FACE])
    points[:, 3:] = np.nan
    points[0, 2] += [0, 12]  # 30 % off: 10 % on average of three points
    result = scores.metrics(points, np.stack([FACE, FACE]), SIZES.repeat(2, 0), np.zeros(5))
    assert (result["points"], result["not_found"]) == (3, 0)
    assert result["nme"] == pytest.approx(5, abs=1e-3)


def test_where_no_face_is_found_all_are_failures():
    result = scores.metrics(np.full((3, 5, 2), np.nan), np.stack([FACE] * 3), SIZES.repeat(3, 0), np.zeros(5))
    assert (result["not_found"], result["failure_rate"], result["success_rate"], result["nme"]) == (100, 100, 0, None)


def test_views_are_squares_around_the_mean_face_or_margins_around_the_picture():
    sizes = np.array([[100, 200]] * 3)
    for left, top, right, bottom in scores.views("squares", np.stack([FACE] * 3), sizes):
        assert 100 * (right - left) == pytest.approx(200 * (bottom - top))
        assert (left + right) / 2 == pytest.approx(0.5)  # of the mean of the points, 50 px
    middle = scores.usual_view("squares", np.stack([FACE] * 3), sizes)
    np.testing.assert_allclose(
        np.multiply(middle, [100, 200, 100, 200]), [50 - 64, 52 - 64, 50 + 64, 52 + 64]
    )  # 3.2 times 40 px, 0.2 times higher
    none, quarter, _ = scores.views("margins", np.stack([FACE] * 3), sizes)
    assert none == [0, 0, 1, 1] and quarter == [-0.5, -0.25, 1.5, 1.25]  # 50 px of the longer side on all sides


def test_the_best_view_finds_faces_first():
    truth = np.stack([FACE] * 10)
    rough = truth + np.random.default_rng(0).normal(0, 2, truth.shape)  # other for each face, which no offset mends
    exact_but_blind = truth.copy()
    exact_but_blind[:3] = np.nan
    sizes = SIZES.repeat(10, 0)
    assert scores.best_view([("blind", exact_but_blind), ("rough", rough)], truth, sizes) == "rough"
    assert scores.best_view([("rough", rough), ("moved", truth + 3.0)], truth, sizes) == "moved"

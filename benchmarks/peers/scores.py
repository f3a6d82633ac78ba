"""What the answers of a peer are worth: the project's own metrics, before and after the best fixed offset of each point."""

import itertools

import numpy as np

from smtn_keras.data.celeba import FIVE_POINTS
from smtn_keras.metrics import landmark_metrics

WHOLE = [0.0, 0.0, 1.0, 1.0]
MARGINS = (0.0, 0.25, 0.5)  # around the picture, in its longer side
SIDES = (2.0, 2.4, 2.8, 3.2, 3.6, 4.0, 4.5)  # of squares, in distances of the eyes
HEIGHTS = (-0.6, -0.4, -0.2, 0.0, 0.2)  # of their centres below the middle of the five points, in distances of the eyes


def views(kind: str, truth_px: np.ndarray, sizes: np.ndarray) -> list[list[float]]:
    """What of a picture a peer may be shown: left, top, right and bottom in [0, 1] of its sides.

    Args:
        kind: `whole`; `margins`, for a peer that finds the face by itself; `squares`, for one that is told where the face is.
        truth_px: points `(faces, 5, 2)` in pixels, whose mean is where squares lie.
        sizes: `(faces, 2)` width and height of the pictures.
    """
    if kind == "whole":
        return [WHOLE]
    size = np.median(sizes, axis=0)
    if kind == "margins":
        around = [margin * size.max() / size for margin in MARGINS]
        return [[*(-margin).tolist(), *(1 + margin).tolist()] for margin in around]
    mean = np.nanmean(truth_px / sizes[:, None], axis=0) * size
    eyes = np.linalg.norm(mean[1] - mean[0])
    corners = [(mean.mean(0) + np.array([0, eyes * height]), eyes * side / 2) for side, height in itertools.product(SIDES, HEIGHTS)]
    return [[*((centre - half) / size).tolist(), *((centre + half) / size).tolist()] for centre, half in corners]


def usual_view(kind: str, truth_px: np.ndarray, sizes: np.ndarray) -> list[float]:
    """The middle one of `views`, where none is chosen."""
    candidates = views(kind, truth_px, sizes)
    return candidates[len(candidates) // 2]


def best_view(tried: list[tuple[list[float], np.ndarray]], truth_px: np.ndarray, sizes: np.ndarray) -> list[float]:
    """The view with the lowest NME after the best fixed offset; a face not found counts as 100 %.

    Args:
        tried: views, each with the points `(faces, 5, 2)` in pixels found in it, NaN for a face not found and for points that the peer lacks.
    """

    def cost(points_px):
        measured = metrics(points_px, truth_px, sizes, fixed_offset(points_px, truth_px))
        missed = measured["not_found"] / 100
        return 100 * missed + (1 - missed) * (measured["nme_after_offset"] or 0)

    return min(tried, key=lambda pair: cost(pair[1]))[0]


def fixed_offset(points_px: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
    """How far the truth lies from each point, as complex numbers `(5,)` in units of the vector from the left eye found to the right one.

    Definitions of points differ (an eye's centre or its pupil, the nose's tip or what lies below it), and turn and grow with the face.
    The median over faces, in each of the two directions; 0 for a point that the peer does not give.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (_complex(truth_px) - _complex(points_px)) / _eyes(points_px)
    off = np.where(np.isfinite(off), off, np.nan)
    given = ~np.isnan(off).all(0)
    result = np.zeros(off.shape[1], complex)
    result[given] = np.nanmedian(off[:, given].real, axis=0) + 1j * np.nanmedian(off[:, given].imag, axis=0)
    return result


def moved(points_px: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Points `(faces, 5, 2)` moved by a `fixed_offset`."""
    there = _complex(points_px) + offset * _eyes(points_px)
    return np.stack([there.real, there.imag], axis=-1)


def metrics(points_px: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, offset: np.ndarray) -> dict:
    """NME of the faces found; of all faces the success rate (Eq. 2), failures and those among them that were not found. Percent.

    A face not found is a failure, and each of its points is none within 10 %. A point that the peer never gives takes no part.
    """
    given = ~np.isnan(points_px).any(-1).all(0)
    found = ~np.isnan(points_px[:, given]).any((1, 2)) if given.any() else np.zeros(len(points_px), bool)
    truth_px = np.where(given[:, None], truth_px, np.nan)
    result = {"samples": len(found), "points": int(given.sum()), "not_found": float(np.round(100 * np.mean(~found), 4))}
    for suffix, points in (("", points_px), ("_after_offset", moved(points_px, offset))):
        unit = points / sizes[:, None]
        of_all, of_found = (landmark_metrics(unit[which], truth_px[which], sizes[which], FIVE_POINTS) for which in (slice(None), found))
        if not given.any():  # no face was found
            of_all = of_all | {"success_rate_average": 0.0, "failure_rate": 100.0}
        result |= {
            f"nme{suffix}": of_found["nme"],
            f"success_rate{suffix}": of_all["success_rate_average"],
            f"failure_rate{suffix}": of_all["failure_rate"],
        }
    return result


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0] + 1j * points[..., 1]


def _eyes(points: np.ndarray) -> np.ndarray:
    """The vector from the left eye to the right one `(faces, 1)`."""
    return (_complex(points[:, 1]) - _complex(points[:, 0]))[:, None]

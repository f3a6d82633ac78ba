"""A small antialiased canvas for the synthetic faces: fills, lines, soft patches and smooth curves.

Points are `(n, 2)` float arrays, x then y, in pixels of the canvas; colours are RGB triples in [0, 255].
Drawing is in fixed point (1/16 pixel) and blending in integers, so that a picture is the same on every machine,
save that OpenCV with and without Intel's IPP rounds blurs and resizes apart: by 2 levels at most, in 0.3 % of the values.
"""

import functools
import math

import cv2
import numpy as np

Colour = tuple[float, float, float]

_SHIFT = 4  # bits of a pixel's fraction in cv2's fixed-point coordinates
_ANGLES = np.arange(20) * (2 * math.pi / 20)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def between(low: float, high: float, u: float) -> float:
    """The value a share `u` of the way from `low` to `high`."""
    return low + (high - low) * u


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour `a` with a share of `b`."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (`factor` < 1) or lighter colour."""
    return tuple(min(255.0, c * factor) for c in colour)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Outline `(20, 2)` of an upright ellipse."""
    return _CIRCLE * (radius_x, radius_y) + (x, y)


def mirrored(points: np.ndarray) -> np.ndarray:
    """The points with x negated, in reverse order, so that a right half's outline goes on into the left half."""
    return points[::-1] * (-1, 1)


@functools.lru_cache(maxsize=64)
def _spline_weights(count: int, closed: bool, steps: int) -> np.ndarray:
    """Catmull-Rom weights `(samples, count)`: curve = weights @ control points."""
    weights = []
    for segment in range(count if closed else count - 1):
        index = [segment - 1, segment, segment + 1, segment + 2]
        index = [i % count if closed else min(max(i, 0), count - 1) for i in index]
        for t in np.arange(steps) / steps:
            row = np.zeros(count)
            basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            np.add.at(row, index, np.array(basis) / 2)
            weights.append(row)
    if not closed:
        weights.append(np.eye(count)[-1])
    return np.array(weights)


def smooth(points, closed: bool = False, steps: int = 4) -> np.ndarray:
    """A smooth curve through control points, `steps` samples from one to the next."""
    points = np.asarray(points, dtype=np.float64)
    return _spline_weights(len(points), closed, steps) @ points


class Canvas:
    """Draws on `image`, `(height, width, 3)` uint8 RGB, in place."""

    def __init__(self, image: np.ndarray):
        self.image = image

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fills a polygon."""
        cv2.fillPoly(self.image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: int = 1, closed: bool = False) -> None:
        """Draws a polyline, `width` in whole pixels."""
        cv2.polylines(self.image, [_fixed(points)], closed, colour, width, cv2.LINE_AA, _SHIFT)

    def lines(self, strokes: list[np.ndarray], colour: Colour, width: int = 1) -> None:
        """Draws many polylines of one colour."""
        cv2.polylines(self.image, [_fixed(points) for points in strokes], False, colour, width, cv2.LINE_AA, _SHIFT)

    def soft(self, points: np.ndarray, colour: Colour, opacity: float, blur: int, *, grain=None, within=None) -> None:
        """Blends a blurred polygon in.

        Args:
            opacity: of its middle, 0 to 1.
            blur: radius in pixels over which the edge fades.
            grain: `(height, width)` uint8 of the canvas's size; the patch is kept where it is high (a stipple).
            within: a polygon that cuts the patch off sharply.
        """
        height, width = self.image.shape[:2]
        left, top = np.maximum(points.min(axis=0).astype(int) - blur - 1, 0)
        right, bottom = np.minimum(points.max(axis=0).astype(int) + blur + 2, (width, height))
        if left >= right or top >= bottom:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [_fixed(points - (left, top))], 255 * opacity, cv2.LINE_AA, _SHIFT)
        if blur:
            mask = cv2.GaussianBlur(mask, (2 * blur + 1, 2 * blur + 1), 0)
        if grain is not None:
            mask = cv2.multiply(mask, grain[top:bottom, left:right], scale=1 / 255)
        if within is not None:
            inside = np.zeros_like(mask)
            cv2.fillPoly(inside, [_fixed(within - (left, top))], 255, cv2.LINE_AA, _SHIFT)
            mask = cv2.min(mask, inside)
        blend(self.image[top:bottom, left:right], colour, mask)


def blend(region: np.ndarray, colour, mask: np.ndarray) -> None:
    """Mixes `colour` (a triple or an image) into `region` in place; `mask` `(height, width)` uint8 is the share, 255 for all."""
    share = mask.astype(np.uint16)
    share += share >> 7  # 255 becomes 256, so that a full mask replaces the region
    share = share[..., None]
    mixed = region * (256 - share)
    mixed += np.asarray(colour).astype(np.uint16) * share
    mixed >>= 8
    region[:] = mixed


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)

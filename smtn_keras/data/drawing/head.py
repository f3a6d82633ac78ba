"""The head behind a synthetic face: its chance numbers, its pose, its colours and its outline.

Shapes are given on a frontal face: x to the image's right and y down from the middle between the eyes,
in pixels of CelebA's aligned frame, the eyes 38 apart. `Head.place` turns them with the head.
"""

import math
from types import SimpleNamespace

import numpy as np

from ..celeba import ATTRIBUTES, FRAME
from .canvas import Canvas, Colour, between, mirrored, mix, shade, smooth

EYES_PX = np.array([(69.5, 111.0), (107.5, 111.0)])  # their means in CelebA's aligned frame
_EYE_STD_PX = 1.3
_YAW_STD, _PITCH_STD, _TILT_STD = 0.28, 0.15, 0.08  # radians

# Chance numbers that a face needs whatever its attributes: a share in [0, 1) or a normal deviate each.
_SHARES = """
    skin_tone skin_hue hair_length hair_volume hair_shade hair_hue hair_part wave_size wave_phase bangs iris gaze_x gaze_y
    eye_size brow_thick nose_size lips lip_hue lip_shade lift gap stubble beard ground_kind ground_colour ground_angle
    ground_share cloth_hue cloth_shade cloth_light collar light_angle light exposure warmth contrast frames frames_hue
    sunglasses hat hat_hue hat_shade jewel jewel_size tie_hue makeup_hue makeup blush wrinkles occluder occluder_x
    occluder_y occluder_hue blur noise asymmetry
"""
_DEVIATES = """
    yaw pitch tilt left_x left_y right_x right_y width length nose_y nose_depth mouth_y mouth_width mouth_skew jaw brow_y
    body_x skew_brow skew_nose
"""

SKIN_TONES = ((104, 68, 50), (141, 94, 66), (176, 124, 90), (204, 154, 118), (222, 178, 144), (232, 192, 164))
_PALE = (250, 238, 232)
HAIR_COLOURS = {
    "Black_Hair": ((16, 14, 16), (44, 38, 38)),
    "Blond_Hair": ((206, 168, 92), (246, 222, 150)),
    "Brown_Hair": ((74, 46, 26), (124, 80, 44)),
    "Gray_Hair": ((142, 144, 148), (206, 208, 212)),
}
OTHER_HAIR = ((150, 52, 26), (176, 78, 40), (134, 34, 40), (186, 70, 120), (70, 84, 170), (40, 130, 120), (120, 70, 160))


def rainbow(hue: float, strength: float, light: float) -> Colour:
    """A colour from its hue, strength and lightness, each in [0, 1]."""
    wave = (0.5 + 0.5 * math.cos(2 * math.pi * (hue - third / 3)) for third in range(3))
    return tuple(255 * light * (1 - strength + strength * w) for w in wave)


class Head:
    """One face about to be drawn.

    Attributes:
        on: whether each CelebA attribute is present.
        u: chance shares in [0, 1), by name; never depends on the attributes.
        n: normal deviates, by name.
        grain: `(218, 178)` uint8 noise.
        texture: `(55, 45, 3)` uint8 noise for the background and for where things lie.
        canvas: the picture under way.
        skin, hair, beard: colours.
        outline: the face's and skull's edge on a frontal face, closed.
    """

    def __init__(self, attributes: np.ndarray, rng: np.random.Generator):
        self.on = dict(zip(ATTRIBUTES, (bool(a) for a in attributes), strict=True))
        shares, deviates = _SHARES.split(), _DEVIATES.split()
        self.u = SimpleNamespace(**dict(zip(shares, rng.random(len(shares)).tolist(), strict=True)))
        # Clipped: a rare deviate must not tear a face apart.
        drawn = rng.standard_normal(len(deviates)).clip(-2.2, 2.2)
        self.n = SimpleNamespace(**dict(zip(deviates, drawn.tolist(), strict=True)))
        width, height = FRAME
        self.grain = rng.integers(0, 256, (height, width), dtype=np.uint8)
        self.texture = rng.integers(0, 256, (55, 45, 3), dtype=np.uint8)
        self.canvas = Canvas(np.empty((height, width, 3), np.uint8))
        # A drawing convention for "attractive": symmetry and even skin. No judgement of anybody's face.
        self.uneven = 0.0 if self.on["Attractive"] else between(0.7, 1.0, self.u.asymmetry)
        self._turn()
        self._paint()
        self.outline, self.half_outline = self._outlines()

    def place(self, points, lift: float | np.ndarray = 0.0) -> np.ndarray:
        """Points `(n, 2)` of the frontal face in pixels of the picture, turned with the head.

        Args:
            lift: how far they stand out of the face's surface, in pixels (the nose does, the ears lie behind);
                one for all or `(n,)`.
        """
        points = np.asarray(points, dtype=np.float64)
        x, y = points[:, 0], points[:, 1]
        depth = np.maximum(6 - 0.0165 * x * x - 0.012 * np.minimum(y + 20, 0) ** 2, -30) + lift
        placed = points @ self._matrix[:, :2].T
        placed += depth[:, None] * self._matrix[:, 2]
        placed += self._origin
        return placed

    def place_body(self, points) -> np.ndarray:
        """Points `(n, 2)` of the neck and the clothes in pixels of the picture: they do not turn with the head."""
        points = np.asarray(points, dtype=np.float64)
        cos, sin = math.cos(self._tilt), math.sin(self._tilt)
        return (points - (0, 55)) @ np.array([(cos, sin), (-sin, cos)]) + self._body

    def _turn(self) -> None:
        """Sets the pose: yaw and pitch on a 3-D head, then the similarity that brings the eyes near their places.

        CelebA is aligned by the eyes, so roll is left in the eyes' own spread (1.3 px each) and in the tilt of the body.
        """
        n = self.n
        yaw, pitch = n.yaw * _YAW_STD, n.pitch * _PITCH_STD
        self.yaw = yaw
        cos_y, sin_y, cos_p, sin_p = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        turn = np.array([(cos_y, 0, sin_y), (-sin_y * sin_p, cos_p, cos_y * sin_p)])
        targets = EYES_PX + _EYE_STD_PX * np.array([(n.left_x, n.left_y), (n.right_x, n.right_y)])
        seen, wanted = turn @ (38, 0, 0), targets[1] - targets[0]
        ratio = complex(*wanted) / complex(*seen)
        similarity = np.array([(ratio.real, -ratio.imag), (ratio.imag, ratio.real)])
        self._matrix = similarity @ turn * (1, 1 + 0.03 * n.length, 1)
        eyes_depth = 6 - 0.0165 * 19**2
        self._origin = targets.mean(axis=0) - eyes_depth * self._matrix[:, 2]
        self._tilt = n.tilt * _TILT_STD
        self._body = self._origin + self._matrix @ (0, 55, -26) + (2 * n.body_x, 0)

    def _paint(self) -> None:
        u, on = self.u, self.on
        place = u.skin_tone * (len(SKIN_TONES) - 1)
        tone = mix(SKIN_TONES[int(place)], SKIN_TONES[min(int(place) + 1, len(SKIN_TONES) - 1)], place % 1)
        tone = mix(tone, (tone[0], tone[1] * 1.03, tone[2] * 0.86), u.skin_hue)
        self.skin = mix(tone, _PALE, 0.86) if on["Pale_Skin"] else tone
        named = [name for name in HAIR_COLOURS if on[name]]
        if named:
            self.hair = mix(*HAIR_COLOURS[named[0]], u.hair_shade)
        else:
            self.hair = shade(OTHER_HAIR[int(u.hair_hue * len(OTHER_HAIR))], between(0.85, 1.15, u.hair_shade))
        beard = self.hair if named else (70, 46, 34)
        self.beard = mix(shade(beard, 0.6), shade(self.skin, 0.3), 0.25)
        self.brow = mix(shade(beard, 0.55), shade(self.skin, 0.45), 0.3)

    def _outlines(self) -> tuple[np.ndarray, np.ndarray]:
        """The closed outline and its right half's control points, chin first."""
        on, n = self.on, self.n
        male, oval, chubby, old = on["Male"], on["Oval_Face"], on["Chubby"], not on["Young"]
        wide = (0.94 if oval else 1.01) + 0.02 * n.width
        chin = 65.5 + 6 * oval + 2 * male + 1.5 * chubby
        jaw = 26.5 + 3.5 * male - 5.5 * oval + 8 * chubby + 2 * old + n.jaw
        half = np.array(
            [
                (0, chin),
                (10 + 4 * male - 2.5 * oval + 5 * chubby, chin - (3.5 if oval else 1.5)),
                (jaw - (3.0 if oval else 1.0), 54 + 2 * male + 3 * old + 2 * chubby),
                (34 + 1.5 * male - 1.5 * oval + 6.5 * chubby, 39 + 2 * old),
                (39 + 3.5 * chubby, 18),
                (40 + 1 * chubby, -2),
                (39.5, -18),
                (37, -34),
                (28, -50),
                (14, -58),
                (0, -60),
            ]
        )
        half[:, 0] *= wide
        closed = smooth(np.concatenate([half, mirrored(half)[1:-1]]), closed=True, steps=4)
        lower = np.clip(closed[:, 1] / 60, 0, 1)
        closed[:, 0] += 3.5 * self.uneven * lower * math.copysign(1, n.mouth_skew)  # a crooked jaw
        return closed, half

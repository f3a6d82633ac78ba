"""Draws stylised faces whose 5 landmarks and 40 CelebA attributes are known exactly.

Each attribute has one visible sign, by convention of this drawing: what a person would see, not a claim about people.
Some of CelebA's labels are opinions; their signs here are

| attribute | sign |
|---|---|
| Attractive | a symmetric face with even skin; without it, spots, a blotch and a crooked jaw, mouth and brows |
| Young | without it, folds on forehead and cheeks, crow's feet, thinner lips, age spots |
| Oval_Face | a longer face that tapers to the chin |
| Chubby | wider cheeks and jaw with a fold |
| Male | heavier jaw and brows, wider neck, no lashes; mostly shorter hair |
| No_Beard | without it, growth along the jaw, besides any goatee, moustache or stubble |

No chance number depends on the attributes: with the same generator state, `draw_with` draws the same person with
and without an attribute.
"""

import math

import cv2
import numpy as np

from ..celeba import FRAME
from .canvas import between
from .head import Head
from .parts import draw_beard, draw_eyes, draw_mouth, draw_nose, draw_skin, mouth_corners, nose_tip
from .wear import Hair, draw_body, draw_ears, draw_glasses, draw_ground, draw_hat, draw_jewels, draw_occluder

_X = np.arange(FRAME[0], dtype=np.float32) / FRAME[0] - 0.5
_Y = np.arange(FRAME[1], dtype=np.float32) / FRAME[1] - 0.5


def draw_with(attributes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws one face in CelebA's aligned frame.

    Args:
        attributes: `(40,)` of 0 and 1, in the order of `celeba.ATTRIBUTES`; any mixture can be drawn.
        rng: where pose, colours, light and background come from; it is advanced alike whatever the attributes.

    Returns:
        The picture, `(218, 178, 3)` uint8 RGB, and the points of `celeba.FIVE_POINTS`, `(5, 2)` float32 in pixels.
    """
    head = Head(attributes, rng)
    hair = Hair(head)
    draw_ground(head)
    hair.draw_back()
    draw_body(head)
    draw_ears(head)
    draw_skin(head)
    draw_beard(head)
    draw_eyes(head)
    draw_nose(head)
    draw_mouth(head)
    hair.draw_front()
    draw_glasses(head)
    draw_jewels(head)
    draw_hat(head)
    draw_occluder(head)
    return _photograph(head), _landmarks(head)


def _landmarks(head: Head) -> np.ndarray:
    """Eyes, tip of the nose and corners of the mouth, where they were drawn."""
    x, y, lift = nose_tip(head)
    eyes, nose, mouth = head.place([(-19, 0), (19, 0)]), head.place([(x, y)], lift), head.place(mouth_corners(head), 4)
    return np.concatenate([eyes, nose, mouth]).astype(np.float32)


def _photograph(head: Head) -> np.ndarray:
    """Light from one side, exposure and tint, blur and grain of the sensor."""
    u, on, image = head.u, head.on, head.canvas.image
    strength, angle = between(0.0, 0.75, u.light), 2 * math.pi * u.light_angle
    gain = (np.float32(strength * math.cos(angle)) * _X)[None] + (np.float32(0.6 * strength * math.sin(angle)) * _Y)[:, None]
    gain = np.uint16((np.float32(0.95) + gain).clip(0.4, 1.0) * 256)
    image = (image * gain[..., None] >> 8).astype(np.uint8)

    exposure, contrast, warmth = between(0.85, 1.22, u.exposure), between(0.85, 1.1, u.contrast), between(-0.07, 0.07, u.warmth)
    level = np.arange(256, dtype=np.float64)
    curves = [((level - 118) * contrast + 118) * exposure * tint for tint in (1 + warmth, 1.0, 1 - warmth)]
    image = cv2.LUT(image, np.stack(curves, axis=1).clip(0, 255).astype(np.uint8)[None])

    sigma = between(2.8, 3.8, u.blur) if on["Blurry"] else between(0.0, 0.7, u.blur)
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    amount = int(between(0, 5, u.noise**2) * 16)  # a sensor's grain, in 1/16 of a level
    noise = (head.grain.astype(np.int16) - 128) * amount >> 10
    return (image + noise[..., None]).clip(0, 255).astype(np.uint8)

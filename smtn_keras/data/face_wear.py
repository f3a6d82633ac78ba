"""What surrounds a synthetic face: the background, hair, clothes, hat, eyeglasses and jewels."""

import math

import cv2
import numpy as np

from .celeba import FRAME
from .face_canvas import between, ellipse, mirrored, mix, shade, smooth
from .face_head import Head, rainbow

SIDES = (-1, 1)
_GOLD, _SILVER, _PEARL = (232, 186, 60), (214, 218, 226), (248, 240, 228)


def draw_ground(head: Head) -> None:
    """A flat, graded, blobbed, striped or noisy background."""
    u, canvas, texture = head.u, head.canvas, head.texture
    kind = int(5 * u.ground_kind)
    base, other = (tuple(float(c) for c in pixel) for pixel in texture[0, :2])
    if kind == 0:
        canvas.image[:] = np.uint8(base)
    elif kind == 1:  # graded
        canvas.image[:] = cv2.resize(texture[2:4, 0:2], FRAME, interpolation=cv2.INTER_LINEAR)
    elif kind == 2:  # out of focus
        canvas.image[:] = cv2.resize(texture[2:9, 2:8], FRAME, interpolation=cv2.INTER_CUBIC)
    elif kind == 3:  # striped
        canvas.image[:] = np.uint8(base)
        angle = math.pi * u.ground_angle
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        step = between(14, 50, u.ground_share)
        for k in range(-int(160 / step), int(160 / step) + 1):
            near, far = across * (k * step), across * ((k + 0.45) * step)
            canvas.fill(np.array([near - 160 * along, near + 160 * along, far + 160 * along, far - 160 * along]) + (89, 109), other)
    else:  # noisy
        noise = cv2.resize(texture, FRAME, interpolation=cv2.INTER_LINEAR)
        canvas.image[:] = np.uint8(base)
        blend_share = np.full(FRAME[::-1], int(between(40, 170, u.ground_share)), np.uint8)
        canvas.image[:] = cv2.addWeighted(canvas.image, 1 - blend_share[0, 0] / 255, noise, blend_share[0, 0] / 255, 0)


def draw_body(head: Head) -> None:
    """Neck, shoulders, clothes, necktie and necklace."""
    on, u, canvas, skin = head.on, head.u, head.canvas, head.skin
    neck = 26.0 if on["Male"] else 18.0
    shoulder = 82 if on["Male"] else 87
    skin_shape = [(-neck, 25), (neck, 25), (neck, shoulder - 4), (neck + 22, shoulder + 8), (80, 125), (-80, 125), (-neck - 22, shoulder + 8)]
    canvas.fill(head.place_body(np.array(skin_shape + [(-neck, shoulder - 4)])), shade(skin, 0.86))
    canvas.soft(head.place_body(ellipse(0, 66, neck + 6, 12)), shade(skin, 0.5), 0.75, 6)  # the chin's shadow

    cloth = mix(rainbow(u.cloth_hue, u.cloth_shade, between(0.12, 0.95, u.cloth_light)), (30, 30, 34), 0.15)
    low = between(88, 92, u.collar) if on["Male"] else between(96, 110, u.collar)
    if on["Wearing_Necktie"]:
        cloth, low = mix(shade(cloth, 0.35), (26, 28, 40), 0.5), 96
    side = smooth([(neck + 3, shoulder - 8), (neck + 20, shoulder + 1), (70, shoulder + 12), (96, 128)])
    dip = smooth([(-neck - 3, shoulder - 8), (-neck * 0.75, low - 4), (0, low), (neck * 0.75, low - 4), (neck + 3, shoulder - 8)])
    canvas.fill(head.place_body(np.concatenate([dip, side, mirrored(side)])), cloth)
    canvas.line(head.place_body(dip), shade(cloth, 0.6), 1)
    if on["Wearing_Necktie"]:
        _draw_necktie(head, neck)
    if on["Wearing_Necklace"]:
        _draw_necklace(head, neck)


def _draw_necktie(head: Head, neck: float) -> None:
    canvas, u = head.canvas, head.u
    shirt = mix((244, 244, 246), rainbow(u.cloth_hue, 0.4, 1.0), 0.12)
    canvas.fill(head.place_body([(-neck - 4, 72), (neck + 4, 72), (neck + 2, 92), (12, 130), (-12, 130), (-neck - 2, 92)]), shirt)
    canvas.fill(head.place_body([(-neck + 2, 66), (neck - 2, 66), (0, 84)]), shade(head.skin, 0.62))
    tie = rainbow(u.tie_hue, 0.9, 0.75)
    canvas.fill(head.place_body([(-5.5, 80), (5.5, 80), (9, 130), (-9, 130)]), tie)
    canvas.fill(head.place_body([(-7, 79), (7, 79), (5, 89), (-5, 89)]), shade(tie, 0.7))
    for s in SIDES:
        flap = head.place_body([(s * (neck + 3), 69), (s * 5, 82), (s * 14, 94), (s * (neck + 6), 84)])
        canvas.fill(flap, (250, 250, 252))
        canvas.line(flap, (150, 150, 158), 1, closed=True)


def _draw_necklace(head: Head, neck: float) -> None:
    canvas, u = head.canvas, head.u
    metal = (_GOLD, _SILVER, _PEARL)[int(3 * u.jewel)]
    low = between(88, 93, u.jewel_size)
    t = np.linspace(-1, 1, 19)
    arc = np.stack([t * (neck + 3), low - 13 * t**2], axis=1)
    canvas.line(head.place_body(arc + (0, 1.5)), shade(metal, 0.35), 3)
    canvas.line(head.place_body(arc), metal, 2)
    for x, y in arc[1:-1:2]:
        canvas.fill(head.place_body(ellipse(x, y, 2.3, 2.3)), metal)
    pendant = rainbow(u.cloth_hue + 0.4, 0.8, 0.85)
    canvas.fill(head.place_body(ellipse(0, low + 4.5, 4.2, 5)), shade(metal, 0.6))
    canvas.fill(head.place_body(ellipse(0, low + 4.2, 2.8, 3.6)), pendant)


class Hair:
    """The shape of a head's hair: an inner edge (the hairline) and an outer edge, from low left over the top to low right."""

    def __init__(self, head: Head):
        on, u = head.on, head.u
        self.head = head
        self.long = u.hair_length > (0.9 if on["Male"] else 0.25)
        volume = between(0.0, 4.0, u.hair_volume) + 2.0 * (not on["Male"])
        widest = head.half_outline[:, 0].max()
        if self.long:
            bottom = between(66, 120, u.hair_length)
            outer = [(widest + 11 + volume, bottom), (widest + 11 + volume, 44)]
            inner = [(widest - 3, bottom + 4), (widest - 4, 40)]
        else:
            outer, inner = [], []
        part = 9 * (u.hair_part - 0.5)
        outer += [(widest + 4 + volume * self.long, 12), (widest + 6 + volume, -14), (42 + volume, -38), (30 + volume, -57 - volume / 2), (0, -67 - volume)]
        if on["Receding_Hairline"]:
            inner += [(widest - 1, 10), (widest - 1, -14), (33, -36), (27, -52), (13, -55), (0, -50)]
        elif on["Bangs"]:
            low = between(-19, -15, u.bangs)
            inner += [(widest - 1.5, 10), (widest - 4, -4), (33, low + 1), (24, low), (12, low), (0, low)]
        else:
            inner += [(widest - 1, 10), (widest - 2, -10), (34, -24), (24, -35), (12, -38), (0, -38)]
        inner, outer = np.array(inner), np.array(outer)
        left = mirrored(inner)
        if not (on["Bangs"] or on["Receding_Hairline"]):  # a parting
            inner[-3:, 1] += part
            left[:3, 1] -= part
        self.outer = self._wavy(smooth(np.concatenate([mirrored(outer), outer[::-1][1:]][::1]), steps=6))
        self.inner = smooth(np.concatenate([left[::-1][::-1], inner[::-1][1:]]), steps=6)

    def _wavy(self, edge: np.ndarray) -> np.ndarray:
        return edge

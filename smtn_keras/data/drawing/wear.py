"""What surrounds a synthetic face: the background, hair, clothes, hat, eyeglasses and jewels."""

import math

import cv2
import numpy as np

from ..celeba import FRAME
from .canvas import between, ellipse, mirrored, mix, shade, smooth
from .head import Head, rainbow

SIDES = (-1, 1)
_STEPS = 9  # samples of a hair edge from one control point to the next: fine enough for waves
_GOLD, _SILVER, _PEARL = (232, 186, 60), (214, 218, 226), (248, 240, 228)


def draw_ground(head: Head) -> None:
    """A flat, graded, blobbed, striped or noisy background."""
    u, canvas = head.u, head.canvas
    grey = head.texture[..., :1]  # colours are dulled towards a grey, as in most photographs
    texture = cv2.addWeighted(head.texture, u.ground_colour, np.repeat(grey, 3, axis=2), 1 - u.ground_colour, 0)
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
            stripe = np.array([near - 160 * along, near + 160 * along, far + 160 * along, far - 160 * along])
            canvas.fill(np.add(stripe, (89, 109)), other)
    else:  # noisy
        share = between(0.15, 0.6, u.ground_share)
        flat = np.full_like(texture, np.uint8(base))
        canvas.image[:] = cv2.resize(cv2.addWeighted(flat, 1 - share, texture, share, 0), FRAME, interpolation=cv2.INTER_LINEAR)


def draw_body(head: Head) -> None:
    """Neck, shoulders, clothes, necktie and necklace."""
    on, u, canvas, skin = head.on, head.u, head.canvas, head.skin
    neck = 26.0 if on["Male"] else 18.0
    shoulder = 82 if on["Male"] else 87
    half = np.array([(80, 125), (neck + 22, shoulder + 8), (neck, shoulder - 4), (neck, 25)])
    throat = head.place_body(np.concatenate([half, mirrored(half)]))
    canvas.fill(throat, shade(skin, 0.86))
    canvas.soft(head.place_body(ellipse(0, 62, neck + 8, 15)), shade(skin, 0.5), 0.8, 6, within=throat)  # the chin's shadow

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
    canvas.line(head.place_body(np.add(arc, (0, 1.5))), shade(metal, 0.35), 3)
    canvas.line(head.place_body(arc), metal, 2)
    for x, y in arc[1:-1:2]:
        canvas.fill(head.place_body(ellipse(x, y, 2.3, 2.3)), metal)
    pendant = rainbow(u.cloth_hue + 0.4, 0.8, 0.85)
    canvas.fill(head.place_body(ellipse(0, low + 4.5, 4.2, 5)), shade(metal, 0.6))
    canvas.fill(head.place_body(ellipse(0, low + 4.2, 2.8, 3.6)), pendant)


class Hair:
    """The hair of a head: a ribbon between the hairline and an outer edge, from low left over the top to low right."""

    def __init__(self, head: Head):
        on, u = head.on, head.u
        self.head = head
        self.long = u.hair_length > (0.9 if on["Male"] else 0.25)
        volume = between(0.0, 4.0, u.hair_volume) + 2.0 * (not on["Male"])
        wide = head.half_outline[:, 0].max()
        outer = [(wide + 4 + volume * self.long, 12), (wide + 5 + volume, -14), (42 + volume, -38), (31 + volume, -56)]
        outer += [(15, -65 - volume), (0, -67 - volume)]
        low = between(-20, -16, u.bangs)  # where a fringe ends
        self.fringe = low
        if on["Receding_Hairline"] and not on["Bangs"]:
            inner = [(wide, 10), (wide, -14), (34, -36), (28, -53), (13, -55), (0, -49)]
        elif on["Bangs"]:
            inner = [(wide - 1, 10), (wide - 4, -6), (33, low + 2), (23, low), (11, low - 0.5), (0, low)]
        else:
            inner = [(wide - 1, 10), (wide - 2, -12), (34, -26), (24, -36), (12, -39), (0, -39)]
        if self.long:
            bottom = between(62, 125, u.hair_length)
            outer = [(wide + 9 + volume, bottom), (wide + 12 + volume, 44), *outer]
            inner = [(wide - 3, bottom + 5), (wide - 5, 42), *inner]
        self.inner, self.outer = _arch(inner), _arch(outer)
        if not (on["Bangs"] or on["Receding_Hairline"]):  # a parting: one side of the hairline is lower
            top = np.exp(-((self.inner[:, 0] / 26) ** 2)) * (self.inner[:, 1] < -20)
            self.inner[:, 1] += 9 * (u.hair_part - 0.5) * top * np.tanh(self.inner[:, 0] / 6)
        across = self.outer - self.inner
        self._across = across / np.linalg.norm(across, axis=1, keepdims=True)
        run = np.concatenate([[0], np.linalg.norm(np.diff(self.outer, axis=0), axis=1).cumsum()])
        self._wave = np.sin(2 * math.pi * (run / between(23, 31, u.wave_size) + u.wave_phase))[:, None] * self._across
        if on["Wavy_Hair"]:
            self.outer = self.outer + 3.6 * self._wave
            self.inner = self.inner + 2.2 * self._wave * (self.inner[:, 1:] > 12)
        if on["Bangs"]:  # a fringe ends in tips
            self.inner[:, 1] += 1.6 * np.resize((-1, -0.5, 0.5, 1, 0.5, -0.5), len(self.inner)) * (self.inner[:, 1] < low + 3)

    def draw_back(self) -> None:
        """What hangs behind the neck."""
        if not self.head.on["Bald"]:
            self.head.canvas.fill(self.head.place(self.outer, -12), shade(self.head.hair, 0.62))

    def draw_front(self) -> None:
        """Hair over the skull and beside the face, its strands and sideburns."""
        head = self.head
        if not head.on["Bald"]:
            inner, outer = head.place(self.inner, -2), head.place(self.outer, -8)
            head.canvas.fill(np.concatenate([outer, inner[::-1]]), head.hair)
            self._draw_strands()
        if head.on["Sideburns"]:
            wide = head.half_outline[:, 0].max()
            for s in SIDES:
                patch = [((wide + 1) * s, -16), ((wide - 7) * s, -14), ((wide - 10) * s, 26), ((wide - 4) * s, 34), ((wide - 0.5) * s, 28)]
                head.canvas.soft(head.place(patch, 1), head.beard, 1.0, 1)

    def _draw_strands(self) -> None:
        """Lines along straight or wavy hair, and down a fringe; other hair is plain with one gleam."""
        head, on, canvas = self.head, self.head.on, self.head.canvas
        dark, light = shade(head.hair, 0.58), mix(shade(head.hair, 1.25), (255, 250, 235), 0.32)
        wavy = on["Wavy_Hair"]
        if wavy or on["Straight_Hair"]:
            for shares, colour in (((0.14, 0.5, 0.84), dark), ((0.32, 0.68), light)):
                strokes = []
                for share in shares:
                    stroke = self.inner + (self.outer - self.inner) * share
                    if wavy:
                        stroke = stroke + 2.4 * self._wave
                    strokes.append(head.place(stroke, -2 - 6 * share))
                canvas.lines(strokes, colour, 1 + wavy)
        else:
            crown = self.inner * 0.35 + self.outer * 0.65
            top = slice(len(crown) * 3 // 8, len(crown) * 5 // 8)
            canvas.soft(head.place(np.concatenate([crown[top], self.outer[top][::-1] * 0.97]), -3), light, 0.45, 4)
        if on["Bangs"]:
            for xs, colour in (((-24, -14, -4, 6, 16, 26), dark), ((-19, -9, 1, 11, 21), light)):
                canvas.lines([head.place([(x * 0.7, -56), (x * 0.95, -38), (x, self.fringe)], 0) for x in xs], colour, 1)


def draw_ears(head: Head) -> None:
    """Ears beside the face; the face is drawn over the far one."""
    wide = head.half_outline[:, 0].max()
    for s in SIDES:
        head.canvas.fill(head.place(ellipse((wide + 2) * s, 6, 6, 11.5), -7), shade(head.skin, 0.84))
        head.canvas.soft(head.place(ellipse((wide + 3) * s, 5, 2.6, 6.5), -6), shade(head.skin, 0.55), 0.7, 1)


def draw_jewels(head: Head) -> None:
    """Earrings, on the side that the head shows."""
    if not head.on["Wearing_Earrings"]:
        return
    u, canvas, wide = head.u, head.canvas, head.half_outline[:, 0].max()
    metal = (_GOLD, _SILVER, _PEARL)[int(3 * u.jewel)]
    radius = between(4.6, 6.5, u.jewel_size)
    for s in SIDES:
        if s * head.yaw > 0.3:
            continue
        x, y = (wide + 3.5) * s, 18.5
        if u.jewel_size > 0.5:
            ring = head.place(ellipse(x, y + radius, radius, radius), -3)
            canvas.line(ring, shade(metal, 0.35), 4, closed=True)
            canvas.line(ring, metal, 2, closed=True)
        else:
            for down, size in ((0, 2.6), (7.5, radius), (14, 2.8)):
                canvas.fill(head.place(ellipse(x, y + down, size + 1, size + 1), -3), shade(metal, 0.35))
                canvas.fill(head.place(ellipse(x, y + down, size, size), -3), metal)


def draw_glasses(head: Head) -> None:
    """Frames of several shapes; one pair in four is dark."""
    if not head.on["Eyeglasses"]:
        return
    u, canvas = head.u, head.canvas
    wide = head.half_outline[:, 0].max()
    frame = shade(rainbow(u.frames_hue, 0.5, 0.6), 0.35 if u.frames < 0.8 else 1.3)
    height, square = between(9.0, 11.5, u.frames_hue), between(0.55, 1.0, u.frames)
    for s in SIDES:
        lens = ellipse(0, 0, 1, 1)
        lens = np.sign(lens) * np.abs(lens) ** square * (14, height) + (19.5 * s, 1.5)
        lens = head.place(lens, 4)
        if u.sunglasses < 0.25:
            canvas.soft(lens, (24, 22, 30), between(0.75, 0.95, u.sunglasses * 4), 0)
        else:
            canvas.soft(lens, (235, 242, 255), 0.14, 0)
        canvas.line(lens, frame, 2, closed=True)
        canvas.line(np.concatenate([head.place([(33 * s, -2)], 4), head.place([((wide + 2) * s, -3)], -6)]), frame, 2)
    canvas.line(head.place(smooth([(-6, 0), (0, -2.5), (6, 0)]), 9), frame, 2)


def draw_hat(head: Head) -> None:
    """A beanie, a cap or a hat with a brim all round."""
    if not head.on["Wearing_Hat"]:
        return
    u, canvas, wide = head.u, head.canvas, head.half_outline[:, 0].max()
    colour = rainbow(u.hat_hue, between(0.2, 0.9, u.hat_shade), between(0.25, 0.9, u.hat_shade))
    band = shade(colour, 0.6)
    side, top = wide + 9, -80
    crown = [(side, -20), (side, -42), (36, -68), (16, top), (0, top - 1)]
    low = [(side, -20), (20, -27), (0, -29)]
    if u.hat >= 0.66:
        crown = [(side - 4, -26), (side - 6, -52), (34, top - 4), (14, top - 2), (0, top + 3)]
    shape = np.concatenate([_arch(crown), _arch(low)[::-1]])
    canvas.fill(head.place(shape, -4), colour)
    for x in (-18, 18):
        canvas.line(head.place(smooth([(x * 1.2, -32), (x * 1.1, -55), (x * 0.5, top + 3)]), -2), shade(colour, 0.8), 1)
    if u.hat < 0.33:  # a beanie's cuff
        cuff = np.concatenate([_arch([(side + 1, -16), (21, -23), (0, -25)]), _arch([(side + 1, -31), (22, -38), (0, -40)])[::-1]])
        canvas.fill(head.place(cuff, 0), band)
    elif u.hat < 0.66:  # a cap's visor
        visor = smooth([(-38, -24), (-24, -34), (0, -37), (24, -34), (38, -24), (26, -17), (0, -14), (-26, -17)], closed=True)
        canvas.fill(head.place(visor, 8), band)
    else:
        canvas.fill(head.place(smooth([(-side - 16, -24), (0, -40), (side + 16, -24), (0, -15)], closed=True, steps=8), 4), band)


def draw_occluder(head: Head) -> None:
    """Now and then something (a hand, a microphone, a pole) in front of the picture's rim."""
    u, canvas = head.u, head.canvas
    if u.occluder > 0.08:
        return
    colour = rainbow(u.occluder_hue, 0.5, between(0.2, 0.9, u.occluder_y))
    x, y = between(10, 168, u.occluder_x), between(168, 205, u.occluder_y)
    if u.occluder < 0.03:
        canvas.fill(np.array([(x - 7, 218), (x - 5, y), (x + 5, y), (x + 7, 218)]), shade(colour, 0.6))
        canvas.fill(ellipse(x, y, 12, 14), colour)
    else:
        x = between(0, 30, u.occluder_x) if u.occluder_x < 0.5 else between(148, 178, u.occluder_x)
        canvas.fill(np.array([(x - 9, -5), (x + 9, -5), (x + 15, 225), (x - 3, 225)]), colour)


def _arch(right_half) -> np.ndarray:
    """A smooth curve from low left over the top to low right, from its right half's points, lowest first."""
    right = np.asarray(right_half, dtype=np.float64)
    return smooth(np.concatenate([right * (-1, 1), right[::-1][1:]]), steps=_STEPS)

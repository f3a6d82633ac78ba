"""The face itself: skin, eyes, brows, nose, mouth and beard of a synthetic face."""

import math

import numpy as np

from .canvas import between, ellipse, mirrored, mix, shade, smooth
from .head import Head, rainbow

_T = np.linspace(-1, 1, 15)  # along a lid or a lip, corner to corner
_BULGE = (1 - _T * _T).clip(0)
_LID, _LIP = _BULGE**0.6, _BULGE**0.75
_CUPID = 1 - 0.28 * np.exp(-((_T / 0.16) ** 2))  # the dip in the middle of the upper lip
SIDES = (-1, 1)


def draw_skin(head: Head) -> None:
    """Neck, skull and face with their shading, folds and spots."""
    on, u, canvas = head.on, head.u, head.canvas
    skin, outline = head.skin, head.outline
    side = math.copysign(1, math.cos(2 * math.pi * u.light_angle))

    if on["Double_Chin"]:
        chin = outline[:, 1].max()
        lobe = head.place(smooth([(-27, chin - 12), (-20, chin + 6), (0, chin + 13), (20, chin + 6), (27, chin - 12)]))
        canvas.fill(lobe, shade(skin, 0.9))
        canvas.line(lobe, shade(skin, 0.5), 2)
    edge = head.place(outline)
    canvas.fill(edge, shade(skin, 0.8))
    canvas.soft(head.place(outline * (0.84, 0.9) + (2.5 * side, -1)), skin, 1.0, 9)
    if on["Double_Chin"]:
        half = head.half_outline
        canvas.line(head.place(smooth(np.concatenate([mirrored(half[:3]), half[1:3]]))), shade(skin, 0.55), 2)
        canvas.soft(head.place(ellipse(0, chin + 6, 12, 3), 2), shade(skin, 1.12), 0.7, 3)
    if on["Bald"]:
        canvas.soft(head.place(ellipse(8 * side, -44, 11, 6)), mix(skin, (255, 255, 255), 0.75), 0.8, 5)

    if on["Chubby"]:  # full cheeks: a light bulge over a fold
        for s in SIDES:
            canvas.soft(head.place(ellipse(28 * s, 30, 9, 9), 5), shade(skin, 1.14), 0.7, 5)
            canvas.line(head.place(smooth([(20 * s, 42), (28 * s, 45), (35 * s, 41)])), shade(skin, 0.76), 1)
    if on["High_Cheekbones"]:
        for s in SIDES:
            hollow = [(36 * s, 22), (24 * s, 31), (20 * s, 40), (27 * s, 39), (37 * s, 33)]
            canvas.soft(head.place(hollow), shade(skin, 0.6), 0.75, 3)
            bone = [(37 * s, 9), (22 * s, 17), (19 * s, 22), (27 * s, 22), (38 * s, 15)]
            canvas.soft(head.place(bone), mix(skin, (255, 250, 240), 0.55), 0.85, 3)
    if on["Rosy_Cheeks"] or on["Heavy_Makeup"]:
        strength = between(0.62, 0.8, u.blush) if on["Rosy_Cheeks"] else 0.28
        for s in SIDES:
            canvas.soft(head.place(ellipse(27 * s, 22, 8.5, 7.5)), mix(skin, (232, 60, 78), 0.85), strength, 4)
    _draw_age(head)
    if not on["Attractive"]:
        _draw_blemishes(head)


def _draw_age(head: Head) -> None:
    """Folds and age spots of a face that is not young."""
    if head.on["Young"]:
        return
    canvas, skin, w = head.canvas, head.skin, between(0.0, 2.0, head.u.wrinkles)
    fold, faint = shade(skin, 0.6), shade(skin, 0.76)
    strokes = [smooth([(-22 + w, y + 2), (-10, y), (0, y + 1), (10, y), (22 - w, y + 2)]) for y in (-21, -26.5, -32)]
    canvas.lines([head.place(stroke) for stroke in strokes], faint, 2)
    strokes = []
    for s in SIDES:
        strokes += [[(29 * s, y), (36 * s, y + dy)] for y, dy in ((-2, -4), (1, 0), (4, 4))]  # crow's feet
        strokes += [[(14 * s, 9), (20 * s, 11.5), (27 * s, 9)], [(3 * s, -9), (2.5 * s, -14)], [(19 * s, 47), (21 * s, 56)]]
        canvas.soft(head.place([(9 * s, 24), (19 * s, 36), (22 * s, 47), (17 * s, 38)]), fold, 0.85, 2)  # from nose to mouth
        canvas.soft(head.place(ellipse(33 * s, 46, 3.5, 8)), fold, 0.4, 3)  # sagging jaw
    canvas.lines([head.place(smooth(stroke)) for stroke in strokes], fold, 1)
    spots = head.texture[10:16, 0].astype(int)
    for x, y, size in spots:
        spot = ellipse((x - 128) / 4.5, -42 + y / 10 if y % 2 else 12 + y / 8, 1.2 + size / 250, 1 + size / 300)
        canvas.soft(head.place(spot), shade(skin, 0.66), 0.8, 1)


def _draw_blemishes(head: Head) -> None:
    """Spots and a blotch: the drawing convention for a face without the Attractive label."""
    canvas, skin = head.canvas, head.skin
    x, y, kind = head.texture[0:11, 1].astype(float).T
    for i in range(11):
        # On the forehead, the cheeks and the chin, clear of eyes, nose and mouth.
        at = ((x[i] - 128) / 5, -36 + y[i] / 12) if i < 4 else (math.copysign(16 + x[i] % 18, x[i] - 128), 12 + y[i] / 8)
        colour = mix(skin, (150, 30, 30), 0.62) if kind[i] > 90 else shade(skin, 0.42)
        canvas.soft(head.place(ellipse(*at, 1.5 + kind[i] / 320, 1.4 + kind[i] / 340)), colour, 0.95, 1)
    blotch = ellipse(math.copysign(25, head.n.skew_brow), 27, 9, 7)
    canvas.soft(head.place(blotch), mix(skin, (150, 70, 60), 0.5), 0.4, 4)


def draw_eyes(head: Head) -> None:
    """Bags, eye shadow, eyes and brows."""
    on, u, n, canvas, skin = head.on, head.u, head.n, head.canvas, head.skin
    size = between(0.92, 1.1, u.eye_size)
    upper, lower = (1.5, 1.2) if on["Narrow_Eyes"] else (4.8, 3.3)
    iris = rainbow(between(0.0, 0.75, u.iris), 0.55, 0.5) if u.iris < 0.4 else shade((96, 62, 36), between(0.6, 1.2, u.iris))
    liner = (22, 16, 20) if on["Heavy_Makeup"] else shade(skin, 0.3)
    for s in SIDES:
        x = 19.0 * s
        own = size * (1 + 0.1 * head.uneven * s * math.copysign(1, n.skew_brow))
        if on["Bags_Under_Eyes"]:
            canvas.soft(head.place(ellipse(x, 8, 9, 4)), mix(shade(skin, 0.7), (84, 46, 84), 0.6), 0.9, 2)
            canvas.line(head.place(smooth([(x - 9, 7), (x - 4, 11.5), (x + 4, 11.5), (x + 9, 7)])), shade(skin, 0.45), 1)
        canvas.soft(head.place(ellipse(x, -1, 11, 5.5)), shade(skin, 0.78), 0.6, 3)  # the socket
        if on["Heavy_Makeup"]:
            lid = rainbow(between(0.5, 0.92, u.makeup_hue), 0.85, between(0.6, 0.85, u.makeup))  # teal to magenta: never a skin's colour
            lid_shape = [(x - 10, -1), (x - 7, -7), (x, -9.5), (x + 8, -9.5), (x + 13, -4), (x + 9, 0), (x, -4)]
            lid_shape = np.array(lid_shape) if s > 0 else (np.array(lid_shape) - (x, 0)) * (-1, 1) + (x, 0)
            canvas.soft(head.place(lid_shape), lid, 0.9, 2)
        almond_top = np.stack([x + 8.6 * own * _T, -upper * own * _LID], axis=1)
        almond_low = np.stack([x + 8.6 * own * _T, lower * own * _LID], axis=1)
        top, low = head.place(almond_top), head.place(almond_low)
        almond = np.concatenate([top, low[::-1]])
        canvas.fill(almond, (238, 236, 232))
        gaze = (x + 2.2 * (u.gaze_x - 0.5), 1.2 * (u.gaze_y - 0.5) - 0.3)
        _draw_iris(head, gaze, upper * own, lower * own, iris)
        width = 2 if on["Heavy_Makeup"] or not on["Male"] else 1
        canvas.line(top, liner, width)
        if on["Heavy_Makeup"]:
            wing = [(x + 8 * s, -1), (x + 12.5 * s, -4)]
            canvas.line(head.place(wing), liner, 2)
        canvas.line(low, shade(skin, 0.62), 1)
        if not on["Narrow_Eyes"]:
            canvas.line(head.place(np.add(almond_top, (0, -2.4))), shade(skin, 0.66), 1)  # the lid's fold
        _draw_brow(head, s)


def _draw_iris(head: Head, gaze: tuple[float, float], upper: float, lower: float, iris) -> None:
    """Iris, pupil and glint, cut off by the lids."""
    canvas = head.canvas
    for radius, colour in ((4.3, shade(iris, 0.55)), (3.5, iris), (1.9, (10, 8, 8))):
        disc = ellipse(*gaze, radius, radius)
        disc[:, 1] = disc[:, 1].clip(-upper, lower)
        canvas.fill(head.place(disc), colour)
    if upper > 2.5:
        canvas.fill(head.place(ellipse(gaze[0] + 1.4, gaze[1] - 1.5, 0.9, 0.9)), (255, 255, 255))


def _draw_brow(head: Head, s: int) -> None:
    on, u, n = head.on, head.u, head.n
    t = np.linspace(0, 1, 9)
    x = 7.5 + 22.5 * t
    y = -11.5 - 0.8 * n.brow_y + 1.2 * on["Male"] + 2.6 * head.uneven * s * math.copysign(1, n.skew_brow)
    arch, flat = 7.5 * np.minimum(t / 0.6, (1 - t) / 0.4 * 0.9 + 0.1) ** 1.1, np.sin(np.pi * t)
    centre = y - (arch if on["Arched_Eyebrows"] else flat)
    thick = between(2.3, 2.9, u.brow_thick) + 0.9 * on["Male"]
    if on["Bushy_Eyebrows"]:
        thick += 3.6
    half = thick / 2 * (1 - 0.55 * t**2)
    half[0] *= 0.7
    ribbon = np.concatenate([np.stack([x, centre - half], 1), np.stack([x, centre + half], 1)[::-1]])
    head.canvas.fill(head.place(ribbon * (s, 1), 2), head.brow)
    if on["Bushy_Eyebrows"]:
        hairs = [[((x[i] - 1.5) * s, centre[i] + half[i] + 1), ((x[i] + 1.5) * s, centre[i] - half[i] - 2.2)] for i in range(8)]
        head.canvas.lines([head.place(hair, 2) for hair in hairs], shade(head.brow, 0.7), 1)


def nose_tip(head: Head) -> tuple[float, float, float]:
    """x and y of the nose's tip on the frontal face and how far it stands out."""
    on, n = head.on, head.n
    x = 2.6 * head.uneven * math.copysign(1, n.skew_nose)
    y = 24 + 1.6 * n.nose_y + 1.5 * on["Big_Nose"] + 1.5 * on["Pointy_Nose"]
    return x, y, 16 + 1.5 * n.nose_depth + 3 * on["Big_Nose"] + 3 * on["Pointy_Nose"]


def draw_nose(head: Head) -> None:
    """Bridge, tip, wings and nostrils."""
    on, u, canvas, skin = head.on, head.u, head.canvas, head.skin
    tip_x, tip_y, lift = nose_tip(head)
    big, pointy = on["Big_Nose"], on["Pointy_Nose"]
    half = between(6.3, 7.3, u.nose_size) + 6.5 * big - 1.8 * pointy
    dark, light = shade(skin, 0.62), mix(skin, (255, 252, 244), 0.5)
    side = -math.copysign(1, math.cos(2 * math.pi * u.light_angle))

    corners = [(1.5 * side, -5), (tip_x + 2 * side, tip_y - 2), (half * side, tip_y + 2), (half * 0.75 * side, tip_y - 9), (4.5 * side, -3)]
    canvas.soft(head.place(corners, np.array([7, lift, 5, 3, 3])), dark, 0.7, 2)
    base = head.place(ellipse(tip_x * 0.6, tip_y + 2.5, half + 0.5, 4.2), 8)
    canvas.soft(base, shade(skin, 0.74), 0.75, 2)
    ball_x, ball_y = (2.2, 4.0) if pointy else (4.6 + 3.4 * big, 4.6 + 2.2 * big)
    canvas.soft(head.place(ellipse(tip_x, tip_y - 0.8, ball_x, ball_y), lift), mix(skin, (255, 225, 210), 0.25), 0.95, 1)
    bridge_width = 0.9 if pointy else 1.9 + big
    bridge = [(-bridge_width, -4), (bridge_width, -4), (tip_x + 1, tip_y), (tip_x - 1, tip_y)]
    canvas.soft(head.place(bridge, np.array([7, 7, lift, lift])), light, 0.85 if pointy else 0.6, 1)
    for s in SIDES:
        wing = smooth([((half - 1.5) * s, tip_y - 5), ((half + 0.8) * s, tip_y), ((half - 1) * s, tip_y + 3.6)])
        canvas.line(head.place(wing, 4), shade(skin, 0.45 if big else 0.55), 2 if big else 1)
        nostril = ellipse(half * 0.52 * s + tip_x * 0.7, tip_y + 3.4, 1.8 + 0.9 * big - 0.4 * pointy, 1.2 + 0.5 * big)
        canvas.fill(head.place(nostril, 9), shade(skin, 0.28))
    if pointy:  # a sharp V
        vee = head.place([(-5, tip_y - 5), (tip_x, tip_y + 4.5), (5, tip_y - 5)], np.array([8, lift, 8]))
        canvas.line(vee, shade(skin, 0.42), 1)
        canvas.soft(head.place(ellipse(tip_x, tip_y, 1.6, 2), lift), mix(skin, (255, 255, 255), 0.75), 0.9, 1)
    elif big:
        arc = [(tip_x - 7.5, tip_y + 2), (tip_x, tip_y + 6.5), (tip_x + 7.5, tip_y + 2)]
        canvas.line(head.place(smooth(arc), lift - 4), shade(skin, 0.45), 2)


def mouth_corners(head: Head) -> np.ndarray:
    """The mouth's two corners `(2, 2)` on the frontal face; smiling lifts and parts them."""
    on, u, n = head.on, head.u, head.n
    half = 15.6 + 0.9 * n.mouth_width + 3.6 * on["Smiling"]
    lift = between(4.2, 6.2, u.lift) if on["Smiling"] else between(-1.6, 0.4, u.lift)
    skew = 2.4 * head.uneven * math.copysign(1, n.mouth_skew)
    y = 42 + 1.7 * n.mouth_y + 1.5 * on["Mouth_Slightly_Open"] - lift
    return np.array([(-half, y + skew), (half, y - skew)])


def draw_mouth(head: Head) -> None:
    """Lips, teeth, moustache and the folds of a smile."""
    on, u, n, canvas, skin = head.on, head.u, head.n, head.canvas, head.skin
    corners = mouth_corners(head)
    x = corners[1, 0] * _T
    middle = 43 + 1.7 * n.mouth_y + (1.2 if on["Smiling"] else 0)
    line = corners[0, 1] + (corners[1, 1] - corners[0, 1]) * (_T + 1) / 2
    line = line + (middle - line) * _BULGE
    thin = 0.7 if not on["Young"] else 0.0
    upper = between(2.2, 2.9, u.lips) - thin + 3.2 * on["Big_Lips"]
    lower = between(3.1, 3.9, u.lips) - thin + 4.4 * on["Big_Lips"]
    gap = between(6.0, 9.0, u.gap) if on["Mouth_Slightly_Open"] else 0.0
    inner_top = line - 0.25 * gap * _LID
    inner_low = line + 0.75 * gap * _LID
    outer_top = inner_top - upper * _LIP * _CUPID
    outer_low = inner_low + lower * _LIP
    lips = mix(shade(skin, 0.9), (160, 84, 80), 0.35)
    if on["Wearing_Lipstick"]:
        lips = rainbow(between(-0.13, 0.01, u.lip_hue), 0.92, between(0.68, 0.95, u.lip_shade))

    def curve(y):
        return head.place(np.stack([x, y], axis=1), 4)

    canvas.soft(head.place(ellipse(0, outer_low.max() + 4, 9, 2.5), 4), shade(skin, 0.72), 0.6, 2)
    if on["Smiling"]:
        for s in SIDES:
            corner_y = corners[(s + 1) // 2, 1]
            fold = smooth([(9.5 * s, 25), (20 * s, 31), (24.5 * s, corner_y + 1), (22.5 * s, corner_y + 7)])
            canvas.line(head.place(fold, 2), shade(skin, 0.7), 2)
    canvas.fill(np.concatenate([curve(outer_top), curve(outer_low)[::-1]]), lips)
    gleam = ellipse(0, (inner_low[7] + outer_low[7]) / 2 + 0.3, 7, 0.9 + lower / 6)
    canvas.soft(head.place(gleam, 5), mix(lips, (255, 240, 240), 0.5), 0.7, 1)
    if gap:
        canvas.fill(np.concatenate([curve(inner_top), curve(inner_low)[::-1]]), (46, 10, 14))
        teeth = np.minimum(inner_top + 0.45 * gap, inner_low)
        canvas.fill(np.concatenate([curve(inner_top), curve(teeth)[::-1]]), (246, 242, 234))
    else:
        canvas.line(curve(line), shade(lips, 0.42), 1)
    if on["Mustache"]:
        grown = np.stack([x * 1.12, outer_top + 0.5 + 1.5 * np.abs(_T)], 1)
        top = np.stack([x * 1.0, outer_top - 6.5 * (1 - 0.6 * np.abs(_T) ** 1.5)], 1)
        canvas.soft(head.place(np.concatenate([grown, top[::-1]]), 5), head.beard, 1.0, 1)
        hairs = [[(x[i], top[i, 1]), (x[i] * 1.1, grown[i, 1] + 1)] for i in range(1, 14, 2)]
        canvas.lines([head.place(hair, 5) for hair in hairs], shade(head.beard, 0.7), 1)


def draw_beard(head: Head) -> None:
    """Stubble, the beard along the jaw and the goatee; the mouth is drawn over them."""
    on, u, canvas = head.on, head.u, head.canvas
    right = smooth(head.half_outline[:6])  # chin to temple
    if on["5_o_Clock_Shadow"]:
        cheek = [(36, 22), (27, 33), (15, 31), (0, 32)]
        patch = np.concatenate([right[:17] * 0.97, cheek, mirrored(np.array(cheek)), mirrored(right[:17] * 0.97)])
        colour = mix(head.beard, (70, 78, 88), 0.45)
        canvas.soft(head.place(patch), colour, between(0.34, 0.46, u.stubble), 4)
        canvas.soft(head.place(patch), shade(colour, 0.5), 0.55, 4, grain=head.grain)
    if not on["No_Beard"]:  # whatever its style, a beard leaves some growth along the jaw
        width = between(6.5, 9, u.beard)
        low = right[:13]  # up to the corner of the mouth
        inner = low * (1 - width / 40, 1) - (0, 1) * np.linspace(width, 0, len(low))[:, None]
        strap = np.concatenate([low, inner[::-1]])
        for s in SIDES:
            canvas.soft(head.place(strap * (s, 1)), head.beard, 0.85, 1)
    if on["Goatee"]:
        chin = head.half_outline[0, 1]
        patch = [(-4, 52), (-11, 56), (-13, chin - 5), (-7, chin + 4), (0, chin + 7), (7, chin + 4), (13, chin - 5), (11, 56), (4, 52)]
        canvas.soft(head.place(smooth(patch, closed=True), 1), head.beard, 1.0, 1)
        hairs = [[(k, 56), (k * 0.9, chin + 4)] for k in (-8, -4, 0, 4, 8)]
        canvas.lines([head.place(hair, 1) for hair in hairs], shade(head.beard, 0.65), 1)

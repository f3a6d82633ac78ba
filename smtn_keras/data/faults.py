"""What is surely or probably wrong with annotations, told without looking at a picture.

`fit` refuses what is surely wrong before it trains; `python -m smtn_keras.inspect` lists both.
"""

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..tasks import MISSING, Attributes, Landmarks, Task

SOME = 0.01  # the share of a part that is surely wrong; research data sets have fewer copies and slips, which are only said
FEW = 10  # samples that a mean needs before it says anything
SPECK = 0.02  # of the picture's sides: between points that are the unit of errors there is more
# labels of CelebA of which a face has one at most; it has both where columns are in another order
EXCLUSIVE = (
    *(("No_Beard", other) for other in ("Goatee", "Mustache", "Sideburns")),
    *(("Male", other) for other in ("Wearing_Lipstick", "Heavy_Makeup")),
    *(("Bald", "Bangs"), ("Black_Hair", "Blond_Hair"), ("Straight_Hair", "Wavy_Hair")),
)


def refuse(sets, mirrored: bool, quiet: bool = False):
    """Raises for annotations that would train, and be measured, wrongly without an error; prints what may be a slip.

    Args:
        sets: data sets (`Prepared`) that are trained as one.
        mirrored: whether pictures are mirrored in training.
        quiet: print nothing.

    Raises:
        UserError: for the first fault of a part, or if more than `SOME` of the pictures of a part are training pictures too.
    """
    for data in sets:
        for split in data.counts:
            for fault in faults(data.tasks, data.targets(split), mirrored):
                raise UserError(f"{data.name}, {split} part: {fault}; to see it: python -m smtn_keras.inspect --data {data.name}")
    for leak in leaks(sets):
        if leak.count > SOME * leak.total:
            raise UserError(f"{leak}; remove them from one of the two")
        if not quiet:
            print(f"note: {leak}")


def faults(tasks: tuple[Task, ...], targets: dict[str, np.ndarray], mirrored: bool = True) -> list[str]:
    """What is surely wrong with the targets of a part (as `Prepared.targets`), a sentence each."""
    found = []
    for task in tasks:
        if isinstance(task, Landmarks):
            found += point_faults(task, targets[task.name] / targets["size"][:, None], mirrored)
        else:
            found += label_faults(task, targets[task.name], mirrored)
    return found


# -- points -----------------------------------------------------------------------------------------


def point_faults(task: Landmarks, landmarks_unit: np.ndarray, mirrored: bool = True) -> list[str]:
    """What is surely wrong with points `(samples, points, 2)` in [0, 1] of the picture, told from names, flip rule and mean shape."""
    known = np.isfinite(landmarks_unit).all(-1)
    enough = known.sum(0) >= FEW
    mean = np.where(known[..., None], landmarks_unit, 0).sum(0) / np.maximum(known.sum(0), 1)[:, None]
    found = [
        f"expected points in pixels of the picture, got {name} at ({x:.3g}, {y:.3g}) of its sides on average; scale points with the picture"
        for name, (x, y), there in zip(task.points, mean, enough, strict=True)
        if there and not (0 <= x <= 1 and 0 <= y <= 1)
    ]
    a, b = task.normaliser_index
    both = known[:, a] & known[:, b]
    if both.sum() >= FEW:
        apart = np.median(np.linalg.norm(landmarks_unit[both, a] - landmarks_unit[both, b], axis=-1))
        if apart < SPECK:
            found.append(
                f"expected {task.points[a]} and {task.points[b]} apart in pixels of the picture, got {apart:.2g} of its sides between them; "
                "scale points with the picture"
            )
    if found:
        return found
    return [*_wrong_sides(task, landmarks_unit, known), *(_flip_faults(task, mean, enough) if mirrored else [])]


def _wrong_sides(task: Landmarks, landmarks_unit: np.ndarray, known: np.ndarray) -> list[str]:
    """Points that lie on another side than their names say."""
    index = {name: i for i, name in enumerate(task.points)}
    pairs = [(name, name.replace("left", "right"), 0, "left of") for name in index if "left" in name]
    pairs += [(eye, mouth, 1, "above") for eye in index if "eye" in eye for mouth in index if "mouth" in mouth]
    found = []
    for first, second, axis, where in pairs:
        if second not in index:
            continue
        i, j = index[first], index[second]
        both = known[:, i] & known[:, j]
        share = (landmarks_unit[both, i, axis] < landmarks_unit[both, j, axis]).mean() if both.sum() >= FEW else 1
        if share < 0.75:  # half of them where mirrored pictures kept the names of their points
            found.append(
                f"expected {first} {where} {second} in the picture, got it so in {100 * share:.0f} % of {both.sum()}; the two are swapped, or x and "
                "y, or points of mirrored pictures were not"
            )
    return found


def _flip_faults(task: Landmarks, mean: np.ndarray, enough: np.ndarray) -> list[str]:
    """Points of which each lies at the other's place once the mean shape is mirrored, although the flip rule does not swap them."""
    image = np.array(mean)
    image[:, 0] = 2 * mean[enough, 0].mean() - mean[:, 0] if enough.any() else 0
    off = np.where(enough[:, None] & enough, np.linalg.norm(image[:, None] - mean, axis=-1), np.inf)  # [i, j] from i mirrored to j
    nearest = off.argmin(1)
    return [
        f"expected {task.points[i]} and {task.points[j]} to change places in a mirrored picture, as the mean shape says, got flip_pairs "
        f"{task.flip_pairs} that do not swap them; correct the points' order or flip_pairs, or train with --no-flip"
        for i, j in enumerate(nearest)
        if i < j and nearest[j] == i and task.flip_order[i] != j and off[i, j] < off[i, task.flip_order[i]] / 2
    ]


# -- labels -----------------------------------------------------------------------------------------


def label_faults(task: Attributes, labels: np.ndarray, mirrored: bool = True) -> list[str]:
    """What is surely wrong with labels `(samples, labels)`, told from their names."""
    found = []
    for label in task.labels:
        sides = [name for name in label.classes if "left" in name and name.replace("left", "right") in label.classes]
        if mirrored and sides and label.flip is None:
            found.append(
                f"expected a flip of label {label.name}, whose class {sides[0]} becomes {sides[0].replace('left', 'right')} in a mirrored picture, "
                "got none; give it one, or train with --no-flip"
            )
    column = {label.name: i for i, label in enumerate(task.labels)}
    for a, b in EXCLUSIVE:
        if a in column and b in column:
            pair = labels[:, [column[a], column[b]]]
            pair = pair[(pair != MISSING).all(1)] == 1
            by_chance = pair.mean(0).prod() * len(pair) if len(pair) else 0
            if by_chance >= FEW and pair.all(1).sum() > by_chance / 2:
                found.append(
                    f"expected hardly a face with both {a} and {b}, got {pair.all(1).sum()} of {len(pair)}, as if by chance; labels are in another "
                    "order than their names, or in other rows"
                )
    return found


# -- the same picture twice -------------------------------------------------------------------------


class Leak(NamedTuple):
    """Pictures of a part that are training pictures too."""

    part: str
    count: int
    total: int
    first: str

    def __str__(self):
        return f"{self.part}: expected none of its {self.total} pictures in training, got {self.count}, for one {self.first}"


def leaks(sets) -> list[Leak]:
    """Pictures that training shares with a validation or test part, told by their names and by their files' bytes."""
    trained = np.concatenate([data.targets("train")["digest"] for data in sets])
    found = []
    for data in sets:
        for split in (split for split in data.counts if split != "train"):
            targets = data.targets(split)
            both = np.isin(targets["digest"], trained) | np.isin(targets["name"], data.targets("train")["name"])
            if both.any():
                found.append(Leak(f"{data.name}, {split} part", int(both.sum()), len(both), targets["name"][both.argmax()]))
    return found


# -- faces unlike the others ------------------------------------------------------------------------


class Shapes(NamedTuple):
    """How far each sample's points lie from the common shape, turned, scaled and moved onto them.

    Attributes:
        off: `(samples,)`, root mean square over its points in units of the normaliser's distance, NaN with fewer than three.
        worst: `(samples,)`, the point that is furthest off.
        swapped: `(samples,)`, names of points that fit far better changed for each other, empty mostly.
    """

    off: np.ndarray
    worst: np.ndarray
    swapped: list[str]


def shapes(task: Landmarks, landmarks_px: np.ndarray) -> Shapes:
    """The shapes of points `(samples, points, 2)` in pixels beside their median shape."""
    points = landmarks_px[..., 0] + 1j * landmarks_px[..., 1]  # a turn and a scaling are one complex factor
    a, b = task.normaliser_index
    with np.errstate(all="ignore"):
        by_normaliser = (points - (points[:, [a]] + points[:, [b]]) / 2) / (points[:, [b]] - points[:, [a]])
    usable = by_normaliser[np.isfinite(by_normaliser).all(1)]
    if len(usable) < FEW:
        nothing = np.full(len(points), np.nan)
        return Shapes(nothing, np.zeros(len(points), int), [""] * len(points))
    common = np.median(usable.real, 0) + 1j * np.median(usable.imag, 0)
    residuals = _residuals(points, common)
    off = _root_mean_square(residuals)
    swapped = [""] * len(points)
    for pairs in dict.fromkeys([*((pair,) for pair in task.flip_pairs), task.flip_pairs]):
        order = Landmarks(task.points, pairs, task.normaliser).flip_order
        better = _root_mean_square(_residuals(points[:, order], common))
        for i in np.flatnonzero((off > 0.15) & (better < off / 2)):
            swapped[i] = ", ".join(" and ".join(pair) for pair in pairs)
    return Shapes(off, np.nan_to_num(residuals, nan=-1).argmax(1), swapped)


def unlike(off: np.ndarray) -> np.ndarray:
    """Which of the distances of `Shapes.off` are beyond six robust standard deviations, furthest first."""
    if np.isnan(off).all():
        return np.array([], int)
    middle = np.nanmedian(off)
    limit = middle + 6 * 1.4826 * np.nanmedian(np.abs(off - middle))
    order = np.argsort(-np.nan_to_num(off, nan=-1), kind="stable")
    return order[: int((off > limit).sum())]


def _residuals(points: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Distances `(samples, points)` from the common shape fitted by least squares, in its own unit; NaN where a point is missing."""
    known = np.isfinite(points)
    count = known.sum(1, keepdims=True)
    with np.errstate(all="ignore"):
        centred = np.where(known, points - np.where(known, points, 0).sum(1, keepdims=True) / count, 0)
        shape = np.where(known, common - np.where(known, common, 0).sum(1, keepdims=True) / count, 0)
        factor = (centred * shape.conj()).sum(1, keepdims=True) / (np.abs(shape) ** 2).sum(1, keepdims=True)
        size = np.sqrt((np.abs(centred) ** 2).sum(1, keepdims=True) / (np.abs(shape) ** 2).sum(1, keepdims=True))
        return np.where(known & (count > 2), np.abs(centred - factor * shape) / size, np.nan)


def _root_mean_square(residuals: np.ndarray) -> np.ndarray:
    known = np.isfinite(residuals)
    total = np.where(known, residuals, 0) ** 2
    return np.where(known.any(1), np.sqrt(total.sum(1) / np.maximum(known.sum(1), 1)), np.nan)

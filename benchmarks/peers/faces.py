"""The faces that all are shown: pictures in files that every process can read, and what is known of them."""

import dataclasses
from pathlib import Path

import numpy as np

from smtn_keras.data.celeba import FIVE_POINTS
from smtn_keras.data.prepared import Prepared, open_prepared
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.tasks import Attributes, Landmarks

MOST_VALIDATION = 200  # faces on which peers' views and offsets are chosen
DRAWN = 20


@dataclasses.dataclass(frozen=True)
class Part:
    """Some faces.

    Attributes:
        file: an .npz of RGB pictures `(h, w, 3)` uint8.
        truth_px: `(faces, 5, 2)` in pixels from a picture's upper left corner.
        sizes: `(faces, 2)` width and height.
    """

    file: Path
    truth_px: np.ndarray
    sizes: np.ndarray

    def __len__(self):
        return len(self.truth_px)


@dataclasses.dataclass(frozen=True)
class Faces:
    """The validation and test faces of a prepared data set."""

    name: str
    validation: Part
    test: Part
    prepared: Prepared

    def labels(self, tasks) -> tuple[Attributes | None, np.ndarray | None]:
        """The labels of these tasks, and what they are for the test faces `(faces, labels)`, -1 where missing; None if there are none."""
        for task in tasks:
            if isinstance(task, Attributes):
                return task, self.prepared.described_by(tasks).targets("test")[task.name][: len(self.test)]
        return None, None


def open_faces(name: str, data_dir: str, folder: Path, most: int | None) -> Faces:
    """Reads a prepared data set and writes its pictures into a folder.

    Args:
        most: take only the first so many test faces.

    Raises:
        UserError: if it is not prepared, or lacks one of the five points.
    """
    data = open_prepared(name, data_dir)
    known = {point for task in data.tasks if isinstance(task, Landmarks) for point in task.points}
    if missing := [point for point in FIVE_POINTS.points if point not in known]:
        raise UserError(f"--data: expected data sets with CelebA's five points, got {name} without {', '.join(missing)}; name another")
    data = data.described_by((FIVE_POINTS,))
    validation, test = (
        _part(data, split, count, folder / f"{name}-{split}.npz") for split, count in (("validation", MOST_VALIDATION), ("test", most))
    )
    return Faces(name, validation, test, data)


def _part(data: Prepared, split: str, most: int | None, file: Path) -> Part:
    targets = data.targets(split)
    pictures = data.pictures(split, most or data.counts[split])
    np.savez(file, *pictures)
    return Part(file, targets[FIVE_POINTS.name][: len(pictures)], targets["size"][: len(pictures)])


def drawn_faces(folder: Path) -> Part:
    """A few synthetic faces, to time on where there are no others."""
    pictures, points, _ = zip(*(draw_face(seed=0, index=i) for i in range(DRAWN)), strict=True)
    np.savez(folder / "drawn.npz", *pictures)
    return Part(folder / "drawn.npz", np.stack(points), np.array([picture.shape[1::-1] for picture in pictures]))

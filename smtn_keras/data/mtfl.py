"""MTFL (Zhang et al., ECCV 2014): five landmarks, gender, smile, glasses and head pose of faces from the web."""

import functools
import hashlib
import os
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..tasks import Attributes, Label
from .builder import FaceBuilder
from .celeba import FIVE_POINTS
from .images import read_file
from .published import AnnotatedPictures, check_folder, check_inside, check_values, first_existing, parse_rows, read_lines

HEAD_POSES = ("left_profile", "left", "frontal", "right", "right_profile")  # 1 .. 5 in the lists; the image's left
TASKS = (
    FIVE_POINTS,
    Attributes(labels=(Label("Male"), Label("Smiling"), Label("Eyeglasses"), Label("Head_Pose", classes=HEAD_POSES, flip=(4, 3, 2, 1, 0)))),
)

_COLUMNS = [*(f"{axis}{i}" for axis in "xy" for i in range(1, 6)), "gender", "smile", "glasses", "pose"]  # all x, then all y
_VALIDATION_PERCENT = 10
_WHERE = "mmlab.ie.cuhk.edu.hk/projects/TCDCN.html (MTFL.zip)"
_HOLDS = "training.txt, testing.txt and the folders of pictures (AFLW, lfw_5590, net_7876)"


class Mtfl(FaceBuilder):
    """MTFL's face crops with 5 landmarks, 3 binary labels and the head pose in five classes.

    Poses are named by the side of the image to which the nose points: in the published training part
    the nose lies -0.50, -0.27, 0.00, 0.24, 0.46 eye distances from the eyes' middle in classes 1 .. 5.
    No validation part is published; a tenth of the training part, by person, is cut off here.

    Args:
        source: the folder as published.
    """

    name = "mtfl"
    tasks = TASKS
    first_pixel = 1.0  # not said, but a network trained on mirrored faces is half a pixel off otherwise, as one counted from 1 would be
    homepage = "https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html"
    licence = "MTFL: research only; the pictures belong to their owners."

    def __init__(self, *, source: Path | None = None, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def splits(self) -> dict[str, AnnotatedPictures]:
        """The three parts; both lists are checked before the first picture is read."""
        source = check_folder(self._source, "mtfl", _HOLDS, _WHERE)
        training, testing = _read_list(source, "training.txt"), _read_list(source, "testing.txt")
        if both := set(training[0]) & set(testing[0]):
            raise UserError(
                f"{source}: expected no picture in both training.txt and testing.txt, got {len(both)}, for one {min(both)}; "
                "take the published lists"
            )
        held_out = np.array([_is_validation(name) for name in training[0]])
        for split, count in (("train", (~held_out).sum()), ("validation", held_out.sum())):
            if not count:
                raise UserError(
                    f"{source / 'training.txt'}: expected enough persons for a {split} part, got {len(held_out)} pictures; "
                    "take the published list"
                )
        return {
            "train": _part(source, training, ~held_out),
            "validation": _part(source, training, held_out),
            "test": _part(source, testing, np.ones(len(testing[0]), bool)),
        }


def person_of(name: str) -> str:
    """Who, or which source picture, a training picture shows, so that no person is in two parts.

    LFW's names are `lfw_5590/Person_Name_0001.jpg`; those from the web are `net_7876/1002_0_0.jpg` or
    `net_7876/_-20_1004_0.jpg`: the picture, then the number of the face in it.
    """
    folder, _, file = name.rpartition("/")
    parts = Path(file).stem.split("_")
    web_number = parts[0].isdigit()
    return f"{folder}/{'_'.join(parts[:1] if web_number else parts[:-1])}"


def _is_validation(name: str) -> bool:
    digest = hashlib.sha256(person_of(name).encode()).digest()  # Python's own hash changes with every start
    return int.from_bytes(digest[:8], "big") % 100 < _VALIDATION_PERCENT


def _read_list(source: Path, file: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names with `/`, landmarks `(pictures, 5, 2)` float32 in pixels, labels `(pictures, 4)` int8."""
    path = first_existing(source, (file,), _WHERE)
    lines = [line.replace("\\", "/") for line in read_lines(path, _WHERE)]
    names, values = parse_rows(path, lines, 1, len(_COLUMNS))
    classes = values[:, 10:]
    check_values(path, names, classes[:, :3], _COLUMNS[10:13], (1, 2))
    check_values(path, names, classes[:, 3:], _COLUMNS[13:], (1, 2, 3, 4, 5))
    check_inside(source, names)
    missing = [name for name in names if not os.path.isfile(source / name)]  # of a name too long for a file, pathlib's raises
    if missing:
        raise UserError(
            f"{source}: expected the {len(names)} pictures of {file}, {len(missing)} are missing, the first is {missing[0]}; "
            f"get them from {_WHERE}"
        )
    with np.errstate(over="ignore"):  # infinity lies outside, too
        landmarks_px = np.stack([values[:, :5], values[:, 5:10]], axis=-1).astype(np.float32)
    binary = classes[:, :3] == 1  # 1 is male, smiling, with glasses; 2 is not
    return names, landmarks_px, np.column_stack([binary, classes[:, 3] - 1]).astype(np.int8)


def _part(source: Path, rows: tuple[list[str], np.ndarray, np.ndarray], mine: np.ndarray) -> AnnotatedPictures:
    names, landmarks_px, labels = rows
    targets = {"landmarks": landmarks_px[mine], "attributes": labels[mine]}
    return AnnotatedPictures(np.array(names)[mine].tolist(), targets, functools.partial(_read, source))


def _read(source: Path, name: str) -> bytes:
    return read_file(source / name, str(source / name))

"""CelebA (Liu et al., ICCV 2015): five landmarks and forty attributes of 202,599 aligned faces."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from ..errors import UserError
from ..tasks import Attributes, Label, Landmarks
from .builder import FaceBuilder
from .described import open_folder
from .images import normalised_bytes
from .published import AnnotatedPictures, Pictures, check_folder, check_points, check_values, first_existing, parse_rows, read_lines
from .shards import Example

ATTRIBUTES = (  # noqa: SIM905
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones "
    "Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline "
    "Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick "
    "Wearing_Necklace Wearing_Necktie Young"
).split()

FIVE_POINTS = Landmarks(
    points=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    flip_pairs=(("left_eye", "right_eye"), ("left_mouth", "right_mouth")),
)
TASKS = (FIVE_POINTS, Attributes(labels=tuple(Label(name) for name in ATTRIBUTES)))
FRAME = (178, 218)  # width and height of the aligned images, in pixels

SPLITS = ("train", "validation", "test")  # 0, 1, 2 in list_eval_partition
_COORDINATES = [f"{point.replace('_', '')}_{axis}" for point in FIVE_POINTS.points for axis in "xy"]  # lefteye_x, lefteye_y, ...
_WHERE = "mmlab.ie.cuhk.edu.hk/projects/CelebA.html or from Kaggle (jessicali9530/celeba-dataset)"
_HOLDS = "img_align_celeba (or its .zip), list_attr_celeba.txt, list_landmarks_align_celeba.txt and list_eval_partition.txt"


class CelebA(FaceBuilder):
    """CelebA's aligned frames of 178x218 pixels with 5 landmarks and 40 attributes.

    Reads four layouts: as published (lists beside `img_align_celeba/`, or in `Anno/` and `Eval/`), the
    same with `img_align_celeba.zip`, Kaggle's copy (`.csv` lists), and TFDS's own prepared `celeb_a`.

    Args:
        source: the folder.
    """

    name = "celeba"
    tasks = TASKS
    homepage = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    licence = "CelebA: non-commercial research only; pictures may not be passed on."

    def __init__(self, *, source: Path | None = None, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def splits(self) -> "dict[str, AnnotatedPictures | TfdsExamples]":
        """The three parts; every list is checked before the first picture is read."""
        source = check_folder(self._source, "celeba", _HOLDS, _WHERE)
        if (source / "dataset_info.json").exists():
            return _tfds_splits(source)
        attributes_path, names, labels = _read_list(source, "list_attr_celeba", ATTRIBUTES)
        points_path, point_names, points = _read_list(source, "list_landmarks_align_celeba", _COORDINATES)
        partition_path, partition_names, partition = _read_list(source, "list_eval_partition", ["partition"])
        _check_same_names(attributes_path, names, points_path, point_names)
        _check_same_names(attributes_path, names, partition_path, partition_names)
        check_values(attributes_path, names, labels, ATTRIBUTES, (-1, 1))
        check_values(partition_path, names, partition, ["partition"], (0, 1, 2))
        with np.errstate(over="ignore"):  # infinity lies outside, too
            points = points.reshape(-1, 5, 2).astype(np.float32)
        check_points(points, FRAME, names, points_path)
        for part, split in enumerate(SPLITS):
            if not np.any(partition == part):
                raise UserError(f"{partition_path}: expected pictures of the {split} part ({part}), got none; take the published list")
        pictures = _pictures(source)
        pictures.check_all_there(names, attributes_path)

        names, labels = np.array(names), (labels > 0).astype(np.int8)
        return {
            split: AnnotatedPictures(
                names[mine].tolist(), {"landmarks": points[mine], "attributes": labels[mine]}, pictures.read, frame=FRAME
            )
            for split, mine in ((split, np.flatnonzero(partition[:, 0] == part)) for part, split in enumerate(SPLITS))
        }


def _read_list(source: Path, stem: str, columns: list[str]) -> tuple[Path, list[str], np.ndarray]:
    """Path, names and numbers `(pictures, columns)` of one list: published text or Kaggle's csv."""
    candidates = (f"{stem}.txt", f"Anno/{stem}.txt", f"Eval/{stem}.txt", f"{stem}.csv")
    path = first_existing(source, candidates, _WHERE)
    lines = read_lines(path, _WHERE)
    if path.suffix == ".csv":
        _check_header(path, lines[0].replace('"', "").split(","), ["image_id", *columns])
        return path, *parse_rows(path, lines[1:], 2, len(columns), separator=",")
    if columns == ["partition"]:  # the published one has neither count nor header
        return path, *parse_rows(path, lines, 1, 1)
    if len(lines) < 2 or not re.fullmatch(r"\s*[0-9]{1,9}\s*", lines[0]):
        raise UserError(f"{path}: expected the number of pictures in line 1, got '{lines[0][:60]}'; take the published list")
    _check_header(path, lines[1].split(), columns)
    names, values = parse_rows(path, lines[2:], 3, len(columns))
    if int(lines[0]) != len(names):
        raise UserError(f"{path}: expected {int(lines[0])} pictures as line 1 says, got {len(names)}; fetch the whole list again")
    return path, names, values


def _check_header(path: Path, came: list[str], expected: list[str]) -> None:
    came = [name.strip() for name in came]
    if came == expected:
        return
    if sorted(came) == sorted(expected):
        fault = "the same names in another order"
    else:
        unknown = [name for name in came if name not in expected] or [f"no {next(name for name in expected if name not in came)}"]
        fault = f"{len(came)} with {unknown[0][:60]}"
    raise UserError(
        f"{path}: expected the {len(expected)} columns {expected[0]} .. {expected[-1]} in the published order, "
        f"got {fault}; take the published list"
    )


def _check_same_names(path: Path, names: list[str], other_path: Path, other_names: list[str]) -> None:
    if names == other_names:
        return
    if missing := set(names) ^ set(other_names):
        name = min(missing)
        lacking = path if name not in names else other_path
        raise UserError(
            f"{lacking}: expected the same pictures as in {(other_path if lacking is path else path).name}, "
            f"{len(missing)} differ, for one {name} is not in it; take both lists from the same release"
        )
    raise UserError(f"{other_path}: expected the pictures in the order of {path.name}, got another order; take the published lists")


def _pictures(source: Path) -> Pictures:
    folder = "img_align_celeba"
    candidates = (f"{folder}/{folder}", folder, f"Img/{folder}", f"{folder}.zip", f"Img/{folder}.zip")
    return Pictures(first_existing(source, candidates, _WHERE), _WHERE)


class TfdsExamples:
    """One split of TFDS's own prepared `celeb_a`, or a slice of it, whose dictionaries are stacked in the published order.

    Reading its TFRecord files imports tensorflow; ArrayRecord files do without.
    """

    def __init__(self, source: Path, split: str, indices: range):
        self._source, self._split, self._indices = source, split, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, part: slice) -> "TfdsExamples":
        return TfdsExamples(self._source, self._split, self._indices[part])

    def __iter__(self) -> Iterator[Example]:
        for i, record in zip(self._indices, self._records(), strict=True):
            name = f"{self._split}-{i:06d}"  # TFDS drops the file names
            image, size = normalised_bytes(bytes(record["image"]), name, turn=False)
            landmarks = np.array([record["landmarks"][key] for key in _COORDINATES], np.float32).reshape(5, 2)
            check_points(landmarks[None], size, [name])
            labels = np.array([record["attributes"][key] for key in ATTRIBUTES], np.int8)
            yield Example(name, image, size, {"landmarks": landmarks, "attributes": labels})

    def _records(self) -> Iterator[dict]:
        decoders = {"image": tfds.decode.SkipDecoding()}
        split = f"{self._split}[{self._indices.start}:{self._indices.stop}]"
        try:
            builder = open_folder(self._source)
            if builder.info.file_format.value == "array_record":
                yield from builder.as_data_source(split=split, decoders=decoders)
            else:
                yield from tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders))
        except Exception as error:  # TFDS, TensorFlow and ArrayRecord each raise their own
            raise _unreadable(self._source, error) from None


def _tfds_splits(source: Path) -> dict[str, TfdsExamples]:
    try:
        builder = open_folder(source)
        features = builder.info.features
        landmarks, attributes = set(features["landmarks"]), set(features["attributes"])
    except Exception as error:  # TFDS raises many kinds on a damaged or foreign folder
        raise _unreadable(source, error) from None
    if landmarks != set(_COORDINATES) or attributes != set(ATTRIBUTES):
        raise UserError(
            f"{source}: expected TFDS's celeb_a with its 10 coordinates and 40 attributes, got '{builder.name}'; name another folder"
        )
    for split in SPLITS:
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise UserError(f"{source}: expected a {split} part, got none; prepare celeb_a again")
    return {split: TfdsExamples(source, split, range(builder.info.splits[split].num_examples)) for split in SPLITS}


def _unreadable(source: Path | str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UserError(f"{source}: expected TFDS's prepared celeb_a, got a folder it cannot read ({reason}); prepare it again")

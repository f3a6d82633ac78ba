"""CelebA is read from every layout alike, and bad input is refused in one sentence before pictures are read."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from making import COORDINATES, edit_line, encoded, make_celeba, picture
from PIL import Image

from smtn_keras.data import VERSION
from smtn_keras.data.celeba import ATTRIBUTES, CelebA
from smtn_keras.errors import UserError

SPLITS = ("train", "validation", "test")
LABELS, POINTS, PARTS = "list_attr_celeba.txt", "list_landmarks_align_celeba.txt", "list_eval_partition.txt"


def splits(source: Path, tmp_path: Path):
    return CelebA(source=source, data_dir=tmp_path / "data").splits()


@pytest.fixture
def source(tmp_path) -> Path:
    make_celeba(tmp_path / "celeba")
    return tmp_path / "celeba"


def refusal(source: Path, tmp_path: Path, read_pictures: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        examples = splits(source, tmp_path)
        for part in examples.values() if read_pictures else ():
            list(part)
    message = str(caught.value)
    assert "\n" not in message and re.search(
        r"expected .* got .*; |expected .*missing.*; |expected .*differ.*; |expected .*none; ", message
    ), message
    return message


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("layout", ["published", "drive", "zip", "kaggle"])
def test_reads_published_layouts(layout, newline, tmp_path):
    truth = make_celeba(tmp_path / "celeba", layout, newline)
    examples = splits(tmp_path / "celeba", tmp_path)
    assert tuple(examples) == SPLITS
    for part, split in enumerate(SPLITS):
        mine = np.flatnonzero(truth["parts"] == part)
        assert len(examples[split]) == len(mine)
        for i, example in zip(mine, examples[split], strict=True):
            assert example.name == truth["names"][i] and example.image == truth["images"][i] and example.size == (178, 218)
            np.testing.assert_array_equal(example.targets["landmarks"], truth["points"][i])
            np.testing.assert_array_equal(example.targets["attributes"], truth["labels"][i])
            assert example.targets["landmarks"].dtype == np.float32 and example.targets["attributes"].dtype == np.int8


@pytest.mark.parametrize("file_format", ["array_record", pytest.param("tfrecord", marks=pytest.mark.filterwarnings("ignore"))])
def test_stacks_what_tfds_prepared_in_the_published_order(file_format, tmp_path):
    truth = make_celeba(tmp_path, file_format)
    assert sorted(COORDINATES) != COORDINATES  # the order in which TFDS hands them over
    number_of = {image: i for i, image in enumerate(truth["images"])}
    examples = splits(tmp_path / "celeb_a" / "2.1.0", tmp_path)
    for part, split in enumerate(SPLITS):
        seen = list(examples[split])
        assert len(seen) == len(examples[split]) == 4 and len({example.name for example in seen}) == 4
        for example in seen:
            i = number_of[example.image]
            assert truth["parts"][i] == part and example.size == (178, 218)
            np.testing.assert_array_equal(example.targets["landmarks"], truth["points"][i])
            np.testing.assert_array_equal(example.targets["attributes"], truth["labels"][i])


def test_reads_lists_with_a_byte_order_mark_and_trailing_empty_lines(source, tmp_path):
    for file in (LABELS, POINTS, PARTS):
        (source / file).write_bytes(b"\xef\xbb\xbf" + (source / file).read_bytes() + b"\n \r\n")
    assert len(splits(source, tmp_path)["train"]) == 4


def test_missing_folder_and_missing_source(tmp_path):
    message = refusal(tmp_path / "nowhere", tmp_path)
    assert "nowhere" in message and "no such folder" in message and "mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in message
    assert "--source" in refusal(None, tmp_path)
    (tmp_path / "file.zip").write_bytes(b"PK")
    assert "got a file" in refusal(tmp_path / "file.zip", tmp_path)


@pytest.mark.parametrize("file", [LABELS, POINTS, PARTS])
def test_missing_or_wrong_list(file, source, tmp_path):
    (source / file).write_text("<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>")
    message = refusal(source, tmp_path)
    assert file in message and "an HTML page (a failed download)" in message and "jessicali9530/celeba-dataset" in message
    (source / file).write_bytes(b"\x1f\x8b\0\0")
    assert file in refusal(source, tmp_path)
    (source / file).write_text("\n\n")
    assert "an empty file" in refusal(source, tmp_path)
    (source / file).unlink()
    message = refusal(source, tmp_path)
    assert file in message and "got none" in message and "mmlab.ie.cuhk.edu.hk" in message and "jessicali9530/celeba-dataset" in message
    (source / file).mkdir()
    assert "Is a directory" in refusal(source, tmp_path)


EDITS = {  # what happens to the lists: file, line, old, new, what the message says
    "label of another value": (LABELS, 4, " 1", " 2", "000002.jpg to be one of -1, 1, got 2"),
    "label 0": (LABELS, 3, "-1", " 0", "000001.jpg to be one of -1, 1, got 0"),
    "label no number": (LABELS, 5, "-1", " x", "line 5: expected numbers, got 'x' for 000003.jpg"),
    "label missing": (LABELS, 5, "-1", "", "line 5: expected a name and 40 numbers, got 39"),
    "names of columns swapped": (LABELS, 2, "Arched_Eyebrows Attractive", "Attractive Arched_Eyebrows", "the same names in another order"),
    "unknown column": (LABELS, 2, "Bald", "Hairless", "got 40 with Hairless"),
    "column missing": (LABELS, 2, "Bald ", "", "got 39 with no Bald"),
    "count wrong": (LABELS, 1, "12", "13", "expected 13 pictures as line 1 says, got 12"),
    "no count": (LABELS, 1, "12", "twelve", "expected the number of pictures in line 1, got 'twelve'"),
    "NaN": (POINTS, 7, " ", " nan ", "line 7: expected a name and 10 numbers, got 11"),
    "name twice": (POINTS, 6, "000004", "000003", "expected each name once, got 000003.jpg again (line 5)"),
    "name in one list only": (
        POINTS,
        6,
        "000004",
        "999999",
        "list_landmarks_align_celeba.txt: expected the same pictures as in list_attr_celeba.txt",
    ),
    "partition unknown": (PARTS, 2, " 1", " 3", "partition of 000002.jpg to be one of 0, 1, 2, got 3"),
    "partition for a missing picture": (PARTS, 2, "000002", "000099", "2 differ"),
}


@pytest.mark.parametrize("case", EDITS)
def test_faults_in_the_lists(case, source, tmp_path):
    file, number, old, new, says = EDITS[case]
    edit_line(source / file, number, old, new)
    message = refusal(source, tmp_path)
    assert says in message and file in message


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999", "12px"])
def test_coordinates_that_are_no_numbers(value, source, tmp_path):
    lines = (source / POINTS).read_text().splitlines()
    fields = lines[4].split()
    lines[4] = " ".join([fields[0], value, *fields[2:]])
    (source / POINTS).write_text("\n".join(lines))
    message = refusal(source, tmp_path)
    assert f"{POINTS}, line 5: expected" in message and "000003.jpg" in message


@pytest.mark.parametrize(("x", "fine"), [(-89, True), (267, True), (-90, False), (268, False), (5000, False)])
def test_points_may_lie_half_a_side_outside(x, fine, source, tmp_path):
    lines = (source / POINTS).read_text().splitlines()
    fields = lines[4].split()
    lines[4] = " ".join([fields[0], str(x), *fields[2:]])
    (source / POINTS).write_text("\n".join(lines))
    if fine:
        assert len(splits(source, tmp_path)) == 3
    else:
        message = refusal(source, tmp_path)
        assert f"landmarks of 000003.jpg in its picture of 178x218 pixels, got one at ({x}, " in message


def test_lists_in_another_order(source, tmp_path):
    lines = (source / PARTS).read_text().splitlines()
    (source / PARTS).write_text("\n".join(lines[::-1]))
    assert "got another order" in refusal(source, tmp_path)


@pytest.mark.parametrize(("part", "split"), list(enumerate(SPLITS)))
def test_empty_split(part, split, source, tmp_path):
    text = (source / PARTS).read_text()
    (source / PARTS).write_text(re.sub(rf" {part}$", f" {(part + 1) % 3}", text, flags=re.M))
    message = refusal(source, tmp_path)
    assert PARTS in message and f"pictures of the {split} part ({part}), got none" in message


def test_kaggle_header(tmp_path):
    make_celeba(tmp_path / "celeba", "kaggle")
    edit_line(tmp_path / "celeba" / "list_landmarks_align_celeba.csv", 1, "nose_x,nose_y", "nose_y,nose_x")
    assert "the same names in another order" in refusal(tmp_path / "celeba", tmp_path)


def test_missing_pictures(source, tmp_path):
    for number in (3, 5):
        (source / "img_align_celeba" / f"{number:06d}.jpg").unlink()
    message = refusal(source, tmp_path)
    assert "expected the 12 pictures of list_attr_celeba.txt, 2 are missing, the first is 000003.jpg" in message
    shutil.rmtree(source / "img_align_celeba")
    assert "img_align_celeba.zip" in refusal(source, tmp_path)


def test_zip_that_is_none(tmp_path):
    make_celeba(tmp_path / "celeba", "zip")
    path = tmp_path / "celeba" / "img_align_celeba.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "img_align_celeba.zip: expected a zip, got a cut-off" in refusal(tmp_path / "celeba", tmp_path)
    path.write_text("<html>Google Drive can't scan this file for viruses</html>")
    message = refusal(tmp_path / "celeba", tmp_path)
    assert "got an HTML page (a failed download)" in message and "mmlab" in message


def test_damaged_picture_in_a_zip(tmp_path):
    make_celeba(tmp_path / "celeba", "zip")
    path = tmp_path / "celeba" / "img_align_celeba.zip"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("img_align_celeba/000001.jpg").header_offset
    data[start + 300 : start + 400] = bytes(100)  # its checksum no longer holds
    path.write_bytes(bytes(data))
    assert "expected to read 000001.jpg in this zip" in refusal(tmp_path / "celeba", tmp_path, read_pictures=True)


PICTURES = {
    "truncated": (encoded(picture(1))[:-500], "expected a whole image, got a cut-off or damaged one"),
    "empty": (b"", "got an empty file"),
    "HTML": (b"<html>", "got an HTML page"),
    "of another size": (encoded(picture(1, (100, 100))), "expected a picture of 178x218 pixels, the frame of its landmarks, got 100x100"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_broken_pictures(case, source, tmp_path):
    data, says = PICTURES[case]
    (source / "img_align_celeba" / "000004.jpg").write_bytes(data)
    assert splits(source, tmp_path)  # only reading it can tell
    message = refusal(source, tmp_path, read_pictures=True)
    assert "000004.jpg" in message and says in message


def test_a_picture_that_is_not_plain_is_written_anew_in_place(source, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (source / "img_align_celeba" / "000004.jpg").write_bytes(encoded(picture(1).convert("L"), exif=exif))
    example = next(e for e in splits(source, tmp_path)["train"] if e.name == "000004.jpg")
    assert example.size == (178, 218)  # the pixels as stored, to which the points belong


def test_tfds_folder_of_something_else(tmp_path):
    folder = tmp_path / "other" / VERSION
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    assert "expected TFDS's prepared celeb_a" in refusal(folder, tmp_path)
    CelebA(source=_made(tmp_path), data_dir=tmp_path / "ours").prepare()
    assert "expected TFDS's" in refusal(tmp_path / "ours" / "celeba" / VERSION, tmp_path)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_cut_or_missing_tfds_records(file_format, tmp_path):
    make_celeba(tmp_path, file_format)
    folder = tmp_path / "celeb_a" / "2.1.0"
    records = next(folder.glob("*validation*"))
    records.write_bytes(records.read_bytes()[:-3000])
    message = refusal(folder, tmp_path, read_pictures=True)
    assert "celeb_a" in message and "cannot read" in message
    records.unlink()
    assert "celeb_a" in refusal(folder, tmp_path, read_pictures=True)


def _made(tmp_path: Path) -> Path:
    make_celeba(tmp_path / "celeba")
    return tmp_path / "celeba"


@pytest.mark.faces
def test_real_faces(faces, tmp_path):
    examples = splits(faces / "celeba", tmp_path)
    assert {split: len(part) for split, part in examples.items()} == {"train": 7498, "validation": 500, "test": 1001}
    mean = examples["train"].targets["landmarks"].mean(0)
    left_eye, right_eye, nose, left_mouth, right_mouth = mean
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert 0.35 < examples["train"].targets["attributes"][:, ATTRIBUTES.index("Male")].mean() < 0.5
    assert sum(1 for _ in examples["validation"]) == 500

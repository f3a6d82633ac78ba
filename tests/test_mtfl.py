"""MTFL is read as published, its validation part shares no person with its training part, bad input is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
from making import edit_line, encoded, make_mtfl, picture

from smtn_keras.data.mtfl import HEAD_POSES, TASKS, Mtfl, person_of
from smtn_keras.errors import UserError


def splits(source: Path | None, tmp_path: Path):
    return Mtfl(source=source, data_dir=tmp_path / "data").splits()


@pytest.fixture
def source(tmp_path) -> Path:
    make_mtfl(tmp_path / "mtfl")
    return tmp_path / "mtfl"


def refusal(source: Path | None, tmp_path: Path, read_pictures: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        examples = splits(source, tmp_path)
        for part in examples.values() if read_pictures else ():
            list(part)
    message = str(caught.value)
    assert "\n" not in message and re.search(r"expected .*(got|missing).*; ", message), message
    return message


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_reads_the_published_folder(newline, tmp_path):
    truth = make_mtfl(tmp_path / "mtfl", newline)
    examples = splits(tmp_path / "mtfl", tmp_path)
    assert tuple(examples) == ("train", "validation", "test")
    seen = [example for part in examples.values() for example in part]
    assert [len(part) for part in examples.values()] == [len(examples["train"]), 60 - len(examples["train"]), 6]
    by_name = {example.name: example for example in seen}
    for rows in truth.values():
        for name, points, labels, size in zip(rows["names"], rows["points"], rows["labels"], rows["sizes"], strict=True):
            example = by_name.pop(name)
            assert example.size == tuple(size)
            np.testing.assert_array_equal(example.targets["landmarks"], points.astype(np.float32))
            male, smiling, glasses, pose = example.targets["attributes"]
            assert [male, smiling, glasses] == [int(v == 1) for v in labels[:3]] and pose == labels[3] - 1
            assert example.targets["landmarks"].dtype == np.float32 and example.targets["attributes"].dtype == np.int8
    assert not by_name


def test_labels_are_named_and_mirrored():
    labels = TASKS[1].labels
    assert [label.name for label in labels] == ["Male", "Smiling", "Eyeglasses", "Head_Pose"]
    for pose, mirrored in (("left_profile", "right_profile"), ("left", "right"), ("frontal", "frontal")):
        before = np.array([1, 0, 1, HEAD_POSES.index(pose)], np.int8)
        assert TASKS[1].flip(before).tolist() == [1, 0, 1, HEAD_POSES.index(mirrored)]


def test_person_of_a_picture():
    assert person_of("lfw_5590/Abdel_Aziz_Al-Hakim_0001.jpg") == person_of("lfw_5590/Abdel_Aziz_Al-Hakim_0012.jpg")
    assert person_of("lfw_5590/Ann_Lee_0001.jpg") != person_of("lfw_5590/Ann_Leeds_0001.jpg")
    assert person_of("net_7876/1002_0_0.jpg") == person_of("net_7876/1002_0_3.jpg") == person_of("net_7876/1002_1_0.jpg")
    assert person_of("net_7876/_-20_1045_0.jpg") == person_of("net_7876/_-20_1045_3.jpg") != person_of("net_7876/_-20_1046_0.jpg")


def test_validation_part_shares_no_person_and_never_changes(source, tmp_path):
    examples = splits(source, tmp_path)
    train, validation = (examples[split].names for split in ("train", "validation"))
    assert not set(map(person_of, train)) & set(map(person_of, validation))
    assert validation == splits(source, tmp_path)["validation"].names
    persons = [f"lfw_5590/Person{i}_0001.jpg" for i in range(3000)]
    from smtn_keras.data.mtfl import _is_validation

    assert sum(map(_is_validation, persons)) == 289  # the same on every machine


EDITS = {  # file, line, old, new, what the message says
    "gender": ("training.txt", 2, None, (10, "0"), "gender of net_7876/1_0_0.jpg to be one of 1, 2, got 0"),
    "pose": ("testing.txt", 3, None, (13, "6"), "pose of AFLW/0002-image.jpg to be one of 1, 2, 3, 4, 5, got 6"),
    "NaN": ("training.txt", 2, None, (0, "nan"), "line 2: expected finite numbers, got NaN or infinity for net_7876/1_0_0.jpg"),
    "no number": ("training.txt", 2, None, (3, "abc"), "line 2: expected numbers, got 'abc'"),
    "missing picture": ("training.txt", 2, "\\1_0_0", "\\1_9_9", "1 are missing, the first is net_7876/1_9_9.jpg"),
    "twice": ("training.txt", 2, "\\1_0_0", "\\0_0_0", "expected each name once, got net_7876/0_0_0.jpg again (line 1)"),
    "column missing": ("training.txt", 2, ".jpg ", ".jpg", "line 2: expected a name and 14 numbers, got 13"),
}


@pytest.mark.parametrize("case", EDITS)
def test_faults_in_the_lists(case, source, tmp_path):
    file, number, old, new, says = EDITS[case]
    if old is None:
        lines = (source / file).read_text().split("\n")
        fields = lines[number - 1].split()
        fields[1 + new[0]] = new[1]
        lines[number - 1] = " ".join(fields)
        (source / file).write_text("\n".join(lines))
    else:
        edit_line(source / file, number, old, new)
    message = refusal(source, tmp_path)
    assert says in message and file in message


def test_missing_folder_list_and_failed_download(source, tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere", tmp_path) and "--source" in refusal(None, tmp_path)
    (source / "testing.txt").write_text("<html>404</html>")
    message = refusal(source, tmp_path)
    assert "testing.txt" in message and "an HTML page" in message and "TCDCN.html" in message
    (source / "testing.txt").unlink()
    message = refusal(source, tmp_path)
    assert "expected testing.txt in this folder, got none" in message and "TCDCN.html" in message


def test_picture_in_both_parts(source, tmp_path):
    with (source / "testing.txt").open("a") as file:
        file.write((source / "training.txt").read_text().splitlines()[0] + "\n")
    assert "got 1, for one net_7876/0_0_0.jpg" in refusal(source, tmp_path)


def test_too_few_persons_for_a_validation_part(source, tmp_path):
    lines = (source / "training.txt").read_text().splitlines()
    (source / "training.txt").write_text(lines[0] + "\n")
    assert "expected enough persons for a" in refusal(source, tmp_path)


def test_broken_picture_and_points_of_another_frame(source, tmp_path):
    place = source / "net_7876" / "3_0_0.jpg"
    place.write_bytes(encoded(picture(1))[:-300])
    assert "net_7876/3_0_0.jpg: expected a whole image" in refusal(source, tmp_path, read_pictures=True)
    place.write_bytes(encoded(picture(1, (12, 12))))
    assert "expected the landmarks of net_7876/3_0_0.jpg in its picture of 12x12 pixels" in refusal(source, tmp_path, read_pictures=True)


@pytest.mark.faces
def test_real_faces(faces, tmp_path):
    examples = splits(faces / "mtfl", tmp_path)
    assert {split: len(part) for split, part in examples.items()} == {"train": 9040, "validation": 960, "test": 1000}
    assert not set(map(person_of, examples["train"].names)) & set(map(person_of, examples["validation"].names))
    for part in examples.values():
        landmarks, pose = part.targets["landmarks"], part.targets["attributes"][:, 3]
        eyes, nose = landmarks[:, :2], landmarks[:, 2]
        turn = (nose[:, 0] - eyes[:, :, 0].mean(1)) / np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
        means = [turn[pose == i].mean() for i in range(5)]
        assert means == sorted(means) and means[0] < -0.4 and abs(means[2]) < 0.05 and means[4] > 0.4  # the nose points there
        assert np.all(landmarks[:, 0, 1].mean() < landmarks[:, 3, 1].mean())  # eyes above mouth: y is y
    assert sum(1 for _ in examples["validation"]) == 960

"""What `inspect` prints and draws of a data set without a fault, and how it finds copies and odd faces."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import test_planted_faults as planted
import tiny

from smtn_keras import inspect
from smtn_keras.data import faults, glance, synthetic
from smtn_keras.tasks import Attributes, Label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of which nothing is wrong but one face with swapped eyes, another with its nose elsewhere, and a point outside."""
    folder = tmp_path_factory.mktemp("inspect")
    parts = planted.examples()
    whole = parts["train"]
    for i, change in {
        1: lambda points: points[[1, 0, 2, 3, 4]],
        2: lambda points: points + np.float32([[0, 0], [0, 0], [20, -15], [0, 0], [0, 0]]),
        3: lambda points: points - [0, points[:, 1].max() + 1 - 10],
    }.items():
        whole[i] = planted.with_targets(whole[i], landmarks=np.float32(change(whole[i].targets["landmarks"])))
    planted.prepare(folder, parts)
    return folder


@pytest.fixture(scope="module")
def printed(folder):
    """What the command prints, by heading; it is run as people run it, from a folder of its own."""
    argv = ["--data", "planted", "--data-dir", str(folder), "--out", str(folder / "sheets"), "--pictures", "10", "--seed", "3"]
    done = subprocess.run([sys.executable, "-m", "smtn_keras.inspect", *argv], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 1, done.stderr  # one of 96 is more than 1 %
    parts = re.split(r"^#+ (.*)$", done.stdout, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text):
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("|")]
    return cells[2:]


def test_label_frequencies_and_missing_labels(printed):
    labels = {split: np.stack([e.targets["attributes"] for e in part]) for split, part in planted.examples().items()}
    found = {row[0]: [float(cell) for cell in row[1:]] for row in rows(printed["attributes"])}
    assert list(found) == ["Bright", "Big_Dots", "Bar=left", "Bar=none", "Bar=right"]
    for name, column, value in (("Bright", 0, 1), ("Bar=right", 2, 2)):
        expected = [100 * (of[:, column][of[:, column] >= 0] == value).mean() for of in labels.values()]
        assert found[name] == pytest.approx([*expected, 100 * (labels["train"][:, column] < 0).mean(), 0, 0], abs=0.01)


def test_where_points_lie(printed):
    found = {(row[0], row[1]): row[2:] for row in rows(printed["landmarks"])}
    assert len(found) == 15
    points = np.stack([e.targets["landmarks"] for e in planted.examples()["test"]])
    unit, apart = points[:, 4] / tiny.FRAME, np.linalg.norm(points[:, 1] - points[:, 0], axis=1)[:, None]
    relative = (points[:, 4] - points[:, :2].mean(1)) / apart
    expected = [f"{values[:, axis].mean():.3f} ± {values[:, axis].std():.3f}" for values in (unit, relative) for axis in (0, 1)]
    assert found["right_mouth", "test"] == [*expected, "0.00", "0.00"]
    lacking = sum(i % 7 == 0 and i % 5 <= 2 for i in range(96))
    assert found["nose", "train"][-1] == f"{100 * lacking / 96:.2f}"
    assert found["left_eye", "train"][-2] != "0.00"


def test_odd_faces_are_named_with_what_is_odd(printed):
    odd = {row[0]: row[2] for row in rows(printed["odd faces"])}
    assert odd["train_001"] == "left_eye and right_eye swapped"
    assert odd["train_002"].startswith("nose is furthest from the common shape")
    assert odd["train_003"].startswith("a point") and odd["train_003"].endswith("% of a side outside")
    assert set(odd) == {"train_001", "train_002", "train_003"}
    (wrong,) = printed["Surely wrong"].strip().splitlines()
    assert wrong == "- planted, train part: faces with points changed for each other: 1 of 96"
    assert "faces unlike the others: 1; with points outside of the picture: 1" in printed["Worth a look"]


def test_rows_go_with_their_pictures_and_nothing_is_copied(printed):
    own, before, after = (float(cell) for cell in rows(printed["pictures"])[0][5:8])
    assert own > 0.2 > max(before, after)
    assert printed["copies"].strip() == "none"


def test_the_sheet_has_points_on_their_dots_before_and_in_training(folder, printed):
    file = folder / "sheets" / "planted-train.png"
    assert f"written: {file}" in printed["attributes"]
    sheet = cv2.imread(str(file))
    assert sheet.shape[0] > sheet.shape[1] / 2  # ten pictures in rows of eight, each of the two rows twice
    assert (folder / "sheets" / "planted-odd.png").is_file() and not (folder / "sheets" / "copies.png").exists()


def test_each_row_is_drawn_twice_with_points_and_labels_moved_along(folder, monkeypatch, tmp_path):
    from smtn_keras import sheets
    from smtn_keras.data.prepared import open_prepared
    from smtn_keras.presets import preset

    drawn = {}

    def keep(records, captions, tasks, file, columns, rows):
        drawn.update(records=records, captions=captions, columns=columns, rows=rows)

    monkeypatch.setattr(sheets, "draw", keep)
    data = open_prepared("planted", folder)
    config = preset("small", 1).with_(data={"colour": 0})
    sheets.draw_sample(data, "validation", 21, config, 1, tmp_path / "sheet.png")
    assert drawn["rows"] == ["as it is", "in training"] * 3 and len(drawn["records"]) == 48
    mirrored = 0
    for start in (0, 16, 32):
        for plain, varied in zip(drawn["records"][start : start + 8], drawn["records"][start + 8 : start + 16], strict=True):
            if plain is None:
                assert varied is None
                continue
            assert plain["name"] == varied["name"]
            image, points = varied["image"], varied["landmarks"]
            assert image.shape == (64, 64, 3)
            eye = image[tuple(np.clip(np.round(points[0, ::-1] - 0.5), 0, 63).astype(int))].astype(int)
            was_mirrored = eye[0] < eye[1]  # where the left eye is said to be, the dot is the right eye's, which is green
            mirrored += was_mirrored
            bar = plain["attributes"][2]
            assert varied["attributes"][2] == (2 - bar if was_mirrored else bar)
    assert 4 < mirrored < 17  # of 21
    caption = drawn["captions"][0]
    name, labels = drawn["records"][0]["name"].decode(), drawn["records"][0]["attributes"]
    assert caption.startswith(f"{name}: ") and ("Bright" in caption) == bool(labels[0])
    assert caption.endswith(f"Bar={('left', 'none', 'right')[labels[2]]}")


# -- shapes -----------------------------------------------------------------------------------------


def test_shapes_do_not_depend_on_place_size_and_turn():
    rng = np.random.default_rng(0)
    points = np.tile(tiny.MEAN_SHAPE * 100, (40, 1, 1)) + rng.normal(0, 1, (40, 5, 2))
    before = faults.shapes(tiny.POINTS, points)
    angle = np.radians(rng.uniform(-180, 180, 40))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    moved = points @ turn * rng.uniform(0.5, 2, (40, 1, 1)) + rng.uniform(-50, 50, (40, 1, 2))
    np.testing.assert_allclose(faults.shapes(tiny.POINTS, moved).off, before.off, rtol=1e-6)
    assert 0.005 < np.median(before.off) < 0.1


def test_swapped_points_are_told_from_odd_ones_and_from_missing_ones():
    rng = np.random.default_rng(0)
    points = np.tile(tiny.MEAN_SHAPE * 100, (40, 1, 1)) + rng.normal(0, 1, (40, 5, 2))
    points[3] = points[3, [1, 0, 2, 3, 4]]
    points[4] = points[4, [1, 0, 2, 4, 3]]
    points[5] = points[5, [0, 1, 2, 4, 3]] @ [[0, 1], [-1, 0]]  # the mouth, in a face that lies on its side
    points[6, 4] += 40
    points[7, :3] = np.nan
    points[8, 1] = np.nan
    found = faults.shapes(tiny.POINTS, points)
    eyes, mouth = "left_eye and right_eye", "left_mouth and right_mouth"
    assert {i: names for i, names in enumerate(found.swapped) if names} == {3: eyes, 4: f"{eyes}, {mouth}", 5: mouth}
    assert faults.unlike(found.off)[:4].tolist() == sorted([3, 4, 5, 6], key=lambda i: -found.off[i])
    assert found.worst[6] == 4
    assert np.isnan(found.off[7]) and found.off[8] < 0.1


# -- copies -----------------------------------------------------------------------------------------


def test_hashes_of_few_different_bits_are_near():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 3000, dtype=np.uint64)
    expected = []
    for i, bits in enumerate((0, 1, 3, 5, 6, 9)):
        places = rng.choice(64, bits, replace=False)
        hashes[100 + i] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << places.astype(np.uint64), initial=np.uint64(0))
        expected += [[i, 100 + i]] * (bits <= glance.BITS)
    assert glance.near(hashes).tolist() == expected


def test_as_many_blank_pictures_cost_no_more_than_their_number():
    assert len(glance.near(np.zeros(5000, np.uint64))) == 4999


COPIES = {  # of OpenCV's pictures: saved anew
    "worse": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR),
    "smaller": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "lighter": lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=8),
}


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_found_however_they_were_saved_and_other_faces_are_not(change):
    def record(image):
        return {"image": cv2.imencode(".png", image)[1].tobytes()}

    faces = [synthetic.draw_face(0, i)[0][..., ::-1] for i in range(40)]
    records = [record(image) for image in faces] + [record(COPIES[change](image)) for image in faces[:5]]
    pairs = glance.near(np.stack([glance.dhash(glance.decoded(record)) for record in records]))
    assert [pair for pair in pairs.tolist() if glance.alike(*(records[i] for i in pair))] == [[i, 40 + i] for i in range(5)]
    assert not any(glance.alike(records[0], records[i]) for i in range(1, 40))
    small = [cv2.resize(glance.decoded(records[i]), (glance.SIDE, glance.SIDE), interpolation=cv2.INTER_AREA) for i in (0, 40)]
    assert glance.correlation(*small) >= glance.ALIKE  # which is looked at first
    blank = record(np.full((20, 20, 3), 7, np.uint8))
    assert not glance.alike(blank, blank)


# -- what else is said ------------------------------------------------------------------------------


def test_equal_labels_are_named_and_another_sets_labels_left_out(tmp_path, capsys):
    parts = {
        split: [planted.with_targets(e, attributes=np.int8([1, e.targets["attributes"][0]])) for e in part]
        for split, part in planted.examples().items()
    }
    planted.prepare(tmp_path, parts, (tiny.POINTS, Attributes(labels=(Label("Alive"), Label("Bright")))))
    inspect.main(["--data", "planted", "--data-dir", str(tmp_path), "--out", str(tmp_path), "--pictures", "1"])
    said = capsys.readouterr().out
    assert "label Alive is the same in all of the training part" in said and "label Bright is" not in said
    assert "## Surely wrong\n\n- nothing\n" in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--data", "tiny", "--pictures", "0"), "--pictures: expected a number from 1 to 400, got 0"),
        (("--data", "nothing"), "expected one of synthetic, celeba, mtfl, got 'nothing'"),
        (("--data", "celeba"), "python -m smtn_keras.prepare celeba"),
        (("--data", "mtfl+mtfl"), "expected each data set once"),
    ],
)
def test_bad_flags(flags, says, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as end:
        inspect.main([*flags, "--data-dir", str(tmp_path)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and says in " ".join(said.split()) and "Traceback" not in said

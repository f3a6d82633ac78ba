"""Preparing writes a set once, survives interruption, refuses bad input in one line, and reading it needs no TensorFlow."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from making import celeba_truth, make_celeba, make_mtfl

from smtn_keras import prepare as prepare_module
from smtn_keras.data import DATA_SETS, VERSION, builder, data_set_class, published
from smtn_keras.data.builder import Example, FaceBuilder
from smtn_keras.data.celeba import TASKS
from smtn_keras.data.mtfl import TASKS as MTFL_TASKS
from smtn_keras.data.prepared import open_prepared, prepared_folder
from smtn_keras.errors import UserError
from smtn_keras.prepare import main, prepare
from smtn_keras.tasks import Landmarks

ROOT = Path(__file__).parents[1]


@pytest.fixture
def source(tmp_path) -> Path:
    make_celeba(tmp_path / "celeba")
    return tmp_path / "celeba"


def command(arguments: list, capsys) -> tuple[int, str, str]:
    """Exit code, stdout and stderr (without the progress bars) of the command line."""
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    return code, out, "\n".join(line for line in re.split(r"[\r\n]", err) if line and "images/s]" not in line)


def refusal(arguments: list, capsys) -> str:
    code, _, err = command(arguments, capsys)
    assert code == 2 and err.startswith("error: ") and "\n" not in err, (code, err)
    return err


def run_python(code: str, *arguments) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)


def leftovers(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "celeba").iterdir() if not path.name.startswith("."))


def test_prepares_once_and_says_so(source, tmp_path, capsys):
    data = tmp_path / "data"
    code, out, _ = command(["celeba", "--source", source, "--data-dir", data], capsys)
    folder = data / "celeba" / VERSION
    assert (code, out) == (0, f"celeba: prepared in {folder}: train 4, validation 4, test 4\n")
    assert sorted(path.name for path in data.iterdir()) == ["celeba"]  # no folder for downloads
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for arguments in (["celeba", "--source", source, "--data-dir", data], ["celeba", "--data-dir", data]):
        code, out, _ = command(arguments, capsys)
        assert (code, out) == (0, f"celeba: already prepared in {folder}: train 4, validation 4, test 4\n")
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare("celeba", data) == folder == prepared_folder("celeba", data)


def test_reads_back_what_was_published(source, tmp_path):
    prepare("celeba", tmp_path / "data", source=source)
    truth = celeba_truth()
    prepared = open_prepared("celeba", tmp_path / "data")
    assert prepared.tasks == TASKS and prepared.counts == {"train": 4, "validation": 4, "test": 4}
    assert "non-commercial" in prepared.licence and prepared.origin == {"source": "celeba"}
    assert str(tmp_path) not in json.dumps(prepared.origin)  # no path of a machine
    number_of = {name: i for i, name in enumerate(truth["names"])}
    for part, split in enumerate(prepared.counts):
        targets, records = prepared.targets(split), prepared.source(split)
        assert len(records) == 4 and targets["size"].tolist() == [[178, 218]] * 4
        assert sorted(targets["name"]) == sorted(truth["names"][truth["parts"] == part])
        for k, name in enumerate(targets["name"]):
            i, record = number_of[name], records[k]
            assert record["name"].decode() == name and record["image"] == truth["images"][i]
            for labels in (record["attributes"], targets["attributes"][k]):
                np.testing.assert_array_equal(labels, truth["labels"][i])
            for points in (record["landmarks"], targets["landmarks"][k]):
                np.testing.assert_array_equal(points, truth["points"][i] + 0.5)  # from the corner, not the first pixel's centre
    with pytest.raises(UserError, match="expected one of the splits train, validation, test, got 'val'"):
        prepared.source("val")


def test_mtfl_with_its_head_pose(tmp_path):
    truth = make_mtfl(tmp_path / "mtfl")["testing.txt"]
    prepare("mtfl", tmp_path / "data", source=tmp_path / "mtfl")
    prepared = open_prepared("mtfl", tmp_path / "data")
    assert prepared.tasks == MTFL_TASKS and sum(prepared.counts.values()) == 66
    assert len({tuple(size) for size in prepared.targets("train")["size"]}) == 5
    assert prepared.targets("train")["attributes"][:, 3].max() == 4
    np.testing.assert_array_equal(prepared.targets("test")["landmarks"], truth["points"].astype(np.float32) - 0.5)  # it counts from 1


class OnePixel(FaceBuilder):
    """A white pixel, and where it is."""

    name = "onepixel"
    tasks = (Landmarks(points=("a", "b"), normaliser=("a", "b")),)

    def splits(self):
        image = np.zeros((6, 8, 3), np.uint8)
        image[3, 1] = 255
        points = np.float32([[1, 3], [np.nan, np.nan]]) + np.float32(self.first_pixel)
        return {"train": [Example("face", cv2.imencode(".png", image)[1].tobytes(), (8, 6), {"landmarks": points})]}


@pytest.mark.parametrize("first_pixel", [0, 0.5, 1])
def test_a_mirrored_point_stays_on_its_pixel(first_pixel, tmp_path):
    builder = OnePixel(data_dir=tmp_path)
    builder.first_pixel = first_pixel
    builder.prepare()
    prepared = open_prepared("onepixel", tmp_path)
    (record,) = prepared.source("train")
    image, unit = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_GRAYSCALE), record["landmarks"] / record["size"]
    for picture, points in ((image, unit), (image[:, ::-1], prepared.tasks[0].flip(unit))):
        ((y, x),) = np.argwhere(picture)
        np.testing.assert_allclose(points[0] * [8, 6], [x + 0.5, y + 0.5], atol=1e-5)
        assert np.isnan(points[1]).all()


def test_synthetic_of_another_size_or_seed_is_refused(tmp_path, capsys):
    data = tmp_path / "data"
    assert command(["synthetic", "--samples", 12, "--seed", 3, "--data-dir", data], capsys)[0] == 0
    code, out, _ = command(["synthetic", "--samples", 12, "--seed", 3, "--data-dir", data], capsys)
    assert code == 0 and "already prepared" in out and str(data) in out
    for other in (["--samples", 12, "--seed", 4], ["--samples", 13, "--seed", 3], []):
        message = refusal(["synthetic", *other, "--data-dir", data], capsys)
        assert "got one made from samples 12, seed 3; name another --data-dir or delete that folder" in message


def test_another_source_is_refused(source, tmp_path, capsys):
    prepare("celeba", tmp_path / "data", source=source)
    message = refusal(["celeba", "--source", tmp_path / "celeba_cropped", "--data-dir", tmp_path / "data"], capsys)
    assert "expected a set made from source celeba_cropped, got one made from source celeba" in message


def test_bad_arguments(source, tmp_path, capsys):
    data = tmp_path / "data"
    assert "expected one of synthetic, celeba, mtfl, got 'celebb'" in refusal(["celebb", "--data-dir", data], capsys)
    assert "expected --source" in refusal(["celeba", "--data-dir", data], capsys)
    assert "no such folder" in refusal(["mtfl", "--source", tmp_path / "nowhere", "--data-dir", data], capsys)
    assert "expected --samples with synthetic only" in refusal(["celeba", "--source", source, "--samples", 5, "--data-dir", data], capsys)
    assert "expected --seed with synthetic only" in refusal(["mtfl", "--seed", 0, "--data-dir", data], capsys)
    assert "expected no --source" in refusal(["synthetic", "--source", source, "--data-dir", data], capsys)
    assert "samples" in refusal(["synthetic", "--samples", -1, "--data-dir", data], capsys)
    (tmp_path / "file").write_text("")
    message = refusal(["celeba", "--source", source, "--data-dir", tmp_path / "file"], capsys)
    assert "expected a folder that can be written" in message and "name another --data-dir" in message


def test_bad_input_leaves_nothing_behind(source, tmp_path, capsys):
    data, picture = tmp_path / "data", source / "img_align_celeba" / "000006.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-200])
    message = refusal(["celeba", "--source", source, "--data-dir", data], capsys)
    assert "000006.jpg: expected a whole image" in message and leftovers(data) == []
    picture.write_bytes(whole)
    assert command(["celeba", "--source", source, "--data-dir", data], capsys)[0] == 0
    assert leftovers(data) == [VERSION]


def test_bad_list_through_the_command_line_has_no_traceback(source, tmp_path):
    (source / "list_attr_celeba.txt").write_text("<html>")
    code = "import sys; from smtn_keras.prepare import main; main(sys.argv[1:])"
    ended = run_python(code, "celeba", "--source", source, "--data-dir", tmp_path / "data")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "Traceback" not in ended.stderr
    assert "list_attr_celeba.txt: expected a list of annotations, got an HTML page" in ended.stderr


def test_interrupted_preparation_starts_over(source, tmp_path, capsys, monkeypatch):
    data, read = tmp_path / "data", published.Pictures.read

    def interrupted(pictures, name):
        if name == "000006.jpg":
            raise KeyboardInterrupt
        return read(pictures, name)

    monkeypatch.setattr(published.Pictures, "read", interrupted)
    code, _, err = command(["celeba", "--source", source, "--data-dir", data], capsys)
    assert code == 130 and "interrupted" in err and leftovers(data) == []
    with pytest.raises(UserError, match="expected a prepared data set, got none"):
        open_prepared("celeba", data)
    monkeypatch.undo()
    assert command(["celeba", "--source", source, "--data-dir", data], capsys)[0] == 0


def test_killed_preparation_starts_over(source, tmp_path, capsys):
    data = tmp_path / "data"
    killing = """
import os, signal, sys
from smtn_keras.data import published
from smtn_keras.prepare import main
read = published.Pictures.read
def killed(pictures, name):
    if name == "000006.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return read(pictures, name)
published.Pictures.read = killed
main(sys.argv[1:])
"""
    ended = run_python(killing, "celeba", "--source", source, "--data-dir", data)
    assert ended.returncode == -signal.SIGKILL
    assert len(leftovers(data)) == 1 and leftovers(data)[0].startswith("incomplete.")
    with pytest.raises(UserError, match="expected a prepared data set, got none"):
        open_prepared("celeba", data)
    assert command(["celeba", "--source", source, "--data-dir", data], capsys)[0] == 0
    assert leftovers(data) == [VERSION]


def test_only_one_process_prepares(source, tmp_path, capsys):
    with prepare_module._only_one(prepared_folder("celeba", tmp_path / "data")):
        message = refusal(["celeba", "--source", source, "--data-dir", tmp_path / "data"], capsys)
    assert "another process at it; wait" in message


FULL = [
    OSError(28, "No space left on device"),
    # as TFDS wraps what ArrayRecord raised on a full tmpfs
    RuntimeError(
        'Failed to finalize writing of split "train": write() failed: No space left on device; writing x; Could not submit chunk: 1'
    ),
]


@pytest.mark.parametrize("error", FULL)
def test_full_disk(error, source, tmp_path, capsys, monkeypatch):
    def full(self, *_):
        raise error

    monkeypatch.setattr(data_set_class("celeba"), "prepare", full)
    message = refusal(["celeba", "--source", source, "--data-dir", tmp_path / "data"], capsys)
    assert "got a full disk; free some space or name another --data-dir" in message


def test_really_full_disk(source, tmp_path, capsys):
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small], check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root")
    try:
        code, _, err = command(["celeba", "--source", source, "--data-dir", small], capsys)
        assert code == 2 and err.startswith("error: ") and "got a full disk" in err and leftovers(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_unprepared_set_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"python -m smtn_keras\.prepare celeba --source FOLDER --data-dir \S+data$"):
        open_prepared("celeba", tmp_path / "data")
    with pytest.raises(UserError, match=r"python -m smtn_keras\.prepare synthetic --data-dir"):
        open_prepared("synthetic", tmp_path / "data")
    with pytest.raises(UserError, match="expected one of synthetic, celeba, mtfl, got 'nothing'"):
        open_prepared("nothing", tmp_path)


@pytest.mark.parametrize("damage", ["no info", "no records", "cut records", "no metadata", "nothing"])
def test_damaged_folder(damage, source, tmp_path, capsys):
    data = tmp_path / "data"
    folder = prepare("celeba", data, source=source)
    records = next(folder.glob("*train*"))
    for path in {"no info": [folder / "dataset_info.json"], "no records": [records], "no metadata": [folder / "metadata.json"]}.get(
        damage, []
    ):
        path.unlink()
    if damage == "cut records":
        records.write_bytes(records.read_bytes()[:-5000])
    if damage == "nothing":
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(UserError, match=r"damaged one .*; delete it and prepare it again"):
        open_prepared("celeba", data).targets("train")
    if damage != "cut records":  # preparing does not read them
        assert "damaged" in refusal(["celeba", "--source", source, "--data-dir", data], capsys)


def test_needs_neither_tensorflow_nor_a_network(source, tmp_path):
    code = """
import socket, sys
from pathlib import Path
def refuse(*_):
    raise AssertionError("a connection was tried")
socket.socket.connect = socket.getaddrinfo = refuse
from smtn_keras.prepare import prepare
from smtn_keras.data.prepared import open_prepared
prepare("celeba", Path(sys.argv[2]), source=Path(sys.argv[1]))
assert len(open_prepared("celeba", Path(sys.argv[2])).targets("train")["name"]) == 4
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
print("done")
"""
    ended = run_python(code, source, tmp_path / "data")
    assert ended.returncode == 0 and ended.stdout.endswith("done\n"), ended.stderr


def test_help_imports_nothing_heavy():
    code = """
import sys
from smtn_keras.prepare import main
try:
    main(["--help"])
except SystemExit as exit:
    assert exit.code == 0
heavy = {"tensorflow", "tensorflow_datasets", "keras", "cv2", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    ended = run_python(code)
    assert ended.returncode == 0, ended.stderr
    assert all(word in ended.stdout for word in ("--source", "--data-dir", "--samples", "--seed", "mtfl"))


def test_every_data_set_has_its_class():
    for name in DATA_SETS:
        assert data_set_class(name).name == name
    with pytest.raises(UserError, match="expected one of synthetic, celeba, mtfl, got 'x'; check the name"):
        data_set_class("x")


def test_many_shards_hold_every_sample_in_its_order(source, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SHARD", 3)
    folder = prepare("celeba", tmp_path / "data", source=source)
    assert len(list(folder.glob("*train*"))) == 2
    prepared, truth = open_prepared("celeba", tmp_path / "data"), celeba_truth()
    for part, split in enumerate(prepared.counts):
        assert prepared.targets(split)["name"].tolist() == truth["names"][truth["parts"] == part].tolist()

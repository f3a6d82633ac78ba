"""Preparing in worker processes, as a Beam pipeline and into an object store; memory and order where a set has many files."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny
from etils import epath
from making import celeba_truth, make_celeba
from tiny import NOTHING, SIZE

from smtn_keras.config import Config, DataConfig, NetworkConfig, TrainingConfig
from smtn_keras.data import VERSION, builder
from smtn_keras.data.builder import FaceBuilder
from smtn_keras.data.celeba import CelebA
from smtn_keras.data.pipeline import evaluation_batches, training_batches
from smtn_keras.data.prepared import Prepared, open_prepared
from smtn_keras.data.synthetic import Synthetic
from smtn_keras.errors import UserError
from smtn_keras.prepare import prepare

BEAM = "--runner=DirectRunner"


def assert_same(prepared: Prepared, other: Prepared) -> None:
    assert prepared.counts == other.counts
    for split in prepared.counts:
        for record, same in zip(prepared.source(split), other.source(split), strict=True):
            assert record["name"] == same["name"] and record["image"] == same["image"]
            np.testing.assert_array_equal(record["landmarks"], same["landmarks"])
            np.testing.assert_array_equal(record["attributes"], same["attributes"])


def prepared_files(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "celeba").rglob("*") if path.name != ".lock")


def break_picture(source: Path, name: str) -> None:
    picture = source / "img_align_celeba" / name
    picture.write_bytes(picture.read_bytes()[:-200])


# -- parts of a set ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["published", "zip", "array_record"])
def test_a_part_of_a_split_is_what_a_part_of_its_list_is(layout, tmp_path):
    make_celeba(tmp_path / "celeba", layout, count=18)
    source = tmp_path / "celeba" / "celeb_a" / "2.1.0" if layout == "array_record" else tmp_path / "celeba"
    for examples in CelebA(source=source, data_dir=tmp_path / "data").splits().values():
        whole, part = list(examples), examples[1:5][1:3]
        assert len(whole) == 6 and len(part) == 2
        for example, expected in zip(part, whole[2:4], strict=True):
            assert example.name == expected.name and example.image == expected.image
            np.testing.assert_array_equal(example.targets["landmarks"], expected.targets["landmarks"])
            np.testing.assert_array_equal(example.targets["attributes"], expected.targets["attributes"])


def test_a_part_of_the_synthetic_faces(tmp_path):
    examples = Synthetic(samples=12, data_dir=tmp_path).splits()["train"]
    assert [example.name for example in examples[3:6]] == ["synthetic_000003", "synthetic_000004", "synthetic_000005"]


def test_a_file_is_written_with_one_example_in_memory(tmp_path):
    alive = weakref.WeakSet()

    class Watched(np.ndarray):
        """Arrays that can stand in a set."""

        __hash__ = object.__hash__

    class Watching(FaceBuilder):
        """Counts the examples that somebody still holds."""

        name = "watching"
        tasks = tiny.TASKS

        def splits(self):
            return {"train": self._examples()}

        def _examples(self):
            for i in range(20):
                assert len(alive) <= 2  # the one that was written last, and the one before
                example = tiny.example("train", i)
                points = example.targets["landmarks"].view(Watched)
                alive.add(points)
                yield example._replace(targets=example.targets | {"landmarks": points})
                del example, points

    Watching(data_dir=tmp_path).prepare()
    assert open_prepared("watching", tmp_path).counts == {"train": 20}


# -- worker processes -------------------------------------------------------------------------------


def test_workers_write_what_one_process_writes(tmp_path, monkeypatch):
    make_celeba(tmp_path / "celeba", "zip", count=36)
    monkeypatch.setattr(builder, "SHARD", 1)  # twelve files a split: more than a sorted list of digits would keep in order
    prepare("celeba", tmp_path / "one", source=tmp_path / "celeba")
    folder = prepare("celeba", tmp_path / "two", source=tmp_path / "celeba", workers=2)
    assert len(list(folder.glob("*train*"))) == 12 and not list(folder.glob("*.order"))
    assert_same(open_prepared("celeba", tmp_path / "one"), open_prepared("celeba", tmp_path / "two"))
    truth = celeba_truth(36)
    assert open_prepared("celeba", tmp_path / "two").targets("test")["name"].tolist() == truth["names"][truth["parts"] == 2].tolist()


def test_a_workers_refusal_is_the_first_one_and_leaves_nothing(tmp_path, monkeypatch):
    make_celeba(tmp_path / "celeba")
    for name in ("000008.jpg", "000006.jpg"):  # the sixth stands first in the test part
        break_picture(tmp_path / "celeba", name)
    monkeypatch.setattr(builder, "SHARD", 1)
    with pytest.raises(UserError, match=r"^000008\.jpg: expected a whole image"):  # of the validation part, which comes before
        prepare("celeba", tmp_path / "data", source=tmp_path / "celeba", workers=2)
    assert prepared_files(tmp_path / "data") == []


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^--workers: expected at least 1, got 0"):
        prepare("synthetic", tmp_path, samples=3, workers=0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(ending, tmp_path):
    command = [sys.executable, "-m", "smtn_keras.prepare", "synthetic", "--workers", "2", "--samples", "100000", "--data-dir", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, which tests may be, ignores it
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, heard)
    while not list(tmp_path.glob("synthetic/incomplete*/*-of-00040")):  # a worker writes
        assert running.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(children) >= 2
    os.kill(running.pid, ending) if ending == signal.SIGKILL else os.killpg(running.pid, ending)  # as a terminal does
    _, err = running.communicate(timeout=240)
    if ending == signal.SIGINT:
        assert running.returncode == 130 and err == "interrupted: nothing was prepared; the next call starts over\n"
        assert [path.name for path in tmp_path.glob("synthetic/*") if path.name != ".lock"] == []
    deadline = time.monotonic() + 30
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- Beam -------------------------------------------------------------------------------------------


def test_beam_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"^--beam: expected Apache Beam, got none; run: pip install 'smtn_keras\[beam\]'"):
        prepare("synthetic", tmp_path, samples=3, beam=BEAM)


@pytest.mark.slow
def test_beam_writes_what_one_process_writes(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="pip install 'smtn_keras[beam]'")
    make_celeba(tmp_path / "celeba", count=36)
    monkeypatch.setattr(builder, "SHARD", 1)
    prepare("celeba", tmp_path / "one", source=tmp_path / "celeba")
    folder = prepare("celeba", tmp_path / "beam", source=tmp_path / "celeba", beam=BEAM)
    assert {path.suffix for path in folder.glob("celeba-*")} == {
        path.suffix for path in (tmp_path / "one/celeba" / VERSION).glob("celeba-*")
    }
    assert_same(open_prepared("celeba", tmp_path / "one"), open_prepared("celeba", tmp_path / "beam"))


def test_beam_refuses_in_one_sentence_and_leaves_nothing(tmp_path):
    pytest.importorskip("apache_beam", reason="pip install 'smtn_keras[beam]'")
    make_celeba(tmp_path / "celeba")
    for options in ("--runner=Nobody", "--direct_num_workers=x", "'"):
        with pytest.raises(UserError, match=r"^--beam: expected options of an Apache Beam pipeline, got .*; correct them$"):
            prepare("celeba", tmp_path / "data", source=tmp_path / "celeba", beam=options)
    break_picture(tmp_path / "celeba", "000006.jpg")
    with pytest.raises(UserError, match=r"^000006\.jpg: expected a whole image"):
        prepare("celeba", tmp_path / "data", source=tmp_path / "celeba", beam=BEAM)
    assert prepared_files(tmp_path / "data") == []


# -- an object store --------------------------------------------------------------------------------


def test_an_object_store_is_written_and_copied_back(tmp_path, monkeypatch):
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    make_celeba(tmp_path / "celeba")
    of_name = fsspec.filesystem
    monkeypatch.setattr(fsspec, "filesystem", lambda name: MemoryFileSystem() if name == "s3" else of_name(name))
    folder = prepare("celeba", "s3://bucket/data", source=tmp_path / "celeba")
    assert os.fspath(folder) == f"s3://bucket/data/celeba/{VERSION}" and [path.name for path in folder.parent.iterdir()] == [VERSION]
    assert prepare("celeba", "s3://bucket/data") == folder
    with pytest.raises(UserError, match="expected a folder of this machine to read from, got an object store's; copy it to a disk first"):
        open_prepared("celeba", "s3://bucket/data").source("train")
    here = epath.Path(tmp_path / "copy" / "celeba" / VERSION)
    here.mkdir(parents=True)
    for file in folder.iterdir():
        file.copy(here / file.name)
    prepare("celeba", tmp_path / "one", source=tmp_path / "celeba")
    assert_same(open_prepared("celeba", tmp_path / "one"), open_prepared("celeba", tmp_path / "copy"))


def test_an_object_store_that_does_not_answer(tmp_path, monkeypatch):
    import fsspec

    def no_package(name):
        raise ImportError(f"Install a package for {name}")

    monkeypatch.setattr(fsspec, "filesystem", no_package)
    expected = r"^az://nobody/celeba/\S+: expected an object store that answers, got 'Install a package for az'; see docs/scale\.md$"
    with pytest.raises(UserError, match=expected):
        prepare("celeba", "az://nobody", source=tmp_path)
    with pytest.raises(UserError, match=expected):
        open_prepared("celeba", "az://nobody")


# -- reading many files -----------------------------------------------------------------------------


def test_an_epoch_mixes_all_files_and_shows_each_picture_once(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SHARD", 8)
    tiny.Tiny(data_dir=tmp_path).prepare()
    prepared = open_prepared("tiny", tmp_path)
    assert len(list(prepared.folder.glob("*train*"))) == 12
    in_order, _ = evaluation_batches(prepared, "train", SIZE, batch_size=1)
    number_of = {image.tobytes(): i for i, (images, _) in enumerate(in_order) for image in images}
    config = Config(data=DataConfig(**NOTHING), network=NetworkConfig(image_size=SIZE), training=TrainingConfig(batch_size=16))
    batches, steps = training_batches((prepared,), config)
    stream = iter(batches)
    epochs = [[number_of[image.tobytes()] for _ in range(steps) for image in next(stream)[0]] for _ in range(2)]
    for order in epochs:
        assert sorted(order) == list(range(96))
        files = np.array(order).reshape(6, 16) // 8
        assert all(len(set(batch)) >= 5 for batch in files)  # a shuffle within files would give two
    assert epochs[0] != epochs[1]

"""Pictures kept at the network's size, and worker processes: both change the time, not the batches."""

import contextlib
import errno
import re
from pathlib import Path

import numpy as np
import pytest
import tiny

from smtn_keras.config import Config, DataConfig, NetworkConfig, TrainingConfig
from smtn_keras.data import cache
from smtn_keras.data.cache import Resized
from smtn_keras.data.pipeline import evaluation_batches, training_batches
from smtn_keras.data.prepared import open_prepared

SIDE = 32


@pytest.fixture
def prepared(tmp_path):
    tiny.Tiny(data_dir=tmp_path).prepare()
    return open_prepared("tiny", tmp_path)


def assert_same(ours, theirs, count=8):
    """The next batches of two streams are equal to the bit."""
    for (images, targets), (other_images, other_targets) in zip(take(ours, count), take(theirs, count), strict=True):
        np.testing.assert_array_equal(images, other_images)
        assert targets.keys() == other_targets.keys()
        for name in targets:
            np.testing.assert_array_equal(targets[name], other_targets[name])


def take(dataset, count):
    stream = iter(dataset)
    return [next(stream) for _ in range(count)]


def batches(data, **settings):
    config = Config(data=DataConfig(**settings), network=NetworkConfig(image_size=SIDE), training=TrainingConfig(batch_size=16))
    return training_batches((data,), config)[0]


def test_a_training_sees_the_same_with_and_without_it(prepared):
    """More than an epoch of 6 batches, varied at random."""
    assert_same(batches(Resized(prepared, SIDE)), batches(prepared))
    assert_same(*(evaluation_batches(data, "validation", SIDE)[0] for data in (Resized(prepared, SIDE), prepared)), count=1)


def test_worker_processes_give_the_same_batches(prepared):
    assert_same(batches(Resized(prepared, SIDE), workers=2), batches(prepared), count=7)


def test_pictures_are_resized_once(prepared):
    first = Resized(prepared, SIDE).source("train")
    file = Path(prepared.folder) / f"train-{SIDE}.rgb"
    assert file.stat().st_size == tiny.COUNTS["train"] * SIDE * SIDE * 3
    made = file.stat().st_mtime_ns
    again = Resized(prepared, SIDE).source("train")
    assert file.stat().st_mtime_ns == made
    np.testing.assert_array_equal(first[3]["image"], again[3]["image"])


@pytest.mark.parametrize("damage", ["cut off", "of other pictures"])
def test_a_file_that_is_not_this_sets_is_made_anew(prepared, damage):
    Resized(prepared, SIDE).source("train")
    file = Path(prepared.folder) / f"train-{SIDE}.rgb"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5] if damage == "cut off" else whole[::-1])
    Resized(prepared, SIDE).source("train")
    assert file.read_bytes() == whole


def test_where_it_cannot_be_kept_pictures_are_decoded(prepared, monkeypatch, capsys):
    @contextlib.contextmanager
    def full_disk(file):
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    monkeypatch.setattr(cache, "whole", full_disk)
    assert_same(batches(Resized(prepared, SIDE)), batches(prepared), count=2)
    assert "not kept (No space left on device); pictures are decoded in each epoch" in capsys.readouterr().out
    assert not list(prepared.folder.glob("*.rgb"))


@pytest.mark.slow
def test_memory_is_flat_over_three_epochs(prepared):
    """Within 2 % of what it is after the first epoch, of pictures that would take 19 MB at this size."""

    def resident():
        return int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1])

    config = Config(data=DataConfig(), network=NetworkConfig(image_size=256), training=TrainingConfig(batch_size=8))
    stream, steps = training_batches((Resized(prepared, 256),), config)
    stream, seen = iter(stream), []
    for _ in range(4):
        for _ in range(steps):
            next(stream)
        seen.append(resident())
    assert max(seen[1:]) < 1.02 * seen[0]

"""Batches: points stay on the dots of the pictures, and a seed decides everything."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
from tiny import NOTHING, SIZE, off_by_px

from smtn_keras.config import Config, DataConfig, NetworkConfig, TrainingConfig
from smtn_keras.data.pipeline import evaluation_batches, resize, training_batches
from smtn_keras.data.prepared import open_prepared
from smtn_keras.errors import UserError


@pytest.fixture(scope="module")
def prepared(tiny_dir):
    return open_prepared("tiny", tiny_dir)


def test_the_first_pictures_are_those_that_were_drawn(prepared):
    drawn = [cv2.imdecode(np.frombuffer(tiny.example("test", i).image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for i in range(3)]
    np.testing.assert_array_equal(prepared.pictures("test", 3), drawn)
    assert len(prepared.pictures("test", 1000)) == tiny.COUNTS["test"]


def settings(batch_size=16, seed=0, **data):
    return Config(
        data=DataConfig(**data), network=NetworkConfig(image_size=SIZE), training=TrainingConfig(batch_size=batch_size, seed=seed)
    )


def batches(prepared, count, start_step=0, **kwargs):
    """The next batches of a training as `(images, targets)`."""
    dataset, _ = training_batches((prepared,), settings(**kwargs), start_step)
    stream = iter(dataset)
    return [next(stream) for _ in range(count)]


def assert_equal(batch, other):
    np.testing.assert_array_equal(batch[0], other[0])
    assert batch[1].keys() == other[1].keys() == {"landmarks", "attributes"}
    for task, values in batch[1].items():
        np.testing.assert_array_equal(values, other[1][task])


# -- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_reads_every_sample_in_order(prepared, split):
    dataset, steps = evaluation_batches(prepared, split, SIZE, batch_size=8)
    read = list(dataset)
    count = tiny.COUNTS[split]
    assert len(read) == steps == -(-count // 8)
    assert [len(images) for images, _ in read] == [8] * (count // 8) + [count % 8] * bool(count % 8)
    truth = prepared.targets(split)
    np.testing.assert_allclose(
        np.concatenate([targets["landmarks"] for _, targets in read]), truth["landmarks"] / np.float32(tiny.FRAME), rtol=1e-6
    )
    np.testing.assert_array_equal(np.concatenate([targets["attributes"] for _, targets in read]), truth["attributes"])


def test_evaluation_does_not_depend_on_the_batch_size(prepared):
    one_by_one, all_at_once = (
        np.concatenate([images for images, _ in evaluation_batches(prepared, "test", SIZE, batch_size)[0]]) for batch_size in (1, 100)
    )
    np.testing.assert_array_equal(one_by_one, all_at_once)


def test_resizing_moves_x_and_y_apart(prepared):
    ((images, targets),) = evaluation_batches(prepared, "validation", SIZE)[0]
    assert images.shape == (21, SIZE, SIZE, 3)
    assert (images.dtype, targets["landmarks"].dtype, targets["attributes"].dtype) == (np.uint8, np.float32, np.int8)
    off = [off_by_px(image, points) for image, points in zip(images, targets["landmarks"], strict=True)]
    assert np.nanmax(off) < 1
    assert np.isfinite(off).mean() > 0.9


@pytest.mark.parametrize("size", [32, 160])
def test_resizing_keeps_points_on_dots_when_shrinking_and_when_enlarging(size):
    example = tiny.example("test", 0)
    image = cv2.imdecode(np.frombuffer(example.image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    small = resize(np.ascontiguousarray(image), size)
    assert small.shape == (size, size, 3)
    assert np.nanmax(off_by_px(small, example.targets["landmarks"] / tiny.FRAME)) < 1


def test_colours_are_rgb(prepared):
    ((images, targets),) = evaluation_batches(prepared, "test", SIZE)[0]
    x, y = (targets["landmarks"][0, 0] * SIZE).astype(int)  # the left eye's dot is red
    red, green, blue = images[0, y, x].astype(int)
    assert red > 150 > max(green, blue)


def test_an_unknown_split_is_refused(prepared):
    with pytest.raises(UserError, match=r"expected one of the splits .*train.*, got 'holdout'"):
        evaluation_batches(prepared, "holdout", SIZE)


# -- variations -------------------------------------------------------------------------------------


def test_a_mirrored_picture_has_its_points_and_labels_swapped(prepared):
    mirrored = 0
    for images, targets in batches(prepared, 6, **NOTHING | {"flip": True}):
        for image, points, (_, _, bar) in zip(images, targets["landmarks"], targets["attributes"], strict=True):
            dots = tiny.find_dots(image)
            was_mirrored = dots[0, 0] > dots[1, 0]  # the red dot, drawn on the left eye, stands at the right
            mirrored += was_mirrored
            order = [1, 0, 2, 4, 3] if was_mirrored else [0, 1, 2, 3, 4]
            present = ~np.isnan(points[:, 0])
            assert np.abs((dots[order] - points)[present] * SIZE).max(initial=0) < 1
            sides = [image[:, 0].mean() > 150, image[:, -1].mean() > 150]
            assert bar == -1 or [bar == 0, bar == 2] == sides
    assert 30 < mirrored < 66  # half of 96


# -- order ------------------------------------------------------------------------------------------


def test_a_seed_decides_order_and_variations(prepared):
    first, again, other = batches(prepared, 3), batches(prepared, 3), batches(prepared, 3, seed=1)
    for batch, same in zip(first, again, strict=True):
        assert_equal(batch, same)
    assert all(not np.array_equal(batch[0], different[0]) for batch, different in zip(first, other, strict=True))


@pytest.mark.parametrize("done", [2, 4, 7])  # four steps an epoch: within it, at its end, in the next
def test_a_resumed_run_sees_the_batches_of_an_unbroken_one(prepared, done):
    unbroken = batches(prepared, done + 3, batch_size=20)
    resumed = batches(prepared, 3, start_step=done, batch_size=20)
    for batch, same in zip(resumed, unbroken[done:], strict=True):
        assert_equal(batch, same)


def pictures(some_batches):
    return [image.tobytes() for images, _ in some_batches for image in images]


def test_an_epoch_shows_every_picture_once_and_each_epoch_another_order(prepared):
    _, steps = training_batches((prepared,), settings())
    assert steps == 6  # 96 / 16
    three = batches(prepared, 3 * steps, **NOTHING)
    epochs = [pictures(three[i * steps : (i + 1) * steps]) for i in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 96
        assert set(epoch) == set(epochs[0])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_rest_that_fills_no_batch_begins_the_next_one(prepared):
    _, steps = training_batches((prepared,), settings(batch_size=20))
    assert steps == 4  # of 96, 16 are over
    seen = pictures(batches(prepared, 24, batch_size=20, **NOTHING))  # five times 96
    assert {seen.count(picture) for picture in seen} == {5}
    assert len(set(seen[:96])) == 96


def test_each_epoch_varies_a_picture_anew(prepared):
    colours_off = {"flip": True, "shift": 0.05, "scale": 0.08, "rotation": 8, "colour": 0}
    two = batches(prepared, 12, **colours_off)
    assert not set(pictures(two[:6])) & set(pictures(two[6:]))


def test_a_batch_is_no_larger_than_the_training_part(prepared):
    _, steps = training_batches((prepared,), settings(batch_size=1000))
    ((images, _),) = batches(prepared, 1, batch_size=1000)
    assert (steps, len(images)) == (1, 96)


def test_reading_needs_no_tensorflow(tiny_dir):
    code = (
        "import sys\n"
        "from smtn_keras.data.prepared import open_prepared\n"
        "from smtn_keras.data.pipeline import training_batches\n"
        "from smtn_keras.config import Config\n"
        f"images, _ = next(iter(training_batches((open_prepared('tiny', {str(tiny_dir)!r}),), Config())[0]))\n"
        "print(images.shape, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "(32, 128, 128, 3) False"

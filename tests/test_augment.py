"""Variations: points and labels follow the picture, each effect does what its setting says, and blended pictures teach blended labels."""

import cv2
import numpy as np
import pytest
import tiny
from tiny import ASPECT, NOTHING, SIZE, off_by_px

from smtn_keras.config import DataConfig
from smtn_keras.data.augment import MixUp, augment
from smtn_keras.data.pipeline import resize

CAMERA = {"blur": 2.0, "erase": 0.5, "jpeg": 40}  # what leaves points and labels alone


def one(index=1, split="train"):
    """A picture at the network's size and its targets."""
    example = tiny.example(split, index)
    image = cv2.imdecode(np.frombuffer(example.image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    landmarks_unit = example.targets["landmarks"] / np.float32(tiny.FRAME)
    return resize(np.ascontiguousarray(image), SIZE), example.targets | {"landmarks": landmarks_unit}


def varied(image, seed, targets=None, **settings):
    """What `augment` makes of a picture and its targets under these settings alone."""
    targets = targets or one()[1]
    return augment(image, targets, tiny.TASKS, ASPECT, DataConfig(**NOTHING | settings), np.random.default_rng(seed))


# -- points and labels ------------------------------------------------------------------------------


def test_nothing_varied_leaves_pictures_and_points():
    plain, plain_targets = one()
    image, targets = varied(plain, 0)
    np.testing.assert_array_equal(image, plain)
    np.testing.assert_array_equal(targets["landmarks"], plain_targets["landmarks"])


@pytest.mark.parametrize(
    "variation",
    [
        {"shift": 0.1},
        {"scale": 0.2},
        {"rotation": 25},
        {"flip": True, "shift": 0.05, "scale": 0.08, "rotation": 8},
        {"flip": True, "shift": 0.05, "scale": 0.08, "rotation": 8, "colour": 0.2},
        {"flip": True, "shift": 0.05, "scale": 0.08, "rotation": 8, "blur": 1.0, "jpeg": 80},
    ],
    ids=lambda variation: "-".join(variation),
)
def test_points_move_onto_the_moved_dots(variation):
    off, moved = [], []
    for seed in range(40):
        plain, plain_targets = one(1 + seed % 6)  # 0 and 7 lack some
        image, targets = varied(plain, seed, plain_targets, **variation)
        mirrored = tiny.find_dots(image)[0, 0] > tiny.find_dots(image)[1, 0]
        points = targets["landmarks"][[1, 0, 2, 4, 3]] if mirrored else targets["landmarks"]
        off.append(off_by_px(image, points))
        moved.append(np.linalg.norm((targets["landmarks"] - plain_targets["landmarks"]) * SIZE, axis=1))
    assert np.isfinite(off).mean() > 0.8
    assert np.nanmax(off) < 1
    assert np.mean(moved) > 1  # otherwise this test would say nothing


def test_a_turned_face_stays_a_face():
    # a quarter turn about the centre of a frame of 80 x 100, in its pixels: x' = 40 - (y - 50), y' = 50 + (x - 40)
    config = DataConfig(**NOTHING | {"rotation": 90})
    image, before = one()

    class QuarterTurn:
        def uniform(self, low, high, size=None):
            return high if size is None else np.zeros(size)

    turned, after = augment(image, before, tiny.TASKS, ASPECT, config, QuarterTurn())
    x, y = (before["landmarks"] * tiny.FRAME).T
    np.testing.assert_allclose(after["landmarks"] * tiny.FRAME, np.stack([40 - (y - 50), 50 + (x - 40)], axis=1), atol=1e-3)
    # half a pixel would show: about another centre the dots would stand 1.4 px beside the points
    off = off_by_px(turned, after["landmarks"])
    assert np.isfinite(off).sum() >= 3
    assert np.nanmax(off) < 0.5


def test_missing_points_and_labels_stay_missing():
    for index in (0, 7, 14):
        image, plain_targets = one(index)
        assert np.isnan(plain_targets["landmarks"]).any() and (plain_targets["attributes"] == -1).any()
        for seed in range(4):
            _, targets = augment(image, plain_targets, tiny.TASKS, ASPECT, DataConfig(flip=True), np.random.default_rng(seed))
            assert np.isnan(targets["landmarks"]).sum() == np.isnan(plain_targets["landmarks"]).sum()
            np.testing.assert_array_equal(targets["attributes"] == -1, plain_targets["attributes"] == -1)


@pytest.mark.parametrize("variation", [{"colour": 0.3}, {"blur": 3}, {"erase": 1}, {"jpeg": 10}], ids=lambda variation: "".join(variation))
def test_what_a_camera_does_changes_the_picture_alone(variation):
    plain, plain_targets = one()
    images = []
    for seed in range(8):
        image, targets = varied(plain, seed, **variation)
        assert (image.dtype, image.shape) == (np.uint8, plain.shape)
        for task, values in targets.items():
            np.testing.assert_array_equal(values, plain_targets[task])
        images.append(image.tobytes())
    assert len(set(images)) >= 3


def test_augmenting_does_not_touch_what_it_is_given():
    plain, plain_targets = one()
    copy, points = plain.copy(), plain_targets["landmarks"].copy()
    for seed in range(8):
        augment(plain, plain_targets, tiny.TASKS, ASPECT, DataConfig(**CAMERA), np.random.default_rng(seed))
        varied(plain, seed, erase=1)
    np.testing.assert_array_equal(plain, copy)
    np.testing.assert_array_equal(plain_targets["landmarks"], points)


# -- random numbers ---------------------------------------------------------------------------------


def test_a_seed_decides_every_effect():
    plain, _ = one()
    for seed in range(8):
        np.testing.assert_array_equal(varied(plain, seed, **CAMERA)[0], varied(plain, seed, **CAMERA)[0])
    assert len({varied(plain, seed, **CAMERA)[0].tobytes() for seed in range(40)}) > 25  # 1 of 8 is left as it is


def test_random_numbers_come_in_the_order_of_recorded_runs():
    plain, plain_targets = one()
    used, replayed = np.random.default_rng(5), np.random.default_rng(5)
    config = DataConfig()
    augment(plain, plain_targets, tiny.TASKS, ASPECT, config, used)
    replayed.random()  # flip
    replayed.uniform(-config.rotation, config.rotation)
    replayed.uniform(-config.scale, config.scale)
    replayed.uniform(-config.shift, config.shift, 2)
    replayed.uniform(-config.colour, config.colour, 3)
    assert used.random() == replayed.random()
    for seed in range(8):
        rngs = [np.random.default_rng(seed), np.random.default_rng(seed)]
        with_and_without = [
            augment(plain, plain_targets, tiny.TASKS, ASPECT, DataConfig(**settings), rng)[1]["landmarks"]
            for settings, rng in zip(({}, CAMERA), rngs, strict=True)
        ]
        np.testing.assert_array_equal(*with_and_without)


# -- colour -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.9])
def test_colour_is_saturation_then_contrast_then_brightness(strength):
    noise = np.random.default_rng(0).integers(256, size=(SIZE, SIZE, 3), dtype=np.uint8)
    for plain in (one()[0], one(2)[0], noise, noise // 4):
        for seed in range(20):
            brightness, contrast, saturation = 1 + np.random.default_rng(seed).uniform(-strength, strength, 3)
            grey = plain @ np.array([0.299, 0.587, 0.114])
            x = grey[..., None] + (plain - grey[..., None]) * saturation
            x = (grey.mean() + (x - grey.mean()) * contrast) * brightness
            image, _ = varied(plain, seed, colour=strength)
            assert np.abs(image - np.clip(x, 0, 255)).max() < 1


# -- blur -------------------------------------------------------------------------------------------


def sigma_px(image):
    """The blur of an edge that was sharp: the spread of its slope, in pixels."""
    slope = np.diff(image[SIZE // 2, :, 0].astype(float))
    x = np.arange(len(slope))
    mean = (x * slope).sum() / slope.sum()
    return np.sqrt((slope * (x - mean) ** 2).sum() / slope.sum())


def test_half_of_the_pictures_are_blurred_by_up_to_the_setting():
    edge = np.zeros((SIZE, SIZE, 3), np.uint8)
    edge[:, SIZE // 2 :] = 255
    sigmas = np.array([sigma_px(varied(edge, seed, blur=3)[0]) for seed in range(300)])
    blurred = sigmas[sigmas > 0]  # a sigma of a quarter pixel or less does nothing: one of 12 here
    assert 110 < len(blurred) < 165
    assert blurred.max() < 3.05
    np.testing.assert_allclose(np.quantile(blurred, [0.25, 0.5, 0.75]), [0.94, 1.62, 2.31], atol=0.3)  # even from 0.25 to 3


def test_a_blurred_picture_has_less_fine_detail():
    plain, _ = one()
    fine, coarse = [], []
    for seed in range(20):
        image, _ = varied(plain, seed, blur=3)
        if not np.array_equal(image, plain):
            fine.append(cv2.Laplacian(image, cv2.CV_64F).var() / cv2.Laplacian(plain, cv2.CV_64F).var())
            coarse.append(image.mean() / plain.mean())
    assert max(fine) < 1 and np.median(fine) < 0.5
    np.testing.assert_allclose(coarse, 1, atol=0.03)


# -- erasing ----------------------------------------------------------------------------------------


def test_a_rectangle_is_covered_by_noise_and_nothing_else_changes():
    plain, _ = one()
    shares, aspects, centres = [], [], []
    for seed in range(300):
        image, _ = varied(plain, seed, erase=1)
        covered = (image != plain).any(-1)
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert covered[box].all()
        noise = image[box].astype(float)
        assert abs(noise.mean() - 127.5) < 20 and abs(noise.std() - 73.9) < 12
        height, width = covered[box].shape
        shares.append(height * width / SIZE**2)
        aspects.append(height / width)
        centres.append([rows.mean() / SIZE, columns.mean() / SIZE])
    assert 0.018 < min(shares) < 0.03 and 0.19 < max(shares) < 0.207  # sides are whole pixels
    assert 0.27 < min(aspects) < 0.35 and 2.9 < max(aspects) < 3.7
    assert 0.4 < np.mean(np.array(aspects) > 1) < 0.6  # tall as often as wide
    assert np.min(centres) < 0.15 and np.max(centres) > 0.85
    np.testing.assert_allclose(np.mean(centres, axis=0), 0.5, atol=0.05)


@pytest.mark.parametrize("size", [16, 96])
def test_a_rectangle_fits_pictures_of_any_size(size):
    plain = np.zeros((size, size, 3), np.uint8)
    shares = [varied(plain, seed, erase=1)[0].any(-1).mean() for seed in range(300)]
    assert 0 < min(shares) < max(shares) < 0.25


def test_the_chance_of_erasing_is_the_setting():
    plain, _ = one()
    erased = [not np.array_equal(varied(plain, seed, erase=0.3)[0], plain) for seed in range(400)]
    assert 0.23 < np.mean(erased) < 0.37


# -- compression ------------------------------------------------------------------------------------


def compressed(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)[..., ::-1]


def test_half_of_the_pictures_are_compressed_at_a_quality_between_the_setting_and_95():
    plain, _ = one()
    quality_of = {compressed(plain, quality).tobytes(): quality for quality in range(80, 100)}
    assert len(quality_of) == 20
    images = [varied(plain, seed, jpeg=90)[0] for seed in range(300)]
    changed = [image for image in images if not np.array_equal(image, plain)]
    assert 120 < len(changed) < 180
    assert {quality_of[image.tobytes()] for image in changed} == {90, 91, 92, 93, 94, 95}


def test_compression_changes_little_and_keeps_the_channels():
    plain, _ = one()
    for seed in range(20):
        image, _ = varied(plain, seed, jpeg=50)
        assert np.abs(image.astype(int) - plain).mean() < 4
        np.testing.assert_allclose(image.mean((0, 1)), plain.mean((0, 1)), atol=2)
        assert np.nanmax(off_by_px(image, one()[1]["landmarks"])) < 1  # the dots are told by their colours


# -- MixUp ------------------------------------------------------------------------------------------


class Given:
    """Stands for the random generator: the order of the batch and the shares are given."""

    def __init__(self, order, shares):
        self.order, self.shares = order, shares

    def permutation(self, count):
        assert count == len(self.order)
        return np.array(self.order)

    def beta(self, a, b, size):
        assert a == b == 0.4 and size == len(self.shares)
        return np.array(self.shares)


def batch_of(values, labels):
    """Even pictures of these values."""
    images = np.zeros((len(values), 16, 16, 3), np.uint8) + np.uint8(values)[:, None, None, None]
    landmarks = np.arange(len(values) * 10, dtype=np.float32).reshape(-1, 5, 2) / 100
    return images, {"landmarks": landmarks, "attributes": np.int8(labels)}


def test_mixup_blends_pictures_and_labels():
    # picture 2 is blended with its neighbour in the order, which is the last one, 1; 0 with 2 as it was; 3 and 1 stay
    labels = [[0, 1, 2], [1, 1, 0], [0, -1, 0], [1, 0, 1]]
    images, targets = batch_of([10, 50, 201, 90], labels)
    before = images.copy(), targets["attributes"].copy()
    mixed, mixed_targets = MixUp(tiny.TASKS, 0.4)((images, targets), Given([2, 0, 3, 1], [0.75, 0.1]))
    assert mixed.dtype == np.uint8
    expected = [29, 50, 163, 90]  # 0.9 * 10 + 0.1 * 201 = 29.1: the own share is the larger; 0.75 * 201 + 0.25 * 50 = 163.25
    np.testing.assert_array_equal(mixed, np.zeros_like(mixed) + np.uint8(expected)[:, None, None, None])
    assert mixed_targets["attributes"].dtype == np.float32
    np.testing.assert_allclose(mixed_targets["attributes"], [[0, -1, -1], [1, 1, 0], [0.25, -1, 0], [1, 0, 1]], rtol=1e-6)
    assert mixed_targets["landmarks"].dtype == np.float32
    assert np.isnan(mixed_targets["landmarks"][[0, 2]]).all()
    np.testing.assert_array_equal(mixed_targets["landmarks"][[1, 3]], targets["landmarks"][[1, 3]])
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(targets["attributes"], before[1])
    assert not np.isnan(targets["landmarks"]).any()


@pytest.mark.parametrize(
    ("own", "partner", "expected"),
    [
        ([1, 0, 1], [0, 1, 1], [0.8, 0.2, 1]),
        ([1, 1, 2], [1, 1, 0], [1, 1, -1]),
        ([-1, 1, -1], [1, -1, -1], [-1, -1, -1]),
        ([-1, 0, 0], [-1, 0, -1], [-1, 0, -1]),
    ],
)
def test_a_label_is_missing_where_either_lacks_it_or_classes_differ(own, partner, expected):
    _, targets = MixUp(tiny.TASKS, 0.4)(batch_of([10, 20], [own, partner]), Given([0, 1], [0.8]))
    np.testing.assert_allclose(targets["attributes"], [expected, partner], rtol=1e-6)


@pytest.mark.parametrize("count", [2, 7, 32])
def test_mixup_takes_a_random_half_and_others_as_partners(count):
    # picture i is bright at pixel i alone, so a blended one shows who its two are and their shares
    images = np.zeros((count, 16, 16, 3), np.uint8)
    images.reshape(count, 256, 3)[np.arange(count), np.arange(count)] = 250
    _, targets = batch_of([0] * count, [[1, 0, 0]] * count)
    chosen, shares = np.zeros(count), []
    mixup, rng = MixUp(tiny.TASKS, 1.0), np.random.default_rng(0)
    for _ in range(200):
        mixed, mixed_targets = mixup((images, targets), rng)
        weights = mixed.reshape(count, 256, 3)[:, :count, 0] / 250
        blended = np.isnan(mixed_targets["landmarks"]).all((1, 2))
        assert blended.sum() == count // 2
        np.testing.assert_array_equal(weights[~blended], np.eye(count)[~blended])
        np.testing.assert_allclose(weights.sum(1), 1, atol=0.005)
        own = weights.diagonal()[blended]
        assert (own >= 0.496).all() and ((weights > 0).sum(1) <= 2).all()
        chosen += blended
        shares.extend(own)
    np.testing.assert_allclose(chosen / 200, count // 2 / count, atol=0.15)
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.625, 0.75, 0.875], atol=0.06)  # Beta(1, 1) is even


def test_mixup_leaves_a_single_picture_and_read_only_batches():
    images, targets = batch_of([10], [[1, 0, 2]])
    images.flags.writeable = False
    mixed, mixed_targets = MixUp(tiny.TASKS, 0.4)((images, targets), np.random.default_rng(0))
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(mixed_targets["attributes"], [[1, 0, 2]])


def test_a_seed_decides_mixup():
    batch = batch_of(range(0, 160, 10), [[i % 2, 0, i % 3] for i in range(16)])
    (first, a), (again, b), (other, _) = (MixUp(tiny.TASKS, 0.4)(batch, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    for task, values in a.items():
        np.testing.assert_array_equal(values, b[task])
    assert not np.array_equal(first, other)

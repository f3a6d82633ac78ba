"""The drawn faces: the same on every run, labelled as published, every label visible and every point where it was drawn."""

import functools

import cv2
import numpy as np
import pytest

from smtn_keras.data.celeba import ATTRIBUTES, FRAME
from smtn_keras.data.drawing.face import draw_with
from smtn_keras.data.synthetic import FREQUENCIES_PERCENT, Synthetic, draw_face, sample_attributes, split_sizes
from smtn_keras.errors import UserError

HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
# What would hide an attribute or draw the same sign is taken off before it is switched.
HIDERS = {
    "Arched_Eyebrows": ("Wearing_Hat", "Bangs", "Eyeglasses"),
    "Bags_Under_Eyes": ("Eyeglasses",),
    "Bald": ("Wearing_Hat",),
    "Bangs": ("Wearing_Hat", "Bald"),
    "Bushy_Eyebrows": ("Wearing_Hat", "Eyeglasses"),
    "Heavy_Makeup": ("Eyeglasses",),
    "Narrow_Eyes": ("Eyeglasses",),
    "Receding_Hairline": ("Wearing_Hat", "Bald", "Bangs"),
    "Straight_Hair": ("Wearing_Hat", "Bald", "Wavy_Hair"),
    "Wavy_Hair": ("Wearing_Hat", "Bald", "Straight_Hair"),
    **dict.fromkeys(HAIR_COLOURS, ("Wearing_Hat", "Bald", *HAIR_COLOURS)),
}
PAIRED_FACES = 6


@functools.cache
def sampled_labels() -> np.ndarray:
    """Attributes `(6000, 40)` of seed 0."""
    return np.stack([sample_attributes(np.random.default_rng([0, index])) for index in range(6000)])


def labels(name: str) -> np.ndarray:
    return sampled_labels()[:, ATTRIBUTES.index(name)] == 1


@functools.cache
def off_and_on(name: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One face without and with an attribute, and the points of the one with it."""
    pictures = []
    for value in (0, 1):
        rng = np.random.default_rng([5, index])
        attributes = sample_attributes(rng)
        for other in (*HIDERS.get(name, ()), "Blurry"):
            attributes[ATTRIBUTES.index(other)] = 0
        attributes[ATTRIBUTES.index(name)] = value
        picture, points = draw_with(attributes, rng)
        pictures.append(picture.astype(int))
    return *pictures, points


def changed(name: str, index: int, least: int = 24) -> np.ndarray:
    """x and y `(pixels, 2)` of the pixels that an attribute changes by more than `least` levels."""
    off, on, _ = off_and_on(name, index)
    return np.argwhere(np.abs(on - off).max(axis=2) > least)[:, ::-1]


def test_a_face_depends_only_on_seed_and_index():
    image, points, attributes = draw_face(3, 14)
    draw_face(3, 15)
    again = draw_face(3, 14)
    assert all(np.array_equal(a, b) for a, b in zip((image, points, attributes), again, strict=True))
    for other in (draw_face(3, 15), draw_face(4, 14)):
        assert not np.array_equal(image, other[0])
        assert not np.array_equal(points, other[1])
    assert (image.shape, image.dtype) == ((218, 178, 3), np.uint8)
    assert (points.shape, points.dtype, attributes.shape, attributes.dtype) == ((5, 2), np.float32, (40,), np.int8)


GOLDEN = {  # index: attributes, points in pixels, means of 3 x 3 blocks of the grey picture
    0: (
        "0011000000010100000111001000000110000001",
        [67.76, 109.18, 108.15, 112.29, 91.94, 139.01, 64.69, 149.27, 106.7, 152.51],
        [144.5, 103.4, 89.5, 144.0, 104.4, 101.4, 179.4, 115.2, 122.7],
    ),
    7: (
        "0000001000010000000010001000000000000101",
        [70.11, 113.52, 106.45, 112.0, 97.07, 139.92, 75.94, 158.17, 104.89, 153.01],
        [64.7, 75.6, 67.3, 79.2, 130.5, 70.4, 89.9, 127.0, 81.0],
    ),
}


@pytest.mark.parametrize("index", GOLDEN)
def test_faces_stay_as_they_were(index):
    bits, golden_points, golden_grey = GOLDEN[index]
    image, points, attributes = draw_face(0, index)
    assert "".join(map(str, attributes)) == bits
    assert points.ravel().tolist() == pytest.approx(golden_points, abs=0.05)
    # Means of 3 x 3 blocks: a last bit that differs on another machine does not move them, a moved part does.
    assert blocks(image) == pytest.approx(golden_grey, abs=0.5)


def blocks(image: np.ndarray) -> list[float]:
    rows = (part for part in np.array_split(image.mean(axis=2), 3, axis=0))
    return [float(block.mean()) for row in rows for block in np.array_split(row, 3, axis=1)]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_frequencies_are_those_of_celeba(name):
    assert 100 * labels(name).mean() == pytest.approx(FREQUENCIES_PERCENT[name], abs=2.5)


def test_the_table_of_frequencies_is_celebas():
    # Three of the published shares, by name, against a slip of a column.
    assert (FREQUENCIES_PERCENT["Male"], FREQUENCIES_PERCENT["Bald"], FREQUENCIES_PERCENT["Young"]) == (41.7, 2.2, 77.4)
    assert list(FREQUENCIES_PERCENT) == ATTRIBUTES


def test_labels_are_plausible_together():
    beards = np.stack([labels(name) for name in ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")]).any(axis=0)
    assert np.array_equal(beards, ~labels("No_Beard"))
    assert not (beards & ~labels("Male")).any()
    colours = np.stack([labels(name) for name in HAIR_COLOURS])
    assert colours.sum(axis=0).max() == 1
    for hair in ("Bangs", "Wavy_Hair", "Straight_Hair", "Receding_Hairline", "Wearing_Hat", *HAIR_COLOURS):
        assert not (labels("Bald") & labels(hair)).any()
    assert not (labels("Straight_Hair") & labels("Wavy_Hair")).any()
    assert not (labels("Bangs") & (labels("Wearing_Hat") | labels("Receding_Hairline"))).any()
    assert not (labels("Wearing_Necktie") & labels("Wearing_Necklace")).any()
    assert labels("Heavy_Makeup")[labels("Male")].mean() < 0.05 < labels("Heavy_Makeup").mean()
    assert labels("Gray_Hair")[labels("Young")].mean() < 0.01


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_shows(name):
    """At 64 pixels' width, the size of the smallest networks."""
    for index in range(PAIRED_FACES):
        off, on = (cv2.resize(np.float32(p), (64, 78), interpolation=cv2.INTER_AREA) for p in off_and_on(name, index)[:2])
        difference = np.abs(on - off).max(axis=2)
        region = difference > 8
        assert region.sum() >= 12
        assert difference[region].mean() > 14


@pytest.mark.parametrize("name", sorted(set(ATTRIBUTES) - {"Blurry"}))
def test_an_attribute_leaves_the_rest_of_the_picture_alone(name):
    """The person, the pose, the light and the background stay: at least some corner of the picture does not change at all."""
    for index in range(PAIRED_FACES):
        off, on, _ = off_and_on(name, index)
        corners = [(off[y][:, x], on[y][:, x]) for y in (slice(30), slice(188, None)) for x in (slice(20), slice(158, None))]
        assert any(np.array_equal(a, b) for a, b in corners)


def test_points_lie_where_the_parts_are_drawn():
    """Switching a part on changes pixels around its point: found in the picture, not in the geometry."""
    for index in range(PAIRED_FACES):
        points = off_and_on("Narrow_Eyes", index)[2]
        pixels = changed("Narrow_Eyes", index)
        middle = points[:2, 0].mean()
        for eye, part in zip(points[:2], (pixels[pixels[:, 0] < middle], pixels[pixels[:, 0] > middle]), strict=True):
            assert np.linalg.norm(np.median(part, axis=0) - eye) < 4
        lips, points = changed("Wearing_Lipstick", index, least=12), off_and_on("Wearing_Lipstick", index)[2]
        assert np.linalg.norm(lips[lips[:, 0].argmin()] - points[3]) < 5
        assert np.linalg.norm(lips[lips[:, 0].argmax()] - points[4]) < 5
    noses = np.array([changed("Big_Nose", index).mean(axis=0) for index in range(PAIRED_FACES)])
    points = np.array([off_and_on("Big_Nose", index)[2][2] for index in range(PAIRED_FACES)])
    # The base of the nose turns less than its tip, so the two need not agree; they move together.
    assert np.abs(noses - points).max() < 12
    assert np.corrcoef(noses[:, 0], points[:, 0])[0, 1] > 0.9


def test_points_spread_as_in_celebas_frame():
    points = np.stack([draw_face(1, index)[1] for index in range(150)])
    assert (points > 0).all()
    assert (points < FRAME).all()
    means = [(69.5, 111), (107.5, 111), (88, 136), (72, 152.5), (105.5, 152.5)]
    assert np.abs(points.mean(axis=0) - means).max() < 2.5
    spread = points.std(axis=0)
    assert spread[:2].min() > 0.8 and spread[:2].max() < 2
    assert spread[2:].min() > 2.5 and spread[2:].max() < 9


@pytest.mark.parametrize("samples", [2, 0, -5, 10.0, "10", True, None])
def test_bad_samples_are_refused(samples, tmp_path):
    with pytest.raises(UserError, match="samples: expected a whole number of at least 3"):
        Synthetic(samples=samples, data_dir=tmp_path)


def test_a_bad_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="seed: expected"):
        Synthetic(seed=-1, data_dir=tmp_path)


def test_split_sizes():
    assert split_sizes(6000) == {"train": 4800, "validation": 480, "test": 720}
    assert split_sizes(3) == {"train": 1, "validation": 1, "test": 1}
    for samples in range(3, 60):
        sizes = split_sizes(samples)
        assert sum(sizes.values()) == samples and min(sizes.values()) > 0


def test_splits_are_lazy_and_share_no_face(tmp_path):
    first = {split: next(iter(part)).name for split, part in Synthetic(samples=10**7, data_dir=tmp_path).splits().items()}
    assert first == {"train": "synthetic_000000", "validation": "synthetic_8000000", "test": "synthetic_8800000"}
    names = [example.name for part in Synthetic(samples=10, data_dir=tmp_path).splits().values() for example in part]
    assert names == [f"synthetic_{index:06d}" for index in range(10)]


def test_a_prepared_set_reads_back(tmp_path):
    builder = Synthetic(samples=10, seed=2, data_dir=tmp_path, file_format="array_record")
    builder.prepare()
    sources = builder.as_data_source()
    assert {split: len(source) for split, source in sources.items()} == {"train": 8, "validation": 1, "test": 1}
    for record in sources["train"]:
        index = int(record["name"].decode().removeprefix("synthetic_"))
        image, points, attributes = draw_face(2, index)
        assert np.abs(record["image"].astype(int) - image).mean() < 8  # the loss of the JPEG
        assert np.array_equal(record["landmarks"], points + 0.5)  # from the corner, not the first pixel's centre
        assert np.array_equal(record["attributes"], attributes)
        assert record["size"].tolist() == list(FRAME)

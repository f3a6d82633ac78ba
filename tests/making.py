"""Small published folders, made of generated pictures, for the tests of the data sets."""

import io
import zipfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from smtn_keras.data.celeba import ATTRIBUTES, FRAME

COORDINATES = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y".split()  # noqa: SIM905


def picture(seed: int = 0, size: tuple[int, int] = FRAME) -> Image.Image:
    """A smooth RGB picture of width and height `size` that no other seed has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def celeba_truth(count: int = 12) -> dict[str, np.ndarray]:
    """What a folder of `make_celeba` says: names, points `(n, 5, 2)`, labels `(n, 40)` of 0 and 1, parts 0..2, JPEG bytes."""
    rng = np.random.default_rng(3)
    return {
        "names": np.array([f"{i + 1:06d}.jpg" for i in range(count)]),
        "points": rng.integers(20, 170, (count, 5, 2)),
        "labels": rng.integers(0, 2, (count, 40)),
        "parts": np.arange(count) % 3,
        "images": np.array([encoded(picture(i)) for i in range(count)], object),
    }


def make_celeba(folder: Path, layout: str = "published", newline: str = "\n", count: int = 12) -> dict[str, np.ndarray]:
    """Writes a fake CelebA; returns its truth.

    Args:
        folder: where.
        layout: `published`, `drive` (Anno/, Eval/, Img/), `zip`, `kaggle`, or TFDS's `array_record` or `tfrecord`.
        newline: of the lists.
        count: how many pictures.
    """
    truth = celeba_truth(count)
    if layout in ("array_record", "tfrecord"):
        _TfdsCelebA(truth=truth, data_dir=folder, file_format=layout).download_and_prepare()
        return truth
    csv = layout == "kaggle"
    signs = truth["labels"] * 2 - 1
    lists = {
        "list_attr_celeba": _celeba_list(truth["names"], ATTRIBUTES, signs, csv),
        "list_landmarks_align_celeba": _celeba_list(truth["names"], COORDINATES, truth["points"].reshape(count, 10), csv),
        "list_eval_partition": [f"{n}{',' if csv else ' '}{p}" for n, p in zip(truth["names"], truth["parts"], strict=True)],
    }
    if csv:
        lists["list_eval_partition"].insert(0, "image_id,partition")
    for stem, lines in lists.items():
        part = {"drive": "Eval" if "eval" in stem else "Anno"}.get(layout, "")
        write_lines(folder / part / f"{stem}{'.csv' if csv else '.txt'}", lines, newline)
    if layout == "zip":
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name, image in zip(truth["names"], truth["images"], strict=True):
                archive.writestr(f"img_align_celeba/{name}", image)
        return truth
    place = {"drive": "Img/img_align_celeba", "kaggle": "img_align_celeba/img_align_celeba"}.get(layout, "img_align_celeba")
    write_pictures(folder / place, truth["names"], truth["images"])
    return truth


def make_mtfl(folder: Path, newline: str = "\n") -> dict[str, np.ndarray]:
    """Writes a fake MTFL of 60 training and 6 test pictures of several sizes; returns names, points, labels and sizes by list."""
    rng = np.random.default_rng(4)
    web, persons = [f"net_7876\\{i}_0_0.jpg" for i in range(30)], [f"lfw_5590\\Some_Person{i // 2}_{i % 2 + 1:04d}.jpg" for i in range(30)]
    truth = {}
    for file, names in {"training.txt": web + persons, "testing.txt": [f"AFLW\\{i:04d}-image.jpg" for i in range(6)]}.items():
        count = len(names)
        points = rng.uniform(20, 70, (count, 5, 2)).round(3)
        labels = np.column_stack([rng.integers(1, 3, (count, 3)), rng.integers(1, 6, count)])
        sizes = [(80 + i % 5, 90) for i in range(count)]
        values = np.concatenate([points[..., 0], points[..., 1]], axis=1)
        lines = [f" {n} {' '.join(map(str, v))} {' '.join(map(str, c))}" for n, v, c in zip(names, values, labels, strict=True)]
        write_lines(folder / file, [*lines, " "], newline)
        slashed = [name.replace("\\", "/") for name in names]
        write_pictures(folder, slashed, [encoded(picture(i, size)) for i, size in enumerate(sizes)])
        truth[file] = {"names": np.array(slashed), "points": points, "labels": labels, "sizes": np.array(sizes)}
    return truth


def write_lines(path: Path, lines: list[str], newline: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline).encode())


def write_pictures(folder: Path, names: list[str], images: list[bytes]) -> None:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)


def edit_line(path: Path, number: int, old: str, new: str) -> None:
    """Replaces `old` once in line `number` (from 1) of a list; `old` must be there."""
    lines = path.read_text().split("\n")
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    path.write_text("\n".join(lines))


def _celeba_list(names, columns: list[str], values: np.ndarray, csv: bool) -> list[str]:
    if csv:
        return [",".join(["image_id", *columns])] + [",".join([n, *map(str, v)]) for n, v in zip(names, values, strict=True)]
    rows = [f"{n} {' '.join(f'{v:2d}' for v in row)}" for n, row in zip(names, values, strict=True)]
    return [str(len(names)), " ".join(columns) + " ", *rows]


class _TfdsCelebA(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The features of TFDS's own celeb_a, whose dictionaries TFDS reads back in the order of the alphabet."""

    name = "celeb_a"
    VERSION = tfds.core.Version("2.1.0")
    url_infos = {}  # noqa: RUF012

    def __init__(self, truth: dict, **kwargs):
        self.truth = truth
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg"),
                    "landmarks": dict.fromkeys(COORDINATES, np.int64),
                    "attributes": dict.fromkeys(ATTRIBUTES, np.bool_),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(part) for part, split in enumerate(("train", "validation", "test"))}

    def _generate_examples(self, part):
        for i in np.flatnonzero(self.truth["parts"] == part):
            yield (
                str(self.truth["names"][i]),
                {
                    "image": io.BytesIO(self.truth["images"][i]),
                    "landmarks": dict(zip(COORDINATES, self.truth["points"][i].ravel().tolist(), strict=True)),
                    "attributes": dict(zip(ATTRIBUTES, self.truth["labels"][i].astype(bool).tolist(), strict=True)),
                },
            )

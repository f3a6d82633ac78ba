"""Every reader of what others made, as a function of the bytes of one file, and whole files to start from.

A reader that is given nonsense raises `UserError` or takes it; anything else is a fault, as `fault_of` says.
"""

import contextlib
import dataclasses
import io
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny
from making import encoded, make_celeba, make_mtfl, picture
from PIL import Image

from smtn_keras import card as cards
from smtn_keras import networks, predictor, runs
from smtn_keras.config import Config, NetworkConfig, read_config
from smtn_keras.data.celeba import CelebA
from smtn_keras.data.images import normalised_bytes, read_image
from smtn_keras.data.mtfl import Mtfl
from smtn_keras.data.prepared import open_prepared, prepared_folder
from smtn_keras.data.published import Pictures
from smtn_keras.errors import UserError
from smtn_keras.peers import svm

CONFIG = Config(network=NetworkConfig(image_size=32, width=0.05))


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        seeds: whole files of each kind that it reads.
        read: reads the bytes of a file as the kind of the seed with that number.
    """

    seeds: list[bytes]
    read: Callable[[bytes, int], object]


def fault_of(reader: Reader, data: bytes, kind: int = 0) -> str | None:
    """What a reader does wrong with an input: nothing if it takes it or refuses it in one printable line."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of numbers that nobody looked at
            reader.read(data, kind)
    except UserError as error:
        return None if "expected" in str(error) and str(error).isprintable() else f"says: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def of_images(folder: Path) -> Reader:
    """Pictures of all formats, as they are predicted on and as they are prepared."""
    face = picture(0, (24, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = [encoded(face, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")]
    seeds += [
        encoded(face, "JPEG", progressive=True, exif=exif),
        encoded(face.convert("CMYK"), "JPEG"),
        encoded(face.convert("RGBA"), "PNG"),
        encoded(face.quantize(16), "PNG", transparency=3),
        encoded(Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24)), "PNG"),
        encoded(Image.fromarray(np.linspace(0, 1, 480, dtype=np.float32).reshape(20, 24)), "TIFF"),
        encoded(face, "TIFF", compression="tiff_lzw"),
        encoded(face, "GIF", save_all=True, append_images=[picture(1, (24, 20))]),
        encoded(face, "WEBP", save_all=True, append_images=[picture(1, (24, 20))]),
        encoded(face.convert("1"), "PPM"),
        b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12\n",
    ]

    def read(data, kind):
        read_image(data)
        normalised_bytes(data, "face", turn=False)

    return Reader(seeds, read)


def of_celeba(folder: Path) -> Reader:
    """CelebA's three lists, published and Kaggle's."""
    files = []
    for layout in ("published", "kaggle"):
        make_celeba(folder / layout, layout)
        suffix = "csv" if layout == "kaggle" else "txt"
        files += [
            folder / layout / f"{stem}.{suffix}" for stem in ("list_attr_celeba", "list_landmarks_align_celeba", "list_eval_partition")
        ]
    return _of_lists(files, {layout: CelebA(source=folder / layout, data_dir=folder / "data") for layout in ("published", "kaggle")})


def of_mtfl(folder: Path) -> Reader:
    """MTFL's two lists."""
    make_mtfl(folder / "published")
    builder = Mtfl(source=folder / "published", data_dir=folder / "data")
    return _of_lists([folder / "published" / name for name in ("training.txt", "testing.txt")], {"published": builder})


def _of_lists(files: list[Path], builders: dict) -> Reader:
    seeds = [file.read_bytes() for file in files]

    def read(data, kind):
        with _in_place(files[kind], data, seeds[kind]):
            for examples in builders[files[kind].parent.name].splits().values():
                next(iter(examples))

    return Reader(seeds, read)


@contextlib.contextmanager
def _in_place(file: Path, data: bytes, whole: bytes):
    """The file with other content, which is put right again."""
    file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(whole)


def of_zips(folder: Path) -> Reader:
    """CelebA's zip of pictures, stored and packed."""
    names = ["000001.jpg", "000002.jpg"]
    seeds = []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", packing) as archive:
            for i, name in enumerate(names):
                archive.writestr(f"img_align_celeba/{name}", encoded(picture(i, (24, 20))))
        seeds.append(stream.getvalue())
    file = folder / "pictures.zip"

    def read(data, kind):
        file.write_bytes(data)
        pictures = Pictures(file, "the publisher")
        pictures.check_all_there(names, Path("list.txt"))
        for name in names:
            normalised_bytes(pictures.read(name), name)

    return Reader(seeds, read)


def of_prepared(folder: Path) -> Reader:
    """A prepared data set: what describes it, and its records."""
    import tensorflow  # noqa: F401, of which TFDS asks for types that NumPy does not know; importing it takes seconds, once

    tiny.Tiny(data_dir=folder).prepare()
    place = Path(prepared_folder("tiny", folder))
    records = next(place.glob("*validation*"))
    files = [place / "dataset_info.json", place / "features.json", place / "metadata.json", records]
    seeds = [file.read_bytes() for file in files]

    def read(data, kind):
        with _in_place(files[kind], data, seeds[kind]):
            prepared = open_prepared("tiny", folder)
            prepared.targets("validation")
            prepared.pictures("validation", 2)

    return Reader(seeds, read)


def of_runs(folder: Path) -> Reader:
    """What a run says of itself."""
    metrics = {"samples": 3, "success_rate": {"nose": 97.5}, "nme": 4.25, "confusion": [[1, 2], [3, 4]], "accuracy": {"Bar": None}}
    contents = {
        "config.json": CONFIG.to_json(),
        "data.json": json.dumps({"name": "tiny", "licence": "any", "counts": {"train": 3}, "tasks": runs.tasks_to_json(tiny.TASKS)}),
        "environment.json": json.dumps({"parameters": 1000, "backend": "tensorflow"}),
        "metrics.json": json.dumps({"tiny/test": {"landmarks": {"metrics": metrics, "floor": metrics}}}),
        "history.csv": "epoch,loss,seconds\n1,0.5,3\n2,0.25,3\n",
    }
    (folder / "run").mkdir(parents=True)
    for name, content in contents.items():
        (folder / "run" / name).write_text(content)
    files = [folder / "run" / name for name in contents]
    seeds = [content.encode() for content in contents.values()]

    def read(data, kind):
        with _in_place(files[kind], data, seeds[kind]):
            run = folder / "run"
            config = read_config(run)
            runs.read_tasks(run)
            runs.finished(run, config)
            runs.read_metrics(run)
            assert isinstance(runs.read_environment(run)["parameters"], int | None)

    return Reader(seeds, read)


def of_cards(folder: Path) -> Reader:
    """The cards of exported models."""
    seeds = [(predictor.shipped(name) / cards.CARD).read_bytes() for name in ("mobile_tiny", "mobile_synthetic")]

    def read(data, kind):
        (folder / cards.CARD).write_bytes(data)
        cards.text(cards.read(folder))

    return Reader(seeds, read)


def of_weights(folder: Path) -> Reader:
    """A run's weights, and the arrays of a method that is no network."""
    model = networks.build(CONFIG, tiny.TASKS)
    model.save(folder / "seed.keras")
    svm.write(folder / "seed.npz", {"names": svm.names(tiny.LABELS), "weights": np.ones((3, 4), np.float32)})
    seeds = [(folder / "seed.keras").read_bytes(), (folder / "seed.npz").read_bytes()]

    def read(data, kind):
        file = folder / ("best.keras", "best.npz")[kind]
        file.write_bytes(data)
        return svm.read(file, tiny.LABELS) if kind else runs.load_weights(model, file)

    return Reader(seeds, read)


def of_litert(folder: Path) -> Reader:
    """A LiteRT file whose card knows its checksum, as that of a crafted one would."""
    shutil.copytree(predictor.shipped("mobile_tiny"), folder / "model")
    card = cards.read(folder / "model")
    file = folder / "model" / cards.FILE
    seed = file.read_bytes()

    def read(data, kind):
        file.write_bytes(data)
        (folder / "model" / cards.CARD).write_text(json.dumps(card | {"file": cards.describe_file(file)}))
        predictor.load_predictor(file)

    return Reader([seed], read)


def of_saved_model(folder: Path) -> Reader:
    """A SavedModel: its graph, and the list of its weights."""
    from smtn_keras.litert import write_saved_model

    shutil.copytree(predictor.shipped("mobile_tiny"), folder / "model")
    card = cards.read(folder / "model")
    size, tasks = card["input"]["shape"][1], cards.tasks_of(card)
    config = Config(network=NetworkConfig(image_size=size, width=0.05))
    place = folder / "model" / "saved_model"
    write_saved_model(predictor.serving_model(networks.build(config, tasks), tasks, config), place)
    files = [place / "saved_model.pb", place / "variables" / "variables.index"]
    seeds = [file.read_bytes() for file in files]

    def read(data, kind):
        with _in_place(files[kind], data, seeds[kind]):
            predictor.load_predictor(place)

    return Reader(seeds, read)


READERS = {
    "images": of_images,
    "CelebA's lists": of_celeba,
    "MTFL's lists": of_mtfl,
    "zips": of_zips,
    "prepared folders": of_prepared,
    "files of a run": of_runs,
    "cards": of_cards,
    ".keras and .npz": of_weights,
    ".tflite": of_litert,
    "SavedModels": of_saved_model,
}

"""Opening a folder that TensorFlow Datasets wrote, wherever it came from."""

import json
from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath

from .. import reading
from .shards import is_local


def open_folder(folder: epath.PathLike) -> tfds.core.DatasetBuilder:
    """The builder of a prepared folder, of which all files are there.

    TFDS imports the modules of the classes that the folder names, so it may name TFDS's own only; and its files may lie in it only.

    Raises:
        Exception: it is none or damaged; TFDS raises many kinds.
    """
    folder = epath.Path(folder)
    for name in _classes(json.loads((folder / "features.json").read_text())):
        if not name.startswith("tensorflow_datasets.core.features."):
            raise ValueError(f"features.json names {name}, which is none of TFDS's features")
    builder = tfds.builder_from_directory(folder)
    for split in builder.info.splits.values():
        for path in split.filepaths:
            if is_local(folder) and reading.leads_out(epath.Path(path), folder):
                raise ValueError(f"{path} leads out of it")
            if not epath.Path(path).is_file():
                raise FileNotFoundError(f"{path.name} is missing")
    return builder


def _classes(described) -> Iterator[str]:
    """The classes that a description of features names, in any of the forms that TFDS reads."""
    parts = described.items() if isinstance(described, dict) else enumerate(described) if isinstance(described, list) else ()
    for key, value in parts:
        if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
            yield value
        elif key == "json" and isinstance(value, str):
            yield from _classes(json.loads(value))
        else:
            yield from _classes(value)

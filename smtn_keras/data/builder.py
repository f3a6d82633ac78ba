"""The TensorFlow Datasets builder that all data sets share: images and tasks in, ArrayRecord out."""

import contextlib
import io
import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from ..tasks import Landmarks, Task, tasks_to_json
from . import VERSION

SHARD = 8192  # samples in one file; TFDS holds one file's in memory


class Example(NamedTuple):
    """One face as a data set hands it over.

    Attributes:
        name: unique in its data set, such as the file name.
        image: the bytes of an upright RGB JPEG or PNG.
        size: width and height of the image in pixels.
        targets: for each task's name its array: landmarks `(points, 2)` float32 in pixels of the
            image, counted as the builder's `first_pixel` says (NaN where missing), labels `(labels,)`
            int8 class indices (-1 where missing).
    """

    name: str
    image: bytes
    size: tuple[int, int]
    targets: dict[str, np.ndarray]


class FaceBuilder(tfds.core.ShardBasedBuilder):
    """Base of the data sets: a subclass gives `tasks`, a licence and its examples by split.

    Records hold landmarks with (0, 0) at the image's upper left corner, so that mirroring is exact: half
    a pixel is 1.3 % of the eyes' distance in CelebA. `first_pixel` is the coordinate that the subclass's
    examples give the centre of the first pixel: 0 if they count pixels from 0, 1 if from 1.

    A prepared folder describes itself: the tasks stand in its metadata, so reading it needs neither
    the data set's module nor TensorFlow. Samples keep the order in which they come: TFDS's shuffling
    builder holds a split in memory and, above a gigabyte, sorts it on disk with TensorFlow.

    Args:
        origin: what the set is made from (a source folder's name, a seed), kept in the metadata so
            that another request for the same folder can be told from a repeated one.
        kwargs: `data_dir` and TFDS's other arguments.
    """

    VERSION = tfds.core.Version(VERSION)
    url_infos: ClassVar[dict] = {}  # nothing is downloaded; TFDS's own looks for checksums, with a package it does not declare
    tasks: tuple[Task, ...] = ()
    first_pixel = 0.0
    licence = ""
    homepage = ""

    def __init__(self, *, origin: dict | None = None, **kwargs):
        self._bars = contextlib.ExitStack()
        self.origin = origin or {}  # before TFDS's own, which calls _info
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    def splits(self) -> dict[str, Iterable[Example]]:
        """Examples of `train`, `validation` and `test`, lazily; a subclass's own.

        Iterables that know their length show it in the progress bar.
        """
        raise NotImplementedError

    def prepare(self) -> Path:
        """Writes the data set once; a second call finds it. Returns its folder."""
        tfds.disable_progress_bar()  # TFDS's bars lack the total; ours has it
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        # TFDS makes a folder for downloads and prints of downloading, though there are none.
        # Closing the bars keeps an error message off their line.
        with self._bars, tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare(download_dir=downloads, download_config=config)
        return Path(self.data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        targets = {
            task.name: tfds.features.Tensor(shape=task.shape, dtype=np.float32 if isinstance(task, Landmarks) else np.int8)
            for task in self.tasks
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            homepage=self.homepage,
            license=self.licence,
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                    **targets,
                }
            ),
            metadata=tfds.core.MetadataDict(tasks=tasks_to_json(self.tasks), origin=self.origin),
        )

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._shards(split, examples) for split, examples in self.splits().items()}

    def _shards(self, split: str, examples: Iterable[Example]) -> list[Callable[[], Iterator[tuple[str, dict]]]]:
        """What gives the records of each shard; TFDS calls them one after the other."""
        records = self._records(split, examples)
        if not hasattr(examples, "__len__"):
            return [lambda: records]
        return [lambda: itertools.islice(records, SHARD)] * math.ceil(len(examples) / SHARD)

    def _records(self, split: str, examples: Iterable[Example]) -> Iterator[tuple[str, dict]]:
        total = len(examples) if hasattr(examples, "__len__") else None
        bar = tqdm(examples, desc=f"{self.name} {split}", total=total, unit=" images", disable=None)  # a terminal's only
        for example in self._bars.enter_context(bar):
            record = {"name": example.name, "image": io.BytesIO(example.image), "size": np.int32(example.size)}
            points = {
                task.name: example.targets[task.name] + np.float32(0.5 - self.first_pixel)
                for task in self.tasks
                if isinstance(task, Landmarks)
            }
            yield example.name, record | example.targets | points

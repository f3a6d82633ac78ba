"""The TensorFlow Datasets builder that all data sets share: images and tasks in, ArrayRecord out."""

import contextlib
import io
import itertools
import tempfile
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from ..tasks import Landmarks, Task, tasks_to_json
from . import VERSION
from .shards import Example, Shard, write_here, write_in_processes, write_with_beam

SHARD = 2048  # samples in one file: few enough that a small set keeps several processes busy, and 22 MB of CelebA


class FaceBuilder(tfds.core.dataset_builder.FileReaderBuilder):
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
        self._workers, self._beam = 1, None
        self.origin = origin or {}  # before TFDS's own, which calls _info
        super().__init__(**kwargs | {"file_format": "array_record"})

    def splits(self) -> dict[str, Iterable[Example]]:
        """Examples of `train`, `validation` and `test`, lazily; a subclass's own.

        What has a length and can be sliced, as a list can, is written in files of `SHARD` examples, several at a
        time where asked for; any other iterable in one file.
        """
        raise NotImplementedError

    def prepare(self, workers: int = 1, beam: str | None = None) -> epath.Path:
        """Writes the data set once; a second call finds it. Returns its folder.

        Args:
            workers: processes that write. More than one need a main module that can be imported, as Python's
                `multiprocessing` explains, so a script says so itself.
            beam: options of an Apache Beam pipeline that writes instead (None: no Beam).
        """
        self._workers, self._beam = workers, beam
        tfds.disable_progress_bar()  # TFDS's bars lack the total; ours has it
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        # TFDS makes a folder for downloads and prints of downloading, though there are none.
        with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare(download_dir=downloads, download_config=config)
        return epath.Path(self.data_dir)

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

    def _download_and_prepare(self, dl_manager, download_config=None):
        del dl_manager, download_config  # nothing is downloaded
        shards = {split: self._shards(split, examples) for split, examples in self.splits().items()}
        lengths = iter(self._write([shard for shards_of_split in shards.values() for shard in shards_of_split]))
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=list(itertools.islice(lengths, len(shards_of_split))),
                num_bytes=sum(shard.path.stat().length for shard in shards_of_split),
                filename_template=self._get_filename_template(split),
            )
            for split, shards_of_split in shards.items()
        ]
        self.info.set_splits(tfds.core.SplitDict(infos))

    def _shards(self, split: str, examples: Iterable[Example]) -> list[Shard]:
        parts = [examples[i : i + SHARD] for i in range(0, len(examples), SHARD)] if hasattr(examples, "__getitem__") else [examples]
        paths = self._get_filename_template(split).sharded_filepaths(num_shards=len(parts))
        return [Shard(path, part, self.info.features, self.tasks, self.first_pixel) for path, part in zip(paths, parts, strict=True)]

    def _write(self, shards: list[Shard]) -> list[int]:
        """Writes all files; returns how many samples are in each."""
        sliced = all(hasattr(shard.examples, "__len__") for shard in shards)
        total = sum(len(shard.examples) for shard in shards) if sliced else None
        with tqdm(desc=self.name, total=total, unit=" images", disable=None) as bar:  # a terminal's only
            if self._beam is not None:
                return write_with_beam(shards, bar.update, self._beam)
            if sliced and self._workers > 1 and total > SHARD:  # fewer are written before a worker has started
                return write_in_processes(shards, bar.update, self._workers)
            return write_here(shards, bar.update)

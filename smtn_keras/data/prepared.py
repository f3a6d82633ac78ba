"""Opening what `python -m smtn_keras.prepare` wrote, without TensorFlow in the process."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ..errors import UserError
from ..tasks import Task, joint_tasks, tasks_from_json
from . import DATA_SETS, VERSION
from .described import open_folder
from .images import read_image
from .shards import is_local


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        name: of the data set.
        folder: where its records lie.
        tasks: what its samples are annotated with.
        licence: of its pictures, in words.
        origin: what it was made from.
        counts: samples of each split.
    """

    name: str
    folder: epath.Path
    tasks: tuple[Task, ...]
    licence: str
    origin: dict
    counts: dict[str, int]
    _builder: tfds.core.DatasetBuilder = dataclasses.field(repr=False, compare=False)
    _published: tuple[Task, ...] | None = None  # what the records hold, where `tasks` are another data set's
    _targets: dict[str, dict] = dataclasses.field(init=False, default_factory=dict, repr=False, compare=False)

    def described_by(self, tasks: tuple[Task, ...]) -> "Prepared":
        """The same samples with other tasks: points and labels are found by name, what a sample lacks is missing."""
        return self if tasks == self.tasks else dataclasses.replace(self, tasks=tasks, _published=self._published or self.tasks)

    def source(self, split: str) -> Sequence[dict]:
        """Records of a split by index: `name` and `image` bytes (JPEG or PNG), `size` int32 (width, height), a task's array each."""
        if split not in self.counts:
            raise UserError(f"{self.folder}: expected one of the splits {', '.join(self.counts)}, got '{split}'; check the name")
        if not is_local(self.folder):
            raise UserError(
                f"{self.folder}: expected a folder of this machine to read from, got an object store's; copy it to a disk first"
            )
        try:
            records = self._builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
            for last in np.cumsum(self._builder.info.splits[split].shard_lengths):
                records[last - 1]  # opens each file, which shows a cut-off one now and not in mid-training
        except Exception as error:  # ArrayRecord raises RuntimeError
            raise _damaged(self.folder, error) from None
        return _Records(records, self)

    def pictures(self, split: str, count: int) -> list[np.ndarray]:
        """The first pictures of a split, RGB `(h, w, 3)` uint8 each, all if there are fewer."""
        source = self.source(split)
        records = (source[i] for i in range(min(count, len(source))))
        return [read_image(record["image"], _name_of(record)) for record in records]

    def targets(self, split: str) -> dict[str, np.ndarray]:
        """All targets of a split, stacked by task name, without decoding a picture; read once and kept.

        Beside them `size` `(samples, 2)` int32, width and height in pixels, `name` `(samples,)` str, and `digest` `(samples,)` uint64 of
        the pictures' files, the same for the same bytes only.
        """
        if split not in self._targets:
            keys = [task.name for task in self.tasks] + ["size"]
            columns = {key: [] for key in [*keys, "name", "digest"]}
            for record in self.source(split):
                for key in keys:
                    columns[key].append(record[key])
                columns["name"].append(_name_of(record))
                columns["digest"].append(np.frombuffer(hashlib.blake2b(record["image"], digest_size=8).digest(), np.uint64)[0])
            self._targets[split] = {key: np.stack(column) if key in keys else np.array(column) for key, column in columns.items()}
        return self._targets[split]


class _Records(Sequence):
    """Records as a data set describes them, which may be by another one's tasks."""

    def __init__(self, records: Sequence[dict], data: Prepared):
        known = {task.name: task for task in data._published or ()}
        self.records, self.folder = records, data.folder
        self.pairs = [(task, known.get(task.name)) for task in data.tasks] if data._published else []

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index):
        try:
            record = self.records[index]
        except Exception as error:  # ArrayRecord looks at the checksum of a record when it is read
            raise _damaged(self.folder, error) from None
        return record | {task.name: task.translate(record.get(task.name), theirs) for task, theirs in self.pairs}


def _name_of(record: dict) -> str:
    return record["name"].decode(errors="replace")


def open_sets(names: tuple[str, ...], data_dir: Path | str, only: tuple[str, ...] | None = None) -> tuple[Prepared, ...]:
    """Prepared data sets that are trained as one: each is described by the tasks of all, or by those of the names in `only`.

    Raises:
        UserError: as `open_prepared`, or if their tasks do not go together, or lack one of `only`.
    """
    sets = [open_prepared(name, data_dir) for name in names]
    tasks = joint_tasks([data.tasks for data in sets])
    if unknown := set(only or ()) - {task.name for task in tasks}:
        raise UserError(f"--tasks: expected some of {', '.join(task.name for task in tasks)}, got '{min(unknown)}'; check the name")
    tasks = tuple(task for task in tasks if only is None or task.name in only)
    return tuple(data.described_by(tasks) for data in sets)


def prepared_folder(name: str, data_dir: Path | str) -> epath.Path:
    """Where the data set of that name lies once prepared."""
    return epath.Path(data_dir) / name / VERSION


def exists(folder: epath.Path) -> bool:
    """Whether the folder is there.

    Raises:
        UserError: it would be in an object store that does not answer.
    """
    try:
        return folder.exists()
    except Exception as error:  # each file system of fsspec raises its own, and ImportError without its package
        raise UserError(f"{folder}: expected an object store that answers, got '{error}'; see docs/scale.md") from None


def open_prepared(name: str, data_dir: Path | str) -> Prepared:
    """The prepared data set of that name.

    Raises:
        UserError: it was not prepared there, or its folder is damaged.
    """
    folder = prepared_folder(name, data_dir)
    if not exists(folder):
        if name not in DATA_SETS:
            raise UserError(
                f"data set: expected one of {', '.join(DATA_SETS)}, got '{name}'; check the name, or prepare a set of your own in {folder} first"
            )
        source = "" if name == "synthetic" else " --source FOLDER"
        raise UserError(
            f"{folder}: expected a prepared data set, got none; run: python -m smtn_keras.prepare {name}{source} --data-dir {data_dir}"
        )
    try:
        builder = open_folder(folder)
        metadata = builder.info.metadata
        tasks = tasks_from_json(metadata["tasks"])
        features = builder.info.features
        if unlike := [task.name for task in tasks if features[task.name].shape != task.shape]:
            raise ValueError(f"its records have other {unlike[0]} than its metadata say")
        counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    except Exception as error:  # TFDS raises many kinds on a folder that is not whole
        raise _damaged(folder, error) from None
    licence = builder.info.redistribution_info.license if builder.info.redistribution_info else ""
    return Prepared(name, folder, tasks, licence, dict(metadata.get("origin") or {}), counts, builder)


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UserError(f"{folder}: expected a whole prepared data set, got a damaged one ({reason}); delete it and prepare it again")

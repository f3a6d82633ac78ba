"""The pictures of a prepared set at a network's size, decoded and resized once and kept beside the set."""

import os
from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from ..runs import whole
from .pipeline import READING, Picture
from .prepared import Prepared


class Resized:
    """A prepared data set whose sources hold pictures `(image_size, image_size, 3)` uint8 RGB in place of files.

    All variations of the training come after the resizing, so it sees the same as without. A part's pictures are a file
    `PART-SIZE.rgb` of bare bytes in the set's folder, which is made when it is first asked for. Where it cannot be, this is said,
    and pictures are decoded as they come.
    """

    def __init__(self, data: Prepared, image_size: int):
        self._data, self._picture = data, Picture(image_size)

    def __getattr__(self, name):
        return getattr(self._data, name)

    def source(self, split: str) -> Sequence[dict]:
        """As `Prepared.source`, with the picture as `image`."""
        records = self._data.source(split)
        file = Path(self._data.folder) / f"{split}-{self._picture.size}.rgb"
        try:
            with FileLock(f"{file}.lock"):  # another training may want the same
                if not self._is_of(file, records):
                    self._write(file, records, split)
        except OSError as error:
            print(f"{file}: not kept ({error.strerror}); pictures are decoded in each epoch")
            return records
        return _Pictures(file, self._picture.size, self._data.targets(split))

    def _is_of(self, file: Path, records: Sequence[dict]) -> bool:
        """Whether the file holds these records' pictures, by its size and by the first and last of them."""
        side = self._picture.size
        if not file.is_file() or file.stat().st_size != len(records) * side * side * 3:
            return False
        kept = np.memmap(file, np.uint8, "r", shape=(len(records), side, side, 3))
        return all(np.array_equal(kept[i], self._picture(records[i])) for i in (0, len(records) - 1))

    def _write(self, file: Path, records: Sequence[dict], split: str):
        pictures = grain.MapDataset.source(records).map(self._picture).to_iter_dataset(READING)
        bar = tqdm(pictures, f"{self.name} {split} at {self._picture.size} pixels", len(records), unit=" images", disable=None)
        with whole(file) as beside, beside.open("wb") as out:
            for picture in bar:
                out.write(picture.data)


class _Pictures(Sequence):
    """Records of a part from the file of its pictures and from its targets in memory; to be pickled for other processes."""

    def __init__(self, file: Path, side: int, targets: dict[str, np.ndarray]):
        self._file, self._side, self._targets = file, side, targets
        # read and not mapped, so that the memory of a process does not grow with what it has seen
        self._open = os.open(file, os.O_RDONLY)

    def __len__(self):
        return len(self._targets["size"])

    def __getitem__(self, index):
        picture = np.empty((self._side, self._side, 3), np.uint8)
        os.preadv(self._open, [picture], int(index) * picture.nbytes)
        return {name: values[index] for name, values in self._targets.items()} | {"image": picture}

    def __del__(self):
        os.close(self._open)

    def __reduce__(self):
        return _Pictures, (self._file, self._side, self._targets)

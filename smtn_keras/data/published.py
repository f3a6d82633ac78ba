"""What published data sets share: annotation lists, folders or zips of pictures, and their typical faults."""

import array
import dataclasses
import functools
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .. import reading
from ..errors import UserError
from .images import MAX_BYTES, normalised_bytes, read_file
from .shards import Example

MAX_LIST = 100_000_000  # bytes of a list; CelebA's longest has 25 million
MAX_LINES = 2_000_000
MAX_LINE = 10_000  # characters


def check_folder(source: Path | None, name: str, holds: str, where: str) -> Path:
    """The folder `source`, checked to be one. `holds` says what is expected in it, `where` where to get that."""
    if source is None:
        raise UserError(f"{name}: expected --source, the folder that holds {holds}, got none; get it from {where}")
    source = Path(source)
    if not source.is_dir():
        came = "a file" if source.exists() else "no such folder"
        raise UserError(f"{name}: expected at {source} a folder that holds {holds}, got {came}; get it from {where}")
    return source


def first_existing(source: Path, candidates: tuple[str, ...], where: str) -> Path:
    """The first of the candidate paths in `source` that exists, which must not be a link out of it."""
    for candidate in candidates:
        if (source / candidate).exists():
            check_inside(source, [candidate])
            return source / candidate
    raise UserError(f"{source}: expected {' or '.join(candidates)} in this folder, got none; get it from {where}")


def check_inside(source: Path, names: list[str]) -> None:
    """Refuses names of files that lie elsewhere than in `source`."""
    for name in names:
        if reading.leads_out(source / name, source):
            raise UserError(
                f"{source}: expected files in this folder, got '{name[:100]}', which leads out of it; correct the list, or copy what a link leads to"
            )


def read_lines(path: Path, where: str) -> list[str]:
    """The lines of a text file without its trailing empty ones; LF and CRLF alike."""
    try:
        data = reading.read_bytes(path, MAX_LIST)
    except OSError as error:
        raise UserError(f"{path}: expected a list of annotations, got '{error.strerror}'; get it from {where}") from None
    head = data[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    if head[:1] == b"<":
        raise UserError(f"{path}: expected a list of annotations, got an HTML page (a failed download); get it from {where}")
    if b"\0" in data:
        raise UserError(f"{path}: expected a list of annotations, got a binary file; get it from {where}")
    if (count := data.count(b"\n")) > MAX_LINES:
        raise UserError(f"{path}: expected a list of at most {MAX_LINES:,} lines, got {count:,}; get it from {where}")
    lines = [line.removesuffix("\r") for line in data.decode("utf-8-sig", errors="replace").split("\n")]
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise UserError(f"{path}, line {number}: expected at most {MAX_LINE:,} characters, got {len(line):,}; get it from {where}")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError(f"{path}: expected a list of annotations, got an empty file; get it from {where}")
    return lines


def parse_rows(path: Path, lines: list[str], first_line: int, columns: int, separator: str | None = None) -> tuple[list[str], np.ndarray]:
    """Names and numbers of a list whose lines are a name and `columns` finite numbers.

    Args:
        path: how errors call the list.
        lines: its lines of data.
        first_line: the number of the first of them in the file, for errors.
        columns: how many numbers a line has.
        separator: between the fields (None: blanks).

    Returns:
        Names, unique, and an array `(lines, columns)` float64.
    """
    names, numbers_of_lines, values = [], [], array.array("d")
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        name, *fields = line.split(separator)
        if len(fields) != columns:
            raise UserError(
                f"{path}, line {number}: expected a name and {columns} numbers, got {len(fields)} values after '{name[:60]}'; "
                "fetch the list again"
            )
        try:
            values.extend(map(float, fields))
        except ValueError:
            bad = next(field for field in fields if not _is_number(field))
            raise UserError(f"{path}, line {number}: expected numbers, got '{bad[:60]}' for {name[:60]}; correct the line") from None
        names.append(name.strip())
        numbers_of_lines.append(number)
    numbers = np.frombuffer(values, np.float64).reshape(len(names), columns)
    wrong = np.flatnonzero(~np.isfinite(numbers).all(1))
    if len(wrong):
        raise UserError(
            f"{path}, line {numbers_of_lines[wrong[0]]}: expected finite numbers, got NaN or infinity for {names[wrong[0]]}; "
            "correct the line"
        )
    if len(set(names)) != len(names):
        first_of = {}
        for number, name in zip(numbers_of_lines, names, strict=True):
            if name in first_of:
                raise UserError(f"{path}, line {number}: expected each name once, got {name} again (line {first_of[name]}); remove one")
            first_of[name] = number
    return names, numbers


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def check_values(path: Path, names: list[str], values: np.ndarray, columns: list[str], allowed: tuple[int, ...]) -> None:
    """Refuses values `(names, columns)` that are none of the allowed ones."""
    wrong = np.argwhere(~np.isin(values, allowed))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{path}: expected {columns[column]} of {names[row]} to be one of {', '.join(map(str, allowed))}, "
            f"got {values[row, column]:g}; correct the line"
        )


def check_points(points_px: np.ndarray, size: tuple[int, int], names: list[str], path: Path | str = "") -> None:
    """Refuses points `(names, points, 2)` that lie outside the picture by more than half its side.

    A point a little outside is what annotators mark where a crop cuts a face; one far outside is a
    mistake, such as x and y in the wrong columns or points of another frame.
    """
    side = np.float32(size)
    far = (points_px < -side / 2) | (points_px > side * 1.5)
    if far.any():
        row, point, _ = np.argwhere(far)[0]
        x, y = points_px[row, point]
        raise UserError(
            f"{path}{': ' if path else ''}expected the landmarks of {names[row]} in its picture of {size[0]}x{size[1]} pixels, "
            f"got one at ({x:g}, {y:g}); correct the list or take the picture that it belongs to"
        )


class Pictures:
    """Pictures by file name, in a folder or in a zip beside the lists (read without unpacking it)."""

    def __init__(self, path: Path, where: str):
        self.path = path
        self._where = where

    def __reduce__(self):
        return _pictures_of_this_process, (self.path, self._where)

    @functools.cached_property
    def _names(self) -> set[str]:
        if not self.path.is_dir():
            return set(self._members)
        with os.scandir(self.path) as entries:
            there = [entry for entry in entries if os.path.isfile(entry.path if entry.is_symlink() else entry)]
        check_inside(self.path, [entry.name for entry in there if entry.is_symlink()])
        return {entry.name for entry in there}

    @functools.cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        members = [info for info in self._zip.infolist() if not info.filename.endswith("/") and "__MACOSX" not in info.filename]
        return {info.filename.rsplit("/", 1)[-1]: info for info in members}

    @functools.cached_property
    def _zip(self) -> zipfile.ZipFile:
        if not self.path.is_file():
            raise UserError(f"{self.path}: expected a zip, got a pipe or a device; get it from {self._where}")
        with self.path.open("rb") as file:
            head = file.read(512).lstrip()
        if head[:1] == b"<":
            raise UserError(f"{self.path}: expected a zip, got an HTML page (a failed download); get it from {self._where}")
        try:
            return zipfile.ZipFile(self.path)
        except Exception:  # zipfile raises many kinds on a damaged list of members
            raise UserError(f"{self.path}: expected a zip, got a cut-off or other file; get it again from {self._where}") from None

    def check_all_there(self, names: list[str], listed_in: Path) -> None:
        """Refuses lists that name pictures which are not there."""
        missing = [name for name in names if name not in self._names]
        if missing:
            raise UserError(
                f"{self.path}: expected the {len(names)} pictures of {listed_in.name}, {len(missing)} are missing, "
                f"the first is {missing[0]}; unpack or download the pictures again from {self._where}"
            )

    def read(self, name: str) -> bytes:
        """The bytes of one picture."""
        if self.path.is_dir():
            return read_file(self.path / name, str(self.path / name))
        member = self._members[name]
        try:
            if member.file_size > MAX_BYTES:
                raise zipfile.BadZipFile(f"more than {MAX_BYTES / 1e6:g} MB")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile("a compression other than deflate")  # of which a block may unfold to any size
            with self._zip.open(member) as file:
                return file.read(member.file_size)  # and no more, whatever it unfolds to
        except Exception as error:  # zipfile and zlib raise many kinds on damaged members
            raise UserError(f"{self.path}: expected to read {name} in this zip, got '{error}'; download the zip again") from None


@functools.lru_cache(maxsize=1)  # a worker gets many parts of one set, and a zip's list takes seconds to read
def _pictures_of_this_process(path: Path, where: str) -> Pictures:
    return Pictures(path, where)


@dataclasses.dataclass(frozen=True)
class AnnotatedPictures:
    """Examples of one split, or of a slice of it, read when iterated.

    Attributes:
        names: of the pictures.
        targets: for each task's name its array, one row a picture.
        read: gives a picture's bytes by its name; it pickles.
        frame: the width and height that every picture must have (None: its own).
    """

    names: list[str]
    targets: dict[str, np.ndarray]
    read: Callable[[str], bytes]
    frame: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, part: slice) -> "AnnotatedPictures":
        return dataclasses.replace(self, names=self.names[part], targets={task: values[part] for task, values in self.targets.items()})

    def __iter__(self) -> Iterator[Example]:
        for i, name in enumerate(self.names):
            # turn=False: published points belong to the pixels as stored, whatever an EXIF tag says.
            image, size = normalised_bytes(self.read(name), name, turn=False)
            if self.frame and size != self.frame:
                raise UserError(
                    f"{name}: expected a picture of {self.frame[0]}x{self.frame[1]} pixels, the frame of its landmarks, "
                    f"got {size[0]}x{size[1]}; take the aligned pictures as published"
                )
            targets = {task: values[i] for task, values in self.targets.items()}
            check_points(targets["landmarks"][None], size, [name])
            yield Example(name, image, size, targets)

"""Files that are whole or absent, and what guards a run's folder: checksums of its files, and a lock."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError

CHECKSUMS = "checksums.sha256"  # as `sha256sum --check` reads it


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path to write to that takes the file's place at the end, or vanishes if the block fails."""
    beside = file.with_name(f".partial.{file.name}")  # the suffix stays: Keras tells formats by it
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())  # or a lost machine could keep the name without the content
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)


def write(file: Path, text: str):
    """Writes a text file whole or not at all."""
    with whole(file) as beside:
        beside.write_text(text)


@contextlib.contextmanager
def kept(file: Path) -> Iterator[Path]:
    """As `whole`, for a file of a run, whose checksum goes into the folder's list."""
    with _list_of(file.parent) as sums:
        with whole(file) as beside:
            yield beside
            # the old one stays beside it until the file is there, so that a kill at any moment leaves a folder that agrees with its list
            new = _digest(beside)
            _write_sums(file.parent, sums | {file.name: [*sums.get(file.name, [])[-1:], new]})
        _write_sums(file.parent, sums | {file.name: [new]})


def check(folder: Path):
    """Compares the files of a run with the checksums in its folder; one that has no list, such as a record made for a report, passes.

    Raises:
        UserError: naming the file that is missing or has changed.
    """
    for name in _read_sums(folder):
        file = folder / name
        if not file.is_file():
            raise UserError(
                f"{file}: expected a file of this run, as {CHECKSUMS} lists it, found none; bring it back or train the run again"
            )
        # the list is read after the file, and all again if they differ, as a training may be writing
        if not any(_digest(file) in _read_sums(folder)[name] for _ in range(2)):
            raise UserError(
                f"{file}: expected what the training wrote, as {CHECKSUMS} says, got other content; bring it back or train the run again"
            )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The only training of a run; the lock falls with the process, even a killed one.

    Raises:
        UserError: if another process trains it.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"{folder}: expected to train this run alone, got another process at it; wait until that is done") from None


@contextlib.contextmanager
def _list_of(folder: Path) -> Iterator[dict[str, list[str]]]:
    """The checksums of a folder, while no other process changes them: a training and an evaluation may write at one time."""
    with FileLock(folder / ".checksums.lock"):
        yield _read_sums(folder)


def _read_sums(folder: Path) -> dict[str, list[str]]:
    file, sums = folder / CHECKSUMS, {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).name != name:
            raise UserError(
                f"{file}: expected checksums and names of files, got '{line[:80]}'; delete it if the other files are as they were"
            )
        sums.setdefault(name, []).append(digest)
    return sums


def _write_sums(folder: Path, sums: dict[str, list[str]]):
    write(folder / CHECKSUMS, "".join(f"{digest}  {name}\n" for name in sorted(sums) for digest in sums[name]))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

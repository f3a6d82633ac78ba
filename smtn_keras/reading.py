"""Reading files that others made: regular ones only, and never more of one than is stated. Imports nothing heavy."""

import errno
import json
import os
import stat
from pathlib import Path

from .errors import UserError

MAX_JSON = 16_000_000  # bytes; a run's largest file takes a hundredth


def read_bytes(path: Path, most: int) -> bytes:
    """What a regular file holds.

    Args:
        path: of the file.
        most: how many bytes it may have.

    Raises:
        OSError: it cannot be read, is larger, or is none: a pipe would be waited for, and a device may have no end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # else opening a pipe waits for who writes
    except ValueError:  # a null byte, or half of a surrogate pair
        raise OSError(errno.EINVAL, "a name that no file can have") from None
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a pipe or a device")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"more than {most / 1e6:g} MB")
        return file.read(status.st_size)


def read_json(path: Path) -> dict:
    """The object in a JSON file.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it holds none.
    """
    return parse_json(read_bytes(path, MAX_JSON))


class Entries(dict):
    """What a run's file says; it says so, too, if it lacks what is asked of it."""

    def __init__(self, file: Path, entries: dict):
        super().__init__(entries)
        self._file = file

    def __missing__(self, key):
        raise UserError(f"{self._file}: expected an entry '{key}', found none; make the run again")


def read_entries(file: Path, **kinds) -> Entries:
    """The entries of a JSON file of a run, each of its kind, if one is named and it is there.

    Raises:
        UserError: it is not there or something else.
    """
    try:
        entries = read_json(file)
        for key, kind in kinds.items():
            if key in entries and not isinstance(entries[key], kind):
                raise ValueError(f"{key} is {entries[key]!r}")
    except FileNotFoundError:
        raise UserError(f"{file}: expected a file of a run, found none; make a run with 'python -m smtn_keras.fit'") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected JSON written by smtn_keras, got something else ({error}); make the run again") from None
    return Entries(file, entries)


def parse_json(text: str | bytes) -> dict:
    """The object in a JSON text.

    Raises:
        ValueError: it holds none.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} in place of an object")
    return content


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path leads out of a folder, by `..`, as an absolute one or over links."""
    try:
        return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):  # a name that no file can have
        return True

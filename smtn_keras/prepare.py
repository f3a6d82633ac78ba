"""Writes a data set once, for fit, evaluate and demo to read: python -m smtn_keras.prepare celeba --source FOLDER."""

import contextlib
import dataclasses
import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import tyro
from etils import epath
from filelock import FileLock, Timeout

from .data import DATA_SETS, data_set_class
from .errors import UserError, clean_exit

_FULL_DISK = ("No space left on device", "Disk quota exceeded")  # how ArrayRecord's RuntimeError says it
SYNTHETIC = {"samples": 6000, "seed": 0}  # how many faces are drawn unless asked otherwise, and from which seed


@dataclasses.dataclass(frozen=True)
class Flags:
    """Prepares a data set in DATA_DIR/NAME. Nothing is downloaded; what is there already is kept."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="{" + ",".join(DATA_SETS) + "}")]
    """Which data set."""
    source: Path | None = None
    """The folder of a published data set, as its publisher lays it out (celeba, mtfl)."""
    data_dir: Annotated[str, tyro.conf.arg(metavar="PATH")] = "data"
    """Where prepared data sets lie: a folder, or an object store's gs://, s3:// or az:// (see docs/scale.md)."""
    samples: int | None = None
    """How many faces to draw, 6000 unless given (synthetic)."""
    seed: int | None = None
    """What the drawn faces depend on, 0 unless given (synthetic)."""
    workers: int = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    """How many processes check and write pictures; by itself one for each core."""
    beam: str | None = None
    """Options of an Apache Beam pipeline that checks and writes them instead, such as '--runner=DirectRunner'."""


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    flags = tyro.cli(Flags, args=argv, prog="python -m smtn_keras.prepare", description=Flags.__doc__)
    with clean_exit():
        try:
            prepare(**dataclasses.asdict(flags))
        except KeyboardInterrupt:
            print("interrupted: nothing was prepared; the next call starts over", file=sys.stderr)
            sys.exit(130)


def prepare(
    name: str,
    data_dir: Path | str = "data",
    source: Path | None = None,
    samples: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    beam: str | None = None,
) -> epath.Path:
    """Prepares a data set, or finds it prepared from the same origin.

    Args:
        name: one of `smtn_keras.data.DATA_SETS`.
        data_dir: where prepared data sets lie.
        source: the published folder; not needed once prepared, nor for `synthetic`.
        samples: how many faces to draw; `synthetic` only.
        seed: what they depend on; `synthetic` only.
        workers: processes that check and write pictures. More than one import the calling script again, as
            `multiprocessing` does, so it needs its `if __name__ == "__main__"`.
        beam: options of an Apache Beam pipeline that checks and writes them instead.

    Returns:
        Its folder, DATA_DIR/NAME/VERSION.

    Raises:
        UserError: bad input, a folder prepared from something else, or a full disk.
    """
    from .data.prepared import exists, prepared_folder

    data_set = data_set_class(name)
    arguments, origin = _arguments(name, source, samples, seed)
    if workers < 1:
        raise UserError(f"--workers: expected at least 1, got {workers}; leave it out for one for each core")
    folder = prepared_folder(name, data_dir)
    if exists(folder):  # TFDS renames it into place when all is written
        _check_origin(name, data_dir, origin)
        _report(name, data_dir, "already prepared")
        return folder
    with _only_one(folder):
        for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):  # of a killed preparation
            leftover.rmtree()
        with _disk_errors(folder):
            data_set(**arguments, origin=origin, data_dir=data_dir).prepare(workers, beam)
        _report(name, data_dir, "prepared")
    return folder


def _arguments(name: str, source: Path | None, samples: int | None, seed: int | None) -> tuple[dict, dict]:
    """The builder's arguments, and what the metadata keeps of them (a folder's name, not its place)."""
    if name == "synthetic":
        if source is not None:
            raise UserError(f"synthetic: expected no --source, got {source}; its faces are drawn")
        drawn = {"samples": SYNTHETIC["samples"] if samples is None else samples, "seed": SYNTHETIC["seed"] if seed is None else seed}
        return drawn, drawn
    for flag, value in (("--samples", samples), ("--seed", seed)):
        if value is not None:
            raise UserError(f"{name}: expected {flag} with synthetic only, got {value}; leave it out")
    return {"source": source}, {"source": Path(source).resolve().name} if source else {}


def _check_origin(name: str, data_dir: Path | str, asked: dict) -> None:
    """Refuses a folder that was prepared from something else than asked."""
    from .data.prepared import open_prepared

    prepared = open_prepared(name, data_dir)
    if asked and prepared.origin != asked:
        wanted, came = (", ".join(f"{key} {value}" for key, value in origin.items()) or "unknown" for origin in (asked, prepared.origin))
        raise UserError(
            f"{prepared.folder}: expected a set made from {wanted}, got one made from {came}; name another --data-dir or delete that folder"
        )


def _report(name: str, data_dir: Path | str, verb: str) -> None:
    from .data.prepared import open_prepared

    prepared = open_prepared(name, data_dir)
    counts = ", ".join(f"{split} {count}" for split, count in prepared.counts.items())
    print(f"{name}: {verb} in {prepared.folder}: {counts}")


@contextlib.contextmanager
def _only_one(folder: epath.Path):
    """Lets one process at a time prepare a data set; the lock falls with the process, even a killed one.

    An object store has no locks.
    """
    from .data.shards import is_local

    if not is_local(folder):
        yield
        return
    lock = FileLock(folder.parent / ".lock", timeout=0)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder}: expected to prepare it alone, got another process at it; wait until that is done") from None
    except OSError as error:
        raise UserError(
            f"{folder.parent}: expected a folder that can be written, got '{error.strerror}'; name another --data-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _disk_errors(folder: epath.Path):
    """Turns what TFDS and ArrayRecord raise on a full disk into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in _FULL_DISK):
            raise UserError(
                f"{folder}: expected room for the prepared data, got a full disk; free some space or name another --data-dir"
            ) from None
        raise


if __name__ == "__main__":
    main()

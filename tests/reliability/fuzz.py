"""Hostile files for every reader: how many were tried, what went wrong, how long the slowest took, and how much memory.

Each reader of readers.py runs in a child process. Pictures and lists of annotations are guided by atheris to code that no input
has reached yet; what other readers get are mutations of whole files. A child that dies, that takes more than `SECONDS` for an input twice or
grows by more than `MEGABYTES` has failed on that input, which is kept, and another child goes on.
"""

import ctypes
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SECONDS, MEGABYTES = 5, 1000
SHARES = {  # of the inputs; a SavedModel takes a second, a picture a millisecond
    "images": 0.4,
    "CelebA's lists": 0.13,
    "MTFL's lists": 0.13,
    "zips": 0.1,
    "files of a run": 0.1,
    "cards": 0.07,
    ".keras and .npz": 0.03,
    ".tflite": 0.02,
    "prepared folders": 0.015,
    "SavedModels": 0.005,
}
GUIDED = ("images", "CelebA's lists", "MTFL's lists")
MOST_FAULTS = 20  # of one reader, after which it is not tried any more


def measure(count: int, seed: int, folder: Path) -> list[dict]:
    """Tries at least `count` inputs in all, and keeps those that failed in `folder/faults`.

    Args:
        count: how many.
        seed: what they depend on.
        folder: for working files; made if it is not there.

    Returns:
        A row for each reader: `what`, `tried`, `faults`, `worst_seconds` of an input, `peak_mb` over the memory at the start, `note`.
    """
    return [_measure(what, max(1, round(count * share + 0.5)), seed, folder) for what, share in SHARES.items()]


class State(ctypes.Structure):
    """What a child says while it runs; the system keeps it if the child dies."""

    _fields_ = (("tried", ctypes.c_int64), ("faults", ctypes.c_int64), ("worst_seconds", ctypes.c_double), ("peak_mb", ctypes.c_double))


def _measure(what: str, count: int, seed: int, folder: Path) -> dict:
    work = folder / re.sub(r"\W+", "_", what)
    work.mkdir(parents=True, exist_ok=True)
    (folder / "faults").mkdir(exist_ok=True)
    row = {"what": what, "tried": 0, "faults": 0, "worst_seconds": 0.0, "peak_mb": 0.0}
    again = work / "again"  # what the next child tries first: a machine with other work may have been slow
    ends, start = [], time.monotonic()
    while row["tried"] < count and row["faults"] < MOST_FAULTS:
        turn = seed * 1000 + len(ends)
        (work / "state").write_bytes(bytes(State()))
        command = [sys.executable, __file__, what, str(count - row["tried"]), str(turn), str(work)]
        paths = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent)))
        environment = os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with (work / "log").open("wb") as log:
            code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
        state = State.from_buffer_copy((work / "state").read_bytes())
        ends += re.findall(r"^input \d+: .*", (work / "log").read_text(errors="replace"), re.MULTILINE)
        for key in ("tried", "faults"):
            row[key] += getattr(state, key)
        for key in ("worst_seconds", "peak_mb"):
            row[key] = round(max(row[key], getattr(state, key)), 3)
        if not state.tried:
            raise RuntimeError(f"{what}: the child read nothing; see {work / 'log'}")
        tried_again = again.exists() and state.tried == 1
        again.unlink(missing_ok=True)
        if code == -signal.SIGALRM and not tried_again:
            (work / "current").rename(again)
            ends.append("one slow input tried again")
        elif code:
            ends.append("hang" if code == -signal.SIGALRM else f"exit {code}")
            if code != GROWN:
                row["faults"] += 1
                _keep(folder, what, turn, "died", (work / "current").read_bytes())
    how = "guided by atheris" if what in GUIDED else "mutated"
    minutes = (time.monotonic() - start) / 60
    return row | {"note": "; ".join([f"{how}, {minutes:.1f} minutes", *ends])}


def _keep(folder: Path, what: str, turn: int, how: str, data: bytes) -> None:
    (folder / "faults" / f"{re.sub(r'[^a-zA-Z]+', '_', what)}-{turn}-{how}").write_bytes(data)


# -- the child --------------------------------------------------------------------------------------

GROWN = 77  # the exit code of a child that needed too much memory, which it has counted


class Watched:
    """A reader that says how it fares in `folder/state`."""

    def __init__(self, what: str, reader, turn: int, folder: Path):
        import mmap

        self._what, self._reader, self._turn, self._folder = what, reader, turn, folder
        self._file = (folder / "state").open("r+b")
        self._state = State.from_buffer(mmap.mmap(self._file.fileno(), 0))
        self._start_mb = _peak_mb()

    def __call__(self, data: bytes, kind: int) -> None:
        from reliability.readers import fault_of

        state = self._state
        (self._folder / "current").write_bytes(bytes([kind]) + data)
        state.tried += 1
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # whose signal ends the process, in whichever code it is
        start = time.perf_counter()
        fault = fault_of(self._reader, data, kind)
        seconds = time.perf_counter() - start
        signal.setitimer(signal.ITIMER_REAL, 0)
        state.worst_seconds = max(state.worst_seconds, seconds)
        state.peak_mb = max(state.peak_mb, _peak_mb() - self._start_mb)
        if grown := state.peak_mb > MEGABYTES:
            fault = f"grew by {state.peak_mb:.0f} MB"
        if fault:
            print(f"input {state.tried}: {fault[:500]}", flush=True)
            state.faults += 1
            _keep(self._folder.parent, self._what, self._turn, str(state.tried), bytes([kind]) + data)
        if grown:
            os._exit(GROWN)
        if state.faults >= MOST_FAULTS:
            os._exit(0)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(what: str, count: int, turn: int, folder: Path) -> None:
    import tempfile

    place = tempfile.mkdtemp(dir=folder)
    if what in GUIDED:
        import atheris

        with atheris.instrument_imports(include=["smtn_keras.data", "PIL"]):
            from reliability.readers import READERS
    else:
        from reliability.readers import READERS

    reader = READERS[what](Path(place))
    for kind, seed in enumerate(reader.seeds):  # what whole files need is needed by all
        reader.read(seed, kind)
    watched = Watched(what, reader, turn, folder)
    if (folder / "again").exists():
        kind, *data = (folder / "again").read_bytes()
        watched(bytes(data), kind)
    if what not in GUIDED:
        rng = random.Random(turn)
        for _ in range(count):
            kind = rng.randrange(len(reader.seeds))
            watched(mutated(rng, reader.seeds, kind), kind)
        return
    corpus = folder / "corpus"  # which the next child finds as this one leaves it
    corpus.mkdir(exist_ok=True)
    for kind, seed in enumerate(reader.seeds):
        (corpus / f"seed{kind}").write_bytes(bytes([kind]) + seed)

    def one(data: bytes) -> None:
        if data:
            watched(data[1:], data[0] % len(reader.seeds))

    options = [f"-runs={count}", f"-seed={turn + 1}", "-max_len=65536", "-timeout=0", "-rss_limit_mb=0", "-verbosity=0"]
    atheris.Setup(["fuzz", *options, str(corpus)], one)
    atheris.Fuzz()


# -- mutations --------------------------------------------------------------------------------------

ODD = [
    *(b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 64, b"A" * 20_000),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"1" * 5000, b"1_0", "²".encode(), "٣".encode(), b"null", b"true", b"{}", b"[]", b'""'),
    *(
        b"../../../etc/passwd",
        b"/etc/passwd",
        b"..\\..\\x",
        b"\x1b[2J",
        b"\r\n",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b'"\\ud800"',
        b"\xef\xbb\xbf",
    ),
    *(b"[" * 100_000, b'{"a":' * 5000, b",", b":", b" ", b"'", b'"'),
]


def mutated(rng: random.Random, seeds: list[bytes], kind: int) -> bytes:
    """A seed with a few bytes, words or pieces changed, so that much of it is still as it was."""
    data = bytearray(seeds[kind])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1)
        length = min(len(data) - place, rng.choice((1, 2, 4, 8, 64, 1000)))
        change = rng.randrange(8)
        if change == 0 and length:
            data[place] ^= 1 << rng.randrange(8)
        elif change == 1:
            data[place : place + length] = rng.randbytes(length)
        elif change == 2:
            data[place : place + length] = rng.choice(ODD)
        elif change == 3:
            _replace_word(rng, data)
        elif change == 4:
            del data[place : place + length]
        elif change == 5:
            data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
        elif change == 6:
            other = rng.choice(seeds)
            start = rng.randrange(len(other))
            data[place : place + length] = other[start : start + rng.choice((1, 16, 256, 4096))]
        elif rng.randrange(4) == 0:
            del data[place:]
    return bytes(data)


def _replace_word(rng: random.Random, data: bytearray) -> None:
    """Puts something odd in the place of a number, a text or a word."""
    words = list(re.finditer(rb'"[^"\n]*"|-?[\d.]+|\w+', data[:200_000]))
    if words:
        word = rng.choice(words)
        data[word.start() : word.end()] = rng.choice((*ODD, rng.choice(words)[0]))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))

"""A process for each contender of a benchmark, asked in lines of JSON, and environments made for those whose packages exclude others."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

PATIENCE = 900  # seconds that an answer may take
LEAVE = 10  # seconds that a process may take to end
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class Lost(Exception):
    """A contender that cannot be had, or that answers no more; the message says why."""


class Process:
    """A running contender.

    Args:
        command: what starts it. It answers each line of JSON that it reads with one, after a first one about itself.
        cores: it is kept on the first so many cores, with as many threads.
        environment: variables beside those of this process.

    Attributes:
        facts: what it said of itself.

    Raises:
        Lost: if it does not start.
    """

    def __init__(self, command: list[str], cores: int, **environment: str):
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        environment = os.environ | dict.fromkeys(THREADS, str(cores)) | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment
        with on_cores(cores):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True, env=environment
            )
        self.facts = self._next_line()

    def ask(self, **request) -> dict:
        """What it answers.

        Raises:
            Lost: if it died or is silent.
        """
        with contextlib.suppress(BrokenPipeError):  # what it died of is read below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._next_line()

    def close(self):
        """Ends the process: by itself, so that it ends what it started, or else at once."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(LEAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _next_line(self) -> dict:
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            self.close()
            raise Lost(f"it did not answer for {PATIENCE} s")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._stderr.seek(0)
            said = self._stderr.read().strip().splitlines()
            self.close()
            raise Lost(said[-1].removeprefix("smtn_keras.errors.UserError: ") if said and code > 0 else f"its process ended with {code}")
        return json.loads(line)


@contextlib.contextmanager
def on_cores(count: int, first: int = 0):
    """Keeps this thread, and so the processes that it starts, on so many cores from the first on; where a system cannot, nothing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[first : first + count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def cores_here() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def interpreter(requirements: Path, cache: Path) -> list[str]:
    """A Python with exactly these packages, as a command; made in a folder of `cache` if it was not yet.

    Raises:
        Lost: if they cannot be installed.
    """
    folder = cache / f"{requirements.stem}-{sys.version_info.major}.{sys.version_info.minor}"
    python, whole = folder / "bin" / "python", folder / "installed.txt"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        # written last, so that a folder without it, or of other packages, is made anew
        if not (whole.is_file() and whole.read_text() == requirements.read_text()):
            print(f"installing {requirements.stem} into {folder}", file=sys.stderr)
            _run(sys.executable, "-m", "venv", "--clear", folder)
            _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", requirements)
            whole.write_text(requirements.read_text())
    return [str(python), "-E"]  # -E: this process' own PYTHONPATH is not for it


def _run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise Lost(f"it could not be installed: {errors[-1].removeprefix('ERROR: ') if errors else f'pip ended with {done.returncode}'}")

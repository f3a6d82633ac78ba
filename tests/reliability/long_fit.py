"""`fit` for a long time: `python tests/reliability/long_fit.py --help`.

A training of drawn faces runs until it is told to end; its memory, with that of the processes that it starts, must stay flat.
"""

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import MOST_GROWTH, growth, resident_mb

FACES = 1200  # drawn; an epoch of the small preset on them takes seconds
EPOCHS = 1_000_000  # more than there is time for
SAMPLES = 300  # of memory
WARM_UP = 0.2
PATIENCE = 600  # seconds to prepare, or to end
LAST_WORDS = "training ended by SIGTERM"


def measure(minutes: float, seed: int, folder: Path) -> list[dict]:
    """Trains the small preset for so long in a process of its own, then ends it by SIGTERM, and says what went wrong.

    Args:
        minutes: from the first epoch's end on.
        seed: of the training.
        folder: an empty one.

    Returns:
        Rows with `what`, `tried`, `faults`, `worst_seconds` (from one epoch's end to the next), `peak_mb` and `note`; None where there is nothing to say.
    """
    data, run = str(folder / "data"), folder / "run"
    with open(folder / "said.txt", "w") as said:
        prepare = [sys.executable, "-m", "smtn_keras.prepare", "synthetic", "--samples", str(FACES), "--data-dir", data]
        subprocess.run(prepare, check=True, stdout=said, stderr=said, timeout=PATIENCE)
        fit = [sys.executable, "-m", "smtn_keras.fit", "--stage", "1", "--preset", "small", "--data", "synthetic", "--data-dir", data]
        settings = ["--run", str(run), "--seed", str(seed), "--epochs", str(EPOCHS)]
        with subprocess.Popen([*fit, *settings], stdout=said, stderr=said) as child:
            try:
                samples, ends = _watch(child, run / "history.csv", 60 * minutes)
                code = child.poll()  # not None: it ended by itself
            finally:
                child.send_signal(signal.SIGTERM)
                ended = _wait(child)
    grown, peak = growth(samples, WARM_UP), round(np.nanmax(samples)) if samples else None
    gap = round(max((later - sooner for sooner, later in itertools.pairwise(ends)), default=0), 1)
    [last] = (folder / "said.txt").read_text().strip().splitlines()[-1:] or [""]
    rows = [
        ("runs until it is ended", code is not None, gap, None, f"{len(ends)} epochs in {minutes:g} minutes" if code is None else last),
        ("memory flat after a fifth", not grown <= MOST_GROWTH, None, peak, f"it grew by {grown:.1%} over {len(samples)} samples"),
        ("ends when told to", ended != 2 or LAST_WORDS not in last, None, None, f"its exit code was {ended}"),
    ]
    keys = ("what", "tried", "faults", "worst_seconds", "peak_mb", "note")
    return [dict(zip(keys, (f"fit: {what}", 1, int(fault), *more), strict=True)) for what, fault, *more in rows]


def _watch(child: subprocess.Popen, history: Path, seconds: float) -> tuple[list[float], list[float]]:
    """Memory in MB, evenly over the time from the first epoch's end on, and when each epoch ended; less if the process ends."""
    began = time.monotonic()
    while not history.exists() and child.poll() is None and time.monotonic() - began < PATIENCE:
        time.sleep(0.2)
    began, written = time.monotonic(), None
    samples, ends = [], []
    while child.poll() is None and (now := time.monotonic() - began) < seconds:
        if history.exists() and (modified := history.stat().st_mtime_ns) != written:
            written = modified
            ends.append(now)
        if now >= len(samples) * seconds / SAMPLES:
            samples.append(resident_mb(child.pid))
        time.sleep(min(0.2, seconds / SAMPLES))
    return samples, ends


def _wait(child: subprocess.Popen) -> int | None:
    """The exit code; None if it had to be killed."""
    try:
        return child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for row in measure(asked.minutes, asked.seed, Path(work)):
            print(json.dumps(row))

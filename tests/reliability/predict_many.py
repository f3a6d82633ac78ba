"""`predict` over many pictures of which one in a hundred is broken: `python tests/reliability/predict_many.py --help`.

Each broken one must be named once, the others answered, the exit code must be 2, and memory must stay flat.
"""

import argparse
import collections
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from memory import MOST_GROWTH, growth, resident_mb

from smtn_keras.data.synthetic import draw_face

DRAWN = 60  # different faces; the rest are copies of them in other sizes
SIDES = (64, 400)  # pixels of the pictures' shorter side
ONE_IN = 100  # pictures is broken
SAMPLES = 200  # of memory
WARM_UP = 0.1
BREAKS = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "filled with zeros": lambda data: data[: len(data) // 2] + bytes(len(data) // 2),
    "a web page": lambda data: b"<!doctype html><title>404</title>",
    "no header": lambda data: data[200:],
    "noise": lambda data: data[:2] + np.random.default_rng(len(data)).bytes(len(data) - 2),
}


def measure(count: int, seed: int, folder: Path, detect: bool = False) -> list[dict]:
    """Draws pictures into a folder, asks the shipped mobile model about them in a process of its own, and says what went wrong.

    Args:
        count: pictures.
        seed: of the pictures, and of which are broken.
        folder: an empty one.
        detect: find faces first. A picture without one that is found is answered if that is said of it.

    Returns:
        Rows with `what`, `tried`, `faults`, `worst_seconds` (from one answer to the next), `peak_mb` and `note`; None where there is nothing to say.
    """
    broken = make_pictures(count, seed, folder / "pictures")
    command = [sys.executable, "-m", "smtn_keras.predict", str(folder / "pictures"), "--json", *([] if detect else ["--no-detect"])]
    answers, samples, worst, last = collections.Counter(), [], 0.0, None
    began = time.perf_counter()
    with open(folder / "stderr.txt", "w+") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as child:
        for number, line in enumerate(child.stdout):
            now = time.perf_counter()
            worst, last = max(worst, now - (last or now)), now
            answers[Path(json.loads(line)["image"]).name] += 1
            if number % max(1, count // SAMPLES) == 0:
                samples.append(resident_mb(child.pid))
        code = child.wait()
        stderr.seek(0)
        named, faceless = _named(stderr.read())
    good = {f"{i:06d}.jpg" for i in range(count)} - set(broken)
    wrong = [name for name in broken if named[name] != 1 or answers[name]]
    answered = {name for name in good if answers[name] + faceless[name] == 1 or (detect and answers[name])}
    grown, peak = growth(samples, WARM_UP), round(np.nanmax(samples)) if samples else None
    rate = f"{count / (time.perf_counter() - began):.0f} pictures a second"
    unsaid = "; ".join(sorted({broken[name] for name in wrong}))
    rows = [
        ("broken pictures named once", len(broken), len(wrong), None, None, f"not these: {unsaid}" if wrong else "; ".join(BREAKS)),
        ("others answered", len(good), len(good - answered), round(worst, 2), None, f"{rate}; in {faceless.total()} no face was found"),
        ("others not named", len(good), len(set(named) - set(broken)), None, None, ""),
        ("exit code 2", 1, code != 2, None, None, f"it was {code}"),
        ("memory flat after a tenth", 1, not grown <= MOST_GROWTH, None, peak, f"it grew by {grown:.1%}"),
    ]
    keys = ("what", "tried", "faults", "worst_seconds", "peak_mb", "note")
    command = f"predict{'' if detect else ' --no-detect'}"
    return [dict(zip(keys, (f"{command}: {what}", tried, int(faults), *more), strict=True)) for what, tried, faults, *more in rows]


def make_pictures(count: int, seed: int, folder: Path) -> dict[str, str]:
    """Writes drawn faces of several sizes as JPEGs; returns how the broken ones are broken, by name."""
    rng = np.random.default_rng(seed)
    faces = [draw_face(seed, i)[0][..., ::-1] for i in range(min(count, DRAWN))]
    shorter = np.geomspace(*SIDES, 7)
    bad = rng.choice(count, math.ceil(count / ONE_IN), replace=False).tolist()
    kinds = {number: list(BREAKS)[i % len(BREAKS)] for i, number in enumerate(bad)}
    folder.mkdir(parents=True)
    for i in range(count):
        face = faces[i % len(faces)]
        times = shorter[rng.integers(len(shorter))] / min(face.shape[:2])
        data = cv2.imencode(".jpg", cv2.resize(face, None, fx=times, fy=times))[1].tobytes()
        (folder / f"{i:06d}.jpg").write_bytes(BREAKS[kinds[i]](data) if i in kinds else data)
    return {f"{i:06d}.jpg": kind for i, kind in kinds.items()}


def _named(said: str) -> tuple[collections.Counter, collections.Counter]:
    """How often each file was named as one that cannot be used, and as one without a face."""
    errors = [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
    names = [(Path(error.partition(": expected ")[0]).name, "found none" in error) for error in errors]
    return collections.Counter(name for name, faceless in names if not faceless), collections.Counter(name for name, none in names if none)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detect", action="store_true", help="find faces first")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for row in measure(asked.count, asked.seed, Path(work), asked.detect):
            print(json.dumps(row))

"""Experiments on what smtn_keras survives: `python tests/reliability/run.py [NAME...]`

Prints Markdown tables, and saves them if asked to.
"""

import dataclasses
import datetime
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import tyro

from smtn_keras.errors import UserError, clean_exit
from smtn_keras.report import check_markers, insert

EXPERIMENTS = {  # each a file beside this one with a function `measure`; and of how much by itself
    "kills": (50, "kills"),
    "full_disk": (15, "disks"),
    "fuzz": (100_000, "inputs"),
    "predict_many": (20_000, "pictures"),
    "long_fit": (30, "minutes"),
}
HEAD = ["", "tried", "faults", "at worst, s", "MB at most", ""]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to try."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...")] = tuple(EXPERIMENTS)
    """The experiments; by itself all."""
    count: int | None = None
    """How many kills, disks, inputs, pictures or minutes; by itself 50, 15, 100000, 20000 and 30."""
    seed: int = 0
    """Of the moments, sizes and inputs."""
    out: str | None = None
    """A folder for NAME.json."""
    into: str | None = None
    """A Markdown file whose lines between '<!-- NAME: begin -->' and '<!-- NAME: end -->' are replaced by each table."""

    def __post_init__(self):
        for name in self.names:
            if name not in EXPERIMENTS:
                raise UserError(f"NAME: expected some of {', '.join(EXPERIMENTS)}, got '{name}'; check the name")
            if self.into:
                check_markers(Path(self.into), name)


def main(argv: list[str] | None = None):
    """Command line; exit code 1 if there was a fault."""
    with clean_exit():
        settings = tyro.cli(Settings, args=argv, prog="python tests/reliability/run.py", description=__doc__)
        if sum(run(settings, name) for name in settings.names):
            sys.exit(1)


def run(settings: Settings, name: str) -> int:
    """One experiment; returns how many faults it found."""
    from smtn_keras import runs
    from smtn_keras.tables import table

    sys.path.append(str(Path(__file__).parents[1]))  # what tests share
    usual, unit = EXPERIMENTS[name]
    count, began = settings.count or usual, time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        rows = importlib.import_module(name).measure(count, settings.seed, Path(work))
    hours, made = (time.monotonic() - began) / 3600, datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    command = f"python tests/reliability/run.py {name} --count {count} --seed {settings.seed}"
    cells = [
        [*("-" if row[key] is None else str(row[key]) for key in ("what", "tried", "faults", "worst_seconds", "peak_mb")), row["note"]]
        for row in rows
    ]
    text = (
        f"{table(HEAD, cells)}\n\n`{command}`: {count} {unit}, seed {settings.seed}, {made[:10]}, {hours:.2f} hours on {runs.processor()}."
    )
    print(text)
    if settings.out:
        Path(settings.out).mkdir(parents=True, exist_ok=True)
        record = {"made": made, "command": command, "hours": hours, "environment": runs.environment(), "rows": rows}
        runs.write(Path(settings.out) / f"{name}.json", json.dumps(record, indent=2) + "\n")
    if settings.into:
        insert(Path(settings.into), name, text)
    return sum(row["faults"] for row in rows)


if __name__ == "__main__":
    main()

"""Contenders that take turns, so that other work on the machine slows all alike, and what their times come to."""

import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from process import Lost, Process, cores_here

HERE = Path(__file__).parent
LEAST = 3  # rounds at least, or there is no median to speak of


@dataclasses.dataclass
class Contender:
    """One of a benchmark, and what was found of it.

    Attributes:
        name: of its row.
        module: of this folder, whose function `contender` is called in a process of its own.
        arguments: of that function.
        environment: variables of its process.
        cores: on how many it is kept; None for all that are here.
        facts: what it said of itself.
        seconds: by what was timed, the times of all rounds.
        peak_mb: the most memory that its process has had in use.
        not_measured: why it, or a part of it, was not measured.
    """

    name: str
    module: str
    arguments: dict
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    cores: int | None = None
    facts: dict = dataclasses.field(default_factory=dict)
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    peak_mb: float | None = None
    not_measured: str | None = None

    def start(self) -> Process:
        """Its process, set up and warm.

        Raises:
            Lost: if it cannot be had.
        """
        command = [sys.executable, str(HERE / "contender.py"), self.module, json.dumps(self.arguments)]
        process = Process(command, self.cores or cores_here(), **self.environment)
        self.facts = process.facts
        return process

    def median(self, what: str = "step") -> float | None:
        """The median seconds of what was timed; None if it was not."""
        return median(self.seconds[what]) if self.seconds.get(what) else None

    def spread(self, what: str = "step") -> tuple[float, float] | None:
        """The quartiles around it."""
        taken = self.seconds.get(what, [])
        return tuple(quantiles(taken, n=4)[::2]) if len(taken) > 1 else None


def take_turns(contenders: list[Contender], seconds: float, rounds: int | None = None, **request):
    """Starts all, and asks each in every round; an answer's `seconds` are lists of times by what was timed.

    One that is lost, or was not there, keeps the reason and does not stop the others.

    Args:
        seconds: after these no new round begins, but for the first `LEAST`.
        rounds: exactly so many, however long they take.
    """
    running = []
    for contender in contenders:
        print(f"starting {contender.name}", file=sys.stderr)
        try:
            running.append((contender, contender.start()))
        except Lost as error:
            contender.not_measured = str(error)
    began = time.monotonic()
    for done in itertools.count():
        if done >= (rounds or LEAST) and (rounds or time.monotonic() - began > seconds):
            break
        for one in list(running):
            contender, process = one
            try:
                answer = process.ask(**request)
            except Lost as error:
                contender.not_measured = f"when timed, {error}"
                running.remove(one)
                continue
            contender.peak_mb = answer["peak_mb"]
            for what, taken in answer["seconds"].items():
                contender.seconds.setdefault(what, []).extend(taken)
        if not running:
            break
    for contender, process in running:
        process.close()
        print(f"{contender.name}: {', '.join(f'{what} {contender.median(what):.4g} s' for what in contender.seconds)}", file=sys.stderr)


def table_row(names: list[str], one: Contender, cells: list[str] | None, count: int) -> list[str]:
    """A row of a table: its names, so many cells, or the reason for having none."""
    return [*names, *(cells or ["-"] * count), "" if cells else f"not measured: {one.not_measured}"]

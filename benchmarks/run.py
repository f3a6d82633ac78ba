"""How fast smtn_keras is on this machine, and how far from what the machine can do: `python benchmarks/run.py [NAME...]`

Every figure is taken in processes of their own that take turns. Prints Markdown tables, saves them if asked to, and compares the ratios, which
mean something on other machines too, with those of a baseline.
"""

import dataclasses
import datetime
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from smtn_keras.errors import UserError, clean_exit
from smtn_keras.report import check_markers, insert

HERE = Path(__file__).parent
BENCHMARKS = {  # each a file of speed/ with a function `measure`
    "train_step": "train_step",
    "input": "inputs",
    "predict": "predict",
    "prepare": "prepare",
    "startup": "startup",
    "fit_loop": "fit_loop",
    "hosts": "hosts",
    "grouped": "grouped",
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What to measure."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...")] = tuple(BENCHMARKS)
    """The benchmarks; by itself all."""
    only: tuple[str, ...] = ()
    """train_step: only networks whose names contain one of these words, such as 'width 1'; what --out has of others stays in its table."""
    frameworks: tuple[str, ...] = ("tensorflow", "torch", "jax")
    """train_step: whose steps are compared; one that is not installed leaves rows that say so."""
    seconds: float = 30
    """After so many no new round begins, once three are done: of each network, model or setting."""
    rounds: int | None = None
    """Exactly so many rounds."""
    quick: bool = False
    """Small networks, few pictures and one round, to see that all works; no figure is worth anything, and none is compared."""
    data: str | None = None
    """A prepared data set for the input; by itself drawn faces."""
    data_dir: str = "data"
    """The folder into which `smtn_keras.prepare` wrote it."""
    run: str | None = None
    """A run's folder for the predictions; by itself an untrained network of the preset small."""
    out: str | None = None
    """A folder for NAME.json (all times, settings, versions, processor and commit) and NAME.md."""
    into: str | None = None
    """A Markdown file whose lines between '<!-- NAME: begin -->' and '<!-- NAME: end -->' are replaced by each table."""
    baseline: str = os.path.relpath(HERE / "baseline.json")
    """The ratios to compare with."""
    check: bool = False
    """End with exit code 1 if a ratio is more than 20 % worse than the baseline's."""
    save_baseline: bool = False
    """Write the ratios measured into the baseline, beside its others."""

    def __post_init__(self):
        for flag, given, known in (("NAME", self.names, BENCHMARKS), ("--frameworks", self.frameworks, ("tensorflow", "torch", "jax"))):
            for name in given:
                if name not in known:
                    raise UserError(f"{flag}: expected some of {', '.join(known)}, got '{name}'; check the name")
        if self.seconds < 0 or (self.rounds is not None and self.rounds < 1):
            raise UserError(f"--seconds and --rounds: expected positive numbers, got {self.seconds} and {self.rounds}")
        if self.out and Path(self.out).exists() and not Path(self.out).is_dir():
            raise UserError(f"--out {self.out}: expected a folder, got a file; name another")
        if self.into:
            for name in self.names:
                check_markers(Path(self.into), name)  # now, and not after half an hour
        if self.quick and (self.save_baseline or self.check):
            raise UserError("--save-baseline and --check: expected a full run, got --quick; leave one out")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(RunConfig, args=argv, prog="python benchmarks/run.py", description=__doc__)
        if settings.quick and settings.rounds is None:
            settings = dataclasses.replace(settings, rounds=1)
        worse = run(settings)
        if worse and settings.check:
            sys.exit(1)


def run(settings: RunConfig) -> list[str]:
    """Measures, prints and writes all that is asked for.

    Returns:
        A sentence for each ratio that is more than 20 % worse than the baseline's.

    Raises:
        UserError: if a file cannot be read. A contender that cannot be had only leaves its row empty, but for the reason.
    """
    sys.path.insert(0, str(HERE / "speed"))
    import baseline

    known = baseline.read(Path(settings.baseline))

    from smtn_keras import backend

    backend.start()
    from smtn_keras import runs
    from smtn_keras.tables import table

    environment, ratios = runs.environment(), {}
    for name in settings.names:
        with tempfile.TemporaryDirectory() as work:
            result = importlib.import_module(BENCHMARKS[name]).measure(settings, Path(work))
        ratios |= {f"{name}: {key}": ratio for key, ratio in result["ratios"].items()}
        made = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        text = "\n\n".join([table(result["head"], result["rows"]), result["notes"], _machine(environment, made)])
        print(f"{text}\n")
        if settings.out:
            folder = Path(settings.out)
            folder.mkdir(parents=True, exist_ok=True)
            everything = {"made": made, "environment": environment, "settings": dataclasses.asdict(settings), **result}
            runs.write(folder / f"{name}.json", json.dumps(everything) + "\n")  # thousands of times, for programs
            runs.write(folder / f"{name}.md", text + "\n")
        if settings.into:
            insert(Path(settings.into), name, text)
    compared = {} if settings.quick else {name: ratio for name, ratio in ratios.items() if name in known}
    worse = baseline.worse(compared, known)
    of_all = f"{len(worse)} of {len(compared)} ratios are over 20 % worse than in {settings.baseline}"
    print("\n".join([of_all, *worse]), file=sys.stderr)
    if settings.save_baseline:
        baseline.save(Path(settings.baseline), known, ratios, environment)
    return worse


def _machine(environment: dict, made: str) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items() if version)
    return f"{environment['processor']}, {environment['cores']} cores, Python {environment['python']}, {versions}; {made[:10]}."


if __name__ == "__main__":
    main()

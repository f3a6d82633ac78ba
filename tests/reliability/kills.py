"""Commands that are killed at random moments, and run again until they are done: is anything lost, or other than without kills?"""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
KILLS_A_ROUND = 3  # then a command may come to its end, and what it made is compared
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
NETWORK = ("--image-size", "32", "--width", "0.06", "--dtype", "float32")


@dataclasses.dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        name: for the table.
        first: its module and flags.
        again: what a user runs after a kill that left something; None if nothing is left to do where the output is there.
        out: what it makes.
        check: whether that is whole, or absent, after a kill.
        same: compares it with what an unbroken one has made; raises AssertionError.
        backend: of Keras.
    """

    name: str
    first: list[str]
    again: list[str] | None
    out: Path
    check: Callable[[Path], None]
    same: Callable[[Path, Path], None]
    backend: str = "tensorflow"

    @property
    def next(self) -> list[str] | None:
        """What a user runs now."""
        return self.again if self.out.exists() else self.first

    def start(self, arguments: list[str], log: Path) -> subprocess.Popen:
        environment = os.environ | {"KERAS_BACKEND": self.backend, "PYTHONPATH": str(HERE.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with log.open("w") as lines:
            return subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=lines, stderr=subprocess.STDOUT)


def measure(count: int, seed: int, folder: Path, names: tuple[str, ...] | None = None) -> list[dict]:
    """Kills commands `count` times in all, each of them in turn.

    Args:
        names: only these commands.

    Returns:
        A row for each command: `tried` kills, `faults` (a file that is neither whole nor absent, a traceback, a result that differs), and
        `worst_seconds`, the most that a kill lost of a training.
    """
    rng = np.random.default_rng(seed)
    makers = [make for make in (prepare, fit_1, fit_2, fit_jax, export, compare, report) if names is None or make.__name__ in names]
    rows = []
    for i, make in enumerate(makers):
        rows.append(_kill(make, count // len(makers) + (i < count % len(makers)), rng, folder))
        print(rows[-1], flush=True)
    return rows


def _kill(make, count: int, rng, folder: Path) -> dict:
    reference = make(folder, "unbroken")
    began = time.monotonic()
    finish(reference, folder)
    duration = time.monotonic() - began
    kills, faults, lost, rounds = 0, [], 0.0, 0
    while kills < count:
        rounds += 1
        command = make(folder, f"round{rounds}")
        for _ in range(min(KILLS_A_ROUND, count - kills)):
            if not command.next:
                break
            running = command.start(command.next, folder / "log")
            began, moment = time.monotonic(), rng.uniform(0.02, 1.0) * duration
            try:
                if code := running.wait(moment):  # it came to its end
                    faults.append(f"exit {code}: {(folder / 'log').read_text()[-300:]}")
                break
            except subprocess.TimeoutExpired:
                number = SIGNALS[rng.integers(len(SIGNALS))]
                running.send_signal(number)
                running.wait(120)
            kills += 1
            lost = max(lost, _lost(command.out))
            faults += faults_of(command.check, command.out, log=folder / "log", what=f"{signal.Signals(number).name} after {moment:.1f} s")
        else:
            finish(command, folder)
        faults += faults_of(command.same, command.out, reference.out, log=folder / "log", what="in the end")
    note = "; ".join(faults) or f"{rounds} times to the end, the same as unbroken"
    return {"what": reference.name, "tried": kills, "faults": len(faults), "worst_seconds": round(lost, 1), "peak_mb": None, "note": note}


def _lost(run: Path) -> float:
    """Seconds of a training since its last checkpoint, or since it began."""
    kept = [file.stat().st_mtime for name in ("config.json", "last.keras") if (file := run / name).is_file()]
    return time.time() - max(kept) if kept else 0.0


def finish(command: Command, folder: Path):
    if command.next and (code := command.start(command.next, folder / "log").wait()):
        raise RuntimeError(f"{command.name}: exit {code}: {(folder / 'log').read_text()[-2000:]}")


def faults_of(check, *paths: Path, log: Path, what: str) -> list[str]:
    try:
        check(*paths)
        assert "Traceback" not in log.read_text(), f"a traceback: {log.read_text()[-300:]}"
        return []
    except Exception as error:
        return [f"{what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]


def _data(folder: Path) -> Path:
    """Where a small data set lies, which all trainings share."""
    from smtn_keras import prepare as preparation

    preparation.prepare("synthetic", folder / "data", samples=200)
    return folder / "data"


def _run(folder: Path, stage: int) -> Path:
    """A measured run of a stage, which others start from."""
    from smtn_keras import evaluate, fit

    run = folder / "runs" / f"stage{stage}"
    if not run.exists():
        more = NETWORK if stage == 1 else ("--from", str(_run(folder, 1)))
        fit.main(["--stage", str(stage), *more, "--epochs", "1", "--data-dir", str(_data(folder)), "--run", str(run)])
        evaluate.main(["--run", str(run), "--split", "test"])
    return run


# -- the commands ---------------------------------------------------------------------------------------


def prepare(folder: Path, name: str) -> Command:
    into = folder / name / "data"
    command = ["smtn_keras.prepare", "synthetic", "--samples", "400", "--workers", "2", "--data-dir", str(into)]
    return Command("prepare", command, command, into / "synthetic", _check_prepared, _same_prepared)


def _check_prepared(out: Path):
    from smtn_keras.data.prepared import open_prepared, prepared_folder

    if prepared_folder("synthetic", out.parent).exists():
        data = open_prepared("synthetic", out.parent)
        assert sum(len(data.targets(split)["name"]) for split in data.counts) == 400


def _same_prepared(out: Path, reference: Path):
    from smtn_keras.data.prepared import open_prepared

    ours, theirs = (open_prepared("synthetic", path.parent) for path in (out, reference))
    assert ours.counts == theirs.counts
    for split in ours.counts:
        for one, two in zip(ours.source(split), theirs.source(split), strict=True):
            assert one["image"] == two["image"] and np.array_equal(one["landmarks"], two["landmarks"])
    assert sorted(file.name for file in out.iterdir() if file.name != ".lock") == ["2.0.0"], "something is left over"


def _training(folder: Path, name: str, stage: int, backend: str = "tensorflow") -> Command:
    run = folder / name / f"stage{stage}-{backend}"
    flags = ["--epochs", "3", "--batch-size", "8", "--checkpoint-minutes", "0.01", "--data-dir", str(_data(folder)), "--run", str(run)]
    flags += ["--dropout", "0.2", "--ema", "0.9", *NETWORK] if stage == 1 else ["--from", str(_run(folder, 1))]
    what = f"fit --stage {stage}" + (" on JAX" if backend == "jax" else "")
    first = ["smtn_keras.fit", "--stage", str(stage), *flags]
    return Command(what, first, ["smtn_keras.fit", "--resume", "--run", str(run)], run, _check_run, _same_run, backend)


def fit_1(folder: Path, name: str) -> Command:
    return _training(folder, name, 1)


def fit_2(folder: Path, name: str) -> Command:
    return _training(folder, name, 2)


def fit_jax(folder: Path, name: str) -> Command:
    return _training(folder, name, 1, "jax")


def _check_run(run: Path):
    from smtn_keras import runs

    if not run.exists():
        return
    runs.check(run)
    runs.read_config(run), runs.read_tasks(run), runs.read_environment(run), runs.read_history(run)
    if (run / "last.keras").exists():
        from same import arrays

        arrays(run / "last.keras")


def _same_run(run: Path, reference: Path):
    from same import assert_same_to_the_bit

    assert_same_to_the_bit(run, reference)
    left = {file.name for file in run.iterdir()} - {file.name for file in reference.iterdir()}
    assert not left, f"left over: {left}"


def export(folder: Path, name: str) -> Command:
    out = folder / name / "exported"
    command = ["smtn_keras.export", "--run", str(_run(folder, 2)), "--out", str(out)]
    return Command("export", command, None, out, _check_export, _same_export)


def _check_export(out: Path):
    if out.exists():
        from smtn_keras.predictor import load_predictor

        load_predictor(out)
        assert {"README.md", "model.json", "model.tflite"} <= {file.name for file in out.iterdir()}


def _same_export(out: Path, reference: Path):
    assert (out / "model.tflite").read_bytes() == (reference / "model.tflite").read_bytes()
    timed = ("latency", "name")
    one, two = (json.loads((path / "model.json").read_text()) for path in (out, reference))
    assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in two.items() if k not in timed}


def compare(folder: Path, name: str) -> Command:
    out = folder / name / "comparison"
    command = ["smtn_keras.compare", "--networks", "hard_sharing", "--data", "synthetic", "--epochs", "2", "--out", str(out)]
    command += ["--data-dir", str(_data(folder)), "--samples", "64", *NETWORK[:4]]
    return Command("compare", command, command, out, _check_compared, _same_compared)


def _check_compared(out: Path):
    for run in (out / "runs").glob("*/"):
        _check_run(run)


def _same_compared(out: Path, reference: Path):
    for theirs in (reference / "runs").glob("*/"):
        _same_run(out / "runs" / theirs.name, theirs)
        ours, known = (json.loads((path / "metrics.json").read_text()) for path in (out / "runs" / theirs.name, theirs))
        assert ours == known
    assert (out / "report" / "report.html").is_file()


def report(folder: Path, name: str) -> Command:
    out = folder / name / "report"
    command = ["smtn_keras.report", *(str(_run(folder, stage)) for stage in (1, 2)), "--out", str(out)]
    return Command("report", command, command, out, _check_report, _same_report)


def _check_report(out: Path):
    page = out / "report.md"
    assert not page.is_file() or page.read_text().startswith("<!--"), "half a page"


def _same_report(out: Path, reference: Path):
    assert {file.name for file in out.iterdir()} == {file.name for file in reference.iterdir()}
    for file in reference.glob("*.csv"):
        ours, theirs = (_untimed(path) for path in (out / file.name, file))
        assert ours == theirs, f"{file.name} differs"


def _untimed(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(lines)]

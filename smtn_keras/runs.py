"""A run is a folder: config.json, data.json, environment.json, history.csv, metrics.json, best.keras, last.keras and checksums.sha256."""

import contextlib
import csv
import dataclasses
import errno
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from . import __version__, model_files, reading
from .config import Config, read_config
from .errors import UserError
from .files import alone, check, kept, whole, write  # noqa: F401
from .peers import PEERS
from .tasks import Landmarks, Task, tasks_from_json, tasks_to_json


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, read back.

    Attributes:
        model: `keras.Model` with the best weights of the run's validation part.
    """

    folder: Path
    config: Config
    tasks: tuple[Task, ...]
    model: object


def new_folder(config: Config) -> Path:
    """The folder of a new run, not yet made.

    Raises:
        UserError: if the folder named by --run is there already.
    """
    if config.run.run:
        folder = Path(config.run.run)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder}: expected a folder that does not exist yet; add --resume to go on with this run, or name another --run"
            )
        return folder
    network = "" if config.kind == Config(stage=config.stage).kind else f"{config.kind}-"
    name = f"{config.data.data}-{network}stage{config.stage}-{config.preset}"
    number = 1
    while (folder := Path(config.run.runs) / f"{name}-{number}").exists():
        number += 1
    return folder


def start(folder: Path, config: Config, data_card: dict, parameters: int | None, how: dict):
    """Makes the folder with what is known before the first step, all at once.

    Args:
        parameters: how many weights the network has; None of a method that is no network.
        how: it computes: `compute_dtype`, and of a network `jit_compile` (whether XLA compiles its step) and `hosts`.

    Raises:
        UserError: if the folder has come into being meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".partial.{folder.name}.") as work:
        beside = Path(work) / folder.name
        beside.mkdir()
        _write(beside / "data.json", json.dumps(data_card, indent=2) + "\n")
        _write(beside / "environment.json", json.dumps({"parameters": parameters} | how | environment(), indent=2) + "\n")
        _write(beside / "config.json", config.to_json())
        try:
            beside.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UserError(f"{folder}: expected to begin this run, but another training has just done so; name another --run") from None


def data_card(sets) -> dict:
    """What a model's users must know of its training data (a `Prepared` each, trained as one).

    `frame` says how the pictures of the first set were cut: their median width and height in pixels,
    and where on average the landmarks lie in [0, 1] of the sides.
    """
    data = sets[0]
    train = data.targets("train")
    shape = {
        task.name: np.round(np.nanmean(train[task.name] / train["size"][:, None], axis=0), 5).tolist()
        for task in data.tasks
        if isinstance(task, Landmarks)
    }
    return {
        "name": "+".join(part.name for part in sets),
        "licence": " ".join(dict.fromkeys(part.licence for part in sets)),
        "counts": {split: sum(part.counts[split] for part in sets) for split in data.counts},
        "frame": {"size": np.median(train["size"], axis=0).astype(int).tolist(), "mean_landmarks": shape},
        "tasks": tasks_to_json(data.tasks),
    }


def read_data_card(folder: Path) -> dict:
    """What `data_card` said of the data of a run."""
    return reading.read_entries(Path(folder) / "data.json", name=str, licence=str, counts=dict, frame=dict, tasks=list)


def read_tasks(folder: Path) -> tuple[Task, ...]:
    """The tasks that a run was trained on."""
    return tasks_from_json(read_data_card(folder)["tasks"], str(Path(folder) / "data.json"))


def read_history(folder: Path) -> list[dict[str, float]]:
    """The finished epochs of a run, oldest first."""
    file = Path(folder) / "history.csv"
    if not file.is_file():
        return []
    try:
        lines = reading.read_bytes(file, reading.MAX_JSON).decode().splitlines()
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines, strict=True)]
        if not all("epoch" in row and math.isfinite(row["epoch"]) for row in rows):
            raise ValueError("rows without an epoch")
        return rows
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{file}: expected the numbers of a run's epochs, got something else ({error}); train the run anew") from None


def as_kept(value: float) -> float:
    """A number as `history.csv` holds it, so that a resumed run compares the same ones."""
    return float(format(value, ".8g"))


def write_history(folder: Path, rows: list[dict[str, float]]):
    """Writes the epochs of a run as `history.csv`."""
    columns = list(rows[0])
    lines = [",".join(columns)] + [",".join(format(row[c], ".8g") for c in columns) for row in rows]
    _write(Path(folder) / "history.csv", "\n".join(lines) + "\n")


def newest_before(config: Config, preset: str | None = None) -> Path:
    """The newest finished run under --runs that a run of stage 2 or 3 can start from, and of a preset if one is named.

    Raises:
        UserError: if there is none; it names the command that makes one.
    """
    found = []
    for file in Path(config.run.runs).glob("*/config.json"):
        with contextlib.suppress(UserError):  # other folders may hold a config.json of their own
            other = read_config(file.parent)
            alike = other.data.data == config.data.data and preset in (None, other.preset)
            if alike and leads_to(config, other) and finished(file.parent, other):
                found.append(file.parent)
    if not found:
        stage, network = config.stage - 1, config.kind_before
        flags = f"--data {config.data.data}" + (f" --preset {preset}" if preset else "")
        if network != Config(stage=stage).kind:
            flags = f"--network {network} {flags}"
        raise UserError(
            f"--stage {config.stage}: expected a finished stage-{stage} run with {flags} under {config.run.runs}/, found none; make one with "
            f"'python -m smtn_keras.fit --stage {stage} {flags}' or name one with --from"
        )
    return max(found, key=lambda folder: (folder / "history.csv").stat().st_mtime)


def leads_to(config: Config, before: Config) -> bool:
    """Whether a run can be the one that another of stage 2 or 3 starts from, by their stages and networks."""
    whole = before.stage > 1 or before.resolved().network.branch in ("end", None)
    return before.stage == config.stage - 1 and before.kind == config.kind_before and whole


def finished(folder: Path, config: Config) -> bool:
    """Whether a run reached its last epoch and kept what it learned in it: the history is written first."""
    from . import checkpoint

    rows = read_history(folder)
    if not rows or rows[-1]["epoch"] < config.training.epochs:
        return False
    if not (folder / checkpoint.FILE).is_file():  # of a method that is trained at once, or joined
        return True
    try:
        return checkpoint.read(folder).epoch >= config.training.epochs
    except UserError:  # of an earlier version, or damaged, which whoever reads the weights says
        return True


def load(folder: str | Path, weights: str = "best.keras", dtype="float32") -> Run:
    """Reads a run and builds its network, whose dtype policy becomes the global one.

    Raises:
        UserError: if the folder is no run, has no weights yet, its weights do not fit, or a file is not what the training wrote.
    """
    import keras

    from . import networks

    folder = Path(folder)
    check(folder)
    config, tasks = read_config(folder), read_tasks(folder)
    if config.kind in PEERS:
        raise UserError(
            f"{folder}: expected a run of a network, got --network {config.kind}, which can be evaluated only; name another run"
        )
    keras.config.set_dtype_policy(dtype)
    model = networks.build(config, tasks)
    load_weights(model, folder / weights)
    return Run(folder, config, tasks, model)


def load_weights(model, file: Path):
    """Reads a `.keras` file's weights into a model.

    Raises:
        UserError: if the file is missing, is none, or holds another network.
    """
    if not file.is_file():
        raise UserError(f"{file}: expected the run's weights, found no such file; no epoch of it was finished; go on with it with --resume")
    try:
        model_files.check_keras(file)
        model.load_weights(file)
    except Exception as error:  # zipfile, h5py and Keras each raise their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{file}: expected a .keras file of this run's network, got something else ({reason}); train the run again"
        ) from None


def read_environment(folder: Path) -> dict:
    """What `start` wrote of a run's machine and versions.

    Its `parameters` are how many weights the network has, frozen ones and statistics included; None of a method that is no network.
    """
    return reading.read_entries(Path(folder) / "environment.json", parameters=int | None)


def write_events(folder: Path, rows: list[dict[str, float]]):
    """Writes the epochs of a run for TensorBoard, all of them each time, so that a resumed run has none twice."""
    from tensorboardX import SummaryWriter

    time = (folder / "config.json").stat().st_mtime
    (folder / "tensorboard").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        with SummaryWriter(elsewhere) as writer:
            for row in rows:
                time += row["seconds"]
                for key, value in row.items():
                    writer.add_scalar(key, value, int(row["epoch"]), walltime=time)
        with whole(folder / "tensorboard" / "events.out.tfevents.run") as beside:
            shutil.copyfile(next(Path(elsewhere).iterdir()), beside)


def update_metrics(folder: Path, key: str, metrics: dict):
    """Adds one evaluation to `metrics.json`."""
    with kept(folder / "metrics.json") as beside:  # which nobody else adds to meanwhile
        beside.write_text(as_json(read_metrics(folder) | {key: metrics}))


def as_json(content: dict) -> str:
    """Indented, but lists of numbers on one line, or a confusion matrix takes eight."""
    return re.sub(r"\[[\s\d.,-]*\]", lambda numbers: " ".join(numbers[0].split()), json.dumps(content, indent=2)) + "\n"


def read_metrics(folder: Path) -> dict:
    """The evaluations of a run by `data/split`."""
    file = Path(folder) / "metrics.json"
    metrics = reading.read_entries(file) if file.exists() else {}
    for key, result in metrics.items():
        if not isinstance(result, dict) or not all(_is_measured(parts) for parts in result.values()):
            raise UserError(f"{file}: expected metrics of each task in '{key}', got something else; measure the run again")
    return metrics


def _is_measured(parts) -> bool:
    """Whether this is what an evaluation says of a task: metrics, mostly with floors, of which all are numbers or None, and groups."""

    def numbers(value) -> bool:
        if isinstance(value, dict | list):
            return all(map(numbers, value.values() if isinstance(value, dict) else value))
        return value is None or isinstance(value, int | float)

    if not isinstance(parts, dict) or "metrics" not in parts or not all(isinstance(part, dict) for part in parts.values()):
        return False
    return all(numbers(part) for name, part in parts.items() if name != "groups")


def _write(file: Path, text: str):
    """Writes a text file of a run."""
    with kept(file) as beside:
        beside.write_text(text)


def environment() -> dict:
    """Versions, commit, machine and command of this process."""
    import keras

    packages = ("keras", "tensorflow", "jax", "tensorflow-datasets", "grain", "numpy", "opencv-python-headless")
    versions = {"smtn_keras": __version__}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
        "backend": keras.backend.backend(),
        "devices": [str(device) for device in keras.distribution.list_devices()],
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def processor() -> str:
    """The processor's name, which `platform` knows on few systems."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return named[1] if named else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this code, if it runs from a checkout (and not from site-packages inside somebody else's)."""
    here = Path(__file__)
    for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
        try:
            answer = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
            return None
    return answer.stdout.strip()

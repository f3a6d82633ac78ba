"""Accuracy against time: which networks no other one beats in both, as a Markdown table."""

import dataclasses
from pathlib import Path
from statistics import mean

import numpy as np

from . import backend, runs
from .ablation import alike, difference
from .config import read_config
from .tables import HEADLINE, describe, headline, measured, not_measured, number, spread, table

PRESET = "dynamic"  # of the files that are timed


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network as it would run on a device.

    Attributes:
        name: its flags beside the first run's.
        score: the mean of success and accuracy over the data sets, percent.
        megabytes, milliseconds: of its LiteRT file, for one face on one thread.
        first: whether no other candidate is both faster and better.
    """

    name: str
    score: float
    megabytes: float
    milliseconds: float
    first: bool = False


def pareto(folders: tuple[str, ...], split: str = "validation") -> tuple[str, list[Candidate]]:
    """Runs by the time of a face, with those on the front in bold; runs that differ in nothing but the seed share a row.

    The files are made here, of 8-bit weights (`export --quantise dynamic`), and timed side by side on one thread; what their weights
    are makes no difference, so records without weights do.

    Returns:
        Markdown, and what it tells of, fastest first.

    Raises:
        UserError: if a run was not measured on that part.
    """
    backend.start()
    configs = {Path(folder): read_config(Path(folder)) for folder in folders}
    for folder in configs:
        if not measured(folder, split):
            raise not_measured(folder, split)
    first = next(iter(configs.values()))
    rows = list(alike(configs).values())
    files = {i: _file(of_row[0]) for i, of_row in enumerate(rows)}
    times = _milliseconds(files)
    data_sets = list(dict.fromkeys(data for folder in configs for data in measured(folder, split)))
    found = []
    for i, of_row in enumerate(rows):
        config = configs[of_row[0]]
        name = " ".join(flag for _, flag in difference(config, first)) or f"base: {describe(config)}"
        found.append((Candidate(name, mean(map(_score, of_row, [split] * len(of_row))), len(files[i]) / 1e6, times[i]), of_row))
    found.sort(key=lambda pair: pair[0].milliseconds)
    on_front = front([candidate.milliseconds for candidate, _ in found], [candidate.score for candidate, _ in found])
    found = [
        (dataclasses.replace(candidate, first=bool(first)), of_row) for (candidate, of_row), first in zip(found, on_front, strict=True)
    ]

    head = ["", "network", "ms", "MB", "score", *(f"{data} {name}" for data in data_sets for name in HEADLINE), "seeds"]
    lines = []
    for i, (candidate, of_row) in enumerate(found, 1):
        cells = [_values(of_row, split, data, name) for data in data_sets for name in HEADLINE]
        name = f"`{candidate.name}`" if candidate.name.startswith("--") else candidate.name
        numbers = [f"{candidate.milliseconds:.2f}", f"{candidate.megabytes:.2f}", f"{candidate.score:.2f}", *map(_cell, cells), len(of_row)]
        lines.append([i, *([f"**{name}**" if candidate.first else name, *numbers])])
    says = (
        f"{split.capitalize()} part, percent; of NME less is better. Flags are what a network has beside the base. Milliseconds are the median of a "
        f"face on one thread of this machine, all files in turns; files have 8-bit weights (`{PRESET}`). Score is the mean of success and accuracy "
        "over the data sets. In bold: no other is both faster and better."
    )
    return f"{says}\n\n{table(head, lines)}", [candidate for candidate, _ in found]


def front(costs, values) -> np.ndarray:
    """Which candidates no other one beats: none has a lower or equal cost and a higher or equal value, one of them strictly.

    Args:
        costs, values: `(n,)`.

    Returns:
        `(n,)` booleans.
    """
    costs, values = np.asarray(costs), np.asarray(values)
    as_good = (costs[:, None] <= costs) & (values[:, None] >= values)
    better = as_good & ((costs[:, None] < costs) | (values[:, None] > values))
    return ~better.any(axis=0)


def _file(folder: Path) -> bytes:
    """A run's untrained network as a LiteRT file."""
    import keras

    from . import litert, networks
    from .predictor import serving_model

    keras.config.set_dtype_policy("float32")
    config, tasks = read_config(folder), runs.read_tasks(folder)
    network = networks.build(config, tasks)
    return litert.quantise(litert.convert(serving_model(network, tasks, config)), PRESET, network)


def _milliseconds(files: dict[int, bytes]) -> dict[int, float]:
    from .cost import seconds_a_call

    calls = {i: _call(file) for i, file in files.items()}
    return {i: 1000 * seconds for i, seconds in seconds_a_call(calls, rounds=200).items()}


def _call(file: bytes):
    from ai_edge_litert.interpreter import Interpreter

    with backend.quiet_native_code():
        runner = Interpreter(model_content=file, num_threads=1).get_signature_runner("serving_default")
        shape = runner.get_input_details()["image"]["shape"]
        image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        runner(image=image)
    return lambda: runner(image=image)


def _score(folder: Path, split: str) -> float:
    found = [headline(result) for result in measured(folder, split).values()]
    return mean(value for of_data in found for name in ("success", "accuracy") if (value := of_data[name]) is not None)


def _values(of_row: list[Path], split: str, data: str, name: str) -> list[float | None]:
    return [headline(measured(folder, split).get(data, {}))[name] for folder in of_row]


def _cell(values: list[float | None]) -> str:
    return "-" if None in values else number(mean(values)) + spread(values)

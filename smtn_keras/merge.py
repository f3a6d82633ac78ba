"""Joins stage-2 runs of one task each into one run of all: `python -m smtn_keras.merge RUN RUN --run DIR`.

The task stacks of stage 2 share no weight that trains, so each may be trained alone (`smtn_keras.fit --stage 2 --tasks landmarks`), on
a machine of its own. The joined model answers as they do.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from . import backend, runs
from .config import Config, read_config
from .errors import UserError, clean_exit


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """Which runs, and where to."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Stage-2 runs of different tasks, with the same settings of the network, from the same stage-1 run."""
    run: str
    """The folder of the joined run, a new one. Measure it with `smtn_keras.evaluate`."""

    def __post_init__(self):
        if len(self.runs) < 2:
            raise UserError(f"RUN...: expected at least two runs, got {len(self.runs)}; name another")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(MergeConfig, args=argv, prog="python -m smtn_keras.merge", description=__doc__)
        print(f"run folder: {merge([Path(run) for run in settings.runs], Path(settings.run))}")


def merge(folders: list[Path], into: Path) -> Path:
    """Writes the joined run: the best weights of each task, and one line of history.

    Returns:
        Its folder.

    Raises:
        UserError: if the runs do not go together, or the folder is there already.
    """
    configs = [read_config(folder) for folder in folders]
    joined = configs[0].with_(data={"tasks": None}, run={"run": str(into)})
    into = runs.new_folder(joined)
    for folder, config in zip(folders, configs, strict=True):
        _check(folder, config, folders[0], joined)
    backend.start()
    from . import networks
    from .networks.weights import copy_layers

    parts = [runs.load(folder) for folder in folders]
    tasks = tuple(task for part in parts for task in part.tasks)
    if len({task.name for task in tasks}) < len(tasks):
        raise UserError(f"RUN...: expected each task in one run, got {', '.join(task.name for task in tasks)}; leave a run out")
    model = networks.build(joined, tasks)
    for layer in (layer for layer in model.layers if layer.weights):
        owners = [part for part in parts if any(layer.name == other.name for other in part.model.layers)]
        for part in owners:
            _check_same(layer.name, owners[0], part)
        copy_layers(owners[0].model, model, {layer.name: layer.name})

    cards, histories = [[read(folder) for folder in folders] for read in (runs.read_data_card, runs.read_history)]
    shape = {name: points for card in cards for name, points in card["frame"]["mean_landmarks"].items()}
    card = cards[0] | {"frame": cards[0]["frame"] | {"mean_landmarks": shape}, "tasks": [task for card in cards for task in card["tasks"]]}
    seconds = sum(row["seconds"] for rows in histories for row in rows)
    runs.start(into, joined, card, model.count_params(), {"compute_dtype": runs.read_environment(folders[0])["compute_dtype"]})
    runs.write_history(into, [{"epoch": joined.training.epochs, "seconds": seconds}])
    with runs.whole(into / "best.keras") as beside:
        model.save(beside)
    return into


def _check(folder: Path, config: Config, first: Path, joined: Config):
    """Refuses what is no finished stage-2 run of SMTN, or of another network than the first."""
    if config.stage != 2 or config.kind != "separation":
        raise UserError(f"{folder}: expected a stage-2 run of separation, got stage {config.stage} of {config.kind}; name another")
    if not runs.finished(folder, config):
        raise UserError(
            f"{folder}: expected a finished run, got one that is not; go on with it with 'smtn_keras.fit --resume --run {folder}'"
        )
    alike = {"data": (joined.data.data, config.data.data)}
    alike |= {field.name: tuple(getattr(c.network, field.name) for c in (joined, config)) for field in dataclasses.fields(joined.network)}
    for name, (ours, other) in alike.items():
        if ours != other:
            raise UserError(f"{folder}: expected the {name} of {first}, {ours}, got {other}; train one of the two again")


def _check_same(layer: str, one: runs.Run, other: runs.Run):
    """Refuses two runs that differ in a layer which both have: the shared stack."""
    import numpy as np

    ours, theirs = (run.model.get_layer(layer).get_weights() for run in (one, other))
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise UserError(
            f"{other.folder}: expected the shared stack of {one.folder}, got another one ({layer} differs); train both from one stage-1 run (--from)"
        )


if __name__ == "__main__":
    main()

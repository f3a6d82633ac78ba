"""Measures a run on a part of a data set: `python -m smtn_keras.evaluate --run RUN --split test`."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from . import backend
from .errors import UserError, clean_exit


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to measure."""

    run: str
    """The run's folder."""
    data: str | None = None
    """The data set; by itself the run's own."""
    data_dir: str | None = None
    """The folder into which `smtn_keras.prepare` wrote it; by itself the run's."""
    split: Literal["train", "validation", "test"] = "validation"
    """The part. Choose settings by validation; look at test once."""
    batch_size: int = 64
    """Pictures a step; changes the time, not the numbers."""

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"--batch-size: expected a positive number, got {self.batch_size}")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(EvaluateConfig, args=argv, prog="python -m smtn_keras.evaluate", description=__doc__)
        evaluate(settings)


def evaluate(settings: EvaluateConfig, quiet: bool = False) -> dict:
    """Measures a run, prints the table and writes `metrics.json`.

    Returns:
        For each task its `metrics` and its `floor`, as written.
    """
    backend.start()
    from . import runs
    from .data.pipeline import evaluation_batches
    from .data.prepared import open_prepared
    from .metrics import floor_metrics

    run = runs.load(settings.run)
    data = open_prepared(settings.data or run.config.data.data, settings.data_dir or run.config.data.data_dir)
    if data.tasks != run.tasks:
        raise UserError(
            f"{settings.run}: expected data with the tasks the run was trained on ('{run.config.data.data}'), got '{data.name}'; name another --data"
        )

    train, truth = data.targets("train"), data.targets(settings.split)
    batches, steps = evaluation_batches(data, settings.split, run.config.network.image_size, settings.batch_size)
    outputs = run.model.predict(batches.map(lambda batch: batch[0]), steps=steps, verbose="auto" if sys.stderr.isatty() else 0)
    for name, values in outputs.items():
        broken = int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum())
        if broken:
            raise UserError(
                f"{settings.run}: expected finite outputs, got NaN or infinity in {name} for {broken} of {len(values)} pictures; train the run again"
            )
    result = {
        task.name: {"metrics": task_metrics(task, outputs[task.name], truth), "floor": floor_metrics(task, train, truth)}
        for task in run.tasks
    }
    runs.update_metrics(Path(settings.run), f"{data.name}/{settings.split}", result)
    if not quiet:
        print(table(result))
    print(f"written: {Path(settings.run) / 'metrics.json'}")
    return result


def task_metrics(task, outputs, truth: dict) -> dict:
    """The metrics of one task from the model's outputs `(samples, ...)` and all targets."""
    import keras

    from .losses import probabilities
    from .metrics import attribute_metrics, landmark_metrics
    from .tasks import Landmarks

    if isinstance(task, Landmarks):
        return landmark_metrics(outputs, truth[task.name], truth["size"], task)
    classes = task.classes_from(keras.ops.convert_to_numpy(probabilities(outputs, task)))
    return attribute_metrics(classes, truth[task.name], task)


def table(result: dict) -> str:
    """An evaluation as text, each number beside its floor."""
    lines = []
    for name, parts in result.items():
        metrics, floor = parts["metrics"], parts["floor"]
        lines += [f"{name} ({metrics['samples']} samples)", f"{'':26}{'measured':>10}{'floor':>10}"]
        for key, value in metrics.items():
            if isinstance(value, dict) and key != "balanced_accuracy":
                head = "success " if key == "success_rate" else ""
                lines += [_line(head + item, number, floor[key][item]) for item, number in value.items()]
        lines += [_line(key.replace("_", " "), value, floor[key]) for key, value in metrics.items() if isinstance(value, float)]
        lines.append("")
    return "\n".join(lines)


def _line(name: str, value: float | None, floor: float | None) -> str:
    numbers = (f"{'-':>10}" if number is None else f"{number:>9.2f}%" for number in (value, floor))
    return f"  {name:24}" + "".join(numbers)


if __name__ == "__main__":
    main()

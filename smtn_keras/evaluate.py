"""Measures a run on a part of a data set: `python -m smtn_keras.evaluate --run RUN --split test`."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from . import backend
from .config import read_config
from .errors import UserError, clean_exit
from .tasks import Attributes


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to measure."""

    run: str
    """The run's folder."""
    data: str | None = None
    """The data set; by itself all that the run was trained on. Its points and labels are matched with the run's by name."""
    data_dir: str | None = None
    """The folder into which `smtn_keras.prepare` wrote it; by itself the run's."""
    split: Literal["train", "validation", "test"] = "validation"
    """The part. Choose settings by validation; look at test once."""
    flip: bool = False
    """Answer with the mean over each picture and its mirror image: surer, at twice the cost."""
    thresholds: bool = False
    """Say of a binary label that it is there above a threshold of its own, chosen on the validation part, and not above 0.5."""
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
    """Measures a run, prints a table for each data set and writes `metrics.json`.

    Returns:
        As written: by `data/split` (with `+flip` and `+thresholds` behind it where asked for), for each task
        of which the data set has anything its `metrics` and its `floor`.
    """
    backend.start()
    from . import runs
    from .data.prepared import open_prepared
    from .metrics import best_thresholds, floor_metrics
    from .tasks import Landmarks

    config, tasks = read_config(Path(settings.run)), runs.read_tasks(Path(settings.run))
    says = _answering(settings, config)
    results = {}
    for name in (settings.data,) if settings.data else config.data.names:
        data = open_prepared(name, settings.data_dir or config.data.data_dir).described_by(tasks)
        train, truth = data.targets("train"), data.targets(settings.split)
        outputs = _finite(says(data, settings.split), settings.run)
        if settings.thresholds:
            validation = data.targets("validation")
            tuned_on = says(data, "validation")
        result = {}
        for task in (task for task in tasks if task.name in outputs):
            thresholds = 0.5
            if settings.thresholds and isinstance(task, Attributes):
                thresholds = best_thresholds(tuned_on[task.name], validation[task.name], task)
            metrics = task_metrics(task, outputs[task.name], truth, thresholds)
            if metrics["samples"]:
                if isinstance(task, Landmarks):
                    metrics["success_by_class"] = _by_class(task, tasks, outputs[task.name], truth)
                result[task.name] = {"metrics": metrics, "floor": floor_metrics(task, train, truth)}
        if not result:
            raise UserError(
                f"{settings.run}: expected data with a point or label of the run's tasks ('{config.data.data}'), got '{name}' with none; "
                "name another --data"
            )
        key = f"{name}/{settings.split}" + "+flip" * settings.flip + "+thresholds" * settings.thresholds
        runs.update_metrics(Path(settings.run), key, result)
        results[key] = result
        if not quiet:
            print(f"{key}\n\n{table(result)}")
    print(f"written: {Path(settings.run) / 'metrics.json'}")
    return results


def _answering(settings: EvaluateConfig, config):
    """A function from a data set and a split to the run's answers, arrays by task name."""
    from . import peers, runs
    from .predictor import serving_model

    if config.kind in peers.PEERS:
        if settings.flip:
            raise UserError(f"--flip: expected a run of a network, got --network {config.kind}; leave it out")
        attributes = next(task.name for task in runs.read_tasks(Path(settings.run)) if isinstance(task, Attributes))
        return lambda data, split: {attributes: peers.answer(config.kind, settings.run, data, split)}
    run = runs.load(settings.run)
    model = serving_model(run.model, run.tasks, run.config, settings.flip)
    return lambda data, split: answers(model, data, split, settings.batch_size)


def answers(model, data, split: str, batch_size: int = 64, most: int | None = None) -> dict:
    """What a serving model answers to all pictures of a split, or to at `most` so many, arrays by task name."""
    from .data.pipeline import evaluation_batches

    batches, steps = evaluation_batches(data, split, model.input.shape[1], batch_size, most)
    return model.predict(batches.map(lambda batch: batch[0]), steps=steps, verbose="auto" if sys.stderr.isatty() and steps > 50 else 0)


def broken(outputs: dict) -> dict[str, int]:
    """For how many pictures the answers of a task are NaN or infinite, by the names of the tasks that have such."""
    counts = {name: int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum()) for name, values in outputs.items()}
    return {name: count for name, count in counts.items() if count}


def _finite(outputs: dict, run: str) -> dict:
    for name, count in broken(outputs).items():
        raise UserError(
            f"{run}: expected finite outputs, got NaN or infinity in {name} for {count} of {len(outputs[name])} pictures; train the run again"
        )
    return outputs


def task_metrics(task, outputs: np.ndarray, truth: dict, thresholds=0.5) -> dict:
    """The metrics of one task from the answers `(samples, ...)` of a serving model and all targets."""
    from .metrics import attribute_metrics, landmark_metrics
    from .tasks import Landmarks

    if isinstance(task, Landmarks):
        return landmark_metrics(outputs, truth[task.name], truth["size"], task)
    return attribute_metrics(task.classes_from(outputs, thresholds), truth[task.name], task)


def _by_class(task, tasks, outputs, truth: dict) -> dict:
    """The metrics of landmarks for each class of the categorical labels that the data set has, such as the head's pose."""
    from .metrics import landmark_metrics_by
    from .tasks import MISSING, Attributes

    columns = [
        (label, truth[labels.name][:, labels.binary_count + i])
        for labels in tasks
        if isinstance(labels, Attributes)
        for i, label in enumerate(labels.categorical)
    ]
    return {
        label.name: landmark_metrics_by(outputs, truth[task.name], truth["size"], task, classes, label)
        for label, classes in columns
        if (classes != MISSING).any()
    }


def table(result: dict) -> str:
    """An evaluation as text, each number beside its floor; labels that the data set lacks are left out."""
    lines = []
    for name, parts in result.items():
        metrics, floor = parts["metrics"], parts["floor"]
        lines += [f"{name} ({metrics['samples']} samples)", f"{'':26}{'measured':>10}{'floor':>10}"]
        for key, value in metrics.items():
            if key in ("success_rate", "accuracy"):
                head = "success " if key == "success_rate" else ""
                lines += [_line(head + item, number, floor[key][item]) for item, number in value.items() if number is not None]
        lines += [_line(key.replace("_", " "), value, floor[key]) for key, value in metrics.items() if isinstance(value, float)]
        lines.append("")
    return "\n".join(lines)


def _line(name: str, value: float, floor: float) -> str:
    return f"  {name:24}{value:>9.2f}%{floor:>9.2f}%"


if __name__ == "__main__":
    main()

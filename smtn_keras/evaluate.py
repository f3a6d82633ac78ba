"""Measures a run, or an exported file, on a part of a data set: `python -m smtn_keras.evaluate --run RUN --split test`."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from . import backend
from .config import DataConfig, read_config
from .errors import UserError, clean_exit
from .tasks import Attributes, Task


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to measure."""

    run: str | None = None
    """The run's folder."""
    model: str | None = None
    """In the place of a run: an exported folder or its .tflite file; the numbers are read from the file and written into its card."""
    data: str | None = None
    """The data set; by itself all that the run was trained on. Its points and labels are matched with the run's by name."""
    data_dir: str | None = None
    """The folder into which `smtn_keras.prepare` wrote it; by itself the run's, for an exported file data."""
    split: Literal["train", "validation", "test"] = "validation"
    """The part. Choose settings by validation; look at test once."""
    flip: bool = False
    """Answer with the mean over each picture and its mirror image: surer, at twice the cost."""
    by: tuple[str, ...] = ()
    """Labels of the data set, such as Male: what the model is worth for each of their classes, and the gaps between them."""
    calibrate: bool = False
    """Fit a temperature for the probabilities on the validation part, and tell how far they are off with it; `export --calibrate` builds it in."""
    thresholds: bool = False
    """Say of a binary label that it is there above a threshold of its own, chosen on the validation part, and not above 0.5."""
    batch_size: int = 64
    """Pictures a step; changes the time, not the numbers."""

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"--batch-size: expected a positive number, got {self.batch_size}")
        if (self.run is None) == (self.model is None):
            raise UserError(f"expected either --run or --model, got {'neither' if self.run is None else 'both'}; name one")
        if self.model and self.flip:
            raise UserError("--flip: expected a run, got --model; an exported file answers for the mirror image too, or does not")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(EvaluateConfig, args=argv, prog="python -m smtn_keras.evaluate", description=__doc__)
        evaluate(settings)


Says = Callable[[object, str], dict[str, np.ndarray]]  # from a data set and a split to arrays by task name


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What is measured: a run or an exported file."""

    tasks: tuple[Task, ...]
    data: str
    data_dir: str
    says: Says
    keep: Callable[[str, dict], None]  # writes one evaluation
    file: Path  # to which it is written


def evaluate(settings: EvaluateConfig, quiet: bool = False) -> dict:
    """Measures a run, or an exported file, prints a table for each data set and writes `metrics.json`, or the file's card.

    Returns:
        By `data/split` (with `+flip` and `+thresholds` behind it where asked for) what `measure` returns.
    """
    backend.start()
    from . import certainty, groups
    from .data.prepared import open_prepared
    from .tables import by_group

    subject = _run(settings) if settings.run else _exported(settings)
    names = (settings.data,) if settings.data else subject.data.split("+")
    sets = {name: open_prepared(name, settings.data_dir or subject.data_dir) for name in names}
    by = {name: {label: groups.members(label, data, settings.split) for label in settings.by} for name, data in sets.items()}
    temperature = temperature_of(subject.says, subject.tasks, list(sets.values())) if settings.calibrate else None
    results = {}
    for name, data in sets.items():
        result = measure(
            subject.says,
            subject.tasks,
            data,
            settings.split,
            settings.thresholds,
            by=by[name],
            temperature=temperature,
            who=settings.run or settings.model,
        )
        if not result:
            raise UserError(
                f"{settings.run or settings.model}: expected data with a point or label of the run's tasks ('{subject.data}'), got '{name}' "
                "with none; name another --data"
            )
        key = f"{name}/{settings.split}" + "+flip" * settings.flip + "+thresholds" * settings.thresholds
        subject.keep(key, result)
        results[key] = result
        if not quiet:
            blocks = [*certainty.sentences(result), *by_group(result)]
            print(f"{key}\n\n{table(result)}", *(f"{block}\n" for block in blocks), sep="\n")
    print(f"written: {subject.file}")
    return results


def measure(
    says: Says,
    tasks: tuple[Task, ...],
    data,
    split: str,
    thresholds: bool = False,
    by: dict[str, dict] | None = None,
    temperature: float | None = None,
    who: str = "the model",
) -> dict:
    """The metrics of what a model says of a part of a data set (`Prepared`).

    Args:
        tasks: the model's; those of the data set are matched with them by name.
        thresholds: choose those of binary labels on the validation part.
        by: by label of the data set what `groups.members` returns.
        temperature: of the probabilities, to tell how far they are off with it.
        who: what a user calls the model.

    Returns:
        For each task of which the data set has anything its `metrics` and its `floor`, and with labels in `by` its `groups` by them.
    """
    from .calibration import calibration, confidence
    from .contradictions import contradictions
    from .groups import attribute_groups, landmark_groups
    from .metrics import best_thresholds, floor_metrics
    from .tasks import Landmarks

    data = data.described_by(tasks)
    train, truth = data.targets("train"), data.targets(split)
    outputs = _finite(says(data, split), who)
    if short := {name: len(values) for name, values in outputs.items() if len(values) != data.counts[split]}:
        raise RuntimeError(f"{who}: expected an answer for each of the {data.counts[split]} pictures of the {split} part, got {short}")
    tuned_on = says(data, "validation") if thresholds else None
    result = {}
    for task in (task for task in tasks if task.name in outputs):
        answer, threshold = outputs[task.name], 0.5
        if thresholds and isinstance(task, Attributes):
            threshold = best_thresholds(tuned_on[task.name], data.targets("validation")[task.name], task)
        metrics = task_metrics(task, answer, truth, threshold)
        if not metrics["samples"]:
            continue
        if isinstance(task, Landmarks):
            measured = answer, truth[task.name], truth["size"], task
            metrics["success_by_class"] = _by_class(task, tasks, answer, truth)
            if (error := f"{task.name}_error") in outputs:
                metrics["confidence"] = confidence(outputs[error], *measured)
            of_groups = {label: landmark_groups(*measured, group) for label, group in (by or {}).items()}
        else:
            classes = task.classes_from(answer, threshold)
            metrics["calibration"] = calibration(answer, truth[task.name], task, temperature)
            metrics["contradictions"] = contradictions(classes, truth[task.name], train[task.name], task)
            of_groups = {label: attribute_groups(classes, truth[task.name], task, group) for label, group in (by or {}).items()}
        result[task.name] = {"metrics": metrics, "floor": floor_metrics(task, train, truth)} | ({"groups": of_groups} if by else {})
    return result


def temperature_of(says: Says, tasks: tuple[Task, ...], sets: list) -> float:
    """The temperature that suits the probabilities of the validation parts of all data sets (`Prepared`) best."""
    from .calibration import best_temperature

    answers = []
    for data in (data.described_by(tasks) for data in sets):
        outputs, truth = says(data, "validation"), data.targets("validation")
        answers += [(task, outputs[task.name], truth[task.name]) for task in tasks if isinstance(task, Attributes) and task.name in outputs]
    return best_temperature(answers)


def _run(settings: EvaluateConfig) -> _Subject:
    from . import peers, runs
    from .predictor import serving_model

    folder = Path(settings.run)
    runs.check(folder)
    config, tasks = read_config(folder), runs.read_tasks(folder)
    if config.kind in peers.PEERS:
        if settings.flip:
            raise UserError(f"--flip: expected a run of a network, got --network {config.kind}; leave it out")
        attributes = next(task.name for task in tasks if isinstance(task, Attributes))

        def says(data, split):
            return {attributes: peers.answer(config.kind, settings.run, data, split)}

    else:
        run = runs.load(folder)
        model = serving_model(run.model, run.tasks, run.config, settings.flip)

        def says(data, split):
            return answers(model, data, split, settings.batch_size)

    keep = functools.partial(runs.update_metrics, folder)
    return _Subject(tasks, config.data.data, config.data.data_dir, says, keep, folder / "metrics.json")


def _exported(settings: EvaluateConfig) -> _Subject:
    from . import card as cards
    from .predictor import load_predictor

    path = Path(settings.model)
    folder = path if path.is_dir() else path.parent
    if not (folder / cards.CARD).is_file():
        raise UserError(
            f"--model {path}: expected an exported folder or a .tflite file with its {cards.CARD} beside it, found no such card"
        )
    predictor = load_predictor(path)

    def keep(key, result):
        card = cards.read(folder)
        cards.write(folder, card | {"metrics": card["metrics"] | {key: cards.without_details(result)}})

    says = of_predictor(predictor, settings.batch_size)
    return _Subject(predictor.tasks, predictor.card["name"], DataConfig().data_dir, says, keep, folder / cards.CARD)


def of_predictor(predictor, batch_size: int = 64) -> Says:
    """What a `Predictor` says."""
    from .data.pipeline import evaluation_batches

    def says(data, split):
        batches, _ = evaluation_batches(data, split, predictor.image_size, batch_size)
        parts = [predictor.run(images.astype(np.float32)) for images, _ in batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return says


def answers(model, data, split: str, batch_size: int = 64, most: int | None = None, share: tuple[int, int] = (0, 1)) -> dict:
    """What a serving model answers to all pictures of a split, or to at `most` so many, or to one host's `share`: arrays by task name."""
    from .data.pipeline import evaluation_batches

    batches, steps = evaluation_batches(data, split, model.input.shape[1], batch_size, most, share)
    return model.predict(batches.map(lambda batch: batch[0]), steps=steps, verbose="auto" if sys.stderr.isatty() and steps > 50 else 0)


def broken(outputs: dict) -> dict[str, int]:
    """For how many pictures the answers of a task are NaN or infinite, by the names of the tasks that have such."""
    counts = {name: int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum()) for name, values in outputs.items()}
    return {name: count for name, count in counts.items() if count}


def _finite(outputs: dict, who: str) -> dict:
    for name, count in broken(outputs).items():
        raise UserError(
            f"{who}: expected finite outputs, got NaN or infinity in {name} for {count} of {len(outputs[name])} pictures; train the run again"
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

"""Where a run fails: its worst faces, turned heads, weak labels; as Markdown."""

from pathlib import Path

from . import runs
from .errors import UserError
from .tables import evaluate_command, measured, not_measured, number, samples, table
from .tasks import Attributes, Label, Landmarks

WEAKEST = 10  # so many labels are looked at


def analysis(folder: str, split: str = "test") -> str:
    """What lies behind a run's averages, for each data set it was measured on.

    Raises:
        UserError: if it was not measured on that part, or by an older version that kept averages only.
    """
    found = measured(Path(folder), split)
    if not found:
        raise not_measured(Path(folder), split)
    tasks = {task.name: task for task in runs.read_tasks(Path(folder))}
    blocks = []
    for data, result in found.items():
        blocks.append(f"**{data}**, {split} part ({samples(result)} images)")
        for name, parts in result.items():
            metrics, floor, task = parts["metrics"], parts["floor"], tasks[name]
            needed = "worst" if isinstance(task, Landmarks) else "confusion"
            if needed not in metrics:
                raise UserError(
                    f"{folder}: expected '{needed}' in the metrics of {data}/{split}, found averages only; "
                    f"run again: {evaluate_command(folder, split, data)}"
                )
            if metrics["samples"]:  # the data set has something of this task
                blocks += _landmark_blocks(metrics) if isinstance(task, Landmarks) else _attribute_blocks(task, metrics, floor)
    return "\n\n".join(blocks)


def _landmark_blocks(metrics: dict) -> list[str]:
    worst = ", ".join(f"{index} ({number(error)})" for index, error in metrics["worst"])
    blocks = [f"The {len(metrics['worst'])} worst faces by their index in the part, with their mean error in percent: {worst or 'none'}."]
    groups = metrics.get("success_by_class", {})
    if "success_by_yaw" in metrics:
        groups = {"nose's offset / eyes' distance": metrics["success_by_yaw"]} | groups
    for by, group in groups.items():
        rows = [[name, part["samples"], number(part["success_rate"]), number(part["nme"])] for name, part in group.items()]
        blocks.append(table([by, "images", "success", "NME"], rows))
    return blocks


def _attribute_blocks(task: Attributes, metrics: dict, floor: dict) -> list[str]:
    balanced = {name: value for name, value in metrics["balanced_accuracy"].items() if value is not None}
    weakest = sorted(balanced, key=balanced.get)[:WEAKEST]
    labels = {label.name: label for label in task.labels}
    blocks = [f"The {len(weakest)} labels of the lowest balanced accuracy, of {len(balanced)}; counts are images, the rest is percent:"]
    binary = [[name, number(balanced[name]), *_binary_cells(metrics["confusion"][name])] for name in weakest if labels[name].binary]
    if binary:
        head = ["label", "balanced", "true +", "false +", "true -", "false -", "recall", "precision"]
        blocks.append(table(head, binary))
    blocks += [_matrix(labels[name], balanced[name], metrics["confusion"][name]) for name in weakest if not labels[name].binary]
    behind = {
        name: floor["accuracy"][name] - value
        for name, value in metrics["accuracy"].items()
        if value is not None and floor["accuracy"][name] is not None and value < floor["accuracy"][name]
    }
    names = ", ".join(f"{name} by {behind[name]:.2f}" for name in sorted(behind, key=behind.get, reverse=True))
    blocks.append(
        f"Less accurate than the training part's majority: {names} (percentage points)."
        if names
        else "No label is less accurate than the training part's majority."
    )
    return blocks


def _binary_cells(confusion: list[list[int]]) -> list:
    (true_no, false_yes), (false_no, true_yes) = confusion
    return [true_yes, false_yes, true_no, false_no, _share(true_yes, true_yes + false_no), _share(true_yes, true_yes + false_yes)]


def _matrix(label: Label, balanced: float, confusion: list[list[int]]) -> str:
    rows = [[name, *counts, _share(counts[i], sum(counts))] for i, (name, counts) in enumerate(zip(label.classes, confusion, strict=True))]
    precision = [_share(column[i], sum(column)) for i, column in enumerate(zip(*confusion, strict=True))]
    head = [f"{label.name} ({number(balanced)} balanced): truth", *(f"said {name}" for name in label.classes), "recall"]
    return table(head, [*rows, ["precision", *precision, ""]])


def _share(part: int, whole: int) -> str:
    return number(100 * part / whole if whole else None)

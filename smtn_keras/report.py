"""Tables from run folders: `python -m smtn_keras.report RUN... [--into README.md]`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from .errors import UserError, clean_exit

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Which runs."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders that `smtn_keras.evaluate` has measured."""
    split: str = "test"
    """The part they were measured on."""
    into: str | None = None
    """A Markdown file whose lines between '<!-- results: begin -->' and '<!-- results: end -->' are replaced."""


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(ReportConfig, args=argv, prog="python -m smtn_keras.report", description=__doc__)
        text = report(settings.runs, settings.split)
        print(text)
        if settings.into:
            insert(Path(settings.into), text)


def report(folders: tuple[str, ...], split: str = "test") -> str:
    """Markdown: for each data set a table with a row for each run, and the floors below.

    Raises:
        UserError: if a run was not measured on that part.
    """
    from . import runs
    from .tasks import Landmarks

    rows = {}  # data set -> [(run folder, configuration, tasks, result)]
    for folder in folders:
        config, tasks = runs.read_config(Path(folder)), runs.read_tasks(Path(folder))
        data = config.data.data
        result = runs.read_metrics(Path(folder)).get(f"{data}/{split}")
        if result is None:
            raise UserError(
                f"{folder}: expected metrics of {data}/{split}, found none; run: python -m smtn_keras.evaluate --run {folder} --split {split}"
            )
        rows.setdefault(data, []).append((Path(folder), config, tasks, result))

    blocks = []
    for data, measured in rows.items():
        tasks = measured[0][2]
        columns = [cell for task in tasks for cell in (_landmark_cells if isinstance(task, Landmarks) else _attribute_cells)(task)]
        head = ["network", "parameters", *(name for name, _ in columns), "epochs", "minutes", "seed"]
        lines = [
            f"**{data}**, {split} part ({_samples(measured[0][3])} images), percent",
            "",
            _row(head),
            _row(["---", *["---:"] * (len(head) - 1)]),
        ]
        for folder, config, _, result in measured:
            history = runs.read_history(folder)
            minutes = sum(row["seconds"] for row in history) / 60
            numbers = [pick(result, "metrics") for _, pick in columns]
            parameters = f"{runs.read_parameters(folder) / 1e6:.2f} M"
            lines.append(_row([describe(config), parameters, *numbers, str(len(history)), f"{minutes:.0f}", str(config.training.seed)]))
        floor = [pick(measured[0][3], "floor") for _, pick in columns]
        lines.append(_row(["*floor: mean shape, majority label*", "", *floor, "", "", ""]))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def describe(config) -> str:
    """A run's network in a few words."""
    network = config.network
    if config.stage == 1:
        return "hard sharing (stage 1, baseline)" if network.branch == "end" else f"hard sharing, branch {network.branch}"
    start = {"scratch": "from scratch", "stage1": "from stage 1", "imagenet": "from ImageNet"}[network.init]
    return f"SMTN {network.fusion}, {start}" + ("" if network.branch == "input" else f", branch {network.branch}")


def insert(file: Path, text: str):
    """Replaces what stands between the two markers of a Markdown file.

    Raises:
        UserError: if the file or a marker is missing.
    """
    from . import runs

    content = file.read_text() if file.is_file() else ""
    if BEGIN not in content or END not in content:
        raise UserError(f"{file}: expected a file with the lines '{BEGIN}' and '{END}', found them not; add them where the tables belong")
    before, rest = content.split(BEGIN, 1)
    runs.write(file, f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def _landmark_cells(task):
    def at(*keys):
        def pick(result, part):
            value = result[task.name][part]
            for key in keys:
                value = value[key]
            return _number(value)

        return pick

    points = [(point.replace("_", " "), at("success_rate", point)) for point in task.points] if len(task.points) <= 5 else []
    return [*points, ("average", at("success_rate_average")), ("NME", at("nme")), ("failures", at("failure_rate"))]


def _attribute_cells(task):
    def pick_mean(key):
        return lambda result, part: _number(result[task.name][part][key])

    def pick_label(name):
        return lambda result, part: _number(result[task.name][part]["accuracy"][name])

    labels = [(label.name, pick_label(label.name)) for label in task.labels] if len(task.labels) <= 5 else []
    return [*labels, ("accuracy", pick_mean("accuracy_mean")), ("balanced", pick_mean("balanced_accuracy_mean"))]


def _samples(result: dict) -> int:
    return max(part["metrics"]["samples"] for part in result.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()

"""Markdown tables from run folders: the results of runs beside their floors, and what all tables are made of."""

from pathlib import Path

from . import runs
from .config import Config, read_config
from .errors import UserError
from .tasks import Landmarks, Task

# how good a run is in three numbers
HEADLINE = "success", "NME", "accuracy"
# and in five: their names in metrics.json, and in tables
HEADLINES = {
    "success_rate_average": "success",
    "nme": "NME",
    "failure_rate": "failures",
    "accuracy_mean": "accuracy",
    "balanced_accuracy_mean": "balanced",
}
# what is told of a group
GROUP_METRICS = {
    "success_rate": "success",
    "nme": "NME",
    "failure_rate": "failures",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
}
KINDS = {
    "single_task": "a network for each task",
    "soft_sharing": "soft sharing",
    "cross_stitch": "cross-stitch",
    "nddr": "NDDR-CNN",
    "mtan": "MTAN",
    "cascade": "cascade",
    "tcdcn": "TCDCN",
    "facetracer": "FaceTracer",
    "panda_w": "PANDA-w",
    "panda_l": "PANDA-l",
    "lnets_anet": "LNets+ANet",
}
BACKBONES = {"resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2", "shallow": "four convs"}


def results(folders: tuple[str, ...], split: str = "test") -> str:
    """For each data set a table with a row for each run, and the floors below.

    Raises:
        UserError: if a run was not measured on that part.
    """
    rows = {}  # data set -> [(run folder, configuration, tasks, result)]
    for folder in map(Path, folders):
        config, tasks, found = read_config(folder), runs.read_tasks(folder), measured(folder, split)
        for data in config.data.names:
            if data not in found:
                raise not_measured(folder, split, data)
            rows.setdefault(data, []).append((folder, config, tasks, found[data]))

    blocks = []
    for data, of_data in rows.items():
        _, _, tasks, _ = of_data[0]
        # what each task reaches: a method may have attributes only
        first = {name: parts for *_, result in reversed(of_data) for name, parts in result.items()}
        columns = [cell for task in tasks if task.name in first for cell in _cells(task, first)]
        lines = []
        for folder, config, _, result in of_data:
            parameters = millions(runs.read_environment(folder)["parameters"])
            epochs = len(runs.read_history(folder))
            numbers = [pick(result, "metrics") for _, pick in columns]
            lines.append([label(config, data), parameters, *numbers, epochs, f"{minutes(folder):.0f}", config.training.seed])
        floor = [pick(first, "floor") for _, pick in columns]
        lines.append(["*floor: mean shape, majority label*", "", *floor, "", "", ""])
        head = ["network", "parameters", *(name for name, _ in columns), "epochs", "minutes", "seed"]
        blocks.append(f"**{data}**, {split} part ({samples(first)} images), percent\n\n{table(head, lines)}")
    return "\n\n".join(blocks)


def _cells(task: Task, result: dict) -> list[tuple]:
    """Columns of a task: a name, and what picks its number from a result's metrics or floor. Few points or labels get their own."""

    def at(key, item=None):
        def pick(result, part):
            value = result.get(task.name, {}).get(part, {}).get(key)  # a data set may have nothing of a task
            return number(value if item is None or value is None else value.get(item))

        return pick

    if isinstance(task, Landmarks):
        points = [(point.replace("_", " "), at("success_rate", point)) for point in task.points] if len(task.points) <= 5 else []
        return [*points, ("average", at("success_rate_average")), ("NME", at("nme")), ("failures", at("failure_rate"))]
    known = [name for name, value in result[task.name]["metrics"]["accuracy"].items() if value is not None]
    labels = [(name, at("accuracy", name)) for name in known] if len(known) <= 5 else []
    return [*labels, ("accuracy", at("accuracy_mean")), ("balanced", at("balanced_accuracy_mean"))]


# -- for all tables ---------------------------------------------------------------------------------


def measured(folder: Path, split: str) -> dict[str, dict]:
    """The results of a run on a part, by data set; `split` may say how, such as `test+flip`."""
    keys = ((key.rpartition("/"), result) for key, result in runs.read_metrics(folder).items())
    return {data: result for (data, _, part), result in keys if part == split}


def not_measured(folder: Path, split: str, data: str | None = None) -> UserError:
    """What is said of a run without the metrics that a table needs."""
    what = f"{data}/{split}" if data else f"the {split} part"
    return UserError(f"{folder}: expected metrics of {what}, found none; run: {evaluate_command(folder, split, data)}")


def evaluate_command(folder: Path | str, split: str, data: str | None = None) -> str:
    """The command that measures a run."""
    part, *how = split.split("+")
    of_data = f" --data {data}" if data else ""
    return f"python -m smtn_keras.evaluate --run {folder}{of_data} --split {part}" + "".join(f" --{name}" for name in how)


def headline(result: dict) -> dict[str, float | None]:
    """The `HEADLINE` numbers of a result by their names, None for what it lacks."""
    found = headlines(result)
    return {name: found.get(name) for name in HEADLINE}


def headlines(result: dict, kind: str = "metrics") -> dict[str, float]:
    """The `HEADLINES` numbers of a result by their names in tables, as far as it has them: its `metrics`, or their `floor`."""
    return {name: parts[kind][key] for parts in result.values() for key, name in HEADLINES.items() if parts[kind].get(key) is not None}


def by_group(result: dict) -> list[str]:
    """Tables of a result that was measured by groups, one for each label: a row a class, with intervals, and one of the gaps."""
    labels = list(dict.fromkeys(label for parts in result.values() for label in parts.get("groups", {})))
    return [_by_group(label, [parts["groups"][label] for parts in result.values() if label in parts.get("groups", {})]) for label in labels]


def _by_group(label: str, of_tasks: list[dict]) -> str:
    def cell(interval):
        return "-" if interval is None else "{:.2f} ({:.2f} to {:.2f})".format(*interval)

    rows = {
        name: {key: value for of_task in of_tasks for key, value in of_task["groups"][name].items()}
        | {"samples": max(of_task["groups"][name]["samples"] for of_task in of_tasks)}
        for name in of_tasks[0]["groups"]
    }
    rows["*gap*"] = {"samples": ""} | {metric: gap["gap"] for of_task in of_tasks for metric, gap in of_task["gaps"].items()}
    metrics = [metric for metric in GROUP_METRICS if any(metric in row for row in rows.values())]
    lines = [[name, row["samples"], *(cell(row.get(metric)) for metric in metrics)] for name, row in rows.items()]
    return table([label, "images", *(GROUP_METRICS[metric] for metric in metrics)], lines)


def minutes(folder: Path) -> float:
    """How long a run was trained."""
    return sum(epoch["seconds"] for epoch in runs.read_history(folder)) / 60


def describe(config: Config) -> str:
    """A run's network in a few words."""
    network = config.resolved().network
    if network.kind == "hard_sharing":
        words = ["hard sharing (stage 1, baseline)" if network.branch == "end" else f"hard sharing, branch {network.branch}"]
    elif network.kind == "separation":
        start = {"scratch": "from scratch", "stage1": "from stage 1", "imagenet": "from ImageNet"}[network.init]
        words = [f"SMTN {network.fusion}", start]
        if network.branch not in ("input", "end"):
            words.append(f"branch {network.branch}")
        if config.stage != 2:
            words.append("then end to end (stage 3)" if config.stage == 3 else "end to end")
    else:
        words = [KINDS.get(network.kind, network.kind) + (f" ({network.sharing})" if network.kind == "soft_sharing" else "")]
    if network.kind != "separation" and network.init == "imagenet":
        words.append("from ImageNet")
    words += [BACKBONES.get(network.backbone, network.backbone)] if network.backbone != "vgg16" else []
    return ", ".join([*words, "CReLU"] if network.activation == "crelu" else words)


def label(config: Config, data: str) -> str:
    """The name of a run's row in the table of a data set: its network, and its preset and data where they are not the usual ones."""
    preset = "" if config.preset == "small" else f", preset {config.preset}"
    joined = "" if config.data.data == data else f", trained on {config.data.data}"
    return describe(config) + preset + joined


def samples(result: dict) -> int:
    """Of how many images a result is."""
    return max(parts["metrics"]["samples"] for parts in result.values())


def number(value: float | None) -> str:
    """A cell with a number, or a dash."""
    return "-" if value is None else f"{value:.2f}"


def spread(values: list[float]) -> str:
    """What follows a mean over several runs: the largest less the smallest of them."""
    return f" <sub>{max(values) - min(values):.2f}</sub>" if len(values) > 1 else ""


def millions(count: int | None) -> str:
    """A cell with a number of weights or multiply-adds."""
    return "-" if count is None else f"{count / 1e6:.2f} M"


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; all columns but the first hold numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in lines)

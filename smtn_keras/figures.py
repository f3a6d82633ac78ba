"""The paper's Figures 4 and 6, and the curves and bars behind the tables, drawn from the rows of a comparison."""

import dataclasses
from pathlib import Path

import numpy as np

from . import plots, runs
from .comparison import Row, known
from .errors import UserError
from .metrics import ALPHA, THRESHOLDS, YAW_POINTS, yaw_bins
from .networks import backbone
from .predictor import load_predictor
from .tables import evaluate_command
from .tasks import Landmarks

FACES = 4  # so many of Figure 4 are the first of their part, and so many turned


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing and what it shows.

    Attributes:
        file: where it lies, None where it could not be drawn; then `caption` says why.
    """

    file: Path | None
    caption: str


def draw(data: str, rows: dict[str, Row], split: str, data_dir: str | None, out: Path) -> list[Figure]:
    """All figures of a data set, written to a folder.

    Args:
        rows: by name, those measured on the data set.
        split: the part, and how it was measured: test, test+flip.
        data_dir: where the prepared pictures lie; by itself where the runs had them.
    """
    drawn = [
        _success(data, rows, split, out),
        _training(data, rows, out),
        _attributes(data, rows, out),
        _figure_4(data, rows, split, data_dir, out),
        _figure_6(data, rows, split, data_dir, out),
    ]
    return [figure for figure in drawn if figure]


def _pair(rows: dict[str, Row]) -> dict[str, Row]:
    """The first baseline and the first SMTN, or what else comes first where one of them is missing."""
    firsts = {}
    for name, row in rows.items():
        network = row.config.resolved().network
        if (network.kind, network.branch) in (("hard_sharing", "end"), ("separation", "input")):
            firsts.setdefault(network.kind, name)
    names = [firsts[kind] for kind in ("hard_sharing", "separation") if kind in firsts]
    names += [name for name in rows if name not in names]
    return {name: rows[name] for name in names[:2]}


def _reached(data: str, rows: dict[str, Row], *path: str) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row.values(data, path)}


def _success(data: str, rows: dict[str, Row], split: str, out: Path) -> Figure | None:
    able = _reached(data, rows, "success_rate_average")
    if not able:
        return None
    curves = {name: np.mean(curve, axis=0) for name, row in able.items() if (curve := row.values(data, ("success_curve",)))}
    missing = [row for name, row in able.items() if name not in curves]
    older = ""
    if missing:
        again = evaluate_command(next(iter(missing[0].results[data])), split, data)
        older = f" Rows left out, as an older version measured them and kept no curve: {len(missing)}; run: `{again}`"
    if not curves:
        return Figure(None, f"Success against threshold is left out.{older}")
    for row in able.values():
        if floor := row.values(data, ("success_curve",), "floor"):
            curves["floor: mean shape"] = floor[0]
            break
    thresholds = 100 * np.array(THRESHOLDS)
    panel = plots.Panel(
        "Points found",
        "threshold, percent of the eyes' distance",
        "points within it, percent",
        {name: [(thresholds, curve)] for name, curve in curves.items()},
        mark=100 * ALPHA,
    )
    caption = f"Success against threshold: the share of points whose error is within it. The tables take it at {100 * ALPHA:.0f} %.{older}"
    return Figure(plots.draw_lines([panel], out / f"success-{data}.png"), caption)


def _training(data: str, rows: dict[str, Row], out: Path) -> Figure:
    panels = []
    for title, key, y in (("Landmarks", "nme", "NME, percent"), ("Attributes", "accuracy_mean", "accuracy, percent")):
        lines = {}
        for name, row in rows.items():
            for folder in row.results[data]:
                history = runs.read_history(folder)
                column = next((c for epoch in history[:1] for c in epoch if c.startswith(f"val_{data}_") and c.endswith(f"_{key}")), None)
                if column:
                    lines.setdefault(name, []).append(([e["epoch"] for e in history], [e[column] for e in history]))
        if lines:
            panels.append(plots.Panel(title, "epoch", y, lines, logarithmic=key == "nme"))
    if not panels:
        return Figure(None, "Learning curves are left out: no run has a history of its validation on this data set.")
    caption = "Learning curves: the validation part after each epoch, a line for each run. Stage 2 goes on from stage 1's epochs."
    return Figure(plots.draw_lines(panels, out / f"training-{data}.png"), caption)


def _attributes(data: str, rows: dict[str, Row], out: Path) -> Figure | None:
    shown = _pair(_reached(data, rows, "accuracy_mean"))
    if not shown:
        return None
    names = known(data, shown, "accuracy")
    values = {name: [np.mean(row.values(data, ("accuracy", label)) or np.nan) for label in names] for name, row in shown.items()}
    row = next(iter(shown.values()))
    floor = [row.values(data, ("accuracy", label), "floor")[0] for label in names]
    file = plots.draw_bars(names, floor, values, out / f"attributes-{data}.png")
    return Figure(file, "Accuracy of each attribute beside the majority label of the training part.")


# -- what needs weights and pictures ----------------------------------------------------------------


def _figure_4(data: str, rows: dict[str, Row], split: str, data_dir: str | None, out: Path) -> Figure | None:
    able = _reached(data, rows, "success_rate_average")
    if not able:
        return None
    shown = _pair(_with_weights(able))
    if not shown:
        return Figure(None, "Figure 4 is left out: no run has its weights beside its record.")
    try:
        folders = [_weights_of(row) for row in shown.values()]
        task = next(task for task in runs.read_tasks(folders[0]) if isinstance(task, Landmarks))
        pictures, truth = _faces(data, rows, split, data_dir, task)
        predictors = [load_predictor(folder, flip="+flip" in split) for folder in folders]
    except UserError as error:
        return Figure(None, f"Figure 4 is left out: {error}")
    sizes = np.array([picture.shape[1::-1] for picture in pictures])
    predicted = [predictor(pictures)[task.name] * sizes[:, None] for predictor in predictors]
    file = plots.contact_sheet(
        pictures * len(shown),
        [*truth] * len(shown),
        np.concatenate(predicted),
        out / f"figure4-{data}.png",
        columns=len(pictures),
        rows=[_short(name) for name in shown],
    )
    turned = (
        f", then the first {FACES} of those whose heads are turned most (by the nose's offset between the eyes, as in `--show analysis`)"
        if set(YAW_POINTS) <= set(task.points)
        else ""
    )
    first = f"The first {FACES if turned else 2 * FACES} pictures of the part that lack the fewest points{turned}; none was chosen by its result."
    return Figure(file, f"Figure 4: ground truth red, predictions green. {first}")


def _figure_6(data: str, rows: dict[str, Row], split: str, data_dir: str | None, out: Path) -> Figure | None:
    able = {name: row for name, row in rows.items() if row.config.resolved().network.kind == "separation"}
    if not able:
        return None
    shown = _with_weights(able)
    if not shown:
        return Figure(None, "Figure 6 is left out: no run of an SMTN has its weights beside its record.")
    name, row = next(iter(shown.items()))
    try:
        run = runs.load(_weights_of(row))
        pictures, _ = _faces(data, rows, split, data_dir, None)
    except UserError as error:
        return Figure(None, f"Figure 6 is left out: {error}")
    from .features import stack_maps

    maps = {stack: of_stack[0] for stack, of_stack in stack_maps(run, pictures[:1]).items()}
    file = plots.draw_maps(pictures[0], maps, out / f"figure6-{data}.png")
    conv = backbone.last_maps(run.config.network)[0]
    caption = (
        f"Figure 6: maps of {conv.replace('conv', 'Conv').replace('_', '-')} in the stacks of {name}, for the first picture of the part; "
        "of each stack those that vary most over it, each from black (its lowest value) to white."
    )
    return Figure(file, caption)


def _with_weights(rows: dict[str, Row]) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if _weights_of(row)}


def _weights_of(row: Row) -> Path | None:
    """The first run of a row that has its weights."""
    return next((folder for folder in row.folders if (folder / "best.keras").is_file()), None)


def _faces(data: str, rows: dict[str, Row], split: str, data_dir: str | None, task: Landmarks | None):
    """Pictures of a part, RGB `(h, w, 3)` uint8, and their points in pixels: the first ones, and of a task with a nose the turned ones too.

    Raises:
        UserError: if the data set is not prepared there.
    """
    from .data.images import read_image
    from .data.prepared import open_prepared

    config = next(iter(rows.values())).config
    prepared = open_prepared(data, data_dir or config.data.data_dir)
    part = split.partition("+")[0]
    if task is None:
        return prepared.pictures(part, 1), None
    source = prepared.source(part)
    truth = prepared.described_by((task,)).targets(part)[task.name]
    order = np.argsort(np.isnan(truth).any(-1).sum(1), kind="stable")  # those with all points first
    turned = []
    if set(YAW_POINTS) <= set(task.points):
        turned = order[np.argsort(-yaw_bins(truth[order], task), kind="stable")[:FACES]]
    front = [i for i in order if i not in turned][: FACES if len(turned) else 2 * FACES]
    records = [source[int(i)] for i in (*front, *turned)]
    return [read_image(record["image"], record["name"].decode()) for record in records], truth[[*front, *turned]]


def _short(name: str) -> str:
    """A row's name as it fits beside a picture."""
    return name.partition(",")[0].partition(" (")[0]

"""Pictures of what a model says."""

import dataclasses
from pathlib import Path

import numpy as np

from . import runs
from .faces import surest_attributes

TRUTH, PREDICTION = "red", "lime"  # the colours of the paper's Figure 4
LEGIBLE = 500  # pixels that a drawing's longer side has at least


def contact_sheet(pictures, truth_px, predictions_px, file: Path, columns: int = 6, rows=(), captions=(), names=()) -> Path:
    """Faces in a grid, ground truth in red and predictions in green, as in the paper's Figure 4.

    Args:
        pictures: RGB pictures `(h, w, 3)` uint8.
        truth_px, predictions_px: for each picture its points `(points, 2)` in pixels from its upper left corner, NaN where missing;
            None for the predictions where there are none yet.
        file: the image to write.
        rows: a name for each row of the grid.
        captions: what to write below each picture.
        names: of the points, to give each a colour of its own in the place of red.
    """
    plt = _pyplot()
    from matplotlib.lines import Line2D

    count = -(-len(pictures) // columns)
    height = 1.6 * max(picture.shape[0] / picture.shape[1] for picture in pictures)
    height += 0.09 * max((caption.count("\n") + 1 for caption in captions), default=0)
    palette = list(plt.get_cmap("hsv")(np.linspace(0, 0.9, len(names))))
    figure, axes = plt.subplots(count, columns, figsize=(1.6 * columns, height * count + 0.5), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    shown = [(TRUTH, "truth", 14, truth_px)] + [(PREDICTION, "prediction", 8, predictions_px)] * (predictions_px is not None)
    for axis, picture in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
    for colour, _, area, points in shown:
        for axis, of_picture in zip(axes.flat, points, strict=False):
            axis.scatter(*np.asarray(of_picture).T, s=area, c=palette or colour, linewidths=0)
    named = list(zip(palette, names, strict=True)) or [(colour, label) for colour, label, *_ in shown]
    dots = [Line2D([], [], marker="o", linestyle="", color=colour, label=label) for colour, label in named[:10]]
    figure.legend(handles=dots, loc="outside lower center", ncols=max(2, len(dots)), frameon=False)
    for axis, caption in zip(axes.flat, captions, strict=False):
        axis.text(0, -0.02, caption, transform=axis.transAxes, va="top", fontsize=4.5)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        _name_row(axis, name)
    return _save(figure, file)


def draw_faces(photo: np.ndarray, faces: list[dict], file: Path, surest: int = 6) -> Path:
    """A photo with each face's points and its surest attributes, a small one enlarged by a whole number.

    Args:
        photo: `(h, w, 3)` uint8 RGB.
        faces: as `faces.find` gives them: `box`, `landmarks` by name in pixels, `attributes` by name.
        surest: attributes to write beside each.
        file: the image to write.
    """
    plt = _pyplot()
    height, width = photo.shape[:2]
    inches = 8 / max(height, width)
    figure = plt.figure(figsize=(width * inches, height * inches))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.imshow(photo, extent=(0, width, height, 0))
    axis.set(xlim=(0, width), ylim=(height, 0))
    for face in faces:
        x, y, w, h = face["box"]
        axis.add_patch(plt.Rectangle((x, y), w, h, fill=False, edgecolor="white", linewidth=1))
        points = np.reshape(list(face["landmarks"].values()), (-1, 2))
        axis.scatter(*points.T, s=18, c=PREDICTION, edgecolors="black", linewidths=0.5)
        right = x + w / 2 < width / 2  # beside the face, where there is more room, but within the picture
        axis.text(
            min(x + w + 4, 0.8 * width) if right else max(x - 4, 0.2 * width),
            max(y, 0.02 * height),
            "\n".join(surest_attributes(face, surest)),
            ha="left" if right else "right",
            va="top",
            fontsize=9,
            color="white",
            bbox={"facecolor": "black", "alpha": 0.55, "linewidth": 0},
        )
    times = -(-LEGIBLE // max(height, width))  # of a small crop, so that one can read it
    return _save(figure, file, times * max(height, width) / 8)


def draw_curves(curves, until: float, file: Path) -> Path:
    """Errors against the number of training pictures, both logarithmic, with their power laws drawn on to a size not measured.

    Args:
        curves: `curve.Curve`s, a line each.
        until: where the power laws end, in pictures.
        file: the image to write.
    """
    plt = _pyplot()
    from matplotlib.ticker import ScalarFormatter

    figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for curve in curves:
        (dots,) = axis.plot(curve.sizes, curve.errors, "o", label=curve.name)
        line = np.geomspace(curve.sizes.min(), max(until, curve.sizes.max()), 64)
        axis.plot(line, curve.at(line), "--", color=dots.get_color(), linewidth=1)
    axis.axvspan(max(curve.sizes.max() for curve in curves), until, color="0.93", zorder=0)
    axis.set(xscale="log", yscale="log", xlabel="training pictures", ylabel="error in percent")
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_formatter(ScalarFormatter())
    axis.set_title("dashed: power law; grey: extrapolated", fontsize=10)
    axis.legend(frameon=False)
    return _save(figure, file)


def draw_front(candidates, file: Path) -> Path:
    """Scores against milliseconds, a line along the front, numbers as in the table; what scores far below the front is a triangle at the edge.

    Args:
        candidates: `pareto.Candidate`s, fastest first.
        file: the image to write.
    """
    plt = _pyplot()
    from matplotlib.ticker import ScalarFormatter

    figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    first = [candidate for candidate in candidates if candidate.first]
    scores = [candidate.score for candidate in first]
    least = min(scores) - max(1, max(scores) - min(scores)) / 2
    axis.step([c.milliseconds for c in first], [c.score for c in first], where="post", color="0.6", linewidth=1, zorder=0)
    for number, candidate in enumerate(candidates, 1):
        colour = "C0" if candidate.first else "0.6"
        place = candidate.milliseconds, max(candidate.score, least)
        axis.scatter(*place, color=colour, marker="o" if candidate.score > least else "v")
        axis.annotate(str(number), place, (4, 4), textcoords="offset points", color=colour)
    axis.set(xscale="log", xlabel="milliseconds a face, one thread", ylabel="mean of success and accuracy, percent")
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(ScalarFormatter())
    return _save(figure, file)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot of `draw_lines`.

    Attributes:
        lines: for each name its lines `(x, y)`, all in one colour.
        mark: an x at which to draw a line upwards.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple]]
    logarithmic: bool = False
    mark: float | None = None


def draw_lines(panels: list[Panel], file: Path) -> Path:
    """Panels side by side, with one legend below; a name has the same colour in all, one that begins with "floor" is dashed and black."""
    plt = _pyplot()
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    palette = plt.get_cmap("tab20").colors
    palette = palette[::2] + palette[1::2]  # the strong ones first
    styles = {
        name: {"color": "black", "linestyle": "--"}
        if name.startswith("floor")
        else {"color": palette[i % len(palette)], "linestyle": ("-", ":")[i // len(palette) % 2]}
        for i, name in enumerate(names)
    }
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels) + 0.8, 4 + 0.2 * len(names)), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        for name, lines in panel.lines.items():
            for x, y in lines:
                axis.plot(x, y, linewidth=1.5, marker="." if len(x) < 2 else "", **styles[name])
        if panel.mark is not None:
            axis.axvline(panel.mark, color="0.6", linewidth=1)
        axis.set(title=panel.title, xlabel=panel.x, ylabel=panel.y, yscale="log" if panel.logarithmic else "linear")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if panel.logarithmic:
            axis.yaxis.set_major_formatter(ScalarFormatter())
            axis.yaxis.set_minor_formatter(ScalarFormatter())
        axis.grid(alpha=0.3)
    legend = [Line2D([], [], label=name, **styles[name]) for name in names]
    figure.legend(handles=legend, loc="outside lower center", ncols=1, frameon=False)
    return _save(figure, file)


def draw_bars(names: list[str], floor: list[float], values: dict[str, list[float]], file: Path) -> Path:
    """A bar for each label and method beside a grey one for the floor, the label of the highest floor at the bottom.

    Args:
        names: of the labels.
        floor, values: percent, in the order of the names.
    """
    plt = _pyplot()
    order = np.argsort(np.negative(floor), kind="stable")
    bars = {"floor: majority label": floor, **values}
    height = 0.84 / len(bars)
    figure, axis = plt.subplots(figsize=(7.2, 1.4 + 0.085 * (1 + len(bars)) * len(names)), layout="constrained")
    for i, (name, of_name) in enumerate(bars.items()):
        colour = "0.75" if i == 0 else plt.get_cmap("tab10")(i - 1)
        places = np.arange(len(names)) + (len(bars) / 2 - i - 0.5) * height
        axis.barh(places, np.asarray(of_name)[order], height, label=name, color=colour)
    axis.set_yticks(range(len(names)), [names[i].replace("_", " ") for i in order])
    lowest = min(np.nanmin(of_name) for of_name in bars.values())
    axis.set(xlim=(max(0, 5 * (lowest // 5) - 5), 100), ylim=(-0.6, len(names) - 0.4), xlabel="accuracy in percent")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=1, frameon=False)
    return _save(figure, file)


def draw_maps(picture: np.ndarray, maps: dict[str, np.ndarray], file: Path, columns: int = 8) -> Path:
    """A row for each stack: the picture, and those of its maps that vary most over it, each from its lowest value (black) to its highest.

    Args:
        picture: RGB `(h, w, 3)` uint8.
        maps: for each stack `(height, width, channels)`.
        file: the image to write.
    """
    plt = _pyplot()
    height, width = picture.shape[:2]
    size = (1.5 * (columns + 1), 1.6 * height / width * len(maps))
    figure, axes = plt.subplots(len(maps), columns + 1, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (stack, of_stack) in zip(axes, maps.items(), strict=True):
        row[0].imshow(picture, extent=(0, width, height, 0))
        _name_row(row[0], stack)
        for axis, channel in zip(row[1:], np.argsort(-of_stack.std((0, 1)), kind="stable"), strict=False):
            axis.imshow(of_stack[..., channel], cmap="gray", extent=(0, width, height, 0))
    return _save(figure, file)


def draw_crops(rows: dict[str, list[np.ndarray]], file: Path) -> Path:
    """A row of small pictures for each name.

    Args:
        rows: for each name its pictures `(h, w, 3)` uint8.
        file: the image to write.
    """
    plt = _pyplot()
    columns = max(len(crops) for crops in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(0.8 * columns + 1.6, 0.8 * len(rows)), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (name, crops) in zip(axes, rows.items(), strict=True):
        row[0].text(-0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
        for axis, crop in zip(row, crops, strict=False):
            axis.imshow(crop)
    return _save(figure, file)


def draw_shares(shares: dict[str, dict[str, float]], file: Path, of: str = "weights on the task's own maps") -> Path:
    """A line for each task: a share, such as that of a fusion's weights on the task's own maps, layer by layer.

    Args:
        shares: for each task a share in [0, 1] by layer.
        file: the image to write.
        of: what they are shares of.
    """
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for task, of_task in shares.items():
        axis.plot(list(of_task), [100 * share for share in of_task.values()], marker="o", label=task)
    axis.set(ylim=(0, 100), yticks=range(0, 101, 25), ylabel=f"{of}, percent")
    axis.tick_params(axis="x", rotation=45)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return _save(figure, file)


def _name_row(axis, name: str):
    axis.text(-0.06, 0.5, name, transform=axis.transAxes, rotation=90, ha="right", va="center", fontsize=9)


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure, file: Path, dpi: float = 110) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with runs.whole(file) as beside:
        figure.savefig(beside, dpi=dpi)
    _pyplot().close(figure)
    return file

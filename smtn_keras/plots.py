"""Pictures of what a model says."""

from pathlib import Path

import numpy as np

TRUTH, PREDICTION = "red", "lime"  # the colours of the paper's Figure 4


def contact_sheet(pictures, truth_px, predictions_px, file: Path, columns: int = 6, title: str = "") -> Path:
    """Faces in a grid, ground truth in red and predictions in green, as in the paper's Figure 4.

    Args:
        pictures: RGB pictures `(h, w, 3)` uint8.
        truth_px, predictions_px: for each picture its points `(points, 2)` in pixels from its upper left corner.
        file: the image to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.6 * columns, 1.95 * rows + 0.5), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, picture, truth, prediction in zip(axes.flat, pictures, truth_px, predictions_px, strict=False):
        axis.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
        axis.scatter(*np.asarray(truth).T, s=14, c=TRUTH, linewidths=0)
        axis.scatter(*np.asarray(prediction).T, s=8, c=PREDICTION, linewidths=0)
    dots = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=label)
        for colour, label in ((TRUTH, "truth"), (PREDICTION, "prediction"))
    ]
    figure.legend(handles=dots, loc="outside lower center", ncols=2, frameon=False)
    if title:
        figure.suptitle(title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return file


def draw_faces(photo: np.ndarray, faces: list[dict], file: Path, surest: int = 6) -> Path:
    """A photo with each face's points and its surest attributes.

    Args:
        photo: `(h, w, 3)` uint8 RGB.
        faces: as `predict.find` gives them: `box`, `landmarks` by name in pixels, `attributes` by name.
        file: the image to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

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
        axis.scatter(*np.array(list(face["landmarks"].values())).T, s=18, c=PREDICTION, edgecolors="black", linewidths=0.5)
        names = sorted(face["attributes"], key=face["attributes"].get, reverse=True)
        text = "\n".join(f"{name} {face['attributes'][name]:.0%}" for name in names[:surest] if face["attributes"][name] > 0.5)
        right = x + w / 2 < width / 2  # beside the face, where there is more room
        axis.text(
            x + w + 4 if right else x - 4,
            y,
            text,
            ha="left" if right else "right",
            va="top",
            fontsize=9,
            color="white",
            bbox={"facecolor": "black", "alpha": 0.55, "linewidth": 0},
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=max(height, width) / 8)
    plt.close(figure)
    return file


def draw_curves(curves, until: float, file: Path) -> Path:
    """Errors against the number of training pictures, both logarithmic, with their power laws drawn on to a size not measured.

    Args:
        curves: `curve.Curve`s, a line each.
        until: where the power laws end, in pictures.
        file: the image to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
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
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return file

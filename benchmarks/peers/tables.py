"""The comparison as Markdown, CSV and a picture."""

import csv
import json
from pathlib import Path

from smtn_keras import runs
from smtn_keras.tables import number, table


def markdown(everything: dict) -> str:
    """A table with a row for each contender, and what must be known to read it.

    Args:
        everything: as `device.compare` returns it.
    """
    contenders, cores = everything["contenders"], everything["settings"]["cores"]
    sets = everything["settings"]["data"]
    head = [
        "",
        "",
        *(f"{name} {what}" for name in sets for what in ("NME", "moved", "success", "failures")),
        *(f"ms, {_cores(count)}" for count in cores),
        "MB",
    ]
    rows = [
        [
            row,
            one["name"],
            *(cell for name in sets for cell in _accuracy(one, name)),
            *(_time(one, contenders[0], count) for count in cores),
            _size(one),
            _gives(one),
        ]
        for row, one in enumerate(contenders, 1)
    ]
    return f"{table([*head, 'gives'], rows)}\n\n{_legend(everything)}"


def _accuracy(one: dict, data: str) -> list[str]:
    result = one["metrics"].get(data)
    if result is None:
        return ["-"] * 4
    points = "" if result["points"] in (0, 5) else f" ({result['points']} points)"
    missed = f" ({number(result['not_found'])} not found)" if result["not_found"] else ""
    errors = [number(result[key]) + points for key in ("nme", "nme_after_offset")]
    return [*errors, number(result["success_rate"]), number(result["failure_rate"]) + missed]


def _time(one: dict, first: dict, cores: int) -> str:
    ours, theirs = (which["milliseconds"].get(str(cores)) for which in (one, first))
    if ours is None:
        return "-"
    return f"{ours['median']:.2f}" + (f" ({ours['median'] / theirs['median']:.2f}x)" if theirs else "")


def _size(one: dict) -> str:
    return number(one["facts"].get("megabytes"))


def _gives(one: dict) -> str:
    right = [
        f"{number(result['accuracy'])} % right on {data}" for data, result in one["metrics"].items() if result.get("accuracy") is not None
    ]
    words = [one["facts"].get("gives", ""), *right, f"not measured: {one['not_measured']}" if one["not_measured"] else ""]
    return "; ".join(word.replace("|", "/") for word in words if word)


def _cores(count: int) -> str:
    return f"{count} core" + "s" * (count > 1)


def _legend(everything: dict) -> str:
    threads = {}
    for one in everything["contenders"]:
        if one["facts"]:
            threads.setdefault(one["facts"]["threads"], []).append(one["name"])
    threads = "; ".join(f"{setting}: {', '.join(names)}" for setting, names in threads.items())
    counts = ", ".join(f"{counts['test']} of {name} ({counts['validation']})" for name, counts in everything["data"].items())
    environment = everything["environment"]
    accuracy = (
        f"All see the same crops: test faces (in brackets validation faces, on which each was fitted): {counts}. NME is the mean error of the "
        "five points over the distance of the eyes, in percent, of the faces found; success is the share of points within 10 % of it; failures are "
        "faces whose mean error is above 10 %, and those not found. Definitions of points differ: *moved* is the NME after the best fixed offset of each point, in the frame of the eyes "
        "found. The offset, and the square or the margin in which a peer sees the face, are those that are best on validation faces. Models of "
        "ours were trained on the training parts of their data sets, of which peers know nothing."
    )
    time = (
        f"ms: median for one face, from its RGB crop to points, of all in turns, each held to these cores of {environment['processor']} with as "
        f"many threads; in brackets times the first. Threads: {threads}. "
        "MB: files of the models alone."
    )
    return "\n\n".join([accuracy] * bool(everything["data"]) + [time])


def write(everything: dict, out: Path):
    """Writes device.json, device.csv, device.md and device.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    runs.write(out / "device.json", json.dumps(everything, indent=2) + "\n")
    runs.write(out / "device.md", markdown(everything) + "\n")
    rows = [_flat(one) for one in everything["contenders"]]
    with runs.whole(out / "device.csv") as beside, beside.open("w", newline="") as file:
        lines = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        lines.writeheader()
        lines.writerows(rows)
    if everything["data"]:
        draw(everything, out / "device.png")


def _flat(one: dict) -> dict:
    row = {"name": one["name"], "megabytes": one["facts"].get("megabytes"), "gives": one["facts"].get("gives")}
    row |= {f"milliseconds_{count}": numbers["median"] for count, numbers in one["milliseconds"].items()}
    row |= {f"{data}_{key}": value for data, result in one["metrics"].items() for key, value in result.items()}
    return row | {"not_measured": one["not_measured"]}


def draw(everything: dict, file: Path):
    """For each data set NME against milliseconds on the fewest cores: a dot each with its number in the table.

    Hollow where its points are moved; its area the megabytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    cores, sets = min(everything["settings"]["cores"]), everything["settings"]["data"]
    figure, axes = plt.subplots(1, len(sets), figsize=(6.4 * len(sets), 4.8), squeeze=False, layout="constrained")
    for axis, data in zip(axes[0], sets, strict=True):
        for row, one in enumerate(everything["contenders"], 1):
            result, took = one["metrics"].get(data), one["milliseconds"].get(str(cores))
            if not result or not took or result["nme"] is None:
                continue
            colour = "tab:green" if one["model"] else "tab:blue"
            x, before, after = took["median"], result["nme"], result["nme_after_offset"]
            axis.plot([x, x], [before, after], color=colour, linewidth=0.8)
            area = 20 + 10 * one["facts"]["megabytes"]
            axis.scatter([x], [before], s=area, color=colour, alpha=0.8, linewidths=0)
            axis.scatter([x], [after], s=area, facecolors="none", edgecolors=colour)
            axis.annotate(str(row), (x, after), xytext=(5, -9), textcoords="offset points", fontsize=8, color=colour)
        axis.set(
            xscale="log",
            title=data,
            xlabel=f"milliseconds a face, {_cores(cores)}",
            ylabel="NME in percent; hollow: points moved; numbers as in the table",
        )
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    with runs.whole(file) as beside:
        figure.savefig(beside, dpi=110)
    plt.close(figure)

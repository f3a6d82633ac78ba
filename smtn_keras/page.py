"""A folder with the whole comparison: Markdown, CSV, figures, and a page to look at."""

import dataclasses
import html
import os
from pathlib import Path

from . import __version__, backend, runs
from . import published_results as published
from .errors import UserError

MARK = "<!-- made by smtn_keras.report -->"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 76rem; margin: 0 auto; padding: 0 1rem 3rem }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; white-space: nowrap; background: #fff }
th:first-child, td:first-child { position: sticky; left: 0; text-align: left; white-space: normal; min-width: 9rem; max-width: 18rem }
table:has(th:nth-child(20)) th:not(:first-child) { writing-mode: vertical-rl; padding: 0.6rem 0.25rem }
table:has(th:nth-child(20)) td { padding: 0.25rem 0.35rem }
.scroll { overflow-x: auto }
em { color: #666 }
sub { color: #666 }
img { max-width: 100%; height: auto }
code { overflow-wrap: anywhere }
"""


def write_page(folders: tuple[str, ...], out: Path, split: str = "test", data_dir: str | None = None) -> Path:
    """Writes `report.md`, `report.html` (the same), a CSV file for each table and a PNG file for each figure.

    Args:
        folders: of measured runs; those that differ in nothing but the seed share a row.
        out: the folder, new, empty, or with an earlier report.
        split: the part, and how it was measured: test, test+flip.
        data_dir: where the prepared pictures of Figures 4 and 6 lie; by itself where the runs had them.

    Returns:
        The page.

    Raises:
        UserError: if the folder is another's, or a run was not measured.
    """
    page = out / "report.md"
    if out.exists() and not _ours(out):
        raise UserError(f"{out}: expected a new or empty folder or one with an earlier report, got something else; name another --out")
    backend.start()
    from .comparison import rows_of

    rows = _with_costs(rows_of(folders, split))
    out.mkdir(parents=True, exist_ok=True)
    runs.write(page, f"{MARK}\n\nThis report was not finished.\n")  # so that the folder is known as one of ours
    all_folders = [folder for row in rows for folder in row.folders]
    data_sets = dict.fromkeys(data for row in rows for data in row.results)
    licences = dict.fromkeys(runs.read_data_card(folder).get("licence") for folder in all_folders)
    blocks = [
        f"{MARK}\n\n# {len(all_folders)} runs compared" if len(all_folders) > 1 else f"{MARK}\n\n# One run",
        _introduction(data_sets),
        *(block for data in data_sets for block in _section(data, rows, out, split, data_dir)),
        "## Data",
        *filter(None, licences),
    ]
    if any(out.glob("figure*.png")):
        blocks.append("Figures 4 and 6 show pictures of the data sets, so these licences hold for this folder too.")
    text = "\n\n".join(blocks) + "\n"
    runs.write(out / "report.html", to_html(text))
    runs.write(page, text)
    return out / "report.html"


def _section(data: str, rows: list, out: Path, split: str, data_dir: str | None) -> list[str]:
    """What is said of a data set, in Markdown; writes its tables and figures."""
    from . import comparison, figures
    from .tables import samples

    of_data = comparison.named(rows, data)
    count = max(samples(result) for row in of_data.values() for result in row.results[data].values())
    blocks = [f"## {data}, {split} part ({count} images)"]
    if trained := comparison.trained_on(rows, data):
        blocks.append(f"All rows were trained on {trained}.")
    for table in comparison.tables(data, of_data):
        file = f"{table.name}.csv"
        runs.write(out / file, table.csv())
        blocks += [f"### {table.title}, percent", table.markdown(), f"[{file}]({file})"]
    blocks.append("### Figures")
    for figure in figures.draw(data, of_data, split, data_dir, out):
        if figure.file:
            title, file = figure.caption.partition(":")[0], figure.file.name
            blocks.append(f"[![{title}]({file})]({file})")
        blocks.append(figure.caption)
    return blocks


def to_html(markdown: str) -> str:
    """A page of its own, which needs nothing but the figures beside it; tables scroll where the screen is narrow."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    title = next((line.removeprefix("# ") for line in markdown.splitlines() if line.startswith("# ")), "smtn_keras")
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{body}</body>\n</html>\n"
    )


def _ours(out: Path) -> bool:
    """Whether a folder may be written to: it is empty, or holds a report."""
    page = out / "report.md"
    return out.is_dir() and (not any(out.iterdir()) or (page.is_file() and page.read_text(errors="replace").startswith(MARK)))


def _introduction(data_sets) -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    machine = f"{runs.processor()}, {os.cpu_count()} cores{load}"
    lines = [
        "Runs that differ in nothing but the seed share a row: a number is their mean, a small one beside it the largest less the smallest of "
        "them. Success is Eq. 2 of the paper, the share of points within 10 % of the distance of the eyes; NME is the mean error over that "
        "distance; failures are images whose mean error is above 10 %; balanced is the mean recall of a label's classes. Of NME and failures "
        "less is better.",
        "Floors are what is reached without looking at a picture.",
        "Multiply-adds are counted in the conv and dense layers, for one image. Seconds an image are the median of a forward pass of one "
        f"image in float32, all networks in turns, on one machine ({machine}) when this report was made by smtn_keras {__version__}: only their "
        "ratios mean something.",
    ]
    if any(data in published.DATA_SETS for data in data_sets):
        lines.append(
            f"Rows marked as published are the paper's own figures ({published.SOURCE}): of 19,962 pictures of CelebA after training on 162,770. "
            "Those of FaceTracer, PANDA and LNets+ANet it quotes from Liu et al., ICCV 2015. They were measured on other pictures, with "
            "another recipe and at full width, so compare the order of methods and not the numbers."
        )
    return "\n\n".join(lines)


def _with_costs(rows: list) -> list:
    """The rows with the multiply-adds and seconds of their networks."""
    import keras

    from .cost import multiply_adds, seconds_an_image

    keras.config.set_dtype_policy("float32")
    networks = {i: network for i, row in enumerate(rows) if (network := _network(row))}
    seconds = seconds_an_image(networks)
    return [
        dataclasses.replace(row, multiply_adds=multiply_adds(networks[i]), seconds=seconds[i]) if i in networks else row
        for i, row in enumerate(rows)
    ]


def _network(row):
    """The untrained network of a row, None of a method that is not one Keras model."""
    from importlib.util import find_spec

    from . import networks

    if not find_spec(f"{networks.__name__}.{row.config.resolved().network.kind}"):
        return None
    return networks.build(row.config, runs.read_tasks(row.folders[0]))

"""Tables and figures from run folders: `python -m smtn_keras.report RUN... [--out DIR] [--show ablation] [--into README.md]`."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from . import runs
from .errors import UserError, clean_exit

PICTURES = (".png", ".svg", ".pdf", ".jpg")
FIGURES = {"curve": "learning_curve.png", "pareto": "pareto.png"}


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Which runs, and what of them."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders that `smtn_keras.evaluate` has measured."""
    show: Literal["results", "ablation", "analysis", "curve", "pareto"] = "results"
    """results: each run beside the floors; ablation: what each change to the first run does; analysis: where one run fails; curve:
    what more training pictures bring, from runs that differ in --samples; pareto: accuracy against the time of a face on a device."""
    split: str | None = None
    """The part they were measured on, and how: test, test+flip; by itself test, for an ablation, a curve or a front validation."""
    into: str | None = None
    """A Markdown file whose lines between '<!-- NAME: begin -->' and '<!-- NAME: end -->' are replaced; NAME is what --show says."""
    figure: str | None = None
    """Where to draw the curve or the front; by itself learning_curve.png or pareto.png beside the file of --into, if there is one."""
    out: str | None = None
    """A folder to write the whole comparison to, new or of an earlier report: report.html, report.md, the paper's Tables 2 to 4 as CSV
    with its own figures as rows, its Figures 4 and 6, curves and bars."""
    data_dir: str | None = None
    """With --out: where the prepared pictures of Figures 4 and 6 lie; by itself where the runs had them."""

    def __post_init__(self):
        if not self.runs:
            raise UserError("RUN...: expected at least one run folder, got none; name one")
        if self.show == "analysis" and len(self.runs) != 1:
            raise UserError(f"--show analysis: expected one run, got {len(self.runs)}; name one")
        if self.figure and self.show not in FIGURES:
            raise UserError(f"--figure: expected --show {' or '.join(FIGURES)} beside it, got --show {self.show}; leave one out")
        if self.out and (self.show != "results" or self.into):
            raise UserError("--out: expected neither --show nor --into beside it, as the folder holds all; leave one out")
        if self.data_dir and not self.out:
            raise UserError("--data-dir: expected --out beside it, whose Figures 4 and 6 need pictures; leave it out or add one")
        if self.figure and Path(self.figure).suffix not in PICTURES:
            raise UserError(f"--figure {self.figure}: expected a name that ends in one of {', '.join(PICTURES)}; name another")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(ReportConfig, args=argv, prog="python -m smtn_keras.report", description=__doc__)
        if settings.out:
            from .page import write_page

            print(f"written: {write_page(settings.runs, Path(settings.out), settings.split or 'test', settings.data_dir)}")
            return
        text = report(settings)
        print(text)
        if settings.into:
            insert(Path(settings.into), settings.show, text)


def report(settings: ReportConfig) -> str:
    """The Markdown that is asked for; draws its figure, if it has one and there is a place for it."""
    from . import tables
    from .ablation import ablation
    from .analysis import analysis

    split = settings.split or ("test" if settings.show in ("results", "analysis") else "validation")
    if settings.show == "analysis":
        return analysis(settings.runs[0], split)
    if settings.show in FIGURES:
        return _with_figure(settings, split)
    return (ablation if settings.show == "ablation" else tables.results)(settings.runs, split)


def _with_figure(settings: ReportConfig, split: str) -> str:
    from . import plots

    page = Path(settings.into).parent if settings.into else Path()
    figure = Path(settings.figure) if settings.figure else page / FIGURES[settings.show]
    if settings.show == "curve":
        from .curve import CELEBA_TRAIN, learning_curve

        text, shown = learning_curve(settings.runs, split)
        draw, says = (lambda: plots.draw_curves(shown, CELEBA_TRAIN, figure)), "Error against the number of training pictures"
    else:
        from .pareto import pareto

        text, shown = pareto(settings.runs, split)
        draw, says = (lambda: plots.draw_front(shown, figure)), "Accuracy against the time of a face"
    if shown and (settings.figure or settings.into):
        draw()
        text += f"\n\n![{says}]({Path(os.path.relpath(figure, page)).as_posix()})"
    return text


def insert(file: Path, name: str, text: str):
    """Replaces what stands between the two markers of a name in a Markdown file.

    Raises:
        UserError: if the file or a marker is missing.
    """
    before, after = check_markers(file, name)
    begin, end = markers(name)
    runs.write(file, f"{before}{begin}\n{text}\n{end}{after}")


def check_markers(file: Path, name: str) -> tuple[str, str]:
    """What stands before and after the two markers of a name in a Markdown file.

    Raises:
        UserError: if the file or a marker is missing.
    """
    begin, end = markers(name)
    content = file.read_text() if file.is_file() else ""
    before, found, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise UserError(f"{file}: expected a file with the lines '{begin}' and '{end}', found them not; add them where the tables belong")
    return before, after


def markers(name: str) -> tuple[str, str]:
    """What stands before and after the tables of a name in a Markdown file."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


if __name__ == "__main__":
    main()

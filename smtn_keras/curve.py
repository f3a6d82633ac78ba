"""How a recipe gains from more training pictures: a table, a power law and a drawing."""

import dataclasses
from pathlib import Path
from statistics import mean

import numpy as np

from . import runs
from .ablation import difference
from .config import read_config
from .errors import UserError
from .tables import HEADLINE, headline, measured, not_measured, number, table

CELEBA_TRAIN = 162_770  # pictures of CelebA's own training part


@dataclasses.dataclass(frozen=True)
class Curve:
    """Error against the number of training pictures, and `a * n**-b` fitted to it.

    Attributes:
        sizes, errors: the points, by size; errors in percent.
    """

    name: str
    sizes: np.ndarray
    errors: np.ndarray
    a: float
    b: float

    def at(self, size: float | np.ndarray) -> float | np.ndarray:
        """The error that the power law expects."""
        return self.a * size**-self.b

    @classmethod
    def fit(cls, name: str, sizes, errors) -> "Curve":
        """The power law of least squares in log-log."""
        sizes, errors = np.asarray(sizes, float), np.asarray(errors, float)
        slope, intercept = np.polyfit(np.log(sizes), np.log(errors), 1)
        return cls(name, sizes, errors, float(np.exp(intercept)), float(-slope))


def learning_curve(folders: tuple[str, ...], split: str = "validation") -> tuple[str, list[Curve]]:
    """A table of runs that differ in --samples, and in the seed, over which it takes means; and the power laws below it.

    Returns:
        Markdown, and the curves it tells of: NME and attribute error for each data set.

    Raises:
        UserError: if the runs differ otherwise, have fewer than three sizes or miss metrics.
    """
    by_size = _by_size(folders)
    found = {folder: measured(folder, split) for alike in by_size.values() for folder in alike}
    data_sets = list(dict.fromkeys(data for results in found.values() for data in results))
    for folder, results in found.items():
        for data in data_sets or [None]:
            if data not in results:
                raise not_measured(folder, split, data)

    numbers = {}  # (data set, name) -> a value for each size, None where a run has none
    for data in data_sets:
        for name in HEADLINE:
            values = [[headline(found[folder][data])[name] for folder in alike] for alike in by_size.values()]
            numbers[data, name] = [None if None in of_size else mean(of_size) for of_size in values]
    rows = [
        [
            f"{size:,}",
            f"{mean(len(runs.read_history(folder)) for folder in alike):g}",
            *(number(values[i]) for values in numbers.values()),
            len(alike),
        ]
        for i, (size, alike) in enumerate(by_size.items())
    ]
    head = ["training pictures", "epochs", *(f"{data} {name}" for data, name in numbers), "seeds"]

    curves = []
    for (data, name), values in numbers.items():
        errors = [100 - value if name == "accuracy" and value is not None else value for value in values]
        if name != "success" and all(errors):  # of 0 % there is no logarithm
            curves.append(Curve.fit(f"{data} {'attribute error' if name == 'accuracy' else name}", list(by_size), errors))
    blocks = [f"{split.capitalize()} part, percent.", table(head, rows)]
    if curves:
        blocks += [_laws(curves), _caveat(curves[0].sizes)]
    return "\n\n".join(blocks), curves


def _by_size(folders: tuple[str, ...]) -> dict[int, list[Path]]:
    """Runs by the number of their training pictures, smallest first."""
    configs = {Path(folder): read_config(Path(folder)) for folder in folders}
    first = next(iter(configs))
    by_size = {}
    for folder, config in configs.items():
        # fewer pictures need more epochs for as many steps
        other = [flag for _, flag in difference(config, configs[first]) if not flag.startswith(("--samples ", "--epochs "))]
        if other:
            raise UserError(
                f"{folder}: expected a run that differs from {first} in --samples (and --epochs) only, got {' '.join(other)}; leave it out"
            )
        count = runs.read_data_card(folder)["counts"]["train"]
        size = count if config.data.samples is None else min(count, config.data.samples * len(config.data.names))
        by_size.setdefault(size, []).append(folder)
    if len(by_size) < 3:
        sizes = ", ".join(map(str, sorted(by_size)))
        raise UserError(f"--show curve: expected runs of at least three sizes (--samples), got {sizes}; train and name more")
    return dict(sorted(by_size.items()))


def _laws(curves: list[Curve]) -> str:
    rows = []
    for curve in curves:
        off = 100 * np.abs(curve.errors / curve.at(curve.sizes) - 1).max()
        rows.append([curve.name, f"{curve.a:.3g} n^{-curve.b:.3f}", f"{off:.1f}", number(curve.at(CELEBA_TRAIN))])
    return table(["error", "power law", "largest deviation of a point from it, percent", f"at {CELEBA_TRAIN:,}"], rows)


def _caveat(sizes: np.ndarray) -> str:
    return (
        f"The power laws are least-squares lines through the logarithms of {len(sizes)} sizes. {CELEBA_TRAIN:,} is CelebA's whole training "
        f"part, {CELEBA_TRAIN / sizes[-1]:.1f} times the largest size measured: its column is an "
        "extrapolation, not a measurement, and takes for granted that the line goes on, which wrong labels or the network's size may end."
    )

"""The paper's Tables 2, 3 and 4 from run folders, with its own figures in rows marked as published."""

import csv
import dataclasses
import io
from pathlib import Path
from statistics import mean

from . import published_results as published
from . import runs
from .ablation import alike, difference
from .config import Config, read_config
from .tables import label, measured, not_measured, number, spread, table

FEW = 5  # so many points have a column each
BRANCHES = {"hard_sharing": ("end", "conv1_2", "conv2_2", "conv3_3"), "separation": ("input", "conv1_2", "conv2_2", "conv3_3")}
SYSTEMS = {"hard_sharing": "hard sharing (baseline)", "separation": "SMTN (changed)"}  # as Table 4 calls them
COST = ("parameters, M", "multiply-adds, M", "seconds an image", "seeds")


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but the seed.

    Attributes:
        config: the first run's.
        results: for each data set those of the runs that were measured on it, by folder.
        multiply_adds, seconds: for an image, None where unknown.
    """

    config: Config
    folders: tuple[Path, ...]
    results: dict[str, dict[Path, dict]]
    multiply_adds: int | None = None
    seconds: float | None = None

    def values(self, data: str, path: tuple[str, ...], part: str = "metrics") -> tuple[float, ...]:
        """What the runs reached on a data set, none if one of them lacks it; `path` as `("success_rate", "nose")`."""
        found = [_at(result, path, part) for result in self.results.get(data, {}).values()]
        return () if None in found else tuple(found)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that is written as Markdown and as CSV.

    Attributes:
        name: of its file.
        rows: a name, its cells, and whether it was measured here. A cell is a text, or the values of several seeds.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, list[str | tuple[float, ...]], bool]]

    def markdown(self) -> str:
        """Means, with the largest less the smallest value as a small number beside; what was not measured in italics."""
        lines = [[name if own else f"*{name}*", *(_mean(cell) + _spread(cell) for cell in cells)] for name, cells, own in self.rows]
        return table(list(self.head), lines)

    def csv(self) -> str:
        """The same, the spreads in columns of their own."""
        spreads = [i for i in range(len(self.head) - 1) if any(isinstance(c[i], tuple) and len(c[i]) > 1 for _, c, _ in self.rows)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.head, *(f"{self.head[i + 1]} spread" for i in spreads)])
        for name, cells, _ in self.rows:
            apart = (_spread(cells[i]).removeprefix(" <sub>").removesuffix("</sub>") for i in spreads)
            writer.writerow([name, *map(_mean, cells), *apart])
        return text.getvalue()


def rows_of(folders: tuple[str, ...], split: str) -> list[Row]:
    """The rows of all tables, in the order of the runs.

    Raises:
        UserError: if a run was not measured on that part, or two of a row have the same seed.
    """
    configs = {Path(folder): read_config(Path(folder)) for folder in folders}
    found = {folder: measured(folder, split) for folder in configs}
    for folder, results in found.items():
        if not results:
            raise not_measured(folder, split)
    rows = []
    for of_row in alike(configs).values():
        data_sets = dict.fromkeys(data for folder in of_row for data in found[folder])
        results = {data: {folder: found[folder][data] for folder in of_row if data in found[folder]} for data in data_sets}
        rows.append(Row(configs[of_row[0]], tuple(of_row), results))
    return rows


def named(rows: list[Row], data: str) -> dict[str, Row]:
    """The rows that were measured on a data set, by names that tell them apart."""
    found, trained = {}, trained_on(rows, data)
    for row in (row for row in rows if data in row.results):
        name = label(row.config, trained or data)
        if name in found:
            name += ", " + " ".join(flag for _, flag in difference(row.config, found[name].config))
        found[name] = row
    return found


def trained_on(rows: list[Row], data: str) -> str | None:
    """What all rows that were measured on a data set were trained on, None if they differ."""
    trained = {row.config.data.data for row in rows if data in row.results}
    return trained.pop() if len(trained) == 1 else None


def tables(data: str, rows: dict[str, Row]) -> list[Table]:
    """Tables 2, 3 and 4 of a data set, those of them that the rows have anything for."""
    made = (_table_2(data, rows), _table_3(data, rows), _table_4(data, rows))
    return [of_paper for of_paper in made if any(own for _, _, own in of_paper.rows)]


def known(data: str, rows: dict[str, Row], key: str) -> list[str]:
    """The points or labels that a data set has, as the metrics name them under `success_rate` or `accuracy`."""
    results = [result for row in rows.values() for result in row.results[data].values()]
    return list(dict.fromkeys(name for result in results for name, value in (_at(result, (key,)) or {}).items() if value is not None))


def _table_2(data: str, rows: dict[str, Row]) -> Table:
    points = known(data, rows, "success_rate")
    columns = {point.replace("_", " "): ("success_rate", point) for point in points if len(points) <= FEW}
    columns |= {"average": ("success_rate_average",), "NME": ("nme",), "failures": ("failure_rate",)}
    lines = _measured(data, rows, columns, ("success_rate_average",), "floor: mean shape of the training part")
    if data in published.DATA_SETS:
        paths = [*(("success_rate", point) for point in _five_points()), ("success_rate_average",)]
        lines += _published(published.TABLE_2, paths, columns, 1)
    return Table(f"table2-{data}", "Table 2: success rate of the landmarks", ("network", *columns, *COST), lines)


def _table_3(data: str, rows: dict[str, Row]) -> Table:
    columns = {"average": ("accuracy_mean",), "balanced": ("balanced_accuracy_mean",)}
    columns |= {name.replace("_", " "): ("accuracy", name) for name in known(data, rows, "accuracy")}
    lines = _measured(data, rows, columns, ("accuracy_mean",), "floor: majority label of the training part")
    if data in published.DATA_SETS:
        paths = [*(("accuracy", name) for name in _attributes()), ("accuracy_mean",)]
        lines += _published(published.TABLE_3, paths, columns, 0)
    return Table(f"table3-{data}", "Table 3: accuracy of the attributes", ("method", *columns, *COST), lines)


def _table_4(data: str, rows: dict[str, Row]) -> Table:
    columns = {"landmarks": ("success_rate_average",), "NME": ("nme",), "attributes": ("accuracy_mean",)}
    columns |= {"balanced": ("balanced_accuracy_mean",)}
    lines = []
    for kind, branches in BRANCHES.items():
        for branch in branches:
            for name, row in rows.items():
                network = row.config.resolved().network
                if (network.kind, network.branch) == (kind, branch):
                    lines.append((name, [branch, *_cells(data, row, columns.values()), *_cost(data, row)], True))
            if data in published.DATA_SETS and branch in published.TABLE_4[kind]:
                success, accuracy = published.TABLE_4[kind][branch]
                lines.append((f"published: {SYSTEMS[kind]}", [branch, f"{success:.1f}", "-", f"{accuracy:.1f}", "-", *"----"], False))
    if all(cells[0] in ("input", "end") for _, cells, _ in lines):
        lines = []  # of no branch point there is nothing beyond Tables 2 and 3
    title = "Table 4: branch points, average success rate of the landmarks and average accuracy of the attributes"
    return Table(f"table4-{data}", title, ("network", "branch point", *columns, *COST), lines)


def _measured(data: str, rows: dict[str, Row], columns: dict[str, tuple], needed: tuple, floor: str) -> list[tuple]:
    """A line for each row that has the needed number, and one for the floor."""
    able = {name: row for name, row in rows.items() if row.values(data, needed)}
    lines = [(name, [*_cells(data, row, columns.values()), *_cost(data, row)], True) for name, row in able.items()]
    for row in list(able.values())[:1]:
        values = (row.values(data, path, "floor")[:1] for path in columns.values())
        lines.append((floor, [*(number(value[0] if value else None) for value in values), *"----"], False))
    return lines


def _published(rows: dict[str, tuple], paths: list[tuple], columns: dict[str, tuple], digits: int) -> list[tuple]:
    """A line for each row of the paper, with what it says of the columns."""
    lines = []
    for name, values in rows.items():
        of_path = dict(zip(paths, (f"{value:.{digits}f}" for value in values), strict=True))
        lines.append((f"published: {name}", [*(of_path.get(path, "-") for path in columns.values()), *"----"], False))
    return lines


def _cells(data: str, row: Row, paths) -> list[str | tuple[float, ...]]:
    return [row.values(data, path) or "-" for path in paths]


def _cost(data: str, row: Row) -> list[str]:
    parameters = runs.read_environment(row.folders[0])["parameters"]
    seeds = " ".join(str(read_config(folder).training.seed) for folder in row.results[data])
    counts = (number(count and count / 1e6) for count in (parameters, row.multiply_adds))
    return [*counts, "-" if row.seconds is None else f"{row.seconds:.4f}", seeds]


def _at(result: dict, path: tuple[str, ...], part: str = "metrics"):
    """A number of a result, whichever of its tasks it is of."""
    value = {key: value for parts in result.values() for key, value in parts[part].items()}
    for key in path:
        value = (value or {}).get(key)
    return value


def _mean(cell) -> str:
    return cell if isinstance(cell, str) else number(mean(cell))


def _spread(cell) -> str:
    return "" if isinstance(cell, str) else spread(list(cell))


def _five_points() -> tuple[str, ...]:
    from .data.celeba import FIVE_POINTS

    return FIVE_POINTS.points


def _attributes() -> list[str]:
    from .data.celeba import ATTRIBUTES

    return ATTRIBUTES

"""What each change to a base run does, as a Markdown table."""

import dataclasses
from pathlib import Path
from statistics import mean

from . import runs
from .config import Config, NetworkConfig, read_config
from .errors import UserError
from .tables import HEADLINE, describe, headline, measured, minutes, not_measured, spread, table

GROUPS = ("data", "network", "training", "stage", "several parts", "test time")
IGNORED = ("data_dir", "seed")
FLATTERED = " The thresholds of `--thresholds` were chosen on this very part, so it flatters them."


def ablation(folders: tuple[str, ...], split: str = "validation") -> str:
    """Compares runs with the first one; those that differ in nothing but the seed share a row.

    Ways of measuring, such as `DATA/validation+flip`, are rows too, compared with the same runs without.

    Raises:
        UserError: if the first run was not measured on that part, or two runs of a row have the same seed.
    """
    configs = {Path(folder): read_config(Path(folder)) for folder in folders}
    first = next(iter(configs))
    if not measured(first, split):
        raise not_measured(first, split)
    data_sets = list(dict.fromkeys(data for folder in configs for data in measured(folder, split)))
    rows = alike(configs)

    base = [measured(folder, split) for folder in rows[()]]
    groups = {group: [] for group in GROUPS}
    for flags, of_row in rows.items():
        label = f"`{' '.join(flag for _, flag in flags)}`" if flags else ""
        if flags:
            cells = _cells([measured(folder, split) for folder in of_row], base, data_sets)
            groups[_group({part for part, _ in flags})].append([label, *cells, len(of_row), _minutes(of_row)])
        for how in _ways(of_row, split):
            able = [folder for folder in of_row if measured(folder, split + how)]
            cells = _cells([measured(f, split + how) for f in able], [measured(f, split) for f in able], data_sets)
            says = f"evaluated with `{how.replace('+', ' --').strip()}`"
            groups["test time"].append([f"{label}, {says}" if label else says, *cells, len(able), ""])

    head = ["change", *(f"{data} {name}" for data in data_sets for name in HEADLINE), "seeds", "minutes"]
    lines = [[f"base: {describe(configs[first])}", *_cells(base, None, data_sets), len(base), _minutes(rows[()])]]
    for group, of_group in groups.items():
        if of_group:
            lines += [[f"*{group}*", *[""] * (len(head) - 1)], *of_group]
    flattered = split.startswith("validation") and any("thresholds" in how for folder in configs for how in _ways([folder], split))
    says = (
        f"{split.capitalize()} part, percent; of NME less is better. The first row holds the base's values, the others their difference to it, or at "
        "test time to the same runs without (their value, without a sign, where those have none). Numbers are means over the seeds; a small "
        f"one beside is the largest less the smallest of them.{FLATTERED if flattered else ''}"
    )
    return f"{says}\n\n{table(head, lines)}"


def alike(configs: dict[Path, Config]) -> dict[tuple[tuple[str, str], ...], list[Path]]:
    """Runs that share a row, as they differ in nothing but the seed; by their difference to the first run.

    Raises:
        UserError: if two runs of a row have the same seed.
    """
    first, rows = next(iter(configs.values())), {}
    for folder, config in configs.items():
        rows.setdefault(difference(config, first), []).append(folder)
    for of_row in rows.values():
        _check_seeds({folder: configs[folder].training.seed for folder in of_row})
    return rows


def difference(config: Config, base: Config) -> tuple[tuple[str, str], ...]:
    """The flags that turn a base's configuration into another, each after the part of the configuration that it changes.

    Left out are the preset, the seed and the folders, and what the stage alone decides.
    """
    ours, theirs, written = _chosen(config), _chosen(base), dataclasses.asdict(config.resolved())
    flags = [("stage", f"--stage {config.stage}")] if config.stage != base.stage else []
    for part in ("data", "network", "training"):
        changed = (field for field in ours[part] if ours[part][field] != theirs[part][field] and field not in IGNORED)
        flags += [(part, _flag(field, written[part][field])) for field in changed]
    return tuple(flags)


def _chosen(config: Config) -> dict:
    """A configuration's fields, None for those of the network that its stage would set alike."""
    fields = dataclasses.asdict(config.resolved())
    usual = Config(stage=config.stage, network=NetworkConfig(fusion=config.network.fusion)).resolved().network
    for field in ("kind", "branch", "init"):
        if fields["network"][field] == getattr(usual, field):
            fields["network"][field] = None
    return fields


def _flag(field: str, value) -> str:
    name = "network" if field == "kind" else field.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    values = value if isinstance(value, tuple) else (value,)
    return " ".join([f"--{name}", *(f"{v:.10g}" if isinstance(v, float) else str(v) for v in values)])


def _group(parts: set[str]) -> str:
    if "stage" in parts:  # which brings other settings with it
        return "stage"
    return parts.pop() if len(parts) == 1 else "several parts"


def _check_seeds(seeds: dict[Path, int]):
    known = {}
    for folder, seed in seeds.items():
        if known.setdefault(seed, folder) != folder:
            raise UserError(
                f"{known[seed]} and {folder}: expected runs of the same settings (--from aside) to differ in --seed, got {seed} twice; "
                "leave one out"
            )


def _ways(folders: list[Path], split: str) -> list[str]:
    """How else runs were measured on a part: the suffixes of the split in metrics.json, such as `+flip`."""
    parts = [key.rpartition("/")[2] for folder in folders for key in runs.read_metrics(folder)]
    return list(dict.fromkeys(part.removeprefix(split) for part in parts if part.startswith(f"{split}+")))


def _minutes(folders: list[Path]) -> str:
    return f"{mean(map(minutes, folders)):.0f}"


def _cells(results: list[dict], others: list[dict] | None, data_sets: list[str]) -> list[str]:
    """A cell for each data set and headline number: the mean over runs, less that of others if they have one, and the spread."""
    cells = []
    for data in data_sets:
        for name in HEADLINE:
            values, theirs = ([headline(result.get(data, {}))[name] for result in of] for of in (results, others or []))
            if None in values:
                cells.append("-")
                continue
            value = f"{mean(values) - mean(theirs):+.2f}" if theirs and None not in theirs else f"{mean(values):.2f}"
            cells.append(value + spread(values))
    return cells

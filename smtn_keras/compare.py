"""Trains and measures many systems on one data set: `python -m smtn_keras.compare --networks all --data celeba --seeds 3`."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import tyro

from . import reading, runs
from .config import read_config
from .errors import UserError, clean_exit
from .presets import parse
from .tables import HEADLINE, headline, measured, minutes, number

# the flags of each stage of a system; a stage-2 run starts from the run of the stage before, which systems with the same first stage share
SYSTEMS = {
    "single_task": ("--network single_task",),
    "hard_sharing": ("--network hard_sharing",),
    "hard_sharing_conv1_2": ("--network hard_sharing --branch conv1_2",),
    "hard_sharing_conv2_2": ("--network hard_sharing --branch conv2_2",),
    "hard_sharing_conv3_3": ("--network hard_sharing --branch conv3_3",),
    "separation_concat": ("--network hard_sharing", "--fusion concat"),
    "separation_channelwise": ("--network hard_sharing", "--fusion channelwise --init scratch"),
    "separation_stage1": ("--network hard_sharing", "--fusion channelwise --init stage1"),
    "separation_conv1_2": ("--network hard_sharing", "--branch conv1_2"),
    "separation_conv2_2": ("--network hard_sharing", "--branch conv2_2"),
    "separation_conv3_3": ("--network hard_sharing", "--branch conv3_3"),
    "separation_end_to_end": ("--network separation",),
    "separation_apart": ("--network separation --apart 0.1",),
    "separation_crelu": ("--network hard_sharing --activation crelu", "--fusion channelwise"),
    "soft_sharing_l2": ("--network soft_sharing --sharing l2",),
    "soft_sharing_trace": ("--network soft_sharing --sharing trace",),
    "cross_stitch": ("--network single_task", "--network cross_stitch"),
    "nddr": ("--network single_task", "--network nddr"),
    "mtan": ("--network mtan",),
    "tcdcn": ("--network tcdcn",),
    "tcdcn_shallow": ("--network tcdcn --backbone shallow",),
    "cascade": ("--network cascade",),
    "hard_sharing_uncertainty": ("--network hard_sharing --balance uncertainty --no-uncertainty",),
    "hard_sharing_gradnorm": ("--network hard_sharing --balance gradnorm --no-uncertainty",),
    "hard_sharing_pcgrad": ("--network hard_sharing --balance pcgrad",),
    "mobilenet_v2": ("--network hard_sharing --backbone mobilenet_v2 --width 0.5", "--fusion channelwise"),
    # at the presets' rate the attributes' stack diverges in stage 2
    "resnet50": ("--network hard_sharing --backbone resnet50 --width 1", "--fusion channelwise --learning-rate 5e-4"),
    "facetracer": ("--network facetracer",),
    "panda_w": ("--network panda_w",),
    "panda_l": ("--network panda_l",),
    "lnets_anet": ("--network lnets_anet",),
}
COMMON = ("data", "preset", "epochs", "identities", "flags")  # what all runs of a folder share


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What to compare, on what and for how long."""

    networks: tuple[str, ...] = ("all",)
    """Systems by name, or all; a wrong name lists them."""
    data: str = "synthetic"
    """A prepared data set, or several trained as one."""
    data_dir: str = "data"
    """The folder into which `smtn_keras.prepare` wrote it."""
    preset: Literal["paper", "best", "small", "demo"] = "small"
    """Where all other settings start."""
    epochs: int = 16
    """Passes over the training part in all; a system of two stages has half of them in each."""
    seeds: int = 1
    """Train each system with the seeds 0, 1, ... and show mean and spread."""
    split: Literal["validation", "test"] = "test"
    """The part that is measured once at the end of each run."""
    identities: str | None = None
    """For lnets_anet: a list of who is on each picture, such as CelebA's identity_CelebA.txt, to train on before the labels."""
    out: str = "comparison"
    """The folder for the runs and, in `report`, the report. The same command again goes on where it stopped."""
    flags: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Flags of `smtn_keras.fit` for every run: whatever flags the command has that are not above."""

    def __post_init__(self):
        unknown = [name for name in self.networks if name not in (*SYSTEMS, "all")]
        if unknown or not self.networks:
            raise UserError(f"--networks: expected all or some of {', '.join(SYSTEMS)}, got {', '.join(unknown) or 'none'}")
        for flag, value, least in (("--epochs", self.epochs, 2), ("--seeds", self.seeds, 1)):
            if value < least:
                raise UserError(f"{flag}: expected at least {least}, got {value}")

    @property
    def systems(self) -> tuple[str, ...]:
        """Names, in the order of SYSTEMS."""
        return tuple(name for name in SYSTEMS if name in self.networks or "all" in self.networks)


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        description = f"{__doc__} Other flags, such as --image-size 48, are those of smtn_keras.fit, for every run."
        settings, flags = tyro.cli(
            CompareConfig, args=argv, prog="python -m smtn_keras.compare", description=description, return_unknown_args=True
        )
        compare(dataclasses.replace(settings, flags=tuple(flags)))


def compare(settings: CompareConfig) -> list[Path]:
    """Trains and measures every run that is missing, then writes the report.

    Returns:
        The runs in the report: the last stage of each system for each seed.

    Raises:
        UserError: if a run fails; those finished are kept.
    """
    for system in settings.systems:  # so that a wrong flag is told before the first hour
        for stage in range(1, len(SYSTEMS[system]) + 1):
            parse(_arguments(settings, system, stage, 0), "python -m smtn_keras.fit", "", None)
    _hold_to_settings(settings)
    jobs = [(system, seed) for system in settings.systems for seed in range(settings.seeds)]
    last = []
    for done, (system, seed) in enumerate(jobs, 1):
        before = None
        for stage in range(1, len(SYSTEMS[system]) + 1):
            before = _train(settings, system, stage, seed, before)
        _measure(before, settings.split)
        last.append(before)
        print(f"{done}/{len(jobs)} {system}, seed {seed}: {_numbers(before, settings)}", flush=True)
    _run(
        "report",
        [*map(str, last), "--split", settings.split, "--out", str(Path(settings.out) / "report")],
        Path(settings.out) / "report.log",
    )
    return last


def _hold_to_settings(settings: CompareConfig):
    """Writes what all runs have in common, or refuses to mix runs that have not."""
    file = Path(settings.out) / "compare.json"
    common = {name: getattr(settings, name) for name in COMMON} | {"flags": list(settings.flags)}
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        return runs.write(file, json.dumps(common, indent=2) + "\n")
    try:
        theirs = reading.read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected the settings of a comparison, got something else ({error}); name another --out") from None
    for name, value in common.items():
        if theirs.get(name) != value:
            raise UserError(
                f"{settings.out}: expected --{name} {theirs.get(name)}, with which its runs were trained, got {value}; name another --out"
            )


def _train(settings: CompareConfig, system: str, stage: int, seed: int, before: Path | None) -> Path:
    """The run of one stage, trained to its end if it is not yet."""
    flags = SYSTEMS[system][stage - 1].replace("--", "").replace(" ", "_")
    name = f"{flags}-stage{stage}-epochs{_epochs(settings, system)}-seed{seed}"
    folder = Path(settings.out) / "runs" / (f"{before.name}-{name}" if before else name)
    if (folder / "config.json").is_file() and runs.finished(folder, read_config(folder)):
        return folder
    if folder.is_dir():
        arguments = ["--resume", "--run", str(folder)]
    else:
        arguments = [*_arguments(settings, system, stage, seed), "--run", str(folder), *(["--from", str(before)] if before else [])]
    _run("fit", arguments, _log(folder))
    return folder


def _arguments(settings: CompareConfig, system: str, stage: int, seed: int) -> list[str]:
    common = ["--data", settings.data, "--data-dir", settings.data_dir, "--preset", settings.preset, "--seed", str(seed)]
    of_stage = ["--stage", str(stage), "--epochs", str(_epochs(settings, system))]
    of_system = ["--identities", settings.identities] if settings.identities and system == "lnets_anet" else []
    return [*common, *settings.flags, *of_stage, *SYSTEMS[system][stage - 1].split(), *of_system]


def _epochs(settings: CompareConfig, system: str) -> int:
    return settings.epochs // len(SYSTEMS[system])


def _measure(folder: Path, split: str):
    if not measured(folder, split):
        _run("evaluate", ["--run", str(folder), "--split", split], _log(folder))


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")  # a name may have a dot: width_0.5


def _run(command: str, arguments: list[str], log: Path):
    """A command in a process of its own, which gives its memory back; what it says goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        done = subprocess.run(
            [sys.executable, "-m", f"smtn_keras.{command}", *arguments], stdout=lines, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        said = log.read_text().strip().splitlines()
        raise UserError(
            f"smtn_keras.{command}: expected it to end well, got exit {done.returncode} ({said[-1] if said else 'no word'}); see {log}, then run the "
            "same command again"
        )


def _numbers(folder: Path, settings: CompareConfig) -> str:
    parts = []
    for data, result in measured(folder, settings.split).items():
        found = headline(result)
        parts.append(f"{data} " + ", ".join(f"{name} {number(found[name])}" for name in HEADLINE))
    return f"{'; '.join(parts)} ({minutes(folder):.0f} minutes)"


if __name__ == "__main__":
    main()

"""The presets, and how flags on top of them become a configuration. Imports nothing heavy."""

import argparse
import dataclasses
from pathlib import Path

import tyro

from .config import Config, DataConfig, NetworkConfig, TrainingConfig, read_config
from .errors import UserError

PRESETS = ("paper", "best", "small", "demo", "mobile", "mobile_tiny")
STAGES = (1, 2, 3)
# what stage 2 takes from its stage-1 run
BACKBONE = ("image_size", "backbone", "width", "activation", "conv", "batch_norm", "head", "uncertainty", "attribute_output")


def preset(name: str, stage: int) -> Config:
    """The settings a preset starts from. What differs between the stages stands here and nowhere else."""
    # https://doi.org/10.5220/0007342602650272, section 4.1; stage 2 as in Table 2's best row: concatenation, from scratch.
    if name == "paper":
        return Config(
            stage=stage,
            preset=name,
            data=DataConfig(data="celeba", flip=False, shift=0, scale=0, rotation=0, colour=0),
            network=NetworkConfig(
                image_size=128, width=1, batch_norm=False, head="paper", fusion="concat", fusion_init="random", init="scratch"
            ),
            training=TrainingConfig(
                epochs=100,
                batch_size=32,
                optimizer="sgd",
                learning_rate=1e-4,
                schedule="constant",
                weight_decay=0,
                landmarks_loss="mse",
                landmark_scale=1,  # not said in the paper; with 5 or more this head and rate diverge within the first steps
            ),
        )
    if name == "best":  # docs/recipe.md says what each setting is worth
        return Config(
            stage=stage,
            preset=name,
            data=DataConfig(data="celeba+mtfl", shift=0.08, scale=0.25, rotation=15, colour=0.25, blur=1, jpeg=40, erase=0.1),
            network=NetworkConfig(image_size=96, width=0.25, uncertainty=True),
            training=TrainingConfig(
                epochs={1: 24, 2: 12, 3: 6}[stage],
                learning_rate={1: 2e-3, 2: 2e-3, 3: 2e-4}[stage],
                weight_decay=0.01,
                ema=0.998,
                attributes_weight=3,
            ),
        )
    if name in ("mobile", "mobile_tiny"):  # best's training of networks that docs/mobile.md compares, all stacks at once
        if stage > 1:
            raise UserError(
                f"--preset {name}: expected --stage 1, in which all its stacks train at once, got --stage {stage}; leave one out"
            )
        size = {"task_width": 0.125, "branch": "conv1_2"} if name == "mobile" else {"width": 0.125, "branch": "conv2_2"}
        start = preset("best", stage)
        network = dataclasses.replace(start.network, kind="separation", fuse_at="block", **size)
        # the narrow one still learns when the other one has learned enough
        training = start.training if name == "mobile" else dataclasses.replace(start.training, epochs=40)
        return dataclasses.replace(start, preset=name, network=network, training=training)
    network = NetworkConfig(image_size=64, width=0.25)
    if name == "small":
        network = dataclasses.replace(network, uncertainty=True)
        training = TrainingConfig(epochs={1: 12, 2: 10, 3: 4}[stage], attributes_weight=3)
    elif name == "demo":
        training = TrainingConfig(epochs={1: 6, 2: 4, 3: 2}[stage])
    else:
        raise UserError(f"--preset: expected one of {', '.join(PRESETS)}, got '{name}'")
    if stage == 3:
        training = dataclasses.replace(training, learning_rate=training.learning_rate / 10)
    return Config(stage=stage, preset=name, network=network, training=training)


def asked(argv: list[str] | None) -> argparse.Namespace:
    """The `preset` (None if not given) and `stage` among flags: what the other settings start from."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    flags.add_argument("--preset", choices=PRESETS)
    flags.add_argument("--stage", type=int, choices=STAGES, default=1)
    try:
        return flags.parse_known_args(argv)[0]
    except argparse.ArgumentError:  # tyro says it better in parse()
        return argparse.Namespace(preset=None, stage=1)


def parse(argv: list[str] | None, prog: str, description: str, before: Path | None = None) -> Config:
    """Flags to a configuration: the preset of the stage first, then what the run of the stage before fixes, then every flag given."""
    flags = asked(argv)
    theirs = read_config(before) if before else None
    start = preset(flags.preset or (theirs.preset if theirs else "small"), flags.stage)
    if theirs:
        # a run of another stage is refused later, with a sentence that says which was expected
        fields = fixed_by_the_run_before(flags.stage) if theirs.stage == flags.stage - 1 else BACKBONE
        start = start.with_(network={field: getattr(theirs.network, field) for field in fields})
    return tyro.cli(tyro.conf.OmitArgPrefixes[Config], args=argv, default=start, prog=prog, description=description)


def fixed_by_the_run_before(stage: int) -> tuple[str, ...]:
    """The network's settings that a run takes from the run of the stage before: in stage 3 all that shape it."""
    if stage < 3:
        return BACKBONE
    return tuple(field.name for field in dataclasses.fields(NetworkConfig) if field.name not in ("dropout", "gradient_balance", "apart"))

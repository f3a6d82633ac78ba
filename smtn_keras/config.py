"""The configuration of a run: its parts together, checked against each other, and as JSON. Imports nothing heavy."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

from . import reading
from .errors import UserError
from .settings import DataConfig, NetworkConfig, RunConfig, TrainingConfig, fields_unlike

# what a network's stage-2 run starts from; the others have one stage
BEFORE = {"separation": "hard_sharing", "cross_stitch": "single_task", "nddr": "single_task"}
BRANCHING = ("hard_sharing", "separation", "tcdcn")  # networks with --branch
PEERS = ("facetracer", "panda_w", "panda_l", "lnets_anet")  # methods that end in SVMs, which say attributes only
ALONE = ("single_task", "hard_sharing", "separation")  # networks of which each task can be trained alone
MEETING = ("hard_sharing", "separation", "mtan", "cascade", "tcdcn")  # networks in whose shared stack the tasks' gradients meet


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one training."""

    stage: Literal[1, 2, 3] = 1
    """1: hard sharing, one stack with two heads; 2: that stack frozen, a task stack for each task fused with it; 3: a stage-2 run
    trained on with nothing frozen, at a small learning rate (the paper's end-to-end future)."""
    preset: Literal["paper", "best", "small", "demo", "mobile", "mobile_tiny"] = "small"
    """Where all other settings start: the paper's recipe, the most accurate one (docs/recipe.md), a narrow network for a laptop, a
    few minutes on synthetic faces, or a network for a device (docs/mobile.md)."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    def __post_init__(self):
        network, training = self.network, self.training
        if network.uncertainty and training.landmarks_loss != "l1":
            raise UserError(
                f"--uncertainty: expected --landmarks-loss l1 beside it, of which the Laplace distribution is made, got {training.landmarks_loss}; "
                "leave one of the two out"
            )
        if network.uncertainty and training.landmark_unit != "image":
            raise UserError(
                f"--uncertainty: expected --landmark-unit image beside it, as each point's own scale is predicted, got {training.landmark_unit}; "
                "leave one of the two out"
            )
        if network.uncertainty and training.balance in ("uncertainty", "gradnorm"):
            raise UserError(
                f"--balance {training.balance}: expected --no-uncertainty beside it (it divides by each loss, and a likelihood's may be "
                "negative), got --uncertainty; leave one of the two out"
            )
        self._check_stage()
        self._check_network()

    def _check_stage(self):
        kind, from_run = self.kind, self.run.from_run
        if self.stage == 1 and from_run:
            raise UserError(
                f"--from {from_run}: expected --stage 2 or 3 beside it, got --stage 1, which starts from no run; add one or leave it out"
            )
        if self.stage == 1 and self.network.init == "stage1":
            raise UserError("--init stage1: expected scratch or imagenet in stage 1; there is no run before it")
        able = tuple(BEFORE) if self.stage == 2 else ("separation",)
        if self.stage > 1 and kind not in able:
            raise UserError(
                f"--network {kind}: expected --stage 1, or one of {', '.join(able)} in stage {self.stage}; change one of the two"
            )

    def _check_network(self):
        network, balance, kind = self.network, self.training.balance, self.kind
        if kind in PEERS and len(self.data.names) > 1:
            raise UserError(f"--network {kind}: expected one data set, got --data {self.data.data}; name one")
        if self.data.tasks and kind not in ALONE:
            raise UserError(
                f"--tasks {' '.join(self.data.tasks)}: expected --network {', '.join(ALONE[:-1])} or {ALONE[-1]} beside it, got {kind}, whose tasks "
                "help each other; leave one of the two out"
            )
        if self.data.identities and kind != "lnets_anet":
            raise UserError(f"--identities: expected --network lnets_anet beside it, got {kind}; leave it out")
        branches = self._branches()
        if network.branch and not branches:
            raise UserError(
                f"--branch {network.branch}: expected --network {' or '.join(BRANCHING)} beside it, got {kind}; leave one of the two out"
            )
        if network.branch and network.branch not in branches:
            raise UserError(
                f"--branch {network.branch}: expected one of {', '.join(branches)} with --network {kind} and --backbone {network.backbone} in "
                f"stage {self.stage}; name one of these"
            )
        if kind == "separation" and self.stage > 1 and network.fusion == "concat" and network.init not in ("scratch", None):
            raise UserError(
                f"--fusion concat --init {network.init}: concatenation doubles the input channels of every task layer, so pretrained weights do "
                "not fit (section 3.3 of the paper); use --fusion channelwise or --init scratch"
            )
        meets = kind in MEETING and self.stage != 2
        if balance in ("gradnorm", "pcgrad") and not meets:
            raise UserError(
                f"--balance {balance}: expected a network in whose shared stack the tasks' gradients meet, got --network {kind} in stage {self.stage}; "
                "use --balance fixed"
            )
        if self.training.teacher and balance in ("gradnorm", "pcgrad"):
            raise UserError(
                f"--teacher: expected --balance fixed or uncertainty beside it, got {balance}, which knows the tasks' own losses only; "
                "leave one of the two out"
            )
        if network.gradient_balance and (kind not in ("hard_sharing", "tcdcn") or self.stage > 1):
            raise UserError(
                f"--gradient-balance: expected --network hard_sharing in stage 1, where the tasks' gradients meet in the shared stack, got --network {kind} "
                f"in stage {self.stage}; leave it out"
            )
        if network.task_width and kind != "separation":
            raise UserError(f"--task-width: expected --network separation beside it, got {kind}; leave it out")
        if network.task_width and network.init == "stage1" and self.stage == 2:
            raise UserError("--task-width: expected --init scratch beside it, as a shared stack of another width cannot be copied; add one")
        if network.apart and (kind != "separation" or self.stage == 2):
            raise UserError(
                f"--apart: expected --network separation in stage 1 or 3, where both kinds of stacks train, got --network {kind} in stage {self.stage}; "
                "leave it out"
            )

    def _branches(self) -> tuple[str, ...]:
        """The branch points that the network may have."""
        if self.kind not in BRANCHING:
            return ()
        inner = ("conv1_2", "conv2_2", "conv3_3") if self.network.backbone == "vgg16" else ()
        return ("input", *inner) if self.kind == "separation" else ("end", *inner)

    @property
    def kind(self) -> str:
        """The network that is meant."""
        return self.network.kind or ("hard_sharing" if self.stage == 1 else "separation")

    @property
    def kind_before(self) -> str:
        """The network of the run that a stage-2 or stage-3 run starts from."""
        return BEFORE[self.kind] if self.stage == 2 else self.kind

    def resolved(self) -> "Config":
        """A copy with what depends on the stage written out, so that the record of a run says what was built."""
        network = self.network
        branch = network.branch or next(iter(self._branches()), None)
        fits = self.stage > 1 and not (self.kind == "separation" and (network.fusion == "concat" or network.task_width))
        init = network.init or ("stage1" if fits else "scratch")
        return self.with_(network={"kind": self.kind, "branch": branch, "init": init})

    def with_(self, **parts: dict) -> "Config":
        """A copy with fields of its parts changed: `config.with_(network={"width": 0.5})`."""
        return dataclasses.replace(self, **{part: dataclasses.replace(getattr(self, part), **fields) for part, fields in parts.items()})

    def to_json(self) -> str:
        """The configuration as text for `config.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "config.json") -> "Config":
        """Reads what `to_json` wrote.

        Raises:
            UserError: if the text is not such a configuration.
        """
        try:
            fields = reading.parse_json(text)
            parts = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig, "run": RunConfig}
            data = fields.get("data", {})
            data |= {name: tuple(data[name]) for name in ("tasks", "sampling") if isinstance(data.get(name), list)}
            config = cls(**{key: parts[key](**value) if key in parts else value for key, value in fields.items()})
            for part in (config.data, config.network, config.training, config.run, config):
                if unlike := fields_unlike(part):
                    raise TypeError(f"{unlike[0]} is {getattr(part, unlike[0])!r}")
            return config
        except UserError:
            raise
        except (TypeError, AttributeError, ValueError, KeyError) as error:
            raise UserError(
                f"{name}: expected a configuration written by smtn_keras.fit, got something else ({error}); train the run again"
            ) from None


def read_config(run: Path) -> Config:
    """The configuration of a run folder.

    Raises:
        UserError: if the folder is no run.
    """
    file = Path(run) / "config.json"
    if not file.is_file():
        raise UserError(f"{run}: expected a run folder with a config.json, found none; make one with 'python -m smtn_keras.fit'")
    try:
        text = reading.read_bytes(file, reading.MAX_JSON)
    except OSError as error:
        raise UserError(f"{file}: expected a configuration, got '{error.strerror}'; check the path") from None
    return Config.from_json(text, str(file))

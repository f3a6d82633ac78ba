"""The settings of a run: frozen dataclasses, checked when made.

Every field is a flag of `python -m smtn_keras.fit`; its comment is the flag's help. Imports nothing heavy.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .errors import UserError

# what a network's stage-2 run starts from; the others have one stage
BEFORE = {"separation": "hard_sharing", "cross_stitch": "single_task", "nddr": "single_task"}
BRANCHING = ("hard_sharing", "separation", "tcdcn")  # networks with --branch
PEERS = ("facetracer", "panda_w", "panda_l", "lnets_anet")  # methods that end in SVMs, which say attributes only
MEETING = ("hard_sharing", "separation", "mtan", "cascade", "tcdcn")  # networks in whose shared stack the tasks' gradients meet


def _check_range(flag: str, value: float, low: float, high: float):
    if not low <= value <= high:
        raise UserError(f"{flag}: expected a number from {low:.10g} to {high:.10g}, got {value}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on, and how pictures are varied."""

    data: str = "synthetic"
    """A prepared data set: synthetic, celeba or mtfl; or several trained as one, each face with the labels it has: celeba+mtfl."""
    data_dir: str = "data"
    """The folder into which `smtn_keras.prepare` wrote it."""
    sampling: tuple[float, ...] | None = None
    """How often each joined set is drawn from, in their order, such as 1 1; by itself by their sizes."""
    samples: int | None = None
    """Train on at most this many pictures of each set, chosen by the seed (for learning curves)."""
    flip: bool = True
    """Mirror half of the training pictures; points and labels change sides."""
    shift: float = 0.04
    """Move them by up to this share of the frame's sides."""
    scale: float = 0.04
    """Enlarge or shrink them by up to this share."""
    rotation: float = 4.0
    """Turn them by up to this many degrees."""
    colour: float = 0.1
    """Change brightness, contrast and saturation by up to this share."""
    blur: float = 0.0
    """Blur half of them by a Gaussian of up to this many pixels of the network's input."""
    jpeg: int = 0
    """Compress half of them as JPEG of a quality from this to 95; 0: none."""
    erase: float = 0.0
    """The chance that a rectangle of 2 to 20 % of a picture is covered by noise (random erasing), as an occlusion."""
    mixup: float = 0.0
    """MixUp: half of them are blended with another, by a share from Beta(this, this); they teach labels only, no points. 0: none."""
    identities: str | None = None
    """--network lnets_anet: a list of who is on each picture, such as CelebA's identity_CelebA.txt, to train on before the labels."""

    @property
    def names(self) -> tuple[str, ...]:
        """The data sets trained as one."""
        return tuple(self.data.split("+"))

    def __post_init__(self):
        for name in ("shift", "scale", "colour"):
            _check_range(f"--{name}", getattr(self, name), 0, 0.9)
        for name, high in (("rotation", 180), ("blur", 100), ("jpeg", 95), ("erase", 1), ("mixup", 100)):
            _check_range(f"--{name}", getattr(self, name), 0, high)
        if len(set(self.names)) < len(self.names):
            raise UserError(f"--data {self.data}: expected each data set once, got one twice; name it once and use --sampling")
        if self.samples is not None:
            _check_range("--samples", self.samples, 1, 2**31 - 1)
        if self.sampling is not None and (len(self.sampling) != len(self.names) or not all(0 < w < float("inf") for w in self.sampling)):
            raise UserError(
                f"--sampling: expected {len(self.names)} positive numbers, one for each set of --data {self.data}, got {' '.join(map(str, self.sampling))}"
            )


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network of Table 1 and its variants."""

    image_size: int = 128
    """Side of the square input in pixels, divisible by 16."""
    width: float = 0.25
    """Share of VGG16's filters in each layer."""
    batch_norm: bool = True
    """Batch normalisation between each conv and its ReLU."""
    head: Literal["paper", "pooled", "softargmax", "both"] = "softargmax"
    """paper: flatten, FC 2048; pooled: a small FC; softargmax: points as expectations of heatmaps, attributes pooled; both: points
    as the mean of the last two."""
    uncertainty: bool = False
    """Predict beside each point how far off it may be, trained by the likelihood of a Laplace distribution."""
    dropout: float = 0.0
    """Share of the FC layer's units left out in training."""
    gradient_balance: bool = False
    """Scale the tasks' gradients to the same norm where they enter the shared stack (stage 1)."""
    attribute_output: Literal["softmax", "logits"] = "softmax"
    """softmax: a two-way softmax for each binary label, as in the paper; logits: one logit each."""
    kind: Annotated[
        Literal["single_task", "hard_sharing", "separation", "soft_sharing", "cross_stitch", "nddr", "mtan", "cascade", "tcdcn"]
        | Literal["facetracer", "panda_w", "panda_l", "lnets_anet"]
        | None,
        tyro.conf.arg(name="network"),
    ] = None
    """Which system; by itself hard_sharing in stage 1, separation in stages 2 and 3. The last four say attributes only."""
    backbone: Literal["vgg16", "resnet50", "mobilenet_v2", "shallow"] = "vgg16"
    """What the stacks are made of: the paper's VGG16; ResNet50; MobileNetV2 of that --width, 0.35 at least; shallow: the four convs of TCDCN."""
    activation: Literal["relu", "crelu"] = "relu"
    """crelu: half the filters, and ReLU of each map and of its negative (VGG16's stacks)."""
    conv: Literal["full", "separable"] = "full"
    """separable: each 3x3 conv but the first as a depthwise one and a 1x1 (VGG16's stacks)."""
    task_width: float | None = None
    """The width of SMTN's task stacks; by itself that of the shared one."""
    sharing: Literal["l2", "trace"] = "l2"
    """--network soft_sharing: by the distance of the stacks' weights, or by their trace norm."""
    sharing_weight: float = 1e-3
    """Factor of that penalty."""
    apart: float = 0.0
    """Factor of a penalty on what task and shared maps have in common (separation trained with nothing frozen)."""
    branch: Literal["input", "conv1_2", "conv2_2", "conv3_3", "end"] | None = None
    """Where the task stacks leave the shared one (Table 4); by itself: end in stage 1, input in stage 2."""
    fusion: Literal["concat", "channelwise"] = "channelwise"
    """Stage 2: concatenate a task's map with the shared one, or follow that by a 1x1 convolution back to the layer's width."""
    fuse_at: Literal["conv", "block"] = "conv"
    """Stage 2: fuse after each conv, as the paper does, or once at the end of each block."""
    fusion_init: Literal["random", "nddr"] = "nddr"
    """Stage 2: the 1x1 convolutions' start: random, or 0.9 of the own and 0.1 of the shared map (NDDR-CNN)."""
    init: Literal["scratch", "stage1", "imagenet"] | None = None
    """Start of the stacks that train: random, the stage-1 run (the paper's fine-tuning), or ImageNet's VGG16; by itself stage1
    where it fits (stage 2, channelwise), else scratch."""
    weights: str | None = None
    """With --init imagenet: a local Keras .h5 file of VGG16 without top, in place of Keras' own download."""

    def __post_init__(self):
        if self.image_size < 16 or self.image_size % 16:
            raise UserError(
                f"--image-size: expected a multiple of 16, got {self.image_size}; try {max(16, round(self.image_size / 16) * 16)}"
            )
        _check_range("--width", self.width, 0.03, 4)
        _check_range("--task-width", self.width if self.task_width is None else self.task_width, 0.03, 4)
        _check_range("--dropout", self.dropout, 0, 0.95)
        if self.init == "imagenet" and self.width != 1 and self.backbone == "vgg16":
            raise UserError(
                f"--init imagenet: expected --width 1 (VGG16's own filters), got --width {self.width}; use --width 1 or another --init"
            )
        if self.init == "imagenet" and (self.backbone == "shallow" or self.activation == "crelu" or self.conv == "separable"):
            raise UserError(
                "--init imagenet: expected a network that was trained on ImageNet, got --backbone shallow, --activation crelu or --conv separable; "
                "use --init scratch"
            )
        if self.backbone == "resnet50" and self.width != 1:
            raise UserError(f"--backbone resnet50: expected --width 1, the only one it has, got --width {self.width}; add --width 1")
        if self.backbone in ("resnet50", "mobilenet_v2") and self.image_size < 32:
            raise UserError(f"--backbone {self.backbone}: expected --image-size 32 or more, got {self.image_size}; use 64")
        if self.activation == "crelu" and self.backbone not in ("vgg16", "shallow"):
            raise UserError(f"--activation crelu: expected --backbone vgg16 beside it, got {self.backbone}; leave one of the two out")
        if self.backbone == "mobilenet_v2" and self.width < 0.35:
            raise UserError(f"--backbone mobilenet_v2: expected --width 0.35 or more, got {self.width}; add --width 0.35")
        if self.conv == "separable" and self.backbone != "vgg16":
            raise UserError(f"--conv separable: expected --backbone vgg16 beside it, got {self.backbone}; leave one of the two out")
        if self.weights and self.init != "imagenet":
            raise UserError(
                f"--weights: expected --init imagenet beside it, got {f'--init {self.init}' if self.init else 'none'}; add --init imagenet"
            )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The optimisation."""

    epochs: int = 12
    """Passes over the training part."""
    batch_size: int = 32
    """Pictures a step."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd: with momentum 0.9."""
    learning_rate: float = 2e-3
    """Its highest value."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """cosine: one epoch of warm-up, then down to zero."""
    weight_decay: float = 1e-4
    """AdamW's."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is what is measured and kept as best; 0: none."""
    landmarks_loss: Literal["mse", "l1", "smooth_l1", "wing", "adaptive_wing"] = "l1"
    """The paper's mean square error, the mean absolute error, or a mix of both: Huber's, Wing or Adaptive Wing."""
    landmark_scale: float = 20.0
    """Landmarks are multiplied by this before their loss (the paper does not say its scale)."""
    landmark_unit: Literal["image", "eyes"] = "image"
    """Before that they are taken in sides of the image, or in distances of the eyes, as NME takes them."""
    landmarks_weight: float = 1.0
    """Weight of the landmarks' loss in the sum."""
    attributes_weight: float = 1.0
    """Weight of the attributes' loss in the sum."""
    attributes_loss: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    """focal: easy labels count less; asymmetric: easy absent ones only."""
    attributes_mean: Literal["labels", "faces"] = "labels"
    """labels: each label that is present counts alike; faces: each face does, whose labels share its weight (they differ where data
    sets of many and of few labels are joined)."""
    label_smoothing: float = 0.0
    """Share of the certainty that is taken from the truth of a label."""
    label_weighting: Literal["none", "frequency"] = "none"
    """frequency: the rarer a class of a label in the training part, the more it counts."""
    balance: Literal["fixed", "uncertainty", "gradnorm", "pcgrad"] = "fixed"
    """fixed: the two weights above; uncertainty: each task's loss by its own size, as homoscedastic uncertainty would; gradnorm: weights
    learned so that all tasks learn at a similar rate; pcgrad: gradients freed of what goes against the other task's."""
    teacher: str | None = None
    """A run of the same data whose answers are learnt beside the truth (distillation)."""
    teacher_weight: float = 1.0
    """Factor of the distance to its answers."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the conv layers; auto: bfloat16 where the processor has it. Weights and heads stay float32."""
    seed: int = 0
    """Of initial weights, order and augmentation."""

    def __post_init__(self):
        for name, low in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            _check_range(f"--{name.replace('_', '-')}", getattr(self, name), low, 2**31 - 1)
        for name in ("learning_rate", "landmark_scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')}: expected a positive number, got {getattr(self, name)}")
        for name, high in (
            ("weight_decay", 1e9),
            ("landmarks_weight", 1e9),
            ("attributes_weight", 1e9),
            ("teacher_weight", 1e9),
            ("ema", 0.99999),
            ("label_smoothing", 0.9),
        ):
            _check_range(f"--{name.replace('_', '-')}", getattr(self, name), 0, high)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where the run lives."""

    run: str | None = None
    """The run's folder; by itself a new one under --runs, named by data, stage and preset."""
    runs: str = "runs"
    """Where new runs are made and stage-1 runs are looked for."""
    from_run: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """The run of the stage before; by itself the newest finished one of the same data (and of --preset, if given) under --runs."""
    resume: bool = False
    """Go on with the run in --run from its last epoch, with its own settings."""


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one training."""

    stage: Literal[1, 2, 3] = 1
    """1: hard sharing, one stack with two heads; 2: that stack frozen, a task stack for each task fused with it; 3: a stage-2 run
    trained on with nothing frozen, at a small learning rate (the paper's end-to-end future)."""
    preset: Literal["paper", "best", "small", "demo"] = "small"
    """Where all other settings start: the paper's recipe, the most accurate one (docs/recipe.md), a narrow network for a laptop, or a
    few minutes on synthetic faces."""
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()

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
    def from_json(cls, text: str, name: str = "config.json") -> "Config":
        """Reads what `to_json` wrote.

        Raises:
            UserError: if the text is not such a configuration.
        """
        try:
            fields = json.loads(text)
            parts = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig, "run": RunConfig}
            if (data := fields.get("data", {})).get("sampling"):
                data["sampling"] = tuple(data["sampling"])
            return cls(**{key: parts[key](**value) if key in parts else value for key, value in fields.items()})
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
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
    return Config.from_json(file.read_text(), str(file))

"""The settings of a run: frozen dataclasses, checked when made.

Every field is a flag of `python -m smtn_keras.fit`; its docstring is the flag's help. Imports nothing heavy.
"""

import dataclasses
import typing
from typing import Annotated, Literal

import tyro

from .errors import UserError


def fields_unlike(one) -> list[str]:
    """The fields of a dataclass whose values are not of their types, as they may come from JSON."""
    kinds = typing.get_type_hints(type(one))
    return [field.name for field in dataclasses.fields(one) if not _is_a(getattr(one, field.name), kinds[field.name])]


def _is_a(value, kind) -> bool:
    form, inside = typing.get_origin(kind), typing.get_args(kind)
    if form is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if form is tuple:
        kinds = inside if inside[-1] is not ... else inside[:1] * len(value) if isinstance(value, tuple) else ()
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if inside:  # a union
        return any(_is_a(value, one) for one in inside)
    return type(value) in ((int, float) if kind is float else (kind,))  # and not isinstance: True is an int


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
    tasks: tuple[str, ...] | None = None
    """Train these tasks alone, such as landmarks; by itself all that the data has. `smtn_keras.merge` joins two such stage-2 runs."""
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
    cache: bool = True
    """Keep the pictures at the network's size beside the data set, so that they are decoded and resized once."""
    workers: int = 0
    """Processes that read and vary pictures; 0: two threads of the training's own. The order and the variations are the same."""

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
        _check_range("--workers", self.workers, 0, 1000)
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
    accumulate: int = 1
    """Take a step's gradient as the mean over so many parts of its batch, one after the other, which needs less memory. Each part has
    its own statistics for batch normalisation."""
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
    """Arithmetic of the conv layers; auto: bfloat16 where it is faster. Weights and heads stay float32."""
    seed: int = 0
    """Of initial weights, order and augmentation."""

    def __post_init__(self):
        for name, low in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("seed", 0)):
            _check_range(f"--{name.replace('_', '-')}", getattr(self, name), low, 2**31 - 1)
        if self.batch_size % self.accumulate:
            raise UserError(
                f"--accumulate {self.accumulate}: expected a divisor of --batch-size, got --batch-size {self.batch_size}; change one of the two"
            )
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
    """Go on with the run in --run from its last checkpoint, with its own settings."""
    checkpoint_minutes: float = 5.0
    """How long a training may go on before its state is kept; at the end of an epoch it always is."""
    hosts: int | None = None
    """How many hosts train together, each started with the same command but for --host (KERAS_BACKEND=jax; docs/scale.md); by itself
    KERAS_DISTRIBUTION_NUM_PROCESSES, or one."""
    host: int | None = None
    """Which of them this is, from 0, which writes the run's files; by itself KERAS_DISTRIBUTION_PROCESS_ID."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, at which they meet; by itself KERAS_DISTRIBUTION_JOB_ADDRESSES."""

    def __post_init__(self):
        _check_range("--checkpoint-minutes", self.checkpoint_minutes, 0, 1e6)

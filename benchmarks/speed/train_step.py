"""Seconds of a training step of each network and preset, by framework and dtype."""

import dataclasses
import datetime
import json
from pathlib import Path

from limits import DTYPES, peaks
from turns import Contender, take_turns

from smtn_keras import runs
from smtn_keras.errors import UserError

FRAMEWORKS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}
LAYOUTS = "channels_last", "contiguous_format"
TURN = 1.0  # seconds that a contender steps for in each round, as the machine's peak takes about so long


@dataclasses.dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        stage, preset: what its configuration starts from.
        network, training: settings that differ from the preset's.
        frameworks: those that are to train it.
        apart: the contenders of each dtype take turns apart, as all at once would fill 24 GB of memory.
    """

    preset: str
    stage: int = 1
    network: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=dict)
    frameworks: tuple[str, ...] = tuple(FRAMEWORKS)
    apart: bool = False

    def config(self, dtype: str):
        from smtn_keras.presets import preset

        return preset(self.preset, self.stage).with_(network=self.network, training=self.training | {"dtype": dtype})


WIDTH_1 = {"head": "pooled"}  # of the paper's preset: without its two FC layers, which are five sixths of its weights
BOTH = "tensorflow", "torch"  # JAX takes minutes for a step of these
KERAS = "tensorflow", "jax"  # not rebuilt in PyTorch
WORK = {
    "width 1, stage 1": Work("paper", 1, WIDTH_1),
    "width 1, stage 2, channelwise": Work("paper", 2, WIDTH_1 | {"fusion": "channelwise"}, frameworks=BOTH),
    "width 1, stage 2, concat": Work("paper", 2, WIDTH_1, frameworks=BOTH),
    "paper, stage 1": Work("paper", 1, frameworks=BOTH),
    "paper, stage 2": Work("paper", 2, frameworks=BOTH, apart=True),
    "best, stage 1": Work("best", 1),
    "best, stage 2": Work("best", 2),
    "best, stage 3": Work("best", 3),
    "small, stage 1": Work("small", 1),
    "small, stage 2": Work("small", 2),
    "mobile": Work("mobile"),
    "mobile_tiny": Work("mobile_tiny"),
    "small, single_task": Work("small", 1, {"kind": "single_task"}, frameworks=KERAS),
    "small, soft_sharing": Work("small", 1, {"kind": "soft_sharing"}, frameworks=KERAS),
    "small, cross_stitch": Work("small", 2, {"kind": "cross_stitch"}, frameworks=KERAS),
    "small, nddr": Work("small", 2, {"kind": "nddr"}, frameworks=KERAS),
    "small, mtan": Work("small", 1, {"kind": "mtan"}, frameworks=KERAS),
    "small, cascade": Work("small", 1, {"kind": "cascade"}, frameworks=KERAS),
    "small, tcdcn": Work("small", 1, {"kind": "tcdcn"}, frameworks=KERAS),
}
QUICK = {
    "quick, stage 1": Work("small", 1, {"width": 0.05, "image_size": 32}, {"batch_size": 8}, BOTH),
    "quick, stage 2": Work("small", 2, {"width": 0.05, "image_size": 32}, {"batch_size": 8}, BOTH),
}


def measure(settings, work_folder) -> dict:
    """All of them, one after the other; of each the contenders, and the machine's peak beside them, take turns.

    Returns:
        `details`, `ratios`, `head` and `rows` of a table, and what must be known to read it as `notes`, as `run.py` asks of every benchmark.
    """
    of_network = _known(settings)  # [details, ratios, rows] by name
    for name, work in (QUICK if settings.quick else WORK).items():
        if settings.only and not any(words in name for words in settings.only):
            continue
        frameworks = [key for key in work.frameworks if key in settings.frameworks]
        candidates = {(key, dtype): _contenders(name, work, key, dtype, settings.quick) for key in frameworks for dtype in DTYPES}
        probes = []
        for dtypes in [[dtype] for dtype in DTYPES] if work.apart else [DTYPES]:
            beside = [probe(framework, settings.quick) for framework in frameworks]
            those = [one for (_, dtype), ones in candidates.items() if dtype in dtypes for one in ones]
            take_turns([*those, *beside], settings.seconds, settings.rounds)
            probes += beside
        peak = peaks(probes)
        details = {
            "made": datetime.date.today().isoformat(),
            "contenders": [dataclasses.asdict(one) for ones in candidates.values() for one in ones],
            "probes": [dataclasses.asdict(one) for one in probes],
            "peak_flops": peak,
        }
        contenders = {key: min(ones, key=lambda one: one.median() or float("inf")) for key, ones in candidates.items()}
        batch = work.config("float32").training.batch_size
        flops = batch * _flops(contenders.values())
        rows = [_row(name, key, one, contenders, peak, flops, batch) for key, one in contenders.items()]
        of_network[name] = details, _ratios(name, contenders, peak, flops), rows
    return joined(of_network)


def joined(of_network: dict[str, tuple[dict, dict, list]]) -> dict:
    """What `measure` returns, of the details, ratios and rows of each network."""
    found = [(name, *of_network[name]) for name in (*WORK, *QUICK) if name in of_network]
    days = sorted({details["made"] for _, details, _, _ in found})
    return {
        "details": {name: details for name, details, _, _ in found},
        "ratios": {key: ratio for _, _, ratios, _ in found for key, ratio in ratios.items()},
        "head": HEAD,
        "rows": [row for *_, rows in found for row in rows],
        "notes": NOTES + (f" The networks were measured one by one, from {days[0]} to {days[-1]}." if len(days) > 1 else ""),
    }


def apart(result: dict) -> dict[str, tuple[dict, dict, list]]:
    """The details, ratios and rows of each network in a saved result."""
    return {
        name: (
            {"made": result["made"][:10]} | details,
            {key: ratio for key, ratio in result["ratios"].items() if key.startswith(f"{name}: ")},
            [row for row in result["rows"] if row[0] == name],
        )
        for name, details in result["details"].items()
    }


def _known(settings) -> dict:
    """With `--only` and `--out`, what that folder has of all networks: all of them take an hour.

    Raises:
        UserError: if it was measured on another machine or with other packages.
    """
    file = Path(settings.out or "", "train_step.json")
    if not (settings.only and settings.out and file.is_file()):
        return {}
    before, now = json.loads(file.read_text()), runs.environment()
    for key in ("processor", "cores", "python", "versions"):
        if before["environment"][key] != now[key]:
            raise UserError(
                f"{file}: expected results of this machine, as --only keeps those of other networks, got {key} {before['environment'][key]} "
                f"beside {now[key]}; name another --out"
            )
    return apart(before)


def _contenders(name: str, work: Work, framework: str, dtype: str, quick: bool) -> list[Contender]:
    """One, but of PyTorch one for each layout of its maps, as which is faster depends on the network and the dtype."""
    from smtn_keras.data.celeba import TASKS
    from smtn_keras.tasks import tasks_to_json

    spec = {"config": work.config(dtype).to_json(), "tasks": tasks_to_json(TASKS), "framework": framework}
    spec |= {"turn_seconds": 0.1 if quick else TURN}
    label = f"{name}, {FRAMEWORKS[framework]} {dtype}"
    if framework != "torch":
        return [Contender(label, "steps", spec, of(framework))]
    return [Contender(f"{label}, {layout}", "steps", spec | {"layout": layout}) for layout in LAYOUTS]


def of(framework: str) -> dict[str, str]:
    """The variables of a framework's process."""
    return {} if framework == "torch" else {"KERAS_BACKEND": framework}


def probe(framework: str, quick: bool) -> Contender:
    """What measures the machine's peak with a framework."""
    return Contender(f"peak, {FRAMEWORKS[framework]}", "limits", {"framework": framework, "size": 512 if quick else 4096}, of(framework))


def _flops(contenders) -> float:
    """Of a step for one picture, as a Keras contender counted them."""
    counted = [one.facts["step_multiply_adds"] for one in contenders if "step_multiply_adds" in one.facts]
    return 2 * counted[0] if counted else float("nan")


def _share(one: Contender, dtype: str, peak: dict, flops: float) -> float | None:
    return flops / one.median() / peak[dtype] if one.median() and peak.get(dtype) and flops == flops else None


def _ratios(name: str, contenders: dict, peak: dict, flops: float) -> dict:
    """What is guarded: shares of the peak, what bfloat16 brings, and times beside PyTorch's."""
    ratios = {}
    for (framework, dtype), one in contenders.items():
        if framework != "torch" and (share := _share(one, dtype, peak, flops)):
            ratios[f"{name}: {framework} {dtype}, share of the peak"] = {"value": share, "better": "higher"}
    ours, theirs = ({d: contenders[f, d].median() if (f, d) in contenders else None for d in DTYPES} for f in BOTH)
    if all(ours.values()):
        ratios[f"{name}: float32 over bfloat16, seconds"] = {"value": ours["float32"] / ours["bfloat16"], "better": "higher"}
    for dtype in DTYPES:
        if ours[dtype] and theirs[dtype]:
            ratios[f"{name}: PyTorch over TensorFlow, seconds, {dtype}"] = {"value": theirs[dtype] / ours[dtype], "better": "higher"}
    return ratios


HEAD = ["", "", "s a step", "quartiles", "images/s", "times TensorFlow's", "GFLOP/s", "share of the peak", "MB at most", "parameters", ""]
NOTES = (
    "A step is that of `fit` on one drawn batch, with its losses, metrics and optimizer; PyTorch's is the same network (hard sharing or "
    "separation of VGG16's stacks), losses and optimizer without the metrics, in the faster layout of its maps, with `torch.autocast` for bfloat16. Medians over rounds in which all of a "
    "network take turns. The FLOPs of a step: two a multiply-add of its conv and dense layers, once forward, once more for the gradient of a "
    "kernel that trains, and once more for that of an input behind one. The peak of a dtype is the best that any framework reached in the same "
    "rounds, with a product of two square matrices of side 4096 or a 3x3 convolution of 256 channels. MB is the most memory that the "
    "process had in use, its framework included."
)


def _row(name: str, key: tuple[str, str], one: Contender, contenders: dict, peak: dict, flops: float, batch: int) -> list[str]:
    framework, dtype = key
    label = f"{FRAMEWORKS[framework]} {dtype}"
    taken = one.median()
    if taken is None:
        return [name, label, *["-"] * 8, f"not measured: {one.not_measured}"]
    first = contenders.get(("tensorflow", dtype))
    share, quartiles = _share(one, dtype, peak, flops), one.spread()
    return [
        name,
        label,
        f"{taken:.4g}",
        " to ".join(f"{edge:.4g}" for edge in quartiles) if quartiles else "-",
        f"{batch / taken:.4g}",
        f"{taken / first.median():.2f}" if first and first.median() else "-",
        f"{flops / taken / 1e9:.0f}" if flops == flops else "-",
        f"{100 * share:.0f} %" if share else "-",
        f"{one.peak_mb:.0f}",
        f"{one.facts['parameters'] / 1e6:.2f} M",
        one.facts.get("layout", "").replace("_format", "").replace("_", " "),
    ]

"""Asking contenders, each in its process: how accurate they are, and how long they take, in turns."""

import dataclasses
import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from statistics import quantiles

import numpy as np
from process import Lost, Process, interpreter
from tqdm import tqdm

from smtn_keras import runs
from smtn_keras.card import CARD
from smtn_keras.metrics import attribute_metrics
from smtn_keras.tables import number
from smtn_keras.tasks import tasks_from_json

from . import scores
from .faces import Faces, Part
from .serve import FIVE

HERE = Path(__file__).parent
VIEW_FACES = 60  # of the validation faces, on which a peer's view is chosen; the offsets of its points are fitted on all
AT_ONCE = 25  # faces that are asked for in one request
A_TURN = 4  # faces that are timed in a row, after one that is not


@dataclasses.dataclass
class Contender:
    """A model or a peer, and what was found of it.

    Attributes:
        served: its function in serve.py.
        packages: the requirements in this folder of the environment that it needs; None if the own one serves.
        shown: what of a picture it sees: `whole`, `margins` or `squares`, as in `scores.views`.
        model: the .tflite file, of one of ours.
        facts: what its process said of itself.
        metrics: by data set, those of `scores.metrics`; of ours the mean `accuracy` of the labels, too.
        views: the view by data set, as in `scores.views`.
        offsets: the fixed offset by data set: x and y of each point, along and across the line of the eyes, over their distance.
        milliseconds: by number of cores, the `median`, `quartiles` and `count` of the times a face took.
        not_measured: why it, or a part of it, was not measured.
    """

    name: str
    served: str
    packages: str | None
    shown: str
    model: Path | None = None
    facts: dict = dataclasses.field(default_factory=dict)
    metrics: dict[str, dict] = dataclasses.field(default_factory=dict)
    views: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    offsets: dict[str, list] = dataclasses.field(default_factory=dict)
    milliseconds: dict[str, dict] = dataclasses.field(default_factory=dict)
    not_measured: str | None = None

    def start(self, cores: int, cache: Path) -> Process:
        """Its process.

        Args:
            cache: where environments lie.

        Raises:
            Lost: if it cannot be had.
        """
        python = [sys.executable] if self.packages is None else interpreter(HERE / f"{self.packages}.txt", cache)
        process = Process([*python, str(HERE / "serve.py"), self.served, str(cores), *([str(self.model)] if self.model else [])], cores)
        self.facts = self.facts or process.facts
        return process


def accuracy(contender: Contender, sets: list[Faces], cores: int, cache: Path):
    """Measures a contender on the test part of each data set, seeing and moved as is best on the validation part.

    What was measured before, of the same files on the same faces, is read from the cache. If the contender is lost, what was measured stays.
    """
    process = None
    try:
        for data in sets:
            file = cache / "measured" / f"{_digest(contender, data)}.json"
            if file.is_file():
                known = json.loads(file.read_text())
            else:
                process = process or contender.start(cores, cache)
                known = {"facts": contender.facts} | _on(data, contender, process)
                file.parent.mkdir(parents=True, exist_ok=True)
                runs.write(file, json.dumps(known, indent=2) + "\n")
            contender.facts = known["facts"]
            for kind in ("metrics", "views", "offsets"):
                getattr(contender, kind)[data.name] = known[kind]
            print(f"{contender.name}: NME {number(known['metrics']['nme'])} % on {data.name}", file=sys.stderr)
    except Lost as error:
        contender.not_measured = str(error)
    else:
        if process:
            process.close()


def _digest(contender: Contender, data: Faces) -> str:
    """Of all on which the accuracy depends: the code, the packages, the model and the faces."""
    if contender.packages:
        packages = (HERE / f"{contender.packages}.txt").read_text()
    else:
        packages = str(sorted(f"{package.name}=={package.version}" for package in metadata.distributions()))
    code = [
        HERE / "serve.py",
        HERE / "scores.py",
        Path(__file__),
        *(sorted(HERE.parent.glob("browser.*")) if contender.served == "face_api" else ()),
    ]
    model = [contender.model, contender.model.with_name(CARD)] if contender.model else []
    files = [file.read_bytes() for file in (*code, *model, data.validation.file, data.test.file)]
    truth = [part.truth_px.tobytes() for part in (data.validation, data.test)]
    digest = hashlib.sha256(f"{contender.name} {contender.served} {contender.shown} {packages}".encode())
    for item in (*files, *truth):
        digest.update(hashlib.sha256(item).digest())
    return digest.hexdigest()[:32]


def _on(data: Faces, contender: Contender, process: Process) -> dict:
    """The metrics, the view and the offsets of a contender on a data set."""
    asks, validation, test = _Asking(process, contender), data.validation, data.test
    some = Part(validation.file, validation.truth_px[:VIEW_FACES], validation.sizes[:VIEW_FACES])
    candidates = scores.views(contender.shown, validation.truth_px, validation.sizes)
    tried = [(view, asks(some, view)[0]) for view in candidates] if len(candidates) > 1 else []
    view = scores.best_view(tried, some.truth_px, some.sizes) if tried else candidates[0]
    offset = scores.fixed_offset(asks(validation, view)[0], validation.truth_px)
    points_px, probabilities = asks(test, view)
    result = scores.metrics(points_px, test.truth_px, test.sizes, offset)
    if probabilities is not None:
        result["accuracy"] = _label_accuracy(contender.model, probabilities, data)
    return {"metrics": result, "views": view, "offsets": np.stack([offset.real, offset.imag], axis=-1).round(4).tolist()}


class _Asking:
    """All answers of a process for a part, as arrays."""

    def __init__(self, process: Process, contender: Contender):
        self.process, self.name = process, contender.name
        self.places = [FIVE.index(point) for point in contender.facts["points"]]

    def __call__(self, part: Part, view: list[float]) -> tuple[np.ndarray, np.ndarray | None]:
        """Points `(faces, 5, 2)` in pixels, NaN where there are none, and probabilities `(faces, probabilities)` if it gives such."""
        answers = []
        for start in tqdm(range(0, len(part), AT_ONCE), self.name, leave=False, disable=not sys.stderr.isatty()):
            indices = list(range(start, min(start + AT_ONCE, len(part))))
            answers += self.process.ask(faces=str(part.file), indices=indices, view=view)["answers"]
        points_px = np.full((len(part), len(FIVE), 2), np.nan)
        for i, answer in enumerate(answers):
            if answer is not None:
                points_px[i, self.places] = answer["landmarks"]
        has_labels = answers and answers[0] and "attributes" in answers[0]
        return points_px, np.array([answer["attributes"] for answer in answers]) if has_labels else None


def _label_accuracy(model: Path, probabilities: np.ndarray, data: Faces) -> float | None:
    task, labels = data.labels(tasks_from_json(json.loads(model.with_name(CARD).read_text())["data"]["tasks"]))
    return attribute_metrics(task.classes_from(probabilities), labels, task)["accuracy_mean"]


def times(contenders: list[Contender], part: Part, data: str | None, cores: int, rounds: int, cache: Path):
    """Times all on the same faces in turns, each kept on the same cores, so that other work on the machine slows all alike.

    Args:
        data: the data set of the part, whose views are taken; None if it is of none.
    """
    running = []
    for contender in (one for one in contenders if one.not_measured is None):
        view = contender.views.get(data) or scores.usual_view(contender.shown, part.truth_px, part.sizes)
        try:
            running.append((contender, contender.start(cores, cache), view, []))
        except Lost as error:
            contender.not_measured = str(error)
    starts = np.random.default_rng(0).integers(len(part), size=rounds)
    for start in tqdm(starts, f"{cores} cores", unit=" rounds", leave=False, disable=not sys.stderr.isatty()):
        turn = [int(start + i) % len(part) for i in range(1 + A_TURN)]
        for one in list(running):
            contender, process, view, taken = one
            try:
                taken += process.ask(faces=str(part.file), indices=turn, view=view)["milliseconds"][1:]
            except Lost as error:
                contender.not_measured = f"when timed, {error}"
                running.remove(one)
    for contender, process, _, taken in running:
        process.close()
        low, middle, high = quantiles(taken, n=4)
        contender.milliseconds[str(cores)] = {"median": middle, "quartiles": [low, high], "count": len(taken)}

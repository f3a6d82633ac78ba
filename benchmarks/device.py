"""Exported models and other libraries of face landmarks side by side, all on the same crops: `python benchmarks/device.py`

Each answers in a process of its own; peers whose packages exclude others get an environment of their own, made once. Prints a Markdown table.
"""

import dataclasses
import datetime
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from smtn_keras.errors import UserError, clean_exit
from smtn_keras.report import check_markers, insert

ROOT = Path(__file__).parent.parent
PEERS = {  # by their function in peers/serve.py: a name, the environment of peers/*.txt, if any, and how a face is shown
    "mediapipe": ("MediaPipe face mesh", "mediapipe", "margins"),
    "mediapipe_refined": ("MediaPipe face mesh, refined", "mediapipe", "margins"),
    "mediapipe_mesh": ("MediaPipe face mesh without its detector", "mediapipe", "squares"),
    "dlib_68": ("dlib, 68 points", "dlib", "squares"),
    "dlib_5": ("dlib, 5 points", "dlib", "squares"),
    "mtcnn": ("MTCNN", None, "margins"),
    "face_api": ("face-api in headless Chromium", None, "squares"),
}


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """What to compare."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")] = ()
    """Exported folders or .tflite files; by itself those in exported/."""
    peers: tuple[str, ...] = tuple(PEERS)
    """The peers; none to compare exports only."""
    data: tuple[str, ...] = ("mtfl", "celeba")
    """Prepared data sets with CelebA's five points, whose test parts are measured; none to time only, on drawn faces."""
    data_dir: str = "data"
    """The folder into which `smtn_keras.prepare` wrote them."""
    cores: tuple[int, ...] = (1, 2)
    """On how many cores, with as many threads, a face is timed."""
    rounds: int = 40
    """In each all are timed in turn for four faces, so that other work on the machine slows all alike."""
    faces: int | None = None
    """Measure the first so many test faces, for a quick look."""
    out: str | None = None
    """A folder for all numbers, versions, processor and commit as device.json, and for device.csv, device.md and device.png."""
    into: str | None = None
    """A Markdown file whose lines between '<!-- device: begin -->' and '<!-- device: end -->' are replaced by the table."""
    cache: str = "~/.cache/smtn_keras/peers"
    """Where the peers' environments lie, and the accuracies measured, which are taken from there while code, models and faces stay."""

    def __post_init__(self):
        for name in self.peers:
            if name not in PEERS:
                raise UserError(f"--peers: expected some of {', '.join(PEERS)}, got '{name}'; check the name")
        if self.rounds < 1 or (self.faces is not None and self.faces < 1):
            raise UserError(f"--rounds and --faces: expected positive numbers, got {self.rounds} and {self.faces}")
        if self.out and Path(self.out).exists() and not Path(self.out).is_dir():
            raise UserError(f"--out {self.out}: expected a folder, got a file; name another")
        if self.into:
            check_markers(Path(self.into), "device")  # now, and not after half an hour


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        compare(tyro.cli(DeviceConfig, args=argv, prog="python benchmarks/device.py", description=__doc__))


def compare(settings: DeviceConfig) -> dict:
    """Measures all, prints the table and writes it.

    Returns:
        As written to device.json: `made`, `environment`, `settings`, `data` (counts of faces) and `contenders`, each as `measure.Contender`.

    Raises:
        UserError: if a model or a data set cannot be read. A peer that cannot be had only leaves its row empty, but for the reason.
    """
    from process import cores_here

    if not settings.cores or not all(1 <= count <= cores_here() for count in settings.cores):
        raise UserError(f"--cores: expected numbers from 1 to {cores_here()}, as many as are here, got {settings.cores}; name others")
    models = _models(settings.models)

    from smtn_keras import backend

    backend.start()
    from peers import tables
    from peers.faces import drawn_faces, open_faces
    from peers.measure import Contender, accuracy, times

    from smtn_keras import runs

    contenders = [Contender(name, "ours", None, "whole", file) for name, file in models.items()]
    contenders += [Contender(PEERS[key][0], key, *PEERS[key][1:]) for key in settings.peers]
    cache = Path(settings.cache).expanduser()
    with tempfile.TemporaryDirectory() as work:  # pictures of research data stay in it
        sets = [open_faces(name, settings.data_dir, Path(work), settings.faces) for name in settings.data]
        for contender in contenders:
            accuracy(contender, sets, max(settings.cores), cache)
            _refuse_broken(contender)
        part, data = (sets[0].test, sets[0].name) if sets else (drawn_faces(Path(work)), None)
        for count in settings.cores:
            times(contenders, part, data, count, settings.rounds, cache)
    for contender in contenders:
        _refuse_broken(contender)
    everything = {
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "environment": runs.environment(),
        "settings": dataclasses.asdict(settings),
        "data": {of.name: {"validation": len(of.validation), "test": len(of.test)} for of in sets},
        "contenders": [dataclasses.asdict(one) | {"model": one.model and str(one.model)} for one in contenders],
    }
    text = tables.markdown(everything)
    print(text)
    if settings.out:
        tables.write(everything, Path(settings.out))
        print(f"written: {settings.out}", file=sys.stderr)
    if settings.into:
        insert(Path(settings.into), "device", text)
    return everything


def _models(named: tuple[str, ...]) -> dict[str, Path]:
    """The .tflite file of each model by the name of its row; by itself those in exported/."""
    paths = [Path(model) for model in named] or sorted(file.parent for file in ROOT.glob("exported/*/model.tflite"))
    if not paths:
        raise UserError(f"MODEL: expected one, or some in {ROOT / 'exported'}, got none; make one with python -m smtn_keras.export")
    models = {}
    for path in paths:
        file = path / "model.tflite" if path.is_dir() else path
        for needed in (file, file.with_name("model.json")):
            if not needed.is_file() or file.suffix != ".tflite":
                raise UserError(
                    f"{path}: expected an exported folder, or a .tflite file beside its model.json, found no {needed}; check MODEL"
                )
        models[str(path)] = file
    return models


def _refuse_broken(contender):
    """A peer may be missing, a model that was named may not."""
    if contender.model and contender.not_measured:
        raise UserError(
            f"{contender.name}: expected a LiteRT model of smtn_keras.export, got one that fails ({contender.not_measured}); export it again"
        )


if __name__ == "__main__":
    main()

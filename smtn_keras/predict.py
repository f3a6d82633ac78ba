"""Finds faces in photos, videos or a camera's pictures and says their landmarks and attributes: `python -m smtn_keras.predict FILE...`

Prints a line for each face; with --json points in pixels and all probabilities.
"""

import collections
import contextlib
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Annotated

import tyro

from . import backend
from .errors import UserError, clean_exit
from .faces import find, mtcnn, surest_attributes


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What to ask."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FILE...]")] = ()
    """Photos, videos, and folders of them."""
    camera: int | None = None
    """A camera by its number, such as 0; it runs until Ctrl-C or --seconds."""
    model: str | None = None
    """A shipped model by its name, a run folder, an exported folder, a SavedModel folder or a .tflite file; by itself the shipped `mobile`."""
    json: bool = False
    """Print a JSON line for each face, of a video for each face in each frame, and nothing else on stdout."""
    out: str | None = None
    """A folder for copies of the pictures and videos with points and the surest attributes drawn on them."""
    detect: bool = True
    """Find faces first; --no-detect: the pictures are face crops, cut as the model's training data were."""
    detect_every: int = 30
    """Look for faces in one of so many frames of a video, and where one was lost; in between they are followed."""
    smooth: bool = True
    """Smooth points and attributes over the frames of a video."""
    seconds: float | None = None
    """Stop a video or camera after so long."""


def main(argv: list[str] | None = None):
    """Command line. A file that cannot be used is named; the others are done; the exit code is then 2."""
    with clean_exit():
        settings = tyro.cli(PredictConfig, args=argv, prog="python -m smtn_keras.predict", description=__doc__)
        try:
            failed = predict(settings)
        except KeyboardInterrupt:
            sys.exit(130)
        if failed:
            sys.exit(2)


def predict(settings: PredictConfig) -> int:
    """Answers for all files, then for the camera.

    Returns:
        How many of them could not be used.

    Raises:
        UserError: for a setting or a model that cannot be used.
    """
    if not settings.files and settings.camera is None:
        raise UserError("expected at least one FILE or --camera, got none; name a picture, a video or a folder")
    if settings.camera is not None and not 0 <= settings.camera < 100:  # OpenCV crashes on negative ones
        raise UserError(f"--camera: expected a number from 0 to 99, got {settings.camera}; 0 is the first camera")
    if settings.detect_every < 1:
        raise UserError(f"--detect-every: expected a number of frames of at least 1, got {settings.detect_every}; try 30")
    if settings.seconds is not None and not settings.seconds > 0:
        raise UserError(f"--seconds: expected a time above 0, got {settings.seconds}; leave it out for no end")
    sources, failed = [], 0
    for name in settings.files:
        try:
            sources += _files(name)
        except UserError as error:
            failed += _name(error)
    sources += [] if settings.camera is None else [settings.camera]
    if not sources:
        return failed
    backend.start()
    answers = _Answers(settings)
    for source in sources:
        try:
            if isinstance(source, int) or _is_video(source):
                answers.of_video(source)
            else:
                answers.of_photo(source)
        except UserError as error:
            failed += _name(error)
    return failed


class _Answers:
    """A model and where its answers go: lines to stdout, drawn copies to --out."""

    def __init__(self, settings: PredictConfig):
        from .predictor import find_model, load_predictor

        self.settings, self.predictor = settings, load_predictor(find_model(settings.model))
        if "research" in (licence := str(self.predictor.card.get("licence"))):
            print(f"note: this model is for research only. {licence}", file=sys.stderr)
        if settings.out:
            try:
                Path(settings.out).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{settings.out}: expected a folder for drawn copies, got '{error.strerror}'; name another --out") from None
        self.detector = mtcnn() if settings.detect else None
        self.drawn = collections.Counter()

    def of_photo(self, name: str):
        from .data.images import read_image
        from .plots import draw_faces

        photo = read_image(name)
        faces = find(photo, self.predictor, self.detector)
        if not faces:
            raise UserError(
                f"{name}: expected a face, found none; use a picture with a larger, upright face, or --no-detect for a face crop"
            )
        for face in faces:
            x, y, width, height = face["box"]
            words = f"{name}: face of {width} x {height} pixels at {x}, {y}{_words(face)}"
            print(json.dumps({"image": name, **face}) if self.settings.json else words, flush=True)
            if "warnings" in face:
                far = "; ".join(face["warnings"])
                print(f"note: {name}: the face at {x}, {y} is far from what the model was trained on: {far}", file=sys.stderr)
        if self.settings.out:
            print(f"drawn: {draw_faces(photo, faces, self._drawing(Path(name).stem, '.png'))}", file=sys.stderr)

    def of_video(self, source: str | int):
        """Answers for each frame, or a line for each face at the end. Ctrl-C ends it, with whole files."""
        from .tracking import Tracker
        from .video import Video

        faces_seen, frames, end = _Faces(), 0, None
        with Video(source) as video, self._copy(video) as (file, write), self._bar(video) as bar:
            tracker = Tracker(self.predictor, self.detector, self.settings.detect_every, self.settings.smooth)
            try:
                for seconds, picture in video:
                    if frames and seconds >= (self.settings.seconds or math.inf):
                        end = "--seconds"
                        break
                    faces = tracker(picture, seconds)
                    faces_seen.add(faces, seconds)
                    for face in faces if self.settings.json else ():
                        kind = "camera" if video.live else "video"
                        print(json.dumps({kind: source, "frame": frames, "time": round(seconds, 3), **face}), flush=True)
                    write(picture, faces, seconds)
                    frames += 1
                    bar.update()
            except KeyboardInterrupt:
                if not frames:
                    raise
                end = "Ctrl-C"
        if not self.settings.json:
            print(*(f"{video.name}: {line}\n" for line in faces_seen.lines()), sep="", end="", flush=True)
        if file:
            print(f"drawn: {file}", file=sys.stderr)
        if end == "Ctrl-C" and not video.live:
            raise KeyboardInterrupt
        if not faces_seen:
            raise UserError(f"{video.name}: expected a face, found none in {frames} frame{'s' * (frames > 1)}; use a larger, upright face")
        if video.live and not end:
            raise UserError(f"{video.name}: expected pictures until Ctrl-C or --seconds, got the last one after {frames}; plug it in again")
        if not end and video.count and frames < 0.9 * video.count:  # containers' counts may be estimates
            print(f"note: {video.name}: only {frames} of {video.count} frames can be read", file=sys.stderr)

    @contextlib.contextmanager
    def _copy(self, video):
        """The file of a video's drawn copy and what adds a frame to it; None and nothing without --out."""
        from .video import draw, writing

        if not self.settings.out:
            yield None, lambda picture, faces, seconds: None
            return
        file = self._drawing(video.name.replace(" ", "") if video.live else Path(video.name).stem, ".mp4")
        with writing(file, video.fps, video.live) as write:
            yield file, lambda picture, faces, seconds: write(draw(picture, faces), seconds)

    def _bar(self, video):
        from tqdm import tqdm

        # on one terminal it would run into the lines; None: only on terminals
        hidden = True if self.settings.json and sys.stdout.isatty() else None
        return tqdm(total=video.count, desc=video.name, unit=" frames", leave=False, disable=hidden)

    def _drawing(self, stem: str, suffix: str) -> Path:
        """A file of its own in --out, so that neither a photo in that folder nor another one's drawing is written over."""
        name = f"{stem}_faces"
        self.drawn[name + suffix] += 1
        number = "" if self.drawn[name + suffix] == 1 else f"-{self.drawn[name + suffix]}"
        return Path(self.settings.out) / f"{name}{number}{suffix}"


class _Faces(dict):
    """The faces of a video by id: when each was seen first and last, in how many frames, and the sums of its attributes."""

    def add(self, faces: list[dict], seconds: float):
        for face in faces:
            first, _, frames, sums = self.get(face["id"], (seconds, seconds, 0, collections.Counter()))
            sums.update(face["attributes"])
            self[face["id"]] = first, seconds, frames + 1, sums

    def lines(self) -> list[str]:
        return [
            f"face {number} in {frames} frame{'s' * (frames > 1)} from {first:.1f} to {last:.1f} s"
            + _words({"attributes": {name: total / frames for name, total in sums.items()}})
            for number, (first, last, frames, sums) in sorted(self.items())
        ]


def _words(face: dict) -> str:
    return f": {', '.join(words)}" if (words := surest_attributes(face)) else ""


def _name(error: UserError) -> int:
    """Names one file that cannot be used."""
    print(f"error: {error}", file=sys.stderr)
    return 1


def _files(name: str) -> list[str]:
    """A file, or the photos and videos of a folder in the order of their names.

    Raises:
        UserError: the folder has none.
    """
    from PIL import Image

    from .data.images import FORMATS

    folder = Path(name)
    if not folder.is_dir():
        return [name]
    photos = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    files = [str(file) for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    files = [file for file in files if _is_video(file) or Path(file).suffix.lower() in photos]
    if not files:
        raise UserError(f"{name}: expected photos or videos in the folder, found none; name another folder")
    return files


def _is_video(name: str) -> bool:
    from .video import SUFFIXES

    return Path(name).suffix.lower() in SUFFIXES


if __name__ == "__main__":
    main()

"""Frames of videos and cameras, one at a time, and videos made of them."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import backend, runs
from .data.images import MAX_PIXELS
from .errors import UserError
from .faces import surest_attributes

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp")
USUAL_FPS = 30.0  # where a video or a camera does not say its own


class Video:
    """A video file, or a camera by its number; iterating gives each frame's time in seconds and its picture `(h, w, 3)` uint8 RGB, upright.

    Attributes:
        name: how errors call it.
        live: whether it is a camera.
        fps: frames a second.
        count: how many frames there are; None if unknown.
    """

    def __init__(self, source: str | int):
        """Opens it and reads the first frame.

        Raises:
            UserError: it is missing, has no frames, or they have more than `MAX_PIXELS`.
        """
        import cv2

        self.live = isinstance(source, int)
        self.name = f"camera {source}" if self.live else source
        if not self.live and not Path(source).is_file():
            raise UserError(f"{source}: expected a video file, got {'a folder' if Path(source).is_dir() else 'nothing'}; check the path")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet; its words on damaged frames would break the lines of the answers
        with backend.quiet_native_code():
            # an absolute path, so that no name is taken for a protocol's
            self._capture = cv2.VideoCapture(source) if self.live else cv2.VideoCapture(str(Path(source).absolute()), cv2.CAP_FFMPEG)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # of a camera, the newest frame rather than one that waited
            pixels = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) * self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            self._first = self._capture.read()[1] if pixels <= MAX_PIXELS else None
        if pixels > MAX_PIXELS:
            self._capture.release()
            raise UserError(f"{self.name}: expected frames of at most {MAX_PIXELS // 1_000_000} megapixels, got larger ones; scale it down")
        if self._first is None:
            self._capture.release()
            if self.live:
                raise UserError(f"{self.name}: expected a camera that gives pictures, found none; plug it in or name another --camera")
            raise UserError(f"{self.name}: expected a video, got a file without a frame that can be read; fetch or save it again")
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 1 <= fps <= 240 else USUAL_FPS
        self.count = int(count) if 0 < count < 1e9 and not self.live else None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        import cv2

        picture, last, began = self._first, -1 / self.fps, time.monotonic()
        while picture is not None:
            if self.live:
                seconds = time.monotonic() - began
            else:
                seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                seconds = seconds if seconds > last else last + 1 / self.fps  # some files give no times, or the same twice
            yield seconds, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            last, picture = seconds, self._capture.read()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._capture.release()


@contextlib.contextmanager
def writing(file: Path, fps: float, live: bool = False):
    """A function that adds a picture `(h, w, 3)` uint8 RGB and its time in seconds to a new .mp4 file; all have the size of the first.

    The file is there, whole, when the block ends, and not at all if it fails.

    Args:
        live: pictures come when they come, so each is repeated, or left out, to keep time.

    Raises:
        UserError: the file cannot be written.
    """
    import cv2

    writer, written = cv2.VideoWriter(), 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with runs.whole(file) as beside:

        def write(picture, seconds):
            nonlocal written
            if not writer.isOpened():
                with backend.quiet_native_code():
                    # not H.264, which OpenCV's wheels cannot write
                    writer.open(str(beside), cv2.VideoWriter_fourcc(*"mp4v"), fps, picture.shape[1::-1])
            times = max(0, round(seconds * fps) + 1 - written) if live else 1
            for _ in range(times):
                writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            written += times

        try:
            yield write
        finally:
            writer.release()
        # OpenCV does not say when a disk is full
        if not cv2.VideoCapture(str(beside), cv2.CAP_FFMPEG).isOpened():
            raise UserError(f"{file}: expected room and leave to write a video, got a file that cannot be read; name another --out")


def draw(picture: np.ndarray, faces: list[dict]) -> np.ndarray:
    """A copy of a frame `(h, w, 3)` uint8 RGB with boxes, points and the surest attributes drawn on it, in milliseconds.

    Args:
        faces: as `tracking.Tracker` gives them.
    """
    import cv2

    picture = picture.copy()
    unit = max(0.8, max(picture.shape[:2]) / 640)  # of lines and letters, so that they look alike at all sizes that can be read
    thin = max(1, round(unit))
    for face in faces:
        x, y, width, height = face["box"]
        cv2.rectangle(picture, (x, y), (x + width, y + height), (255, 255, 255), thin)
        for point in face["landmarks"].values():
            cv2.circle(picture, [round(v) for v in point], max(1, round(2 * unit)), (0, 255, 0), -1, cv2.LINE_AA)
        lines = [f"face {face['id']}", *surest_attributes(face)]
        wide = max(cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit, thin)[0][0] for line in lines) + round(8 * unit)
        # beside the face, where there is more room, but within the picture
        left = x + width + 2 if x + width / 2 < picture.shape[1] / 2 else x - wide - 2
        left, top = max(0, min(left, picture.shape[1] - wide)), max(0, y)
        picture[top : top + round((6 + 14 * len(lines)) * unit), left : left + wide] //= 2
        for i, line in enumerate(lines):
            place = left + round(4 * unit), top + round((14 + 14 * i) * unit)
            cv2.putText(picture, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit, (255, 255, 255), thin, cv2.LINE_AA)
    return picture

"""Faces of a video, from frame to frame: found now and then, followed by the model's own points in between, and smoothed.

The detector looks at the first frame and at every so many. Between, a face is cut where the model saw its points in the
frame before, as face meshes on phones do it, which costs the model's milliseconds instead of the detector's.
"""

import dataclasses

import numpy as np

from .faces import Cut, cut, detect, doubt, eye_distance, find, read, scale_of, similarity

MEMORY = 1.0  # seconds for which a lost face keeps its id
SAME_FACE = 0.5  # two boxes are of one face if their centres are closer than this share of their sides
MISSES = 3  # detections in a row that may miss a face of which the model is sure
ATTRIBUTES_SECONDS = 0.5  # over which attributes are averaged


class OneEuro:
    """The 1 Euro filter: a low-pass whose cutoff rises with speed, so that what stands still does not tremble and what moves does not lag.

    Casiez, Roussel and Vogel, CHI 2012. Each value of an array is filtered by itself.

    Attributes:
        min_cutoff: of a value that stands still, in Hz; less trembles less.
        beta: by how many Hz the cutoff rises for a speed of one unit a second; more lags less.
        speed_cutoff: of the low-pass over the speed, in Hz.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 10.0, speed_cutoff: float = 1.0):
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._values = None

    def __call__(self, values: np.ndarray, seconds: float, unit: float = 1.0) -> np.ndarray:
        """Values smoothed.

        Args:
            seconds: when they were measured.
            unit: of the speeds that `beta` counts, in that of the values.
        """
        if self._values is None:
            self._values, self._speed, self._seconds = np.float64(values), np.zeros(np.shape(values)), seconds
            return self._values
        step = max(seconds - self._seconds, 1e-3)  # of clocks that stand still or go back

        def share(cutoff):
            return 1 / (1 + 1 / (2 * np.pi * cutoff * step))

        speed = (values - self._values) / step
        self._speed = self._speed + share(self.speed_cutoff) * (speed - self._speed)
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed) / unit
        self._values = self._values + share(cutoff) * (values - self._values)
        self._seconds = seconds
        return self._values


class Smoother:
    """What a model says of one face, smoothed over frames: points by `OneEuro`, attributes by an exponential mean."""

    def __init__(self):
        self._points, self._attributes, self._seconds = OneEuro(), None, 0.0

    def __call__(self, face: dict, seconds: float, unit: float) -> dict:
        """The face with smooth `landmarks` and `attributes`.

        Args:
            unit: the distance of the eyes in pixels.
        """
        attributes = np.array(list(face["attributes"].values()))
        if self._attributes is None:
            self._attributes = attributes
        share = 1 - np.exp(-max(seconds - self._seconds, 0) / ATTRIBUTES_SECONDS)
        self._attributes = self._attributes + share * (attributes - self._attributes)
        self._seconds = seconds
        smooth = {"attributes": {name: round(float(p), 4) for name, p in zip(face["attributes"], self._attributes, strict=True)}}
        if face["landmarks"]:
            points = self._points(np.array(list(face["landmarks"].values())), seconds, unit)
            smooth["landmarks"] = {name: [round(float(v), 2) for v in point] for name, point in zip(face["landmarks"], points, strict=True)}
        return face | smooth


@dataclasses.dataclass(eq=False)
class Track:
    """One face of a video.

    Attributes:
        points, box: the model's points and the box around them, unsmoothed, when it was last seen.
        seen: that time in seconds.
        box_in_frame: the detector's box as centre and size in the training frame, so that it moves with the points.
        doubt: how little it then looked like a face, and `limit`: the doubt at which it is lost.
        missed: detections in a row that did not find it.
    """

    id: int
    points: dict = dataclasses.field(default_factory=dict)
    box: list | None = None
    seen: float = 0.0
    box_in_frame: tuple | None = None
    doubt: float = 0.0
    limit: float = 1.0
    missed: int = 0
    smoother: Smoother = dataclasses.field(default_factory=Smoother)


class Tracker:
    """Faces of one video; call it with each frame in turn."""

    def __init__(self, predictor, detector, every: int = 30, smooth: bool = True):
        """Sets how to follow.

        Args:
            detector: an `mtcnn.MTCNN`; None if each frame is a crop of one face.
            every: the detector looks at one of so many frames, and where a face was lost.
        """
        self.predictor, self.detector, self.every, self.smooth = predictor, detector, every, smooth
        self._eyes = eye_distance(predictor)
        self._tracks, self._ids, self._seconds = [], 0, None
        self._frame, self._due, self._wait = 0, 0, 1  # this frame, the detector's next one, and how many from one to the next

    def __call__(self, picture: np.ndarray, seconds: float) -> list[dict]:
        """The faces of the next frame.

        Args:
            picture: `(h, w, 3)` uint8 RGB.
            seconds: its time.

        Returns:
            As `faces.find` gives them, with an `id` that stays with a face, in the order of the ids.
        """
        if self.detector is None:
            seen = [(self._tracks[0] if self._tracks else self._new_track(), find(picture, self.predictor)[0])]
        else:
            seen = self._follow(picture)
            if self._frame >= self._due:
                seen = self._look(picture, seen)
        faces = []
        for track, face in sorted(seen, key=lambda pair: pair[0].id):
            track.points, track.box, track.seen = face["landmarks"], face["box"], seconds
            matrix = similarity(track.points, self.predictor) if track.points else None
            if self.smooth:
                face = track.smoother(face, seconds, 1.0 if matrix is None else self._eyes / scale_of(matrix))
            faces.append({"id": track.id} | face | {"box": self._box(track, face)})
        self._tracks = [track for track in self._tracks if seconds - track.seen <= MEMORY]
        self._frame, self._seconds = self._frame + 1, seconds
        return faces

    def _follow(self, picture) -> list[tuple[Track, dict]]:
        """The faces of the last frame that are still there, cut where their points were."""
        awake = [track for track in self._tracks if track.seen == self._seconds]
        cuts = [cut(picture, track.points, self.predictor) for track in awake]
        seen = []
        for track, face, one in zip(awake, read(cuts, [None] * len(cuts), self.predictor), cuts, strict=True):
            track.doubt = self._doubt(face, one, picture)
            if track.doubt <= track.limit:
                seen.append((track, face | {"box": self._box(track, face)}))
            else:
                self._due, self._wait = self._frame, 1
        return seen

    def _look(self, picture, seen) -> list[tuple[Track, dict]]:
        """The faces that the detector finds, each with its track, and those that only the model is sure of."""
        found = detect(picture, self.detector)
        cuts = [cut(picture, points, self.predictor) for _, points in found]
        now = {track.id: face["box"] for track, face in seen}
        free, result = list(self._tracks), []

        def apart(track, box):
            x, y, width, height = np.subtract(now.get(track.id, track.box), box)
            return np.hypot(x + width / 2, y + height / 2) / max(*box[2:], 1)

        boxes = [box for box, _ in found]
        for face, one in zip(read(cuts, boxes, self.predictor), cuts, strict=True):
            doubt = self._doubt(face, one, picture)
            if doubt == np.inf:
                continue
            track = min(free, key=lambda track: apart(track, face["box"]), default=None)
            if track is None or apart(track, face["box"]) > SAME_FACE:
                track = self._new_track()
            else:
                free.remove(track)
            # what a weak network says is doubtful even where the detector found a face
            track.limit, track.missed, track.box_in_frame = max(1, 2 * doubt), 0, self._box_in_frame(face)
            result.append((track, face))
        for track, face in seen:
            track.missed += track in free
            sure = track.doubt < 0.5 and track.missed <= MISSES
            if track in free and sure and all(apart(track, box) > SAME_FACE for box in boxes):
                result.append((track, face))
        calm = result and len(result) == len(self._tracks)
        self._wait = self.every if calm else min(2 * self._wait, self.every)
        self._due = self._frame + self._wait
        return result

    def _doubt(self, face: dict, one: Cut, picture) -> float:
        """How little it looks like a face, from 0; above 1 it is none."""
        points = np.array(list(face["landmarks"].values()))
        inside = ((points >= 0) & (points < picture.shape[1::-1])).all(1).mean()
        matrix = similarity(face["landmarks"], self.predictor) if np.isfinite(points).all() else None
        # a face leaves the picture, or grows or shrinks from one frame to the next by more than a face can
        if matrix is None or inside < 0.5 or not 0.5 < scale_of(matrix) * scale_of(one.to_picture) < 2:
            return np.inf
        return doubt(face["landmarks"], face.get("errors"), matrix, self.predictor)

    def _box_in_frame(self, face: dict) -> tuple:
        matrix = similarity(face["landmarks"], self.predictor)
        corner, size = np.array(face["box"][:2]), np.array(face["box"][2:])
        return matrix[:, :2] @ (corner + size / 2) + matrix[:, 2], size * scale_of(matrix)

    def _box(self, track: Track, face: dict) -> list[int]:
        """The box of a track's last detection, moved with the points."""
        if track.box_in_frame is None:
            return face["box"]
        matrix = similarity(face["landmarks"], self.predictor)
        centre, size = np.linalg.solve(matrix[:, :2], track.box_in_frame[0] - matrix[:, 2]), track.box_in_frame[1] / scale_of(matrix)
        return [round(float(v)) for v in (*(centre - size / 2), *size)]

    def _new_track(self) -> Track:
        self._ids += 1
        self._tracks.append(Track(self._ids))
        return self._tracks[-1]

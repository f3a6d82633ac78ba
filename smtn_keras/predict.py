"""Finds faces in photos and says their landmarks and attributes: `python -m smtn_keras.predict --model MODEL PHOTO...`

Prints one JSON line for each face, points in pixels of the photo.
"""

import collections
import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from . import backend
from .errors import UserError, clean_exit
from .tasks import Landmarks


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What to ask."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...")]
    """The pictures."""
    model: str
    """A run folder, an exported folder, a SavedModel folder or a .tflite file."""
    out: str | None = None
    """A folder for copies of the pictures with points and the surest attributes drawn on them."""
    detect: bool = True
    """Find faces first; --no-detect: the pictures are face crops, cut as the model's training data were."""


def main(argv: list[str] | None = None):
    """Command line. A picture that cannot be used is named; the others are done; the exit code is then 2."""
    with clean_exit():
        settings = tyro.cli(PredictConfig, args=argv, prog="python -m smtn_keras.predict", description=__doc__)
        if predict(settings):
            sys.exit(2)


def predict(settings: PredictConfig) -> int:
    """Answers for all pictures.

    Returns:
        How many pictures could not be used.
    """
    backend.start()
    if not settings.images:
        raise UserError("expected at least one PHOTO, got none; name a picture file")
    from .data.images import read_image
    from .plots import draw_faces
    from .predictor import load_predictor

    predictor = load_predictor(settings.model)
    detector = _detector() if settings.detect else None
    failed, drawn = 0, collections.Counter()
    for name in settings.images:
        try:
            photo = read_image(name)
            faces = find(photo, predictor, detector)
            if not faces:
                raise UserError(
                    f"{name}: expected a face, found none; use a picture with a larger, upright face, or --no-detect for a face crop"
                )
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        for face in faces:
            print(json.dumps({"image": name, **face}), flush=True)
        if settings.out:
            # a name of its own, so that neither a photo in that folder nor another photo's drawing is written over
            stem = f"{Path(name).stem}_faces"
            drawn[stem] += 1
            number = "" if drawn[stem] == 1 else f"-{drawn[stem]}"
            print(f"drawn: {draw_faces(photo, faces, Path(settings.out) / f'{stem}{number}.png')}", file=sys.stderr)
    return failed


def find(photo: np.ndarray, predictor, detector=None) -> list[dict]:
    """The faces of a photo, largest first.

    Args:
        photo: `(h, w, 3)` uint8 RGB.
        detector: an `mtcnn.MTCNN`; None if the photo is a face crop.

    Returns:
        For each face `box` (x, y, width, height), `landmarks` by name as [x, y], both in pixels of the
        photo from its upper left corner, and `attributes` by name as probabilities; of a model that predicts them `errors`, by how
        many pixels a coordinate of each landmark is expected to be off.
    """
    if detector is None:
        height, width = photo.shape[:2]
        crops, to_photo, boxes = [photo], [np.float64([[1, 0, 0], [0, 1, 0]])], [[0, 0, width, height]]
    else:
        found = sorted(detector.detect_faces(photo), key=lambda face: -face["box"][2] * face["box"][3])
        frames = [_training_frame(photo, face["keypoints"], predictor) for face in found]
        crops, to_photo = [crop for crop, _ in frames], [matrix for _, matrix in frames]
        boxes = [[int(value) for value in face["box"]] for face in found]
    if not crops:
        return []
    answers = predictor(crops)
    faces = []
    for i, (crop, matrix, box) in enumerate(zip(crops, to_photo, boxes, strict=True)):
        face = {"box": box, "landmarks": {}, "attributes": {}}
        for task in predictor.tasks:
            answer = answers[task.name][i]
            if isinstance(task, Landmarks):
                points = (answer * crop.shape[1::-1] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
                if (error := f"{task.name}_error") in answers:
                    pixels = np.sqrt(crop.shape[0] * crop.shape[1] * abs(np.linalg.det(matrix[:, :2])))
                    face["errors"] = {
                        name: round(float(share * pixels), 2) for name, share in zip(task.points, answers[error][i], strict=True)
                    }
                face["landmarks"] |= {name: [round(float(v), 2) for v in point] for name, point in zip(task.points, points, strict=True)}
            else:
                face["attributes"] |= {name: round(float(p), 4) for name, p in zip(task.probability_names, answer, strict=True)}
        faces.append(face)
    return faces


def _training_frame(photo: np.ndarray, keypoints: dict, predictor) -> tuple[np.ndarray, np.ndarray]:
    """A face cut as the training pictures were, and the 2x3 matrix from its pixels back to the photo's.

    The similarity that brings the detected points closest to the training part's mean points, between the
    coordinates of OpenCV: (0, 0) is the first pixel's centre.
    """
    import cv2

    frame = predictor.card["frame"]
    task = next(task for task in predictor.tasks if isinstance(task, Landmarks))
    mean = dict(zip(task.points, np.array(frame["mean_landmarks"][task.name]) * frame["size"], strict=True))
    names = {"left_mouth": "mouth_left", "right_mouth": "mouth_right"}  # MTCNN's words
    common = [point for point in task.points if names.get(point, point) in keypoints]
    if len(common) < 2:
        raise UserError(
            f"expected a model with points that a face detector knows ({', '.join(keypoints)}), got {', '.join(task.points)}; add --no-detect"
        )
    here = np.float64([keypoints[names.get(point, point)] for point in common]) - 0.5
    there = np.float64([mean[point] for point in common]) - 0.5
    matrix, _ = cv2.estimateAffinePartial2D(here, there, method=cv2.LMEDS)
    if matrix is None:
        raise UserError("expected a face with five points apart from each other, got one whose points coincide; use a larger picture")
    # a warp samples single pixels: cut a large face at a multiple of the frame and average that down
    times = max(1, int(1 / np.linalg.norm(matrix[:, 0])))
    size = [times * side for side in frame["size"]]
    # scaling about the corner moves the first pixel's centre
    large = times * matrix + [[0, 0, (times - 1) / 2]]
    crop = cv2.warpAffine(photo, large, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(crop, frame["size"], interpolation=cv2.INTER_AREA), cv2.invertAffineTransform(matrix)


def _detector():
    try:
        from mtcnn import MTCNN
    except ImportError:
        raise UserError(
            "expected the face detector mtcnn, which is not installed; run: pip install 'smtn_keras[detect]', or add --no-detect for face crops"
        ) from None
    return MTCNN()


if __name__ == "__main__":
    main()

"""Faces of a picture: found by a detector, cut as the training pictures were, and read by a model.

Points and boxes are in pixels from a picture's upper left corner, OpenCV's less 0.5.
"""

from typing import NamedTuple

import numpy as np

from .errors import UserError
from .tasks import Landmarks

DETECTOR_SIDE = 1600  # pixels of the longer side that a detector sees at most: its time and memory grow with the area
_NAMES = {"mouth_left": "left_mouth", "mouth_right": "right_mouth"}  # of MTCNN's points


class Cut(NamedTuple):
    """A face cut out of a picture.

    Attributes:
        crop: `(h, w, 3)` uint8 RGB, as the model was trained on.
        to_picture: `(2, 3)`, from pixels of the crop to pixels of the picture.
    """

    crop: np.ndarray
    to_picture: np.ndarray


def mtcnn():
    """The face detector, loaded.

    Raises:
        UserError: Keras runs on another backend than TensorFlow, which the detector calls by name.
    """
    import keras

    if (name := keras.backend.backend()) != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND: expected tensorflow for the face detector, got {name}; leave it out, or add --no-detect for face crops"
        )
    from mtcnn import MTCNN

    return MTCNN()


def find(photo: np.ndarray, predictor, detector=None) -> list[dict]:
    """The faces of a photo, largest first.

    Args:
        photo: `(h, w, 3)` uint8 RGB.
        detector: an `mtcnn.MTCNN`; None if the photo is a face crop.

    Returns:
        For each face `box` (x, y, width, height), `landmarks` by name as [x, y] and `attributes` by name as
        probabilities; of a model that predicts them `errors`, by how many pixels a coordinate of each landmark is
        expected to be off.
    """
    if detector is None:
        height, width = photo.shape[:2]
        return read([Cut(photo, np.eye(2, 3))], [[0, 0, width, height]], predictor)
    found = detect(photo, detector)
    return read([cut(photo, points, predictor) for _, points in found], [box for box, _ in found], predictor)


def detect(photo: np.ndarray, detector) -> list[tuple[list[int], dict[str, np.ndarray]]]:
    """Box and points by name of each face that a detector finds, largest first."""
    import cv2

    height, width = photo.shape[:2]
    shrink = min(1, DETECTOR_SIDE / max(height, width))
    size = max(1, round(shrink * width)), max(1, round(shrink * height))
    small = photo if shrink == 1 else cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    back = np.array([width / size[0], height / size[1]])
    found = [
        (
            [int(value) for value in np.array(face["box"]) * np.tile(back, 2)],
            {_NAMES.get(name, name): np.array(point) * back for name, point in face["keypoints"].items()},
        )
        for face in detector.detect_faces(small)
    ]
    return sorted(found, key=lambda face: -face[0][2] * face[0][3])


def cut(photo: np.ndarray, points: dict, predictor) -> Cut:
    """A face cut as the training pictures were, by at least two of the model's points.

    Raises:
        UserError: the model knows fewer of the points, or they coincide.
    """
    import cv2

    matrix = similarity(points, predictor)
    if matrix is None:
        raise UserError("expected a face with points apart from each other, got one whose points coincide; use a larger picture")
    # a warp samples single pixels: cut a large face at a multiple of the frame and average that down
    times = max(1, int(1 / np.linalg.norm(matrix[:, 0])))
    large = times * matrix
    large[:, 2] += (large[:, :2].sum(1) - 1) / 2  # OpenCV counts from the first pixel's centre
    frame = predictor.card["frame"]["size"]
    crop = cv2.warpAffine(photo, large, [times * side for side in frame], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return Cut(cv2.resize(crop, frame, interpolation=cv2.INTER_AREA), cv2.invertAffineTransform(matrix))


def similarity(points: dict, predictor) -> np.ndarray | None:
    """The rotation, scaling and shift `(2, 3)` that brings points closest to the mean ones of the training frame; None if they coincide.

    Raises:
        UserError: the model knows fewer than two of them.
    """
    import cv2

    mean = mean_points(predictor)
    common = [name for name in mean if name in points]
    if len(common) < 2:
        raise UserError(
            f"expected a model with points that a face detector knows ({', '.join(points)}), got {', '.join(mean) or 'none'}; add --no-detect"
        )
    here, there = (np.float64([named[name] for name in common]) for named in (points, mean))
    return cv2.estimateAffinePartial2D(here, there, method=cv2.LMEDS)[0]


def mean_points(predictor) -> dict[str, np.ndarray]:
    """Where a model's points lie on average in the frame of its training, by name, in that frame's pixels; {} if it has none."""
    frame = predictor.card["frame"]
    for task in predictor.tasks:
        if isinstance(task, Landmarks):
            mean = zip(task.points, np.float64(frame["mean_landmarks"][task.name]) * frame["size"], strict=True)
            return {name: point for name, point in mean if np.isfinite(point).all()}  # of joined sets the first may lack a point
    return {}


def eye_distance(predictor) -> float:
    """The mean distance of the eyes, or of what a model's points have in their place, in pixels of the training frame; 1 without points."""
    task = next((task for task in predictor.tasks if isinstance(task, Landmarks)), None)
    mean = mean_points(predictor)
    return float(np.linalg.norm(np.subtract(*(mean[name] for name in task.normaliser)))) if task else 1.0


def read(cuts: list[Cut], boxes: list, predictor) -> list[dict]:
    """What a model says of faces that were cut, as `find` returns it."""
    if not cuts:
        return []
    answers = predictor([cut.crop for cut in cuts])
    faces = []
    for i, ((crop, matrix), box) in enumerate(zip(cuts, boxes, strict=True)):
        face = {"box": box, "landmarks": {}, "attributes": {}}
        for task in predictor.tasks:
            answer = answers[task.name][i]
            if isinstance(task, Landmarks):
                points = answer * crop.shape[1::-1] @ matrix[:, :2].T + matrix[:, 2]
                face["landmarks"] |= {name: [round(float(v), 2) for v in point] for name, point in zip(task.points, points, strict=True)}
                if (error := f"{task.name}_error") in answers:
                    pixels = np.sqrt(crop.shape[0] * crop.shape[1] * abs(np.linalg.det(matrix[:, :2]))) * answers[error][i]
                    face["errors"] = {name: round(float(v), 2) for name, v in zip(task.points, pixels, strict=True)}
            else:
                face["attributes"] |= {name: round(float(p), 4) for name, p in zip(task.probability_names, answer, strict=True)}
        faces.append(face)
    return faces


def surest_attributes(face: dict, most: int = 6) -> list[str]:
    """The likeliest attributes of a face, such as `Smiling 93%`; none below 50%."""
    attributes = face["attributes"]
    names = sorted(attributes, key=attributes.get, reverse=True)[:most]
    return [f"{name} {attributes[name]:.0%}" for name in names if attributes[name] > 0.5]

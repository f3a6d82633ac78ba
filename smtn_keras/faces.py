"""Faces of a picture: found by a detector, cut as the training pictures were, and read by a model.

Points and boxes are in pixels from a picture's upper left corner, OpenCV's less 0.5.
"""

from typing import NamedTuple

import numpy as np

from .errors import UserError
from .tasks import Landmarks

DETECTOR_SIDE = 1600  # pixels of the longer side that a detector sees at most: its time and memory grow with the area
# In distances of the eyes. Above them a crop holds no face: on 500 test faces of MTFL, profiles among them, the
# predicted error stayed below 0.05 and the misfit below 0.25; on crops without a face their medians were 0.08 and 0.26.
LARGE_ERROR, LARGE_MISFIT = 0.08, 0.3
# Farther than that from the training frame, crops are warned of; docs/fairness.md says how many are, and what they cost.
FEW_PIXELS = 0.5  # a side, of the network's
LARGE_ASPECT = 4 / 3  # one way or the other, of the frame's
LARGE_ROLL = 30  # degrees
SCALES = 0.8, 2  # of the distances between the points, of the mean ones
LARGE_SHIFT = 1.5  # of the points' centre, in distances of the eyes
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
        expected to be off; `warnings`, sentences, of a face that is far from what the model was trained on.
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


def scale_of(matrix: np.ndarray) -> float:
    """By how much a `similarity` makes larger."""
    return float(np.linalg.norm(matrix[:, 0]))


def doubt(points: dict, errors: dict | None, matrix: np.ndarray, predictor) -> float:
    """How little points look like those of a face, from 0; above 1 they are of none.

    Args:
        errors: the predicted ones, in the unit of the points.
        matrix: their `similarity`.
    """
    mean, eyes = mean_points(predictor), eye_distance(predictor)
    known = [name for name in points if name in mean]
    here, there = np.array([points[name] for name in known]), np.array([mean[name] for name in known])
    misfit = np.sqrt(np.mean(np.sum((here @ matrix[:, :2].T + matrix[:, 2] - there) ** 2, axis=1))) / eyes
    error = np.mean(list((errors or {"none": 0}).values())) * scale_of(matrix) / eyes
    return max(misfit / LARGE_MISFIT, error / LARGE_ERROR)


def warnings(one: Cut, points: dict, errors: dict | None, predictor) -> list[str]:
    """In which ways a cut is far from what a model was trained on, in sentences.

    Args:
        points, errors: what the model says of it, in pixels of the training frame.
    """
    frame, mean = predictor.card["frame"]["size"], mean_points(predictor)
    (height, width), side = one.crop.shape[:2], predictor.image_size
    result = []
    pixels = np.sqrt(width * height * abs(np.linalg.det(one.to_picture[:, :2])))
    if pixels < FEW_PIXELS * side:
        result.append(f"it has about {pixels:.0f} pixels a side, and the network takes {side}")
    aspect = width / height * frame[1] / frame[0]
    if not 1 / LARGE_ASPECT <= aspect <= LARGE_ASPECT:
        result.append(f"the crop is {width} x {height} pixels, and training crops have the shape of {frame[0]} x {frame[1]}")
    if len(mean) < 2 or not set(mean) <= set(points):
        return result
    matrix = similarity(points, predictor) if np.isfinite(list(points.values())).all() else None
    if matrix is None or doubt(points, errors, matrix, predictor) > 1:
        return [*result, "its points do not look like those of a face"]
    roll, scale = abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))), 1 / scale_of(matrix)
    centres = [np.mean([named[name] for name in mean], axis=0) for named in (points, mean)]
    shift = np.linalg.norm(centres[0] - centres[1]) / eye_distance(predictor)
    if roll > LARGE_ROLL:
        result.append(f"it is turned by {roll:.0f} degrees")
    if not SCALES[0] <= scale <= SCALES[1]:
        result.append(f"it is {scale:.1f} times as large in its crop as training faces")
    if shift > LARGE_SHIFT:
        result.append(f"it lies {shift:.1f} distances of the eyes from where training faces lie in their crops")
    return result


def read(cuts: list[Cut], boxes: list, predictor) -> list[dict]:
    """What a model says of faces that were cut, as `find` returns it."""
    if not cuts:
        return []
    answers, frame = predictor([cut.crop for cut in cuts]), predictor.card["frame"]["size"]
    faces = []
    for i, ((crop, matrix), box) in enumerate(zip(cuts, boxes, strict=True)):
        face = {"box": box, "landmarks": {}, "attributes": {}}
        seen, errors = {}, {}  # in pixels of the training frame
        for task in predictor.tasks:
            answer = answers[task.name][i]
            if isinstance(task, Landmarks):
                points = answer * crop.shape[1::-1] @ matrix[:, :2].T + matrix[:, 2]
                face["landmarks"] |= {name: [round(float(v), 2) for v in point] for name, point in zip(task.points, points, strict=True)}
                seen |= dict(zip(task.points, np.float64(answer) * frame, strict=True))
                if (error := f"{task.name}_error") in answers:
                    errors |= dict(zip(task.points, answers[error][i] * np.sqrt(np.prod(frame)), strict=True))
                    pixels = np.sqrt(crop.shape[0] * crop.shape[1] * abs(np.linalg.det(matrix[:, :2]))) * answers[error][i]
                    face["errors"] = {name: round(float(v), 2) for name, v in zip(task.points, pixels, strict=True)}
            else:
                face["attributes"] |= {name: round(float(p), 4) for name, p in zip(task.probability_names, answer, strict=True)}
        if far := warnings(Cut(crop, matrix), seen, errors, predictor):
            face["warnings"] = far
        faces.append(face)
    return faces


def surest_attributes(face: dict, most: int = 6) -> list[str]:
    """The likeliest attributes of a face, such as `Smiling 93%`; none below 50%."""
    attributes = face["attributes"]
    names = sorted(attributes, key=attributes.get, reverse=True)[:most]
    return [f"{name} {attributes[name]:.0%}" for name in names if attributes[name] > 0.5]

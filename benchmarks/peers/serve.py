"""Answers for faces in a process of its own, as peers need packages that exclude each other: `python serve.py NAME CORES [MODEL]`.

Reads requests (`faces`, an .npz file of pictures `(h, w, 3)` uint8 RGB; `indices` into it; a `view`, left, top, right and bottom in [0, 1]
of the pictures' sides) and writes `answers`, None where it finds no face, and the `milliseconds` each took, as lines of JSON; the other end is
../process.py. Imports NumPy and what the peer brings, nothing else.
"""

import importlib.util
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

FIVE = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left and right as seen in the picture
DETECTION = 0.1  # the confidence that is enough, as each picture is known to be of a face

# MediaPipe's mesh, by its canonical face model: the contours of the eyes, the tip of the nose, the corners of the mouth
MESH_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
MESH_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
MESH_REST = (4, 61, 291)


def five_of_mesh(points: np.ndarray) -> np.ndarray:
    """The `FIVE` `(5, 2)` of MediaPipe's mesh `(468 or 478, 2)`."""
    return np.stack([points[list(MESH_LEFT_EYE)].mean(0), points[list(MESH_RIGHT_EYE)].mean(0), *points[list(MESH_REST)]])


def five_of_68(points: np.ndarray) -> np.ndarray:
    """The `FIVE` `(5, 2)` of the 68 points of 300-W `(68, 2)`."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def three_of_5(points: np.ndarray) -> np.ndarray:
    """The first three of `FIVE` `(3, 2)` of dlib's five points `(5, 2)`, of which two are each eye's corners and one lies below the nose."""
    return np.stack([points[2:4].mean(0), points[:2].mean(0), points[4]])


def box(view: list[float], picture: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom in whole pixels of a view in [0, 1] of a picture's sides; a view may reach beyond the picture."""
    height, width = picture.shape[:2]
    return np.rint(np.multiply(view, [width, height, width, height])).astype(int)


def cut(picture: np.ndarray, view: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """A view of a picture, its edge repeated where the view reaches beyond it, and the view's upper left corner in pixels."""
    left, top, right, bottom = box(view, picture)
    rows = np.arange(top, bottom).clip(0, picture.shape[0] - 1)
    columns = np.arange(left, right).clip(0, picture.shape[1] - 1)
    return np.ascontiguousarray(picture[rows][:, columns]), np.array([left, top])


# -- each gives a function from a picture `(h, w, 3)` uint8 RGB and a view to an answer, None if it finds no face; and what is known of it.
# An answer holds `landmarks`, pixels of the picture from its upper left corner, and maybe `attributes` (probabilities) and `milliseconds`


def ours(cores: int, model: str):
    """An export of smtn_keras: a .tflite file with its model.json beside it."""
    from ai_edge_litert.interpreter import Interpreter

    from smtn_keras.data.pipeline import resize

    card = json.loads(Path(model).with_name("model.json").read_text())
    runner = Interpreter(model, num_threads=cores).get_signature_runner("serving_default")
    details = runner.get_input_details()["image"]
    size, dtype = int(details["shape"][1]), details["dtype"]
    names = card["outputs"]["landmarks"]["names"]
    labels = sum(len(task.get("labels", ())) for task in card["data"]["tasks"])
    order = [names.index(name) for name in FIVE if name in names]

    def answer(picture, view):
        said = runner(image=resize(picture, size).astype(dtype)[None])
        landmarks = said["landmarks"][0, order] * picture.shape[1::-1]
        return {"landmarks": landmarks} | ({"attributes": said["attributes"][0]} if "attributes" in said else {})

    return answer, {
        "points": [names[i] for i in order],
        "files": [model],
        "gives": f"{len(names)} points, {labels} attributes",
        "threads": "as many as cores",
        "packages": ["ai-edge-litert"],
    }


def mediapipe(cores: int, refined: bool = False):
    """MediaPipe's face mesh with its face detector before it."""
    import mediapipe

    folder = Path(mediapipe.__file__).parent / "modules"
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=refined, min_detection_confidence=DETECTION
    )

    def answer(picture, view):
        crop, corner = cut(picture, view)
        found = mesh.process(crop).multi_face_landmarks
        if not found:
            return None
        points = np.array([(point.x, point.y) for point in found[0].landmark])
        return {"landmarks": five_of_mesh(points * crop.shape[1::-1]) + corner}

    name = "face_landmark_with_attention" if refined else "face_landmark"
    return answer, {
        "points": FIVE,
        "files": [folder / "face_detection/face_detection_short_range.tflite", folder / f"face_landmark/{name}.tflite"],
        "gives": "478 points in space" if refined else "468 points in space",
        "threads": "no setting",
        "packages": ["mediapipe"],
    }


def mediapipe_refined(cores: int):
    """The same with its larger network, which looks at eyes and lips again."""
    return mediapipe(cores, refined=True)


def mediapipe_mesh(cores: int):
    """The face mesh's network alone, on an upright square instead of what the detector would say."""
    import cv2
    import mediapipe
    from ai_edge_litert.interpreter import Interpreter

    file = Path(mediapipe.__file__).parent / "modules/face_landmark/face_landmark.tflite"
    network = Interpreter(str(file), num_threads=cores)
    network.allocate_tensors()
    image = network.get_input_details()[0]
    points = next(output["index"] for output in network.get_output_details() if output["shape"][-1] == 3 * 468)
    size = int(image["shape"][1])

    def answer(picture, view):
        crop, corner = cut(picture, view)
        network.set_tensor(image["index"], np.float32(cv2.resize(crop, (size, size)) / 255)[None])
        network.invoke()
        mesh = network.get_tensor(points).reshape(468, 3)[:, :2]
        return {"landmarks": five_of_mesh(mesh / size * crop.shape[1::-1]) + corner}

    packages = ["mediapipe", "ai-edge-litert"]
    return answer, {
        "points": FIVE,
        "files": [file],
        "gives": "468 points in space",
        "threads": "as many as cores",
        "packages": packages,
    }


def dlib(file: str, to_five, points: tuple[str, ...], gives: str):
    """A shape predictor of dlib, whose box is the view."""
    import dlib

    # by its folder: the package itself imports pkg_resources, which newer installations lack
    file = Path(importlib.util.find_spec("face_recognition_models").origin).parent / "models" / file
    predictor = dlib.shape_predictor(str(file))

    def answer(picture, view):
        left, top, right, bottom = box(view, picture).tolist()
        shape = predictor(picture, dlib.rectangle(left, top, right - 1, bottom - 1))
        return {"landmarks": to_five(np.array([(point.x, point.y) for point in shape.parts()])) + 0.5}  # from pixels' centres

    packages = ["dlib-bin", "face_recognition_models"]
    return answer, {"points": points, "files": [file], "gives": gives, "threads": "one by design", "packages": packages}


def dlib_68(cores: int):
    return dlib("shape_predictor_68_face_landmarks.dat", five_of_68, FIVE, "68 points")


def dlib_5(cores: int):
    return dlib("shape_predictor_5_face_landmarks.dat", three_of_5, FIVE[:3], "eyes' corners and below the nose")


def mtcnn(cores: int):
    """PyPI's mtcnn: the face of the highest confidence."""
    import mtcnn
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    detector = mtcnn.MTCNN()
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

    def answer(picture, view):
        crop, corner = cut(picture, view)
        # the smallest face stays at its 20 px, though a larger one would be faster: with any other it finds none
        found = detector.detect_faces(crop, fit_to_image=False, threshold_onet=DETECTION)
        if not found:
            return None
        keypoints = max(found, key=lambda face: face["confidence"])["keypoints"]
        return {"landmarks": np.array([keypoints[name] for name in names]) + corner}

    return answer, {
        "points": FIVE,
        "files": list((Path(mtcnn.__file__).parent / "assets/weights").iterdir()),
        "gives": "5 points and the box",
        "threads": "as many as cores",
        "packages": ["mtcnn", "tensorflow"],
    }


def face_api(cores: int):
    """`@vladmandic/face-api` in a headless browser, whose box is the view; timed in the page."""
    sys.path.append(str(Path(__file__).parent.parent))
    import browser

    page = browser.FaceApi()

    def answer(picture, view):
        crop, corner = cut(picture, view)
        points_px, milliseconds = page.landmarks(crop)
        return points_px if points_px is None else {"landmarks": five_of_68(points_px) + corner, "milliseconds": milliseconds}

    return answer, {"points": FIVE, "gives": "68 points, age, gender", "threads": "the browser's", "packages": [], "files": page.files}


SERVED = {f.__name__: f for f in (ours, mediapipe, mediapipe_refined, mediapipe_mesh, dlib_68, dlib_5, mtcnn, face_api)}


def main(name: str, cores: str, *model: str):
    # what libraries print to stdout must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what: dict):
        print(json.dumps(what, default=lambda array: np.asarray(array).tolist()), file=answers, flush=True)

    answer, facts = SERVED[name](int(cores), *model)
    files = [Path(file) for file in facts.pop("files")]
    packages = ["numpy", *facts.pop("packages")]
    say(
        facts
        | {"megabytes": sum(file.stat().st_size for file in files) / 1e6, "files": [file.name for file in files]}
        | {"versions": {package: metadata.version(package) for package in packages}}
    )
    opened = {}
    for line in sys.stdin:
        request = json.loads(line)
        if (file := request["faces"]) not in opened:
            opened[file] = list(np.load(file).values())
        says, times = [], []
        for i in request["indices"]:
            began = time.perf_counter()
            said = answer(opened[file][i], request["view"])
            times.append(1000 * (time.perf_counter() - began))
            if said and "milliseconds" in said:
                times[-1] = said.pop("milliseconds")
            says.append(said)
        say({"answers": says, "milliseconds": times})


if __name__ == "__main__":
    main(*sys.argv[1:])

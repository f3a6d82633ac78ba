"""One way to ask a run, a SavedModel or a LiteRT file: pictures in, landmarks and probabilities out."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import backend, runs
from .config import Config
from .errors import UserError
from .tasks import Attributes, Task, tasks_from_json

CARD = "model.json"


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained model, wherever it lives.

    Attributes:
        image_size: side of the square pictures it takes.
        card: the data card of its training: licence, `frame` and tasks.
        run: `(n, image_size, image_size, 3)` float32 RGB 0..255 to the outputs of `serving_model`.
    """

    tasks: tuple[Task, ...]
    image_size: int
    card: dict
    run: Callable[[np.ndarray], dict[str, np.ndarray]]

    def __call__(self, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Answers for pictures `(h, w, 3)` uint8 RGB of any size, cut as the training data's were."""
        from .data.pipeline import resize

        return self.run(np.stack([resize(picture, self.image_size) for picture in pictures]).astype(np.float32))


def load_predictor(path: str | Path, flip: bool = False) -> Predictor:
    """Reads a run folder, an export's folder, a SavedModel folder or a `.tflite` file.

    Args:
        flip: answer with the mean over a picture and its mirror image; of a run only, an export has it built in or not.

    Raises:
        UserError: if the path is none of these, or what lies there is damaged.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return _of_run(path, flip)
    if (path / CARD).is_file():
        return _of_litert(path / "model.tflite")
    if (path / "saved_model.pb").is_file():
        return _of_saved_model(path)
    if path.is_file() and path.suffix == ".tflite":
        return _of_litert(path)
    came = "something else" if path.exists() else "nothing"
    raise UserError(f"{path}: expected a run folder, an exported folder, a SavedModel folder or a .tflite file, got {came}; check --model")


def shipped(name: str = "mobile") -> Path:
    """The folder of a model that comes with the package.

    Raises:
        UserError: there is none of that name.
    """
    here = Path(__file__).parent
    folders = here / "exported", here.parent / "exported"  # of an install, of a checkout
    there = {card.parent.name: card.parent for folder in reversed(folders) for card in sorted(folder.glob(f"*/{CARD}"))}
    if name not in there:
        raise UserError(
            f"{name}: expected a shipped model ({', '.join(there) or 'there is none here'}) or a path that exists; check --model"
        )
    return there[name]


def serving_model(network, tasks: tuple[Task, ...], config: Config, flip: bool = False):
    """The network as it is delivered.

    Its outputs by name: of each task landmarks `(n, points, 2)` in [0, 1] of the image's sides, attributes as probabilities `(n,
    probabilities)`; from a run with `--uncertainty` also `{landmarks}_error` `(n, points)`, by how much of the sides a coordinate is
    expected to be off.

    Args:
        flip: answer with the mean of the answers to the image and to its mirror image, at twice the cost.
    """
    import keras
    from keras import ops

    from .losses import probabilities

    def answers(outputs):
        result = {}
        for task in tasks:
            output = outputs[task.name]
            if isinstance(task, Attributes):
                result[task.name] = probabilities(output, task)
                continue
            result[task.name] = output[..., :2]
            if config.network.uncertainty:  # the scale of a Laplace distribution is its mean absolute error
                result[f"{task.name}_error"] = ops.exp(output[..., 2]) / config.training.landmark_scale
        return result

    image, result = network.input, answers(network.output)
    if flip:
        mirrored = answers(network(ops.flip(image, axis=2)))
        for task in tasks:
            order, factor, offset = task.mirror
            result[task.name] = (result[task.name] + ops.take(mirrored[task.name], order, axis=1) * factor + offset) / 2
            if (error := f"{task.name}_error") in result:
                result[error] = (result[error] + ops.take(mirrored[error], order, axis=1)) / 2
    return keras.Model(image, result, name=network.name)


def _of_run(folder: Path, flip: bool) -> Predictor:
    run = runs.load(folder)
    model = serving_model(run.model, run.tasks, run.config, flip)

    def ask(images):
        return model.predict(images, verbose=0)

    return Predictor(run.tasks, run.config.network.image_size, runs.read_data_card(folder), ask)


def _of_saved_model(folder: Path) -> Predictor:
    import tensorflow as tf

    tasks, card = _card(folder.parent)
    try:
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        size = signature.structured_input_signature[1]["image"].shape[1]
    except Exception as error:  # TensorFlow raises many kinds on a damaged file
        raise _damaged(folder, "a SavedModel", error) from None

    def ask(images):
        return {name: value.numpy() for name, value in signature(image=tf.constant(images)).items()}

    return Predictor(tasks, size, card, ask)


def _of_litert(file: Path) -> Predictor:
    from ai_edge_litert.interpreter import Interpreter

    tasks, card = _card(file.parent)
    try:
        with backend.quiet_native_code():
            runner = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
            shape = runner.get_input_details()["image"]["shape"]
            runner(image=np.zeros(shape, np.float32))  # the runtime sets itself up, and says so, at the first call
    except Exception as error:  # the runtime raises many kinds on a damaged file
        raise _damaged(file, "a LiteRT model", error) from None
    if shape[0] != 1:
        raise UserError(f"{file}: expected a model of batch 1, got batch {shape[0]}; export it again")

    def ask(images):
        answers = [runner(image=image[None]) for image in images]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    return Predictor(tasks, int(shape[1]), card, ask)


def _card(folder: Path) -> tuple[tuple[Task, ...], dict]:
    file = folder / CARD
    try:
        card = json.loads(file.read_text())["data"]
        return tasks_from_json(card["tasks"]), card
    except FileNotFoundError:
        raise UserError(
            f"{file}: expected the names and frame of the model beside it, found no such file; copy it from the export"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise _damaged(file, f"a {CARD} written by smtn_keras.export", error) from None


def _damaged(path: Path, expected: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: expected {expected}, got a damaged or different file ({reason}); export it again")

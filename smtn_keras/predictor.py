"""One way to ask a run, a SavedModel or a LiteRT file: pictures in, landmarks and probabilities out."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import backend, model_files, reading, runs
from . import card as cards
from .config import Config
from .errors import UserError
from .tasks import Attributes, Task


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
        """Answers for pictures `(h, w, 3)` uint8 RGB of any size, cut as the training data's were.

        Raises:
            UserError: if they are of another kind; values of 0..1 would be answered, and wrongly.
        """
        from .data.pipeline import resize

        for picture in pictures:
            if picture.dtype != np.uint8 or picture.shape[2:] != (3,):
                raise UserError(
                    f"pictures: expected uint8 RGB of 0..255, (height, width, 3), got {picture.dtype} of {picture.min():g}..{picture.max():g}, "
                    f"{picture.shape}; convert them first"
                )
        return self.run(np.stack([resize(picture, self.image_size) for picture in pictures]).astype(np.float32))


def load_predictor(path: str | Path, flip: bool = False, threads: int | None = None) -> Predictor:
    """Reads a run folder, an export's folder, a SavedModel folder or a `.tflite` file.

    Args:
        flip: answer with the mean over a picture and its mirror image; of a run only, an export has it built in or not.
        threads: for a `.tflite` file; None leaves it to the runtime.

    Raises:
        UserError: if the path is none of these, or what lies there is damaged or not what its card says.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return _of_run(path, flip)
    if (path / cards.CARD).is_file():
        return _of_litert(path / cards.FILE, threads)
    if (path / "saved_model.pb").is_file():
        return _of_saved_model(path)
    if path.is_file() and path.suffix == ".tflite":
        return _of_litert(path, threads)
    came = "something else" if path.exists() else "nothing"
    raise UserError(f"{path}: expected a run folder, an exported folder, a SavedModel folder or a .tflite file, got {came}; check --model")


def shipped(name: str = "mobile") -> Path:
    """The folder of a model that comes with the package.

    Raises:
        UserError: there is none of that name.
    """
    here = Path(__file__).parent
    folders = here / "exported", here.parent / "exported"  # of an install, of a checkout
    there = {card.parent.name: card.parent for folder in reversed(folders) for card in sorted(folder.glob(f"*/{cards.CARD}"))}
    if name not in there:
        raise UserError(
            f"{name}: expected a shipped model ({', '.join(there) or 'there is none here'}) or a path that exists; check --model"
        )
    return there[name]


def find_model(name: str | Path | None) -> Path:
    """A model by its path, or by the name of one that comes with the package; None stands for the shipped `mobile`, whatever lies here.

    Raises:
        UserError: there is neither.
    """
    if name is None:
        return shipped("mobile")
    is_path = Path(name).name != str(name) or Path(name).exists()
    return Path(name) if is_path else shipped(str(name))


def serving_model(network, tasks: tuple[Task, ...], config: Config, flip: bool = False, temperature: float | None = None):
    """The network as it is delivered.

    Its outputs by name: of each task landmarks `(n, points, 2)` in [0, 1] of the image's sides, attributes as probabilities `(n,
    probabilities)`; from a run with `--uncertainty` also `{landmarks}_error` `(n, points)`, by how much of the sides a coordinate is
    expected to be off.

    Args:
        flip: answer with the mean of the answers to the image and to its mirror image, at twice the cost.
        temperature: that divides the logits of the labels.
    """
    import keras
    from keras import ops

    from .losses import probabilities, tempered

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
    for task in tasks:
        if temperature is not None and isinstance(task, Attributes):
            result[task.name] = tempered(result[task.name], task, temperature)
    return keras.Model(image, result, name=network.name)


def _of_run(folder: Path, flip: bool) -> Predictor:
    run = runs.load(folder)
    model = serving_model(run.model, run.tasks, run.config, flip)

    def ask(images):
        return model.predict(images, verbose=0)

    return Predictor(run.tasks, run.config.network.image_size, runs.read_data_card(folder), ask)


def _of_saved_model(folder: Path) -> Predictor:
    import tensorflow as tf

    card = cards.read(folder.parent)
    try:
        model_files.check_saved_model(folder)
        signature = tf.saved_model.load(str(folder)).signatures[card["signature"]]
        image = signature.structured_input_signature[1]["image"]
        asked = 1, *image.shape[1:]
        model_files.check_sizes([asked])
        answer = {name: value.numpy() for name, value in signature(image=tf.zeros(asked, image.dtype)).items()}
    except Exception as error:  # TensorFlow raises many kinds on a damaged file
        raise _damaged(folder, "a SavedModel", error) from None

    def ask(images):
        answers = signature(image=tf.constant(images.astype(image.dtype.as_numpy_dtype)))
        return {name: value.numpy() for name, value in answers.items()}

    _check_outputs(answer, cards.tasks_of(card), folder)
    return Predictor(cards.tasks_of(card), image.shape[1], card["data"], ask)


def _of_litert(file: Path, threads: int | None) -> Predictor:
    from ai_edge_litert.interpreter import Interpreter

    from .litert import names_in

    card = cards.read(file.parent)
    cards.check_file(file, card)
    try:
        content = reading.read_bytes(file, model_files.MAX_LITERT)
        model_files.check_litert(content)
        names = names_in(content, [task.name for task in cards.tasks_of(card)])
        with backend.quiet_native_code():
            interpreter = Interpreter(model_path=str(file), num_threads=threads)
            interpreter.allocate_tensors()
            model_files.check_sizes(of["shape"] for of in interpreter.get_tensor_details())
            runner = interpreter.get_signature_runner(card["signature"])
            inputs = runner.get_input_details()
            # the runtime sets itself up, and says so, at the first call
            answer = runner(**{name: np.zeros(of["shape"], of["dtype"]) for name, of in inputs.items()})
    except Exception as error:  # the runtime raises many kinds on a damaged file
        raise _damaged(file, "a LiteRT model", error) from None
    _check_outputs({name: values[:1] for name, values in answer.items()}, cards.tasks_of(card), file)
    _check_contract(file, card, inputs, names)
    (batch, size, _, _), dtype = inputs["image"]["shape"], inputs["image"]["dtype"]

    def ask(images):
        answers = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            whole = np.pad(part, [(0, batch - len(part)), (0, 0), (0, 0), (0, 0)])
            answers.append({name: values[: len(part)] for name, values in runner(image=whole.astype(dtype)).items()})
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    return Predictor(cards.tasks_of(card), int(size), card["data"], ask)


def _check_contract(file: Path, card: dict, inputs: dict, names: dict[str, list[str]]):
    """Refuses a file whose input is no image, or whose names inside are not those of its card's tasks."""
    images = {name: tuple(of["shape"].tolist()) for name, of in inputs.items()}
    if [len(shape) for shape in images.values()] != [4] or "image" not in images:
        raise UserError(f"{file}: expected a model of one input, 'image' (batch, height, width, 3), got {images}; export it again")
    tasks = {task.name: task for task in cards.tasks_of(card)}
    for name, inside in names.items():
        if inside != (said := cards.names_of(tasks[name])):
            a, b = next(pair for pair in itertools.zip_longest(inside, said) if pair[0] != pair[1])
            raise UserError(
                f"{file}: expected the names of {name} that its {cards.CARD} says, got '{a}' for '{b}'; copy both from the export"
            )


def _check_outputs(answer: dict, tasks: tuple[Task, ...], path: Path):
    """Raises unless a model gives what its card says: for each task an array of that name and size, of numbers."""
    for task in tasks:
        expected = (1, *cards.shape_of(task))
        came = answer[task.name].shape if task.name in answer else f"only {', '.join(sorted(answer))}"
        if came != expected:
            raise UserError(
                f"{path}: expected an output '{task.name}' of shape {expected} as {cards.CARD} says, got {came}; keep both of one export"
            )
        if not np.isfinite(answer[task.name]).all():
            raise UserError(f"{path}: expected numbers as '{task.name}', got NaN or infinity; export a run that was trained to its end")


def _damaged(path: Path, expected: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: expected {expected}, got a damaged or different file ({reason}); export it again")

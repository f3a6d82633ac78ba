"""Whether exported networks know how sure they are: `python benchmarks/certain.py --data celeba mtfl --into docs/fairness.md`

Prints what their cards say of probabilities (`evaluate --model ... --calibrate` wrote it), and measures what else could tell how far points are off:
the predicted errors, and the spread of the answers to a picture, its mirror image and shifted copies.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from smtn_keras import backend
from smtn_keras.config import DataConfig
from smtn_keras.errors import UserError, clean_exit
from smtn_keras.report import check_markers, insert
from smtn_keras.tables import number, table
from smtn_keras.tasks import Attributes, Landmarks

SHIFTS = (3, 0), (-3, 0), (0, 3), (0, -3)  # pixels to the right and down


@dataclasses.dataclass(frozen=True)
class CertainConfig:
    """What to ask."""

    models: tuple[str, ...] = ("mobile", "mobile_tiny")
    """As `predict --model`; the first is measured."""
    data: tuple[str, ...] = ("synthetic",)
    """Data sets."""
    data_dir: str = DataConfig().data_dir
    """The folder into which `smtn_keras.prepare` wrote them."""
    into: str | None = None
    """A Markdown file that takes the tables between its markers `temperatures` and `spread`."""


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(CertainConfig, args=argv, prog="python benchmarks/certain.py", description=__doc__)
        makers = {"temperatures": temperatures, "spread": spread}
        if settings.into:
            for name in makers:
                check_markers(Path(settings.into), name)
        for name, make in makers.items():
            text = make(settings)
            print(text, end="\n\n")
            if settings.into:
                insert(Path(settings.into), name, text)


def temperatures(settings: CertainConfig) -> str:
    """The calibration errors of the cards, with a row for each model and data set.

    Raises:
        UserError: if a card has none with a temperature.
    """
    from smtn_keras import card
    from smtn_keras.predictor import find_model

    rows = []
    for name in settings.models:
        folder = Path(find_model(name))
        told = card.read(folder)
        attributes = next(task.name for task in card.tasks_of(told) if isinstance(task, Attributes))
        for data in settings.data:
            found = told["metrics"].get(f"{data}/test", {}).get(attributes, {}).get("metrics", {}).get("calibration", {})
            if "temperature" not in found:
                raise UserError(
                    f"{folder}: expected a calibration on {data}/test, found none; run: "
                    f"python -m smtn_keras.evaluate --model {folder} --data {data} --split test --calibrate"
                )
            errors = [number(found[key]) for key in ("ece_mean", "ece_mean_tempered", "ece_by_chance")]
            rows.append([f"{name}, {data}", *errors, f"{found['temperature']:.3f}"])
    return table(["test part", "error", "with the temperature", "of a model that is right", "temperature"], rows)


def spread(settings: CertainConfig) -> str:
    """What tells the first model's good test faces from its bad ones, with a row for each data set and way to tell.

    Raises:
        UserError: if the model predicts no errors.
    """
    backend.start()
    from smtn_keras.calibration import confidence
    from smtn_keras.data.prepared import open_prepared
    from smtn_keras.predictor import find_model, load_predictor

    predictor = load_predictor(find_model(settings.models[0]))
    task = next(task for task in predictor.tasks if isinstance(task, Landmarks))
    rows = []
    for name in settings.data:
        data = open_prepared(name, settings.data_dir).described_by(predictor.tasks)
        found, predicted = _asked(predictor, task, data)
        truth = data.targets("test")
        ways = {
            "predicted errors": predicted,
            "spread over the mirror image": _spread(found[:2]),
            f"spread over the mirror image and {len(SHIFTS)} shifts": _spread(found),
        }
        for way, said in ways.items():
            result = confidence(said, found[0], truth[task.name], truth["size"], task)
            worth = [number(result[key]) for key in ("rank_correlation", "nme_surest", "failure_rate_surest", "nme_best")]
            rows.append([f"{name}, {way}", *worth])
    return table(["test part", "rank correlation", "NME of the surest 90 %", "failures among them", "NME of the best 90 %"], rows)


def _asked(predictor, task: Landmarks, data) -> tuple[np.ndarray, np.ndarray]:
    """Points `(ways, samples, points, 2)` as answered to each picture, its mirror image and shifted copies, brought back; predicted errors."""
    from smtn_keras.data.pipeline import evaluation_batches

    batches, steps = evaluation_batches(data, "test", predictor.image_size, 64)
    order, factor, offset = task.mirror
    ways, predicted = [], []
    for images, _ in tqdm(batches, total=steps, desc=data.name, leave=False):
        images = np.asarray(images, np.float32)
        answer = predictor.run(images)
        if f"{task.name}_error" not in answer:
            raise UserError(f"{data.name}: expected a model that predicts its errors, trained with --uncertainty; name another first")
        predicted.append(answer[f"{task.name}_error"])
        mirrored = predictor.run(images[:, :, ::-1])[task.name][:, order] * factor + offset
        shifted = [predictor.run(_shifted(images, *by))[task.name] - np.float32(by) / predictor.image_size for by in SHIFTS]
        ways.append([answer[task.name], mirrored, *shifted])
    return np.concatenate(ways, axis=1), np.concatenate(predicted)


def _shifted(images: np.ndarray, right: int, down: int) -> np.ndarray:
    """`(n, height, width, 3)`; what comes in is the border again."""
    edge = max(abs(right), abs(down))
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    return np.ascontiguousarray(padded[:, edge - down :, edge - right :][:, :height, :width])


def _spread(found: np.ndarray) -> np.ndarray:
    """The mean distance of coordinates `(ways, samples, points, 2)` from their mean: `(samples, points)`."""
    return np.abs(found - found.mean(0)).mean((0, -1))


if __name__ == "__main__":
    main()

"""Contact sheets of a data set's records, with their points and labels."""

import textwrap
from pathlib import Path

import numpy as np

from .config import Config
from .data.glance import decoded
from .data.pipeline import TrainingExample
from .data.prepared import Prepared
from .plots import contact_sheet
from .tasks import MISSING, Attributes, Landmarks, Task

WRAP = 44  # characters below a picture


def draw_sample(data: Prepared, split: str, count: int, config: Config, seed: int, file: Path, columns: int = 8) -> Path:
    """Rows of `count` pictures of a part, chosen by the seed, and below each row the same as a training of `config` sees them."""
    source = data.source(split)
    chosen = np.random.default_rng(seed).permutation(len(source))[:count].tolist()
    varied = TrainingExample(data.tasks, config.network.image_size, config.data)
    records, rows = [], []
    for start in range(0, len(chosen), columns):
        of_row = [source[i] for i in chosen[start : start + columns]]
        blank = [None] * (columns - len(of_row))
        records += of_row + blank
        records += [_varied(record, varied, [seed, start, i]) for i, record in enumerate(of_row)] + blank
        rows += ["as it is", "in training"]
    captions = ["" if record is None else f"{record['name'].decode()}: {_labels(record, data.tasks)}" for record in records]
    return draw(records, captions, data.tasks, file, columns, rows)


def draw(records: list[dict | None], captions: list[str], tasks: tuple[Task, ...], file: Path, columns: int = 6, rows=()) -> Path:
    """Records with their points, each in its colour, and a caption below; None leaves a place empty."""
    task = next((task for task in tasks if isinstance(task, Landmarks)), None)
    names = task.points if task else ()
    nothing = np.full((1, 1, 3), 255, np.uint8), np.full((len(names), 2), np.nan)
    drawn = [nothing if r is None else (_picture(r), r[task.name] if task else nothing[1]) for r in records]
    pictures, points_px = zip(*drawn, strict=True)
    captions = [textwrap.fill(caption.replace("_", " "), WRAP) for caption in captions]
    return contact_sheet(pictures, points_px, None, file, columns, rows, captions, names)


def _picture(record: dict) -> np.ndarray:
    return record["image"] if isinstance(record["image"], np.ndarray) else decoded(record)


def _varied(record: dict, varied: TrainingExample, seed: list[int]) -> dict:
    """A record as training sees it: its picture decoded, its points in pixels of that."""
    image, targets = varied(record, np.random.default_rng(seed))
    points_px = {task.name: targets[task.name] * image.shape[0] for task in varied.tasks if isinstance(task, Landmarks)}
    return record | targets | points_px | {"image": image}


def _labels(record: dict, tasks: tuple[Task, ...]) -> str:
    """The labels that a record has."""
    said = []
    for task in (task for task in tasks if isinstance(task, Attributes)):
        for label, value in zip(task.labels, record[task.name], strict=True):
            if value == MISSING:
                said.append(f"{label.name}?")
            elif not label.binary:
                said.append(f"{label.name}={label.classes[value]}")
            elif value:
                said.append(label.name)
    return ", ".join(said)

"""Which crops `predict` warns of, and what they cost: `python benchmarks/far.py --data celeba mtfl --into docs/fairness.md`

Test faces as they are, and made small, turned, moved away or cut wide, are read as `predict --no-detect` does it.
"""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from smtn_keras import backend
from smtn_keras.config import DataConfig
from smtn_keras.errors import clean_exit
from smtn_keras.report import check_markers, insert
from smtn_keras.tables import number, table
from smtn_keras.tasks import Landmarks


@dataclasses.dataclass(frozen=True)
class FarConfig:
    """What to ask."""

    model: str | None = None
    """As `predict --model`."""
    data: tuple[str, ...] = ("synthetic",)
    """Data sets."""
    data_dir: str = DataConfig().data_dir
    """The folder into which `smtn_keras.prepare` wrote them."""
    count: int = 400
    """So many test faces of each."""
    into: str | None = None
    """A Markdown file that takes the table between its markers `far`."""


def turned(degrees: float = 0, zoom: float = 1):
    """Turns and enlarges a picture about its middle."""

    def matrix(width, height):
        return cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom), (width, height)

    return matrix


def pixels(side: float):
    """Shrinks a picture to so many pixels a side, in the geometric mean."""

    def matrix(width, height):
        size = tuple(round(side * length / np.sqrt(width * height)) for length in (width, height))
        return np.float64([[size[0] / width, 0, 0], [0, size[1] / height, 0]]), size

    return matrix


def wide(width, height):
    """Half as much picture on either side."""
    return np.float64([[1, 0, width // 2], [0, 1, 0]]), (2 * (width // 2) + width, height)


CASES = {
    "as they are": turned(),
    "of 72 pixels a side": pixels(72),
    "of 40 pixels a side": pixels(40),
    "of 24 pixels a side": pixels(24),
    "turned by 30 degrees": turned(30),
    "turned by 45 degrees": turned(45),
    "turned by 90 degrees": turned(90),
    "upside down": turned(180),
    "half as large": turned(zoom=0.5),
    "twice as large": turned(zoom=2),
    "twice as wide": wide,
}


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(FarConfig, args=argv, prog="python benchmarks/far.py", description=__doc__)
        if settings.into:
            check_markers(Path(settings.into), "far")
        text = far(settings)
        print(text)
        if settings.into:
            insert(Path(settings.into), "far", text)


def far(settings: FarConfig) -> str:
    """A row for each way to change a crop, with a pair of columns for each data set."""
    backend.start()
    from smtn_keras.data.prepared import open_prepared
    from smtn_keras.predictor import find_model, load_predictor

    predictor = load_predictor(find_model(settings.model), threads=1)
    rows = {name: [name] for name in CASES}
    for data in settings.data:
        prepared = open_prepared(data, settings.data_dir).described_by(predictor.tasks)
        pictures = prepared.pictures("test", settings.count)
        for name, case in tqdm(CASES.items(), desc=data, leave=False):
            rows[name] += _cells(case, pictures, prepared.targets("test"), predictor)
    return table(["crops", *(f"{data} {what}" for data in settings.data for what in ("warned of", "NME"))], list(rows.values()))


def _cells(case, pictures: list[np.ndarray], truth: dict, predictor) -> list[str]:
    """The share of crops that are warned of, and the NME of all."""
    from smtn_keras.faces import find
    from smtn_keras.metrics import landmark_metrics

    task = next(task for task in predictor.tasks if isinstance(task, Landmarks))
    warned, found, true = [], [], []
    for picture, points in zip(pictures, truth[task.name][: len(pictures)], strict=True):
        matrix, size = case(*picture.shape[1::-1])
        # from a pixel's corner to its centre and back, as OpenCV counts
        centred = matrix + np.pad((matrix[:, :2].sum(1, keepdims=True) - 1) / 2, ((0, 0), (2, 0)))
        if size < picture.shape[1::-1]:
            changed = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        else:
            changed = cv2.warpAffine(picture, centred, size, borderMode=cv2.BORDER_REPLICATE)
        (face,) = find(changed, predictor)
        warned.append("warnings" in face)
        found.append([face["landmarks"][name] for name in task.points])
        true.append(points @ matrix[:, :2].T + matrix[:, 2])
    result = landmark_metrics(np.array(found), np.array(true), np.ones((len(found), 2)), task)
    return [number(100 * np.mean(warned)), number(result["nme"])]


if __name__ == "__main__":
    main()

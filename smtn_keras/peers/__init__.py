"""The attribute methods that Table 3 of the paper compares with: FaceTracer, PANDA and LNets+ANet, each ending in linear SVMs.

Imports nothing heavy. They need the optional extra: `pip install 'smtn_keras[peers]'`.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import PEERS
from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from ..config import Config
    from ..data.prepared import Prepared

_MODULES = {"panda_w": "panda", "panda_l": "panda"}  # where it is not the name itself
_EXTRA = {"sklearn": "scikit-learn", "skimage": "scikit-image"}


def train(name: str, folder: Path, data: "Prepared", config: "Config") -> None:
    """Trains a method on the train part of a data set and writes its files, arrays as `.npz` and nets as `.keras`.

    Args:
        name: one of `PEERS`.
        folder: where to; made if it is not there.
        data: a data set whose tasks have attributes, at least one label of them binary.
        config: of it are taken the image size, width, epochs, batch size, learning rate, seed, variations of the pictures and
            `data.samples`; `lnets_anet` takes `data.identities` too. Pictures are read at twice the image size, as all
            three cut smaller parts out of them.

    Raises:
        UserError: for a name, data or settings that do not fit, or if the extra is not installed.
    """
    method = _method(name)
    _task(data)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    method.train(name, folder, data, config)


def answer(name: str, folder: Path, data: "Prepared", split: str) -> "np.ndarray":
    """What a trained method says of all pictures of a split.

    Args:
        data: with the labels that it was trained on.

    Returns:
        `(images, probabilities)` float32 in [0, 1], in the order of the split and of `Attributes.probability_names`. Each is
        the logistic function of an SVM's margin (`svm.probabilities`), so above 0.5 is where that SVM says yes.

    Raises:
        UserError: if the folder holds no such method, or the data has other labels than it was trained on.
    """
    method = _method(name)
    return method.answer(name, Path(folder), data, split, _task(data))


def _method(name: str):
    if name not in PEERS:
        raise UserError(f"--network: expected one of {', '.join(PEERS)}, got '{name}'; check the name")
    missing = [package for module, package in _EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"--network {name}: expected {' and '.join(missing)}, found none; run: pip install 'smtn_keras[peers]'")
    return importlib.import_module(f".{_MODULES.get(name, name)}", __name__)


def _task(data: "Prepared"):
    from .svm import attributes_of

    return attributes_of(data)

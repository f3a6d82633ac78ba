"""Data sets by name. A class is imported when asked for, so that `--help` stays fast."""

import importlib

from ..errors import UserError

DATA_SETS = {"synthetic": "synthetic:Synthetic", "celeba": "celeba:CelebA", "mtfl": "mtfl:Mtfl"}  # name: "module:class"
VERSION = "2.0.0"  # of the prepared folders, DATA_DIR/NAME/VERSION


def data_set_class(name: str) -> type:
    """The `FaceBuilder` subclass of that name.

    Raises:
        UserError: no data set has this name.
    """
    if name not in DATA_SETS:
        raise UserError(f"data set: expected one of {', '.join(DATA_SETS)}, got '{name}'; check the name")
    module, cls = DATA_SETS[name].split(":")
    return getattr(importlib.import_module(f".{module}", __name__), cls)

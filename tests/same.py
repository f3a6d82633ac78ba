"""Whether two runs are the same to the bit."""

import io
import zipfile
from pathlib import Path

import numpy as np

from smtn_keras import runs


def arrays(file: Path) -> dict[str, np.ndarray]:
    """Everything in a `.keras` file or a checkpoint but the time that it took."""
    import h5py

    with zipfile.ZipFile(file) as whole:
        found = {}
        with h5py.File(io.BytesIO(whole.read("model.weights.h5"))) as weights:
            weights.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        if "progress.npz" in whole.namelist():
            found |= dict(np.load(io.BytesIO(whole.read("progress.npz"))))
            found["position"] = found["position"][:2]
        return found


def assert_same_to_the_bit(ours: Path, theirs: Path):
    """Weights, optimizer, random generators, metrics and history of two runs; times apart."""
    for file in ("last.keras", "best.keras"):
        one, two = arrays(ours / file), arrays(theirs / file)
        assert one.keys() == two.keys() and len(one) > 20
        for name, values in one.items():
            np.testing.assert_array_equal(values, two[name], err_msg=f"{file}: {name}")
    one, two = ([{k: v for k, v in row.items() if k != "seconds"} for row in runs.read_history(run)] for run in (ours, theirs))
    assert one == two

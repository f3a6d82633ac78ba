"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest

# processes on JAX compile for longer than they compute
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture(scope="session")
def faces() -> Path:
    """The folder that holds the unpacked real faces as celeba/ and mtfl/."""
    folder = os.environ.get("SMTN_FACES")
    if not folder:
        pytest.skip("set SMTN_FACES to the folder of unpacked real faces")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory) -> Path:
    """The folder that holds the prepared data sets of tiny.py."""
    import tiny

    folder = tmp_path_factory.mktemp("tiny")
    for builder in (tiny.Tiny, tiny.TinyOther):
        builder(data_dir=folder).prepare()
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A folder with 120 prepared synthetic faces in data/, and runs of both stages on them in stage1/ and stage2/, measured."""
    from smtn_keras import evaluate, fit, prepare

    folder = tmp_path_factory.mktemp("drawn")
    prepare.main(["synthetic", "--samples", "120", "--data-dir", str(folder / "data")])
    common = ["--data-dir", str(folder / "data"), "--runs", str(folder), "--epochs", "1", "--dtype", "float32"]
    fit.main(["--stage", "1", "--run", str(folder / "stage1"), "--width", "0.06", "--image-size", "32", *common])
    fit.main(["--stage", "2", "--run", str(folder / "stage2"), *common])
    for stage in (1, 2):
        evaluate.main(["--run", str(folder / f"stage{stage}"), "--split", "test"])
    return folder


@pytest.fixture(scope="session")
def exported(drawn) -> Path:
    """The stage-2 run of `drawn` as exported by itself."""
    from smtn_keras import export

    export.main(["--run", str(drawn / "stage2"), "--out", str(drawn / "exported" / "small")])
    return drawn / "exported" / "small"


@pytest.fixture(scope="session")
def tiny_stage1(tiny_dir) -> Path:
    """A finished stage-1 run of two epochs; a copy of it as it stood after the first lies beside it as `after_one`."""
    import shutil

    import tiny

    from smtn_keras import runs

    write_history = runs.write_history

    def copy_and_write(folder, rows):
        if len(rows) == 2:  # what the second epoch writes first is its history
            shutil.copytree(folder, tiny_dir / "after_one")
        write_history(folder, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_history", copy_and_write)
        return tiny.train(tiny_dir, "--stage", "1", *tiny.NARROW, "--epochs", "2", "--weight-decay", "0.5")


@pytest.fixture(scope="session")
def tiny_stage2(tiny_dir, tiny_stage1) -> Path:
    """A finished stage-2 run of one epoch; what it starts from it found by itself."""
    import tiny

    return tiny.train(tiny_dir, "--stage", "2", "--epochs", "1")

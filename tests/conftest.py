"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def faces() -> Path:
    """The folder that holds the unpacked real faces as celeba/ and mtfl/."""
    folder = os.environ.get("SMTN_FACES")
    if not folder:
        pytest.skip("set SMTN_FACES to the folder of unpacked real faces")
    return Path(folder)

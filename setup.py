"""Installs smtn_keras: `pip install .`"""

import json
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "smtn_keras/__init__.py").read_text())[1]

# Lower bounds are the versions that the tests ran with; there are no upper bounds because none is known to be needed.
REQUIRES = [
    "tensorflow>=2.21",  # the default backend, and the exports
    "keras>=3.15",
    "tensorflow-datasets>=4.9.10",
    "array_record>=0.8.6",  # the files of prepared data sets
    "grain>=0.2.18",  # reading them
    "absl-py>=2.5",  # Grain's flags, which its processes ask for
    "etils[epath]>=1.15",  # paths in object stores
    "ai-edge-litert>=2.3",  # running .tflite files
    "numpy>=2.4",
    "opencv-python-headless>=5.0",  # decoding, warping and drawing pictures
    "pillow>=12.3",  # the unusual picture files; Apache Beam allows no 13 yet
    "matplotlib>=3.11",
    "markdown-it-py>=4.3",  # a report's HTML; Keras brings it
    "tensorboardX>=2.6.5",  # TensorBoard's events without TensorFlow
    "tqdm>=4.70",
    "filelock>=4.2",  # one preparation of a data set at a time
    "mtcnn>=1.0",  # a face detector that ships its weights
    "tyro>=1.0.17",  # command lines from dataclasses
]
JAX = ["jax>=0.10.2"]
QUANTISE = ["litert-quantizer>=0.11"]  # asks for one version of ai-edge-litert, so it is not for everyone
BEAM = ["apache-beam>=2.77"]  # to prepare data on several machines
PEERS = ["scikit-learn>=1.9", "scikit-image>=0.26"]  # the SVMs and hand-made features of smtn_keras.peers
KERNEL = ["ipykernel>=7.4"]
NOTEBOOKS = [*KERNEL, "jupyterlab>=4.6", "nbconvert>=7.17"]  # to open and to run them
EXTRAS = {
    "audit": ["pip-audit>=2.10"],  # what .ci/supply.py asks
    "beam": BEAM,
    "bench": ["torch>=2.13"],  # what benchmarks/run.py compares training steps with
    "fuzz": ["atheris>=3.0"],  # guides tests/reliability/fuzz.py
    "jax": JAX,
    "peers": PEERS,
    "quantise": QUANTISE,
    "notebooks": NOTEBOOKS,
    # scikit-image has a public-domain photo, too; playwright drives a browser that is there
    "test": [
        *(*JAX, *PEERS, *QUANTISE, *KERNEL, "nbclient>=0.11", "nbformat>=5.11"),
        *("hypothesis>=6.170", "playwright>=1.65", "pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17"),
    ],
}

# The page, and what npm has put beside it: a wheel built after `npm ci --omit=dev --prefix web` needs no npm where it is installed.
SERVED = json.loads((HERE / "web/package.json").read_text())["served"]
PAGE = ["*.html", "*.css", "*.js", "*.svg", "package*.json"]
PAGE += [f"node_modules/{package}/{pattern}" for package, patterns in SERVED.items() for pattern in (*patterns, "package.json")]

setup(
    name="smtn_keras",
    version=VERSION,
    description="Separation Multi-task Networks: five landmarks and forty attributes of a face at once",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["smtn_keras", "smtn_keras.*"]), "smtn_keras.exported", "smtn_keras.www"],
    package_dir={"smtn_keras.exported": "exported", "smtn_keras.www": "web"},
    package_data={"smtn_keras.exported": ["mobile*/model.tflite", "mobile*/model.json", "mobile*/README.md"], "smtn_keras.www": PAGE},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)

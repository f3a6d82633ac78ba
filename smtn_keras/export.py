"""Exports a run for serving and for devices: `python -m smtn_keras.export --run RUN --out exported/NAME`.

Writes OUT/saved_model (any batch size), OUT/model.tflite (batch 1, built-in operations only) and
OUT/model.json (names, sizes, frame and licence), and checks that all three answer alike.
"""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import tyro

from . import backend
from .errors import UserError, clean_exit

TOLERANCE_PX = 0.05  # landmarks, in pixels of the training frame
TOLERANCE_PROBABILITY = 0.005
PARITY_PICTURES = 32


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export."""

    run: str
    """The run's folder."""
    out: str
    """The folder to make, such as exported/NAME."""
    flip: bool = False
    """Export a model that answers with the mean over the image and its mirror image: surer, at twice the cost."""
    data_dir: str | None = None
    """Prepared data whose validation pictures check that all formats answer alike; by itself the run's, else synthetic faces."""


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        export(tyro.cli(ExportConfig, args=argv, prog="python -m smtn_keras.export", description=__doc__))


def export(settings: ExportConfig) -> Path:
    """Exports a run and checks what it wrote.

    Returns:
        The folder made.

    Raises:
        UserError: if the run cannot be read, the folder exists, or the formats do not answer alike; then
            nothing is left behind.
    """
    backend.start()
    out = Path(settings.out)
    if out.exists():
        raise UserError(f"{out}: expected a folder that does not exist yet; name another --out or remove it")

    from . import runs
    from .predictor import CARD, load_predictor, serving_model

    run = runs.load(settings.run)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as work:
        beside = Path(work) / out.name
        beside.mkdir()
        model = serving_model(run.model, run.tasks, run.config, settings.flip)
        _write_saved_model(model, beside / "saved_model")
        (beside / "model.tflite").write_bytes(_litert(model))
        (beside / CARD).write_text(json.dumps(_card(run, model, settings), indent=2) + "\n")

        source, pictures = _pictures(run, settings.data_dir)
        formats = {"run": settings.run, "SavedModel": beside / "saved_model", "LiteRT": beside / "model.tflite"}
        answers = {name: load_predictor(path, settings.flip)(pictures) for name, path in formats.items()}
        _check_parity(answers, run.tasks, runs.read_data_card(run.folder)["frame"]["size"], f"{len(pictures)} pictures of {source}")
        shutil.move(beside, out)
    for file in (out / "saved_model", out / "model.tflite", out / CARD):
        size = sum(f.stat().st_size for f in ([file] if file.is_file() else file.rglob("*")) if f.is_file())
        print(f"{file}  {size / 1e6:.2f} MB")
    return out


def _write_saved_model(model, folder: Path, batch: int | None = None):
    """A SavedModel whose signature takes `image` and gives an output of each task's name."""
    import keras
    import tensorflow as tf

    # Keras' own export leaves the batch open even where it is asked not to, and device runtimes refuse that
    image = tf.TensorSpec((batch, *model.input.shape[1:]), tf.float32, name="image")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda image: model(image, training=False), input_signature=[image])
    archive.write_out(str(folder), verbose=False)


def _litert(model) -> bytes:
    """A LiteRT file of batch 1 with the same signature, built-in operations only."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(model, Path(folder), batch=1)
        # by way of a SavedModel: straight from a function, this converter leaves Keras 3's variables without values
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with backend.quiet_native_code():
            return converter.convert()


def _card(run, model, settings: ExportConfig) -> dict:
    """What a user of the files must know."""
    from . import __version__, runs
    from .tasks import Attributes

    size = model.input.shape[1]
    outputs = {
        task.name: {"meaning": "probability of each name", "names": task.probability_names}
        if isinstance(task, Attributes)
        else {"meaning": "x and y of each name, in [0, 1] of the picture's width and height", "names": list(task.points)}
        for task in run.tasks
    }
    for name in model.output.keys() - outputs.keys():
        points = outputs[name.removesuffix("_error")]["names"]
        outputs[name] = {"meaning": "by how much of the picture's sides a coordinate of each name is expected to be off", "names": points}
    return {
        "made_by": f"smtn_keras {__version__}",
        "run": run.folder.name,
        "network": model.name,
        "parameters": model.count_params(),
        "signature": "serving_default",
        "input": {"name": "image", "shape": [1, size, size, 3], "dtype": "float32", "meaning": "RGB, 0..255"},
        "outputs": outputs,
        "flip_averaged": settings.flip,
        "metrics": runs.read_metrics(run.folder),
        "data": runs.read_data_card(run.folder),
    }


def _pictures(run, data_dir: str | None):
    """Pictures to compare the formats on: of the run's validation part if it is at hand, else drawn ones."""
    import itertools

    import cv2
    import numpy as np

    from .data.prepared import open_prepared

    name = run.config.data.names[0]
    try:
        source = open_prepared(name, data_dir or run.config.data.data_dir).source("validation")
    except UserError:
        if data_dir:
            raise
        from .data.synthetic import draw_face

        return "synthetic", [draw_face(seed=1, index=i)[0] for i in range(PARITY_PICTURES)]
    records = itertools.islice(source, PARITY_PICTURES)
    return f"{name}/validation", [cv2.imdecode(np.frombuffer(r["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for r in records]


def _check_parity(answers: dict, tasks, frame_size, what: str):
    """Prints the largest differences between the formats; raises if they are too large."""
    import numpy as np

    from .tasks import Landmarks

    print(f"parity on {what}:")
    worst = []
    for name in list(answers)[1:]:
        for task in tasks:
            difference = np.abs(answers["run"][task.name] - answers[name][task.name])
            if isinstance(task, Landmarks):
                difference, unit, limit = difference * np.array(frame_size), "px", TOLERANCE_PX
            else:
                unit, limit = "probability", TOLERANCE_PROBABILITY
            largest = float(difference.max())
            print(f"  run against {name:10} {task.name:12} at most {largest:.6f} {unit} apart (allowed: {limit})")
            if not largest <= limit:
                worst.append(f"{task.name} of {name} by {largest:.4f} {unit}")
    if worst:
        raise UserError(
            f"expected all formats to answer alike, but they differ: {'; '.join(worst)}; nothing was exported, please report it with the run's config.json"
        )


if __name__ == "__main__":
    main()

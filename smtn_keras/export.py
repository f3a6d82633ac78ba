"""Exports a run for serving and for devices: `python -m smtn_keras.export --run RUN --out exported/NAME`.

Writes OUT/model.tflite (a fixed batch, built-in operations only), its card OUT/model.json, the same for people as OUT/README.md,
and OUT/saved_model (any batch size). Checks that all answer like the run, and measures what the file loses.
"""

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import tyro

from . import backend
from .errors import UserError, clean_exit
from .litert import InputType, Preset

PARITY_PICTURES, CALIBRATION_PICTURES = 32, 100
LATENCY_CALLS = 100


class Tolerance(NamedTuple):
    """How far the answers of a file may be from those of its run."""

    statistic: str
    px: float  # of landmarks, in pixels of the training frame
    probability: float


EXACT = Tolerance("at most", 0.05, 0.005)
TOLERANCES: dict[Preset, Tolerance] = {
    "float32": EXACT,
    "float16": Tolerance("at most", 0.2, 0.02),
    "dynamic": Tolerance("on average", 0.25, 0.02),  # a single picture may lose more, and what all lose is measured
    "int8": Tolerance("on average", 0.5, 0.03),
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export."""

    run: str
    """The run's folder."""
    out: str
    """The folder to make, such as exported/NAME."""
    quantise: Preset = "float32"
    """Arithmetic of model.tflite. float16: half the size. dynamic: 8-bit weights, a quarter. int8: 8-bit maps too, the fastest."""
    input: InputType = "float32"
    """Type of its image, RGB 0..255."""
    batch: int = 1
    """Images it takes at a time."""
    flip: bool = False
    """Export a model that answers with the mean over the image and its mirror image: surer, at twice the cost."""
    calibrate: bool = False
    """Divide the labels' logits by a temperature fitted on the validation part: probabilities come closer to shares, no label changes."""
    saved_model: bool = True
    """Write a SavedModel too."""
    data_dir: str | None = None
    """Prepared data of the run: training pictures calibrate int8, the validation part shows what the file loses. By itself the run's; where
    they are not there, drawn faces calibrate, and the loss is not measured."""

    def __post_init__(self):
        if self.batch < 1:
            raise UserError(f"--batch: expected a positive number, got {self.batch}")


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

    from . import card as cards
    from . import runs
    from .litert import write_saved_model
    from .predictor import Predictor, load_predictor, serving_model

    run = runs.load(settings.run)
    sets = _prepared(run, settings.data_dir)
    model = serving_model(run.model, run.tasks, run.config, settings.flip)
    if calibration := _calibration(run, model, sets) if settings.calibrate else None:
        model = serving_model(run.model, run.tasks, run.config, settings.flip, calibration["temperature"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as work:
        beside = Path(work) / out.name
        beside.mkdir()
        content, calibrated_on = _file(run, model, settings, sets)
        (beside / cards.FILE).write_bytes(content)
        card = _card(run, model, settings, beside, calibrated_on, calibration)
        cards.write(beside, card)

        formats = {"LiteRT": beside / cards.FILE}
        if settings.saved_model:
            write_saved_model(model, beside / "saved_model", input_type=settings.input)
            formats["SavedModel"] = beside / "saved_model"
        by_run = Predictor(run.tasks, model.input.shape[1], card["data"], functools.partial(model.predict, verbose=0))
        predictors = {"run": by_run} | {name: load_predictor(path, threads=1) for name, path in formats.items()}
        source, pictures = _pictures(sets, "validation", PARITY_PICTURES)
        answers = {name: predictor(pictures) for name, predictor in predictors.items()}
        _check_parity(answers, run.tasks, card["data"]["frame"]["size"], settings.quantise, f"{len(pictures)} pictures of {source}")

        of_run, of_file = _losses(run, by_run, predictors["LiteRT"], sets)
        card |= {"latency": _latency(predictors["LiteRT"], settings.batch), "metrics": of_file}
        card["run_metrics"] = {key: cards.without_details(result) for key, result in runs.read_metrics(run.folder).items()} | of_run
        cards.write(beside, card)
        shutil.move(beside, out)
    for file in sorted(out.iterdir()):
        size = sum(f.stat().st_size for f in ([file] if file.is_file() else file.rglob("*")) if f.is_file())
        print(f"{file}  {size / 1e6:.2f} MB")
    return out


def _calibration(run, model, sets: list) -> dict:
    """The temperature that suits the run's validation parts, and their names.

    Raises:
        UserError: if they are not at hand.
    """
    from .evaluate import answers, temperature_of

    if not sets:
        names, folder = ", ".join(run.config.data.names), run.config.data.data_dir
        raise UserError(f"--calibrate: expected {names} prepared in {folder}, found none; name its folder with --data-dir")
    temperature = temperature_of(functools.partial(answers, model), run.tasks, sets)
    fitted_on = " and ".join(f"{data.name}/validation" for data in sets)
    print(f"temperature {temperature}, fitted on {fitted_on}")
    return {"temperature": temperature, "fitted_on": fitted_on}


def _file(run, model, settings: ExportConfig, sets) -> tuple[bytes, str | None]:
    """The LiteRT file, and what it was calibrated on."""
    import numpy as np

    from . import card as cards
    from .data.pipeline import resize
    from .litert import convert, quantise, with_names

    images, calibrated_on = None, None
    if settings.quantise == "int8":
        source, pictures = _pictures(sets, "train", CALIBRATION_PICTURES)
        calibrated_on = f"{len(pictures)} pictures of {source}"
        print(f"calibrated on {calibrated_on}")
        stack = np.stack([resize(picture, model.input.shape[1]) for picture in pictures]).astype(settings.input)
        calls = -(-len(stack) // settings.batch)
        images = np.split(np.resize(stack, (calls * settings.batch, *stack.shape[1:])), calls)  # the first ones again fill the last call
    content = quantise(convert(model, settings.batch, settings.input), settings.quantise, run.model, images)
    return with_names(content, {task.name: cards.names_of(task) for task in run.tasks}), calibrated_on


def _card(run, model, settings: ExportConfig, folder: Path, calibrated_on: str | None, calibration: dict | None) -> dict:
    """What a user of the files must know, but for what is measured later."""
    from . import __version__, runs
    from . import card as cards

    shapes = {name: (settings.batch, *output.shape[1:]) for name, output in model.output.items()}
    return {
        "name": folder.name,
        "made_by": f"smtn_keras {__version__}",
        "run": run.folder.name,
        "network": model.name,
        "parameters": model.count_params(),
        "file": cards.describe_file(folder / cards.FILE),
        "quantisation": {"preset": settings.quantise, "meaning": cards.MEANING[settings.quantise], "calibrated_on": calibrated_on},
        "signature": "serving_default",
        "input": {
            "name": "image",
            "shape": [settings.batch, *model.input.shape[1:]],
            "dtype": settings.input,
            "meaning": "RGB, 0..255",
        },
        "outputs": cards.outputs_of(run.tasks, shapes),
        "flip_averaged": settings.flip,
        "calibration": calibration,
        "latency": None,
        "metrics": {},
        "run_metrics": {},
        "data": runs.read_data_card(run.folder),
    }


def _prepared(run, data_dir: str | None) -> list:
    """The run's prepared data sets; none if one of them is not at hand."""
    from .data.prepared import open_prepared

    try:
        return [open_prepared(name, data_dir or run.config.data.data_dir) for name in run.config.data.names]
    except UserError:
        if data_dir:
            raise
        return []


def _pictures(sets: list, split: str, count: int) -> tuple[str, list]:
    """About so many pictures of a part, the same of each set; drawn ones where there is none. What they are is said first."""
    if sets:
        return " and ".join(f"{data.name}/{split}" for data in sets), [
            p for data in sets for p in data.pictures(split, -(-count // len(sets)))
        ]
    from .data.synthetic import draw_face

    return "drawn faces, as the training pictures are not at hand", [draw_face(seed=1, index=i)[0] for i in range(count)]


def _check_parity(answers: dict, tasks, frame_size, preset: Preset, what: str):
    """Prints the differences between the run and each format; raises if they are too large."""
    import numpy as np

    from .tasks import Landmarks

    print(f"parity on {what}:")
    worst = []
    for name in list(answers)[1:]:
        tolerance = TOLERANCES[preset] if name == "LiteRT" else EXACT
        for task in tasks:
            difference = np.abs(answers["run"][task.name] - answers[name][task.name])
            if isinstance(task, Landmarks):
                difference, unit, limit = difference * np.array(frame_size), "px", tolerance.px
            else:
                unit, limit = "probability", tolerance.probability
            mean, largest = float(difference.mean()), float(difference.max())
            print(
                f"  run against {name:10} {task.name:12} at most {largest:.6f}, on average {mean:.6f} {unit} apart "
                f"(allowed: {tolerance.statistic} {limit})"
            )
            if not (largest if tolerance.statistic == "at most" else mean) <= limit:
                worst.append(f"{task.name} of {name} by {largest:.4f} {unit}, {mean:.4f} on average")
    if worst:
        raise UserError(
            f"expected all formats to answer alike, but they differ: {'; '.join(worst)}; nothing was exported, "
            + ("please report it with the run's config.json" if preset == "float32" else "choose another --quantise")
        )


def _losses(run, by_run, by_file, sets: list) -> tuple[dict, dict]:
    """Prints what the file loses against the run on the validation parts; returns both evaluations by `data/split`, without details."""
    from .card import headlines, without_details
    from .evaluate import measure, of_predictor

    if not sets:
        names, folder = ", ".join(run.config.data.names), run.config.data.data_dir
        print(f"loss against the run: not measured, as {names} is not prepared in {folder}; name its folder with --data-dir")
    results = {}, {}
    for data in sets:
        key = f"{data.name}/validation"
        for result, predictor in zip(results, (by_run, by_file), strict=True):
            result[key] = without_details(measure(of_predictor(predictor), run.tasks, data, "validation"))
        before, after = (headlines(result[key]) for result in results)
        print(f"loss on {key}, {data.counts['validation']} pictures:\n  {'':10}{'run':>9}{'file':>10}{'change':>9}")
        for name in before:
            change = round(after[name] - before[name], 2) + 0.0  # no -0.00
            print(f"  {name:10}{before[name]:>8.2f}%{after[name]:>9.2f}%{change:>+9.2f}")
    return results


def _latency(predictor, batch: int) -> dict:
    """The median time of a call of the file on one thread, with the processor's name."""
    import numpy as np

    from .cost import seconds_a_call
    from .runs import processor

    images = np.random.default_rng(0).uniform(0, 255, (batch, predictor.image_size, predictor.image_size, 3)).astype(np.float32)
    seconds = seconds_a_call({"file": lambda: predictor.run(images)}, LATENCY_CALLS)["file"]
    print(f"latency: {1000 * seconds:.2f} ms a call on one thread of {processor()}, median of {LATENCY_CALLS}")
    return {"milliseconds": round(1000 * seconds, 3), "threads": 1, "calls": LATENCY_CALLS, "processor": processor()}


if __name__ == "__main__":
    main()

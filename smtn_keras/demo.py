"""Everything on synthetic faces with one command: `python -m smtn_keras.demo`.

Draws faces, trains stage 1 and stage 2, measures both on the test part, exports stage 2 and predicts.
"""

import dataclasses
import json
import time
from pathlib import Path

import tyro

from . import backend
from .errors import UserError, clean_exit

SHEET_FACES = 24


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """Where and how much."""

    out: str = "demo"
    """The folder to make."""
    samples: int = 4000
    """Faces to draw."""
    epochs: int | None = None
    """Passes over them in each stage; by itself the demo preset's."""


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        demo(tyro.cli(DemoConfig, args=argv, prog="python -m smtn_keras.demo", description=__doc__))


def demo(settings: DemoConfig) -> Path:
    """Runs the demo.

    Returns:
        The folder with all it made.

    Raises:
        UserError: if the folder exists, or a part fails.
    """
    backend.start()
    began = time.monotonic()
    out = Path(settings.out)
    if out.exists():
        raise UserError(f"{out}: expected a folder that does not exist yet; remove it or name another --out")

    from .evaluate import EvaluateConfig, evaluate
    from .export import ExportConfig, export
    from .fit import fit
    from .prepare import prepare
    from .presets import preset

    _say("1/6 draw faces")
    data_dir = str(out / "data")
    prepare("synthetic", data_dir, samples=settings.samples)

    results = {}
    for stage in (1, 2):
        run = str(out / f"stage{stage}")
        _say(
            f"{1 + stage}/6 train stage {stage}: {'hard sharing' if stage == 1 else 'that stack frozen, a task stack for each task beside it'}"
        )
        config = preset("demo", stage).with_(data={"data_dir": data_dir}, run={"run": run, "runs": str(out)})
        if settings.epochs:
            config = config.with_(training={"epochs": settings.epochs})
        fit(config)

    _say("4/6 measure both on the test part")
    for stage in (1, 2):
        results[stage] = evaluate(EvaluateConfig(run=str(out / f"stage{stage}"), split="test"), quiet=True)["synthetic/test"]

    _say("5/6 export stage 2 and compare the formats")
    exported = export(ExportConfig(run=str(out / "stage2"), out=str(out / "exported")))

    _say("6/6 predict")
    sheet, lines = _predict(exported, data_dir, out)

    print("\n" + _table(results))
    print(f"\nmade in {(time.monotonic() - began) / 60:.1f} minutes, all under {out}/:")
    for path, what in (
        (out / "stage1", "the stage-1 run"),
        (out / "stage2", "the stage-2 run"),
        (exported / "saved_model", "for serving"),
        (exported / "model.tflite", "for devices"),
        (lines, "predictions of test faces, a JSON line each"),
        (sheet, "the same as a picture: truth red, prediction green"),
    ):
        print(f"  {path!s:32} {what}")
    return out


def _predict(exported: Path, data_dir: str, out: Path) -> tuple[Path, Path]:
    """Predicts test faces from the exported file; writes a contact sheet and JSON lines."""
    from .data.images import read_image
    from .data.prepared import open_prepared
    from .faces import find
    from .plots import contact_sheet
    from .predictor import load_predictor

    predictor = load_predictor(exported)
    data = open_prepared("synthetic", data_dir)
    source = data.source("test")
    pictures, truth, predicted, lines = [], [], [], []
    for index in range(min(SHEET_FACES, len(source))):
        record = source[index]
        name = record["name"].decode()
        pictures.append(read_image(record["image"], name))
        face = find(pictures[-1], predictor)[0]
        truth.append(record["landmarks"])
        predicted.append(list(face["landmarks"].values()))
        lines.append(json.dumps({"image": name, **face}))
    file = out / "predictions.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return contact_sheet(pictures, truth, predicted, out / "predictions.png"), file


def _table(results: dict[int, dict]) -> str:
    """Both stages beside the floors."""
    rows = [("success rate, average", "landmarks", "success_rate_average"), ("  nose", "landmarks", "nose"), ("NME", "landmarks", "nme")]
    rows += [("accuracy, mean", "attributes", "accuracy_mean"), ("balanced accuracy, mean", "attributes", "balanced_accuracy_mean")]

    def value(stage, part, task, key):
        metrics = results[stage][task][part]
        return metrics["success_rate"][key] if key == "nose" else metrics[key]

    lines = [f"{'synthetic test faces, percent':30}{'floor':>10}{'stage 1':>10}{'stage 2':>10}"]
    for name, task, key in rows:
        numbers = value(1, "floor", task, key), value(1, "metrics", task, key), value(2, "metrics", task, key)
        lines.append(f"{name:30}" + "".join(f"{number:10.2f}" for number in numbers))
    return "\n".join(lines)


def _say(text: str):
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()

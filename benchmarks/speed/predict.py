"""Seconds of an answer by Keras, a SavedModel and a LiteRT file of one network, for one picture and for many."""

import dataclasses
import json
import time
from pathlib import Path

from limits import peaks
from train_step import of, probe
from turns import Contender, table_row, take_turns

BATCHES = (1, 64)


def contender(kind: str, path: str, batch: int, threads: int | None, turn_seconds: float):
    """A network that is asked for a batch of drawn pixels.

    Args:
        kind: `keras`, `saved_model` or `litert`.
        path: of the folder with config.json and tasks.json, the SavedModel or the .tflite file.
    """
    import numpy as np

    size, call = {"keras": _keras, "saved_model": _saved_model, "litert": _litert}[kind](path, threads)
    images = np.random.default_rng(0).uniform(0, 255, (batch, size, size, 3)).astype("float32")
    for _ in range(3):
        began = time.perf_counter()
        call(images)
        last = time.perf_counter() - began
    count = max(1, min(200, round(turn_seconds / last)))

    def answer(**_):
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            call(images)
            taken.append(time.perf_counter() - began)
        return {"seconds": {"call": taken}}

    return {}, answer


def _keras(path, threads):
    from smtn_keras import backend

    backend.start()
    config, tasks = _read(Path(path))
    model = _model(config, tasks)
    return config.network.image_size, model.predict_on_batch


def _saved_model(path, threads):
    import tensorflow as tf

    serve = tf.saved_model.load(path).signatures["serve"]
    size = serve.structured_input_signature[1]["image"].shape[1]
    return size, lambda images: {name: output.numpy() for name, output in serve(image=tf.constant(images)).items()}


def _litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path, num_threads=threads).get_signature_runner("serving_default")
    return int(runner.get_input_details()["image"]["shape"][1]), lambda images: runner(image=images)


def _read(folder: Path):
    from smtn_keras.config import Config
    from smtn_keras.tasks import tasks_from_json

    return Config.from_json((folder / "config.json").read_text()), tasks_from_json(json.loads((folder / "tasks.json").read_text()))


def _model(config, tasks):
    """As it is delivered; what its weights are makes no difference to its time."""
    from smtn_keras import networks
    from smtn_keras.predictor import serving_model

    return serving_model(networks.build(config, tasks), tasks, config)


def measure(settings, work_folder) -> dict:
    """All of a batch take turns."""
    from smtn_keras import runs
    from smtn_keras.config import read_config
    from smtn_keras.cost import multiply_adds
    from smtn_keras.data.celeba import TASKS
    from smtn_keras.litert import convert, write_saved_model
    from smtn_keras.presets import preset
    from smtn_keras.tasks import tasks_to_json

    if settings.run:
        config, tasks = read_config(Path(settings.run)), runs.read_tasks(settings.run)
    else:
        config, tasks = preset("small", 2).resolved(), TASKS
        if settings.quick:
            config = config.with_(network={"width": 0.05, "image_size": 32})
    (work_folder / "config.json").write_text(config.to_json())
    (work_folder / "tasks.json").write_text(json.dumps(tasks_to_json(tasks)))
    model = _model(config, tasks)
    write_saved_model(model, work_folder / "saved_model")
    for batch in BATCHES:
        (work_folder / f"{batch}.tflite").write_bytes(convert(model, batch))
    kinds = {
        "Keras": ("keras", str(work_folder), None),
        "SavedModel": ("saved_model", str(work_folder / "saved_model"), None),
        "LiteRT, 1 thread": ("litert", "", 1),
        "LiteRT, 2 threads": ("litert", "", 2),
    }
    details, ratios, rows = {}, {}, []
    for batch in BATCHES:
        contenders = {}
        for name, (kind, path, threads) in kinds.items():
            path = path or str(work_folder / f"{batch}.tflite")
            turn_seconds = 0.1 if settings.quick else 1.0
            arguments = {"kind": kind, "path": path, "batch": batch, "threads": threads, "turn_seconds": turn_seconds}
            contenders[name] = Contender(f"{name}, batch {batch}", "predict", arguments, of("tensorflow"))
        peak_of = probe("tensorflow", settings.quick)
        take_turns([*contenders.values(), peak_of], settings.seconds, settings.rounds)
        peak = peaks([peak_of]).get("float32")
        details[str(batch)] = [dataclasses.asdict(one) for one in (*contenders.values(), peak_of)]
        flops, keras = 2 * batch * multiply_adds(model), contenders["Keras"].median("call")
        for name, one in contenders.items():
            taken = one.median("call")
            if taken and keras and name != "Keras":
                ratios[f"batch {batch}: Keras over {name}, seconds"] = {"value": keras / taken, "better": "higher"}
            if taken and peak:
                ratios[f"batch {batch}: {name}, share of the peak"] = {"value": flops / taken / peak, "better": "higher"}
            cells = taken and [
                f"{1000 * taken:.3g}",
                f"{batch / taken:.4g}",
                f"{keras / taken:.2f}" if keras else "-",
                f"{100 * flops / taken / peak:.0f} %" if peak else "-",
                f"{one.peak_mb:.0f}",
            ]
            rows.append(table_row([name, str(batch)], one, cells, 5))
    head = ["", "batch", "ms a call", "images/s", "times as fast as Keras", "share of the peak", "MB at most", ""]
    which = Path(settings.run).name if settings.run else "an untrained network of the preset small, stage 2"
    notes = (
        f"Medians in float32, from pixels to answers, of {which}; Keras by `predict_on_batch`, LiteRT on a file of that fixed batch. The peak is that "
        "of `train_step`, on all cores."
    )
    return {"details": details, "ratios": ratios, "head": head, "rows": rows, "notes": notes}

"""Milliseconds a face of exported models, side by side: `python benchmarks/exports.py exported/best exported/best-flip`."""

import time
from statistics import median

import numpy as np
import tyro
from tqdm import trange

from smtn_keras.errors import UserError, clean_exit
from smtn_keras.predictor import load_predictor

WARM_UP = 10


def main(models: tyro.conf.Positional[tuple[str, ...]], rounds: int = 300):
    """Milliseconds a face of exported models, side by side.

    Args:
        models: What `smtn_keras.predict --model` takes.
        rounds: In each every model answers for one picture, so that other work on the machine slows all alike.
    """
    if not models or rounds < 1:
        raise UserError(f"expected a model and at least one round, got {len(models)} and {rounds}; name a model")
    predictors = {model: load_predictor(model) for model in models}
    picture = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    times = {model: [] for model in models}
    for done in trange(WARM_UP + rounds, unit=" rounds"):
        for model, predictor in predictors.items():
            began = time.perf_counter()
            predictor([picture])
            if done >= WARM_UP:
                times[model].append(1000 * (time.perf_counter() - began))
    first = median(times[models[0]])
    for model, of_model in times.items():
        print(f"{model}  {median(of_model):.2f} ms, {median(of_model) / first:.2f} times the first")


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main, prog="python benchmarks/exports.py", description=__doc__)

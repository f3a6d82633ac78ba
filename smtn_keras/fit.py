"""Trains a run: `python -m smtn_keras.fit --stage 1`, then `--stage 2`."""

import math
import os
import time
from pathlib import Path

from . import backend, runs
from .config import BACKBONE, Config, asked, parse, read_config
from .errors import UserError, clean_exit

PROG = "python -m smtn_keras.fit"


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        config = parse(argv, PROG, __doc__)
        if config.stage == 2 and not config.run.resume:
            stage1 = config.run.from_run or str(runs.newest_stage1(config.data.data, config.run.runs, asked(argv).preset))
            config = parse(argv, PROG, __doc__, Path(stage1)).with_(run={"from_run": stage1})
        print(f"run folder: {fit(config)}")


def fit(config: Config) -> Path:
    """Trains the run of a configuration, or goes on with it.

    Returns:
        The run's folder.

    Raises:
        UserError: for anything in the configuration or on disk that does not fit.
    """
    backend.start()
    resume = config.run.resume
    if resume:
        if not config.run.run:
            raise UserError("--resume: expected the run to go on with in --run, got none; add --run DIR")
        folder = Path(config.run.run)
        config = read_config(folder)
    else:
        config = config.resolved()
        folder = runs.new_folder(config)

    import keras

    from .data.pipeline import evaluation_batches, training_batches
    from .data.prepared import open_prepared, prepared_folder
    from .networks.weights import load_initial
    from .prepare import prepare

    # drawn by the package itself, so nobody has to ask for it
    if config.data.data == "synthetic" and not prepared_folder("synthetic", config.data.data_dir).exists():
        prepare("synthetic", config.data.data_dir)
    data = open_prepared(config.data.data, config.data.data_dir)

    keras.utils.set_random_seed(config.training.seed)
    dtype = backend.compute_dtype(config.training.dtype)
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")

    stage1 = None
    if config.stage == 2 and not resume:
        if not config.run.from_run:
            config = config.with_(run={"from_run": str(runs.newest_stage1(config.data.data, config.run.runs, config.preset))})
        print(f"stage-1 run: {config.run.from_run}")
        stage1 = _load_stage1(config, data)
    _, steps = training_batches(data, config)
    model = _compiled(config, data, steps)
    if resume:
        runs.load_weights(model, folder / "last.keras")  # and the optimizer's state
        done = int(model.optimizer.iterations) // steps
        if done >= config.training.epochs:
            print(f"{folder}: all {done} epochs are done")
            return folder
    else:
        load_initial(model, config.stage, config.network, data.tasks, stage1)
        runs.start(folder, config, runs.data_card(data), model.count_params(), dtype)
        done = 0

    train, _ = training_batches(data, config, start_step=done * steps)
    validation, validation_steps = evaluation_batches(data, "validation", config.network.image_size)
    keeper = run_keeper(folder, data.tasks, done)
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    print(
        f"{model.name}: {model.count_params():,} parameters, {trainable:,} to train, {dtype}, {keras.backend.backend()} backend; {folder}"
    )
    model.fit(
        train,
        steps_per_epoch=steps,
        epochs=config.training.epochs,
        initial_epoch=done,
        validation_data=validation,
        validation_steps=validation_steps,
        shuffle=False,  # Grain does
        callbacks=[keras.callbacks.TerminateOnNaN(), keeper],
        verbose="auto" if os.isatty(1) else 2,
    )
    if keeper.diverged_at is not None:
        kept = "the weights of the epoch before are kept" if keeper.rows else "no epoch was finished, so remove the folder"
        raise UserError(
            f"training diverged: expected finite losses, got NaN or infinity in epoch {keeper.diverged_at + 1} of {folder} ({kept}); "
            f"try a --learning-rate below {config.training.learning_rate:g}"
        )
    return folder


def _compiled(config: Config, data, steps: int):
    """The untrained network with its losses, metrics and optimizer."""
    import keras
    import numpy as np

    from . import networks
    from .losses import task_losses
    from .metrics import task_metrics

    model = networks.build(config, data.tasks)
    width, height = data.targets("validation")["size"].T
    aspect = float(np.median(height / width))  # exact where all pictures have one shape; evaluate takes each one's own
    losses, weights = task_losses(data.tasks, config.training)
    model.compile(
        optimizer=_optimizer(config, steps),
        loss=losses,
        loss_weights=weights,
        metrics=task_metrics(data.tasks, aspect),
        jit_compile="auto" if keras.backend.backend() == "jax" else False,  # on CPUs XLA is slower than TensorFlow's own kernels
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _load_stage1(config: Config, data):
    """The stage-1 model, if it fits the stage-2 configuration."""
    import keras

    folder = Path(config.run.from_run)
    theirs = read_config(folder)
    if theirs.stage != 1 or theirs.network.branch != "end":
        raise UserError(
            f"{folder}: expected a stage-1 run with --branch end, got stage {theirs.stage} with --branch {theirs.network.branch}; name another --from"
        )
    if runs.read_tasks(folder) != data.tasks:
        raise UserError(
            f"{folder}: expected a stage-1 run with the tasks of '{data.name}', got those of '{theirs.data.data}'; name another --from"
        )
    for field in BACKBONE:
        ours, other = getattr(config.network, field), getattr(theirs.network, field)
        if ours != other:
            flag = f"--{field.replace('_', '-')}"
            raise UserError(
                f"{folder}: expected a stage-1 run with {flag} {ours}, got {flag} {other}; leave {flag} out to take the run's, or name another --from"
            )
    policy = keras.config.dtype_policy()
    model = runs.load(folder).model
    keras.config.set_dtype_policy(policy)
    return model


def _optimizer(config: Config, steps: int):
    import keras

    training = config.training
    rate = training.learning_rate
    if training.schedule == "cosine":
        warmup = min(steps, training.epochs * steps // 2)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=max(1, training.epochs * steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    if training.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=training.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def run_keeper(folder: Path, tasks, done: int):
    """A callback that keeps the run folder: history, TensorBoard events, last and best weights."""
    import keras

    from .tasks import Landmarks

    headlines = [f"val_{task.name}_{'success_rate' if isinstance(task, Landmarks) else 'accuracy'}" for task in tasks]

    class RunKeeper(keras.callbacks.Callback):
        """At the end of each epoch; each file appears whole."""

        def __init__(self):
            super().__init__()
            self.rows = runs.read_history(folder)[:done]
            self.diverged_at = None

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.monotonic()

        def on_epoch_end(self, epoch, logs=None):
            # the validation too: the loss of an epoch is taken before its last step
            if not all(math.isfinite(value) for value in logs.values()):
                self.diverged_at = epoch
                self.model.stop_training = True
                return
            # one number to choose the epoch by: the mean of the tasks' headline metrics on the validation part
            score = sum(logs[name] for name in headlines) / len(headlines)
            best = max((row["val_score"] for row in self.rows), default=-1.0)
            row = {
                "epoch": epoch + 1,
                "learning_rate": float(self.model.optimizer.learning_rate),
                **logs,
                "val_score": score,
                "seconds": time.monotonic() - self.began,
            }
            self.rows.append({key: float(value) for key, value in row.items()})
            # last.keras comes last: --resume goes on from it and drops the row of an epoch whose weights were not kept
            runs.write_history(folder, self.rows)
            runs.write_events(folder, self.rows)
            if score > best:
                self._save("best.keras")
            self._save("last.keras")

        def _save(self, name):
            with runs.whole(folder / name) as beside:
                self.model.save(beside)

    return RunKeeper()


if __name__ == "__main__":
    main()

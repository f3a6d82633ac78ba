"""Trains a run: `python -m smtn_keras.fit --stage 1`, then `--stage 2`, and if wanted `--stage 3`."""

import contextlib
import math
import os
import time
from pathlib import Path

from . import backend, devices, peers, runs
from .config import Config, read_config
from .errors import UserError, clean_exit
from .peers import PEERS
from .presets import asked, fixed_by_the_run_before, parse

PROG = "python -m smtn_keras.fit"


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        config = parse(argv, PROG, __doc__)
        if config.stage > 1 and not config.run.resume:
            before = config.run.from_run or str(runs.newest_before(config, asked(argv).preset))
            config = parse(argv, PROG, __doc__, Path(before)).with_(run={"from_run": before})
        print(f"run folder: {fit(config)}")


def fit(config: Config) -> Path:
    """Trains the run of a configuration, or goes on with it.

    Returns:
        The run's folder.

    Raises:
        UserError: for anything in the configuration or on disk that does not fit.
    """
    first, resume = devices.is_first(config.run), config.run.resume
    if resume:
        if not config.run.run:
            raise UserError("--resume: expected the run to go on with in --run, got none; add --run DIR")
        folder, here = Path(config.run.run), config.run
        runs.check(folder)
        config = read_config(folder).with_(run={name: getattr(here, name) for name in ("run", *devices.ENVIRONMENT)})
    else:
        config = config.resolved()
        folder = runs.new_folder(config) if first else Path(config.run.run)
    backend.start(config.run)
    with devices.together(folder), contextlib.ExitStack() as held:
        if first and resume:
            held.enter_context(runs.alone(folder))
        return _fit(config, folder, first, resume, held)


def _fit(config: Config, folder: Path, first: bool, resume: bool, held: contextlib.ExitStack) -> Path:
    """Trains on this host; what is to be held to the end of the training, such as the run's lock, goes into `held`."""
    import keras

    from . import checkpoint
    from .data import faults
    from .data.cache import Resized
    from .data.pipeline import training_batches
    from .data.prepared import open_sets, prepared_folder
    from .guards import Guards
    from .keeper import Answers, RunKeeper
    from .networks.weights import load_initial
    from .prepare import prepare

    # drawn by the package itself, so nobody has to ask for it
    if "synthetic" in config.data.names and not prepared_folder("synthetic", config.data.data_dir).exists():
        prepare("synthetic", config.data.data_dir)
    sets = open_sets(config.data.names, config.data.data_dir, config.data.tasks)
    faults.refuse(sets, config.data.flip, quiet=not first)

    keras.utils.set_random_seed(config.training.seed)
    dtype = backend.compute_dtype(config)
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")

    if config.kind in PEERS:
        return _fit_peer(config, sets, folder, resume, held)
    if config.stage > 1 and not resume and not config.run.from_run:
        config = config.with_(run={"from_run": str(runs.newest_before(config, config.preset))})
    if config.data.cache:
        sets = tuple(Resized(data, config.network.image_size) for data in sets)
    training, share = config.training, devices.share()
    _, steps = training_batches(sets, config, share=share)
    progress, broken = checkpoint.Progress(), resume and (folder / checkpoint.FILE).is_file()
    with devices.distribute(training.batch_size // training.accumulate):
        before = _load_before(config, sets) if config.stage > 1 and not broken else None
        model = _compiled(config, sets, steps)
        if broken:
            progress = checkpoint.load(folder, model)
            checkpoint.build_metrics(model, training_batches(sets, config, share=share)[0])
        else:
            load_initial(model, config, sets[0].tasks, before)
    if progress.epoch >= training.epochs:
        print(f"{folder}: all {progress.epoch} epochs are done")
        return folder
    if first and not resume:
        how = {"compute_dtype": dtype, "jit_compile": model.jit_compile, "hosts": share[1]}
        runs.start(folder, config, runs.data_card(sets), model.count_params(), how)
        held.enter_context(runs.alone(folder))

    ask = Answers(model, config, sets[0].tasks)
    keeper = RunKeeper(folder, ask, sets, progress, config.run.checkpoint_minutes)
    stopping = []
    if config.kind == "tcdcn":  # before the keeper, which saves what it did
        from .stopping import TaskwiseStopping

        stopping = [TaskwiseStopping(folder, ask, sets, progress.epoch)]
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    if first:
        before = f"; from {config.run.from_run}" if config.run.from_run else ""
        print(
            f"{model.name}: {model.count_params():,} parameters, {trainable:,} to train, {dtype}, {keras.backend.backend()} backend; {folder}{before}"
        )

    def train(epoch: int, step: int, until: int):
        """From a step of an epoch to the end of another."""
        model.fit(
            training_batches(sets, config, epoch * steps + step, share)[0],
            steps_per_epoch=steps - step,
            epochs=until,
            initial_epoch=epoch,
            shuffle=False,  # Grain does
            callbacks=[keras.callbacks.TerminateOnNaN(), Guards(config), *stopping, keeper],
            verbose=("auto" if os.isatty(1) else 2) if first else 0,
        )

    held.enter_context(keeper.ending_on_signals())
    held.enter_context(_data_that_stays(sets, folder))
    epoch = progress.epoch
    if progress.step:
        train(epoch, progress.step, epoch + 1)
        epoch += 1
        if keeper.diverged_at is None and epoch < training.epochs:
            checkpoint.load(folder, model)  # Keras leaves the moving average in the weights, where there is one
    if keeper.diverged_at is None and epoch < training.epochs:
        train(epoch, 0, training.epochs)
    if keeper.diverged_at is not None:
        kept = "the weights of the epoch before are kept" if keeper.rows else "no epoch was finished, so remove the folder"
        raise UserError(
            f"training diverged: expected finite losses, got NaN or infinity in epoch {keeper.diverged_at + 1} of {folder} ({kept}); "
            f"try a --learning-rate below {config.training.learning_rate:g}"
        )
    return folder


@contextlib.contextmanager
def _data_that_stays(sets, folder: Path):
    """Turns what the readers of a data set raise when its folder is gone into one sentence; each raises another kind."""
    from .data.prepared import exists

    try:
        yield
    except Exception:
        for data in sets:
            if not exists(data.folder):
                raise UserError(
                    f"{data.folder}: expected the prepared data to stay there while a run is trained, found it gone; prepare it again, then go on with "
                    f"--resume --run {folder}"
                ) from None
        raise


def _fit_peer(config: Config, sets, folder: Path, resume: bool, held: contextlib.ExitStack) -> Path:
    """Trains an attribute method of Table 3, which is no single network: a broken training begins anew."""
    if runs.read_history(folder):
        print(f"{folder}: the training is done")
        return folder
    if not resume:
        runs.start(folder, config, runs.data_card(sets), None, {"compute_dtype": "float32"})
        held.enter_context(runs.alone(folder))
    print(f"{config.kind}: {folder}")
    began = time.monotonic()
    peers.train(config.kind, folder, sets[0], config)
    runs.write_history(folder, [{"epoch": config.training.epochs, "seconds": time.monotonic() - began}])
    return folder


def _compiled(config: Config, sets, steps: int):
    """The untrained network with its losses, metrics and optimizer."""
    import keras
    import numpy as np

    from . import networks
    from .losses import task_losses
    from .metrics import task_metrics

    tasks = sets[0].tasks
    model = _with_own_step(networks.build(config, tasks), config, tasks)
    targets = [data.targets("train") for data in sets]
    targets = {key: np.concatenate([part[key] for part in targets]) for key in targets[0]}
    width, height = targets["size"].T
    aspect = float(np.median(height / width))  # exact where all pictures have one shape; the validation takes each one's own
    losses, weights = task_losses(tasks, config, targets)
    model.compile(
        optimizer=_optimizer(config, steps),
        loss=losses,
        loss_weights=weights,
        metrics=task_metrics(tasks, aspect),
        jit_compile="auto" if keras.backend.backend() == "jax" else False,  # on CPUs XLA is slower than TensorFlow's own kernels
    )
    model.optimizer.build(model.trainable_variables)
    # makes what sums up the losses, too: TensorFlow traces a step twice that makes variables
    answer = {name: np.zeros((1, *output.shape[1:]), np.float32) for name, output in model.output.items()}
    keras.Model.compute_loss(model, y={task.name: targets[task.name][:1] for task in tasks}, y_pred=answer)
    return model


def _with_own_step(model, config: Config, tasks):
    """The network, with a training step that weighs the tasks' gradients or asks a teacher where asked for."""
    from .distillation import taught
    from .task_gradients import GradNorm, PCGrad

    if config.training.teacher:
        return taught(model, config, tasks)
    step = {"gradnorm": GradNorm, "pcgrad": PCGrad}.get(config.training.balance)
    return step(model.input, model.output, name=model.name) if step else model


def _load_before(config: Config, sets):
    """The model of the stage before, if it fits the configuration."""
    import keras

    folder = Path(config.run.from_run)
    theirs = read_config(folder)
    wanted = f"a stage-{config.stage - 1} run of {config.kind_before}"
    if not runs.leads_to(config, theirs):
        raise UserError(
            f"{folder}: expected {wanted}{' with --branch end' if config.stage == 2 else ''}, got stage {theirs.stage} of {theirs.kind} with --branch {theirs.network.branch}; "
            "name another --from"
        )
    if not set(sets[0].tasks) <= set(runs.read_tasks(folder)):
        raise UserError(
            f"{folder}: expected {wanted} with the tasks of '{config.data.data}', got those of '{theirs.data.data}'; name another --from"
        )
    for field in fixed_by_the_run_before(config.stage):
        ours, other = getattr(config.network, field), getattr(theirs.network, field)
        if ours != other:
            flag = f"--{field.replace('_', '-')}"
            raise UserError(
                f"{folder}: expected {wanted} with {flag} {ours}, got {flag} {other}; leave {flag} out to take the run's, or name another --from"
            )
    return runs.load(folder, dtype=keras.config.dtype_policy()).model


def _optimizer(config: Config, steps: int):
    import keras

    training = config.training
    rate = training.learning_rate
    if training.schedule == "cosine":
        warmup = min(steps, training.epochs * steps // 2)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=max(1, training.epochs * steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    how = {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}
    if training.accumulate > 1:
        how["gradient_accumulation_steps"] = training.accumulate
    if training.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, **how)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=training.weight_decay, **how)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


if __name__ == "__main__":
    main()

"""A training step of a network in one framework, on one drawn batch: what `contender.py` serves for train_step.py."""

import dataclasses
import time
from importlib import metadata

import numpy as np

from smtn_keras.config import Config
from smtn_keras.tasks import Landmarks, Task, tasks_from_json

WARM_UP = 2  # steps that are not counted


def contender(config: str, tasks: list[dict], framework: str, turn_seconds: float, layout: str | None = None):
    """A model with its losses and optimizer, warm.

    Args:
        config: as `Config.to_json` writes it.
        tasks: as `tasks_to_json` writes them.
        framework: `torch`, or the backend that Keras is to have.
        turn_seconds: about so long it steps when asked, once at least.
        layout: of PyTorch's maps in memory, `channels_last` or `contiguous_format`.
    """
    config, tasks = Config.from_json(config), tasks_from_json(tasks)
    images, targets = batch(config, tasks)
    facts, step = _torch(config, tasks, images, targets, layout) if framework == "torch" else _keras(config, tasks, images, targets)
    for _ in range(WARM_UP):
        began = time.perf_counter()
        step()
        last = time.perf_counter() - began
    count = max(1, min(50, round(turn_seconds / last)))

    def answer(**_):
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            step()
            taken.append(time.perf_counter() - began)
        return {"seconds": {"step": taken}}

    return facts, answer


def batch(config: Config, tasks: tuple[Task, ...], size: int | None = None):
    """Images `(batch, size, size, 3)` uint8 and targets by task name as the input gives them, all at random."""
    rng = np.random.default_rng(0)
    size, side = size or config.training.batch_size, config.network.image_size
    targets = {}
    for task in tasks:
        if isinstance(task, Landmarks):
            targets[task.name] = rng.uniform(0.2, 0.8, (size, *task.shape)).astype("float32")
        else:
            classes = [len(label.classes) for label in task.labels]
            targets[task.name] = rng.integers(0, classes, (size, len(classes))).astype("int8")
    return rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8), targets


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Stands in for a prepared data set where a model is compiled."""

    tasks: tuple[Task, ...]
    drawn: dict[str, np.ndarray]

    def targets(self, split: str) -> dict[str, np.ndarray]:
        return self.drawn | {"size": np.full((len(next(iter(self.drawn.values()))), 2), 128, np.int32)}


def _keras(config, tasks, images, targets):
    """The very model, losses, metrics and optimizer of `fit`, and the step that its `model.fit` runs."""
    from limits import step_multiply_adds

    from smtn_keras import backend, fit

    backend.start()
    import keras

    keras.utils.set_random_seed(config.training.seed)
    bfloat16 = backend.compute_dtype(config.resolved()) == "bfloat16"
    keras.config.set_dtype_policy("mixed_bfloat16" if bfloat16 else "float32")
    model = fit._compiled(config.resolved(), [Drawn(tasks, targets)], steps=100)
    facts = {
        "parameters": model.count_params(),
        "step_multiply_adds": step_multiply_adds(model),
        "versions": _versions("keras", keras.backend.backend()),
    }
    return facts, lambda: model.train_on_batch(images, targets)


def _torch(config, tasks, images, targets, layout: str):
    """The same in plain PyTorch."""
    import torch
    import torch_networks
    from torch.optim import swa_utils

    torch.manual_seed(config.training.seed)
    images = torch.from_numpy(images)
    targets = {
        name: torch.from_numpy(target).to(torch.float32 if target.dtype.kind == "f" else torch.int64) for name, target in targets.items()
    }
    network = torch_networks.Network(config, tasks).to(memory_format=getattr(torch, layout)).train()
    optimizer = torch_networks.optimizer(network, config)
    ema = config.training.ema
    average = swa_utils.AveragedModel(network, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(ema)) if ema else None

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.training.dtype == "bfloat16"):
            outputs = network(images, layout)
        loss = torch_networks.losses(outputs, targets, config, tasks)
        loss.backward()
        optimizer.step()
        if average:
            average.update_parameters(network)
        return loss.item()

    return {"parameters": torch_networks.parameters(network), "layout": layout, "versions": _versions("torch")}, step


def _versions(*packages: str) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}

"""The systems of the paper, each a function from a configuration and tasks to a `keras.Model`.

All take an RGB image `(batch, size, size, 3)` with values 0..255 and give a dictionary with an output
for each task: landmarks `(batch, points, 2)` in [0, 1] of the image's sides, attributes
`(batch, units)` logits.
"""

from ..config import Config


def build(config: Config, tasks):
    """The network of a configuration, untrained."""
    import importlib

    network = config.resolved().network
    module = importlib.import_module(f".{network.kind}", __name__)
    if network.kind == "separation":
        return module.build(network, tasks, frozen=config.stage == 2)
    if network.kind == "cross_stitch":
        return module.build(network, tasks, factor=module.FACTORS[config.training.optimizer])
    return module.build(network, tasks)

"""The systems of the paper, each a function from a configuration and tasks to a `keras.Model`.

All take an RGB image `(batch, size, size, 3)` with values 0..255 and give a dictionary with an output
for each task: landmarks `(batch, points, 2)` in [0, 1] of the image's sides, attributes
`(batch, units)` logits.
"""

from ..config import Config


def build(config: Config, tasks):
    """The network of a configuration, untrained."""
    from . import hard_sharing, separation

    network = config.resolved().network
    return hard_sharing.build(network, tasks) if config.stage == 1 else separation.build(network, tasks, frozen=config.stage == 2)

"""Hard parameter sharing: stage 1 of the paper, and its baseline (section 3.2, Figure 1a, Table 4)."""

import keras

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .balance import UnitGradient
from .heads import head, maps_of
from .inputs import image_input


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """One stack for all tasks up to the branch point, then a stack and a head for each.

    Args:
        config: `branch` is `end` (heads on the shared stack: stage 1) or the last shared conv.
    """
    image, pixels = image_input(config)
    branch = backbone.blocks_before(config.branch)
    shared = backbone.run(backbone.blocks("shared", config)[:branch], pixels)
    outputs = {}
    for task in tasks:
        own = backbone.blocks(task.name, config)[branch:]
        # what it takes from the shared stack
        taken = {name: shared[name] for name in {*maps_of(task, config), *(["end"] if own else [])} if name in shared}
        if config.gradient_balance:
            taken = UnitGradient(name=f"{task.name}_gradient")(taken)
        maps = taken | (backbone.run(own, taken["end"]) if own else {})
        outputs[task.name] = head(task, maps, config)
    return keras.Model(image, outputs, name="hard_sharing")

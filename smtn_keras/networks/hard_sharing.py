"""Hard parameter sharing: stage 1 of the paper, and its baseline (section 3.2, Figure 1a, Table 4)."""

import keras

from ..config import NetworkConfig
from ..tasks import Task
from . import vgg
from .balance import UnitGradient
from .heads import head, maps_of


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """One stack for all tasks up to the branch point, then a stack and a head for each.

    Args:
        config: `branch` is `end` (heads on the shared stack: stage 1) or the last shared conv.
    """
    image, x = vgg.image_input(config)
    shared_maps, own_convs = {}, []

    # the shared stack
    for i, conv in enumerate(vgg.CONVS):
        shared_maps[conv] = vgg.conv_relu(x, "shared", conv, config)
        x = vgg.pool(shared_maps[conv], "shared", conv)
        if conv == config.branch:
            own_convs = vgg.CONVS[i + 1 :]
            break

    # each task's stack after the branch point, if any, and its head
    outputs = {}
    for task in tasks:
        # what it takes from the shared stack
        used = maps_of(task, config)
        maps = {name: shared_maps[name] for name in used if name in shared_maps}
        if own_convs or "pool4" in used:
            maps["pool"] = x
        if config.gradient_balance:
            maps = UnitGradient(name=f"{task.name}_gradient")(maps)
        own = maps.get("pool")
        for conv in own_convs:
            maps[conv] = vgg.conv_relu(own, task.name, conv, config)
            own = vgg.pool(maps[conv], task.name, conv)
        outputs[task.name] = head(task, maps | {"pool4": own}, config)
    return keras.Model(image, outputs, name="hard_sharing")

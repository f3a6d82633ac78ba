"""The conv stacks of all networks, block by block.

A stack is a list of four blocks, which halve the sides of their input. A block is a function `block(x, after=None)` from a
map to its maps by name (`conv3_1` of VGG16, `block3` of others) and to what the next block takes; `after(map, name)`, if
given, returns what takes the place of each map.
"""

from ..config import NetworkConfig
from . import applications, shallow, vgg

FAMILIES = {"vgg16": vgg, "resnet50": applications, "mobilenet_v2": applications, "shallow": shallow}


def blocks(stack: str, config: NetworkConfig, trainable: bool = True) -> list:
    """The blocks of a stack, whose layers' names begin with its own.

    While its layers do not train, batch normalisation keeps its statistics too.
    """
    return FAMILIES[config.backbone].blocks(stack, config, trainable)


def run(stack: list, x, after=None):
    """All maps of a stack by name, and what it ends with as `end`."""
    maps = {}
    for block in stack:
        new, x = block(x, after)
        maps |= new
    return maps | {"end": x}


def run_side_by_side(names: list[str], config: NetworkConfig, x, exchange) -> dict[str, dict]:
    """The maps of several stacks, as `run` gives them, which exchange what their blocks end with.

    Args:
        exchange: `exchange(ends, number)` from the ends of all stacks' blocks of that number, a dictionary, to what takes their places.
    """
    own, maps = dict.fromkeys(names, x), {name: {} for name in names}
    for number, of_all in enumerate(zip(*(blocks(name, config) for name in names), strict=True), 1):
        for name, block in zip(names, of_all, strict=True):
            new, own[name] = block(own[name])
            maps[name] |= new
        own = exchange(own, number)
    return {name: maps[name] | {"end": own[name]} for name in names}


def head_map(stride: int, config: NetworkConfig) -> str:
    """The name of the map that heads take at a stride of 4, 8 or 16."""
    return FAMILIES[config.backbone].HEAD_MAPS.get(stride, "end")


def last_maps(config: NetworkConfig) -> tuple[str, ...]:
    """The names of the last map of each block."""
    return FAMILIES[config.backbone].LAST_MAPS


def blocks_before(branch: str) -> int:
    """How many blocks lie before a branch point: `conv3_3` is the last conv of VGG16's third block."""
    return {"input": 0, "conv1_2": 1, "conv2_2": 2, "conv3_3": 3, "end": 4}[branch]

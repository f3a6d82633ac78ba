"""A network for each task, side by side in one model: what multi-task learning is measured against."""

import keras

from ..config import NetworkConfig
from ..tasks import Task
from . import backbone
from .heads import head
from .inputs import image_input


def build(config: NetworkConfig, tasks: tuple[Task, ...]) -> keras.Model:
    """A stack and a head for each task, with nothing in common but the image: no gradient of one reaches another."""
    image, pixels = image_input(config)
    outputs = {task.name: head(task, backbone.run(backbone.blocks(task.name, config), pixels), config) for task in tasks}
    return keras.Model(image, outputs, name="single_task")

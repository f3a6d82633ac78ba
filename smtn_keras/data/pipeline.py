"""From a prepared data set to batches: Grain datasets that `model.fit` and `model.predict` take as they are."""

import cv2
import grain
import numpy as np

from ..config import Config, DataConfig
from ..tasks import Landmarks, Task
from .augment import MixUp, augment
from .prepared import Prepared

cv2.setNumThreads(0)  # Grain reads in threads of its own
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=64)


def training_batches(sets: tuple[Prepared, ...], config: Config, start_step: int = 0) -> tuple[grain.IterDataset, int]:
    """Batches `(images, targets)` without end, in an order and with variations that only the seed decides.

    An epoch is as many batches as all sets together fill. Each set is shuffled anew when all its pictures
    were seen; each batch holds of each set its share by size, or by `config.data.sampling`.

    Args:
        sets: data sets with the same tasks.
        start_step: steps already trained; a resumed run sees what an unbroken one would have seen.

    Returns:
        The dataset, and its steps an epoch. Images are `(batch, size, size, 3)` uint8; targets by task
        name: landmarks `(batch, points, 2)` float32 in [0, 1] of the image, labels `(batch, labels)` int8.
    """
    tasks, parts, sizes = sets[0].tasks, [], []
    for i, data in enumerate(sets):
        source = data.source("train")
        chosen = np.random.default_rng(config.training.seed).permutation(len(source))[: config.data.samples]
        sizes.append(len(chosen))
        records = grain.MapDataset.source(chosen).seed(config.training.seed + i).shuffle().map(source.__getitem__)
        examples = records.random_map(_TrainingExample(tasks, config.network.image_size, config.data))
        parts.append(examples.repeat())
    joined = grain.MapDataset.mix(parts, config.data.sampling or sizes) if len(parts) > 1 else parts[0]
    batch = min(config.training.batch_size, sum(sizes))
    batches = joined.batch(batch, drop_remainder=True)
    if config.data.mixup:
        batches = batches.seed(config.training.seed).random_map(MixUp(tasks, config.data.mixup))
    return batches[start_step:].to_iter_dataset(READING), sum(sizes) // batch


def evaluation_batches(
    prepared: Prepared, split: str, image_size: int, batch_size: int = 64, most: int | None = None
) -> tuple[grain.IterDataset, int]:
    """Batches `(images, targets)` of a split in its own order, the last one smaller where it must be; and their number.

    Args:
        most: take only the first so many pictures.
    """
    examples = grain.MapDataset.source(prepared.source(split))[:most].map(_Example(prepared.tasks, image_size))
    batches = examples.batch(batch_size)
    return batches.to_iter_dataset(READING), len(batches)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """An image `(h, w, 3)` as the network takes it, `(size, size, 3)`: x and y scaled apart."""
    shrinking = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


class _Example:
    """A record to `(image, targets)` at the network's size."""

    def __init__(self, tasks: tuple[Task, ...], image_size: int):
        self.tasks, self.image_size = tasks, image_size

    def __call__(self, record):
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
        image = cv2.cvtColor(resize(image, self.image_size), cv2.COLOR_BGR2RGB)
        targets = {
            task.name: (record[task.name] / record["size"]).astype(np.float32) if isinstance(task, Landmarks) else record[task.name]
            for task in self.tasks
        }
        return image, targets


class _TrainingExample(_Example):
    """The same, varied at random."""

    def __init__(self, tasks: tuple[Task, ...], image_size: int, config: DataConfig):
        super().__init__(tasks, image_size)
        self.config = config

    def __call__(self, record, rng):
        image, targets = super().__call__(record)
        width, height = record["size"]
        return augment(image, targets, self.tasks, height / width, self.config, rng)

"""From a prepared data set to batches: Grain datasets that `model.fit` and `model.predict` take as they are."""

import cv2
import grain
import numpy as np
from absl import flags

from ..config import Config, DataConfig
from ..errors import UserError
from ..tasks import Landmarks, Task
from .augment import MixUp, augment
from .prepared import Prepared

cv2.setNumThreads(0)  # Grain reads in threads of its own
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=16)


def training_batches(
    sets: tuple[Prepared, ...], config: Config, start_step: int = 0, share: tuple[int, int] = (0, 1)
) -> tuple[grain.IterDataset, int]:
    """Batches `(images, targets)` without end, in an order and with variations that only the seed decides.

    An epoch is as many batches as all sets together fill. Each set is shuffled anew when all its pictures
    were seen; each batch holds of each set its share by size, or by `config.data.sampling`.

    Args:
        sets: data sets with the same tasks.
        start_step: batches already trained; a resumed run sees what an unbroken one would have seen.
        share: which host this is, and of how many; each takes its part of every batch.

    Returns:
        The dataset, and its batches an epoch: steps, or with `--accumulate` parts of steps. Images are `(batch, size, size, 3)` uint8; targets by task
        name: landmarks `(batch, points, 2)` float32 in [0, 1] of the image, labels `(batch, labels)` int8.
    """
    tasks, examples, sizes = sets[0].tasks, [], []
    for i, data in enumerate(sets):
        source = data.source("train")
        chosen = np.random.default_rng(config.training.seed).permutation(len(source))[: config.data.samples]
        sizes.append(len(chosen))
        records = grain.MapDataset.source(chosen).seed(config.training.seed + i).shuffle().map(source.__getitem__)
        examples.append(records.random_map(TrainingExample(tasks, config.network.image_size, config.data)).repeat())
    joined = grain.MapDataset.mix(examples, config.data.sampling or sizes) if len(sets) > 1 else examples[0]
    (host, hosts), parts = share, config.training.accumulate
    batch = min(config.training.batch_size, sum(sizes)) // (parts * hosts)
    if not batch or config.training.batch_size % (parts * hosts):
        raise UserError(
            f"--batch-size {config.training.batch_size}: expected a multiple of {parts * hosts}, for {parts} parts of a step on {hosts} hosts, and as "
            f"many training pictures, got {sum(sizes)} of them; change it"
        )
    batches = joined[host::hosts].batch(batch, drop_remainder=True)
    if config.data.mixup:
        batches = batches.seed(config.training.seed).random_map(MixUp(tasks, config.data.mixup))
    stream = batches[start_step:].to_iter_dataset(READING)
    if config.data.workers:
        flags.FLAGS.mark_as_parsed()  # Grain has flags for its processes, which a program without absl's app never parses
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=config.data.workers, per_worker_buffer_size=4))
    return stream, sum(sizes) // (batch * parts * hosts) * parts


def evaluation_batches(
    prepared: Prepared, split: str, image_size: int, batch_size: int = 64, most: int | None = None, share: tuple[int, int] = (0, 1)
) -> tuple[grain.IterDataset, int]:
    """Batches `(images, targets)` of a split in its own order, the last one smaller where it must be; and their number.

    Args:
        most: take only the first so many pictures.
        share: which host this is, and of how many; each takes every so many-th picture.
    """
    host, hosts = share
    examples = grain.MapDataset.source(prepared.source(split))[:most][host::hosts].map(_Example(prepared.tasks, image_size))
    batches = examples.batch(batch_size)
    return batches.to_iter_dataset(READING), len(batches)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """An image `(h, w, 3)` as the network takes it, `(size, size, 3)`: x and y scaled apart."""
    shrinking = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


class Picture:
    """The picture of a record, `(size, size, 3)` uint8 RGB, from its file's bytes unless it is that picture already."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, record: dict) -> np.ndarray:
        if isinstance(record["image"], np.ndarray):
            return record["image"]
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise UserError(
                f"{record['name'].decode()}: expected a picture in the prepared data set, got damaged bytes; prepare the set again"
            )
        return cv2.cvtColor(resize(image, self.size), cv2.COLOR_BGR2RGB)


class _Example:
    """A record to `(image, targets)` at the network's size."""

    def __init__(self, tasks: tuple[Task, ...], image_size: int):
        self.tasks, self.picture = tasks, Picture(image_size)

    def __call__(self, record):
        targets = {
            task.name: (record[task.name] / record["size"]).astype(np.float32) if isinstance(task, Landmarks) else record[task.name]
            for task in self.tasks
        }
        return self.picture(record), targets


class TrainingExample(_Example):
    """The same, varied at random."""

    def __init__(self, tasks: tuple[Task, ...], image_size: int, config: DataConfig):
        super().__init__(tasks, image_size)
        self.config = config

    def __call__(self, record, rng):
        image, targets = super().__call__(record)
        width, height = record["size"]
        return augment(image, targets, self.tasks, height / width, self.config, rng)

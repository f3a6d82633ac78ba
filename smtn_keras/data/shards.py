"""The files of a prepared data set, and three ways to write them: one after the other, in processes, as a Beam pipeline."""

import contextlib
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import shlex
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from ..errors import UserError
from ..tasks import Landmarks, Task

os.environ.setdefault("EPATH_USE_TF", "false")  # object stores by fsspec: TensorFlow's own reader knows no S3, and is TensorFlow


class Example(NamedTuple):
    """One face as a data set hands it over.

    Attributes:
        name: unique in its data set, such as the file name.
        image: the bytes of an upright RGB JPEG or PNG.
        size: width and height of the image in pixels.
        targets: for each task's name its array: landmarks `(points, 2)` float32 in pixels of the
            image, counted as the builder's `first_pixel` says (NaN where missing), labels `(labels,)`
            int8 class indices (-1 where missing).
    """

    name: str
    image: bytes
    size: tuple[int, int]
    targets: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file to write; it pickles if its examples do, so any process of any machine can write it.

    Attributes:
        path: of the file; one in an object store is written beside and copied, for ArrayRecord writes local files only.
        examples: what goes into it.
        features: how TFDS encodes them.
        tasks: of the data set.
        first_pixel: of the data set's builder.
    """

    path: epath.Path
    examples: Iterable[Example]
    features: tfds.features.FeaturesDict
    tasks: tuple[Task, ...]
    first_pixel: float

    def write(self, written: Callable[[], object] = lambda: None) -> int:
        """Writes the file, holding one example at a time. Calls `written` after each; returns how many there were."""
        serializer = tfds.core.ExampleSerializer(self.features.get_serialized_info())
        count = 0
        with self._local_file() as file, contextlib.closing(ArrayRecordWriter(file, "group_size:1")) as writer:
            for count, example in enumerate(self.examples, 1):  # noqa: B007
                writer.write(serializer.serialize_example(self.features.encode_example(self._record(example))))
                written()
        return count

    @contextlib.contextmanager
    def _local_file(self) -> Iterator[str]:
        if is_local(self.path):
            yield os.fspath(self.path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                file = epath.Path(folder) / self.path.name
                yield os.fspath(file)
                file.copy(self.path, overwrite=True)  # of an attempt that was lost

    def _record(self, example: Example) -> dict:
        """Landmarks counted from the image's upper left corner, so that mirroring is exact."""
        points = {
            task.name: example.targets[task.name] + np.float32(0.5 - self.first_pixel) for task in self.tasks if isinstance(task, Landmarks)
        }
        image = {"name": example.name, "image": io.BytesIO(example.image), "size": np.int32(example.size)}
        return image | example.targets | points


def is_local(path: epath.Path) -> bool:
    """Whether the path is one of this machine, and not of an object store."""
    return "://" not in os.fspath(path)


def write_here(shards: list[Shard], written: Callable[[int], object]) -> list[int]:
    """Writes one file after the other in this process. Calls `written` with the number of new samples; returns each file's."""
    return [shard.write(lambda: written(1)) for shard in shards]


def write_in_processes(shards: list[Shard], written: Callable[[int], object], workers: int) -> list[int]:
    """The same in worker processes, several files at a time.

    They are spawned: forked ones would inherit the locks of ArrayRecord's and OpenCV's threads without the threads.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    counts = []
    # The pipe closes with this block or with this process, however that ends, and the workers end with the pipe.
    with _orders(shards) as orders, ProcessPoolExecutor(workers, context, _end_with, (theirs,)) as pool, ours:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a terminal's Ctrl-C is for this process alone
        futures = [pool.submit(_fulfil, order) for order in orders]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for future in futures:
            try:
                counts.append(future.result())
            except BrokenProcessPool:
                raise UserError("--workers: expected them to write all, got one killed, perhaps for its memory; take fewer") from None
            written(counts[-1])
    return counts


def _end_with(lifeline: Connection) -> None:
    def end() -> None:
        lifeline.poll(None)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def write_with_beam(shards: list[Shard], written: Callable[[int], object], options: str) -> list[int]:
    """The same as an Apache Beam pipeline.

    Args:
        options: of the pipeline, such as `--runner=DirectRunner --direct_num_workers=2`.
    """
    try:
        import apache_beam as beam
    except ImportError:
        raise UserError("--beam: expected Apache Beam, got none; run: pip install 'smtn_keras[beam]'") from None

    with _orders(shards) as orders:
        with _beam_pipeline(options) as pipeline:
            _ = pipeline | beam.Create(orders) | beam.Reshuffle() | "Write" >> beam.Map(_fulfil_and_report)
        counts = []
        for order in orders:
            outcome = json.loads(_report(order).read_text())
            _report(order).unlink()
            if "refused" in outcome:
                raise UserError(outcome["refused"])
            counts.append(outcome["written"])
            written(counts[-1])
    return counts


def _beam_pipeline(options: str):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        with contextlib.redirect_stderr(io.StringIO()) as usage:
            parsed = PipelineOptions(shlex.split(options))
            parsed.get_all_options()  # which is late to say what is wrong otherwise
            return beam.Pipeline(options=parsed)
    except (ValueError, SystemExit) as error:
        reason = usage.getvalue().strip().rpartition("error: ")[2] or str(error)
        raise UserError(f"--beam: expected options of an Apache Beam pipeline, got '{options}' ({reason}); correct them") from None


class _Order(NamedTuple):
    """What another process is told: the file that holds a `Shard`, and the checksum of that file."""

    file: str
    sha256: str


@contextlib.contextmanager
def _orders(shards: list[Shard]) -> Iterator[list[_Order]]:
    """Each shard as a file beside it, by whose name another process knows what to write.

    A shard is pickled, as it may be of anybody's class, and whoever may write into the folder could exchange it for code. So its checksum
    goes the way of the order itself, and a file that has another one is never unpickled.

    What goes through a runner or a queue is limited: by Dataflow's largest request, and by what Python 3.11 can
    take back from a queue whose readers are gone.
    """
    orders = []
    for shard in shards:
        content = pickle.dumps(shard)
        orders.append(_Order(f"{os.fspath(shard.path)}.order", hashlib.sha256(content).hexdigest()))
        epath.Path(orders[-1].file).write_bytes(content)
    yield orders
    for order in orders:
        epath.Path(order.file).unlink()


def _fulfil(order: _Order) -> int:
    content = epath.Path(order.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != order.sha256:
        raise UserError(
            f"{order.file}: expected what this preparation wrote, got something else; name a --data-dir that nobody else writes to"
        )
    return pickle.loads(content).write()


def _fulfil_and_report(order: _Order) -> None:
    """A refusal is reported, not raised: a runner would try the bad picture again, and wrap the sentence in its own."""
    try:
        outcome = {"written": _fulfil(order)}
    except UserError as error:
        outcome = {"refused": str(error)}
    _report(order).write_text(json.dumps(outcome))


def _report(order: _Order) -> epath.Path:
    return epath.Path(f"{order.file}.report")

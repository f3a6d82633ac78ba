"""Images a second from prepared records through augmentation to batches, by workers and with the resize-once cache."""

import dataclasses
import time

from process import cores_here
from turns import Contender, table_row, take_turns

SIZE, BATCH = 128, 32
AUGMENTATIONS = ("small", "best")  # those of the presets
STARTED = 8  # batches of a turn after which all workers are at it
READERS = [(0, 1), (0, None), (1, None), (2, None)]  # workers, and cores


def contender(config: str, turn_seconds: float):
    """The batches of a configuration, as `fit` takes them."""
    from smtn_keras.config import Config
    from smtn_keras.data.cache import Resized
    from smtn_keras.data.pipeline import training_batches
    from smtn_keras.data.prepared import open_sets

    config = Config.from_json(config)
    sets = open_sets(config.data.names, config.data.data_dir)
    if config.data.cache:
        sets = tuple(Resized(data, config.network.image_size) for data in sets)
    batches, _ = training_batches(sets, config)

    def answer(**_):
        running = iter(batches)  # anew, as one that was left would have filled its buffers meanwhile
        for _ in range(STARTED):
            next(running)
        began, count = time.perf_counter(), 0
        while (taken := time.perf_counter() - began) < turn_seconds:
            next(running)
            count += 1
        running.close()
        return {"seconds": {"batch": [taken / count]}}

    return {}, answer


def measure(settings, work_folder) -> dict:
    """All settings of an augmentation take turns."""
    from smtn_keras.prepare import prepare
    from smtn_keras.presets import preset

    name, folder = settings.data or "synthetic", settings.data_dir
    if settings.data is None:
        folder = str(work_folder)
        prepare(name, work_folder, samples=200 if settings.quick else 4000)
    details, ratios, rows = {}, {}, []
    for augmentation in AUGMENTATIONS[: 1 if settings.quick else None]:
        contenders = {}
        for cache in (False, True):
            for workers, cores in READERS:
                config = preset(augmentation, 1).with_(
                    data={"data": name, "data_dir": folder, "workers": workers, "cache": cache},
                    network={"image_size": SIZE},
                    training={"batch_size": BATCH},
                )
                label = f"{augmentation}, {'cache' if cache else 'decoding'}, {workers} workers, {cores or cores_here()} cores"
                arguments = {"config": config.to_json(), "turn_seconds": 0.2 if settings.quick else 2.0}
                contenders[cache, workers, cores] = Contender(label, "inputs", arguments, cores=cores)
        take_turns(list(contenders.values()), settings.seconds, settings.rounds)
        details[augmentation] = [dataclasses.asdict(one) for one in contenders.values()]
        rates = {key: BATCH / taken for key, one in contenders.items() if (taken := one.median("batch"))}
        pairs = {
            "from the cache over decoding, images/s on one core": ((True, 0, 1), (False, 0, 1)),
            "2 workers over 1, images/s from the cache": ((True, 2, None), (True, 1, None)),
        }
        for what, (a, b) in pairs.items():
            if a in rates and b in rates:
                ratios[f"{augmentation}: {what}"] = {"value": rates[a] / rates[b], "better": "higher"}
        for (cache, workers, cores), one in contenders.items():
            cells = [augmentation, "cache" if cache else "decoding", str(workers), str(cores or cores_here())]
            rate = rates.get((cache, workers, cores))
            rows.append(table_row(cells, one, rate and [f"{rate:.0f}", f"{one.peak_mb:.0f}"], 2))
    head = ["", "pictures", "workers", "cores", "images/s", "MB at most", ""]
    notes = (
        f"Batches of {BATCH} at {SIZE}x{SIZE} of {name}, varied as by each preset. Workers are processes; 0 reads in threads of the training's "
        "own process, whose memory alone is counted."
    )
    return {"details": details, "ratios": ratios, "head": head, "rows": rows, "notes": notes}

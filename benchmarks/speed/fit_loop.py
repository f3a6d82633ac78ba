"""The whole training loop against the bare training step times the steps: what input, metrics, logging and checkpoints cost."""

import dataclasses
import tempfile
import time

from process import cores_here
from turns import Contender, table_row, take_turns

EPOCHS = 3  # the first, which compiles, is not counted
WORK = {
    "small, stage 1": ["--preset", "small"],
    "best, stage 1": ["--preset", "best"],
    "width 1, stage 1": ["--preset", "paper", "--head", "pooled", "--samples", "960"],  # 30 steps, as one takes seconds
}
QUICK = {"quick, stage 1": ["--preset", "small", "--width", "0.05", "--image-size", "32"]}


def contender(flags: list[str]):
    """A run of `fit` that is trained anew each time; behind each of its epochs as many bare steps on one of its batches."""
    from smtn_keras import backend, fit

    backend.start()
    import keras

    from smtn_keras import keeper

    times = {"loop": [], "validation": [], "step": []}

    class Clock(keras.callbacks.Callback):
        """The last of the callbacks, so that an epoch ends when the others have written their files."""

        def __init__(self, batch):
            super().__init__()
            self.batch = batch

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            loop, steps = time.perf_counter() - self.began, self.params["steps"]
            validation = times["validation"].pop()
            taken = []
            for _ in range(steps if epoch else 0):
                began = time.perf_counter()
                self.model.train_on_batch(*self.batch)
                taken.append(time.perf_counter() - began)
            if epoch:
                times["loop"].append((loop - validation) / steps)
                times["loop and validation"].append(loop / steps)
                times["step"] += taken

    trains, measures = keras.Model.fit, keeper.RunKeeper._measure

    def timed_fit(self, batches, *, callbacks, **settings):
        clock = Clock(next(iter(batches)))
        return trains(self, batches, callbacks=[*callbacks, clock], **settings)

    def timed_measure(self):
        began = time.perf_counter()
        try:
            return measures(self)
        finally:
            times["validation"].append(time.perf_counter() - began)

    keras.Model.fit, keeper.RunKeeper._measure = timed_fit, timed_measure

    def answer(**_):
        times.update({"loop": [], "loop and validation": [], "validation": [], "step": []})
        with tempfile.TemporaryDirectory() as runs:
            fit.main([*flags, "--runs", runs])
        return {"seconds": {what: taken for what, taken in times.items() if taken}}

    return {}, answer


def measure(settings, work_folder) -> dict:
    """Each network on drawn faces, in a process of its own."""
    from smtn_keras.prepare import prepare

    prepare("synthetic", work_folder, samples=200 if settings.quick else None)
    details, ratios, rows = {}, {}, []
    for name, flags in (QUICK if settings.quick else WORK).items():
        flags = [*flags, "--data", "synthetic", "--batch-size", "32", "--data-dir", str(work_folder), "--epochs", str(EPOCHS)]
        one = Contender(name, "fit_loop", {"flags": flags})
        take_turns([one], settings.seconds, settings.rounds)
        step, cells = one.median(), None
        if step:
            loop, whole = one.median("loop"), one.median("loop and validation")
            ratios[f"{name}: loop over steps, seconds"] = {"value": loop / step, "better": "lower"}
            ratios[f"{name}: loop and validation over steps, seconds"] = {"value": whole / step, "better": "lower"}
            cells = [f"{1000 * step:.1f}", f"{1000 * loop:.1f}", f"{loop / step:.3f}", f"{whole / step:.3f}", f"{one.peak_mb:.0f}"]
        details[name] = dataclasses.asdict(one)
        rows.append(table_row([one.name], one, cells, 5))
    head = ["", "ms a bare step", "ms a step of the loop", "loop over steps", "with validation", "MB at most", ""]
    notes = (
        f"`fit` at batch 32 on drawn faces, {cores_here()} cores. The loop is an epoch from its first batch to its last file written, without the "
        "validation's answers: input, metrics, history, events, best and last weights. A bare step is `train_on_batch` of the same compiled model on "
        "one batch that is there, behind each epoch of the same process. Medians of epochs, the first of each run left out, and of steps."
    )
    return {"details": details, "ratios": ratios, "head": head, "rows": rows, "notes": notes}

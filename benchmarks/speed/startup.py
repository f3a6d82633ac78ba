"""Seconds until something happens: the import, `--help` of every command, and the first step of `fit`."""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import Contender, table_row, take_turns

ROOT = Path(__file__).parents[2]
BARE, ENGINE = "python alone", "import keras"
FIRST_STEP = """
import os, sys
from smtn_keras import backend, fit
backend.start()
import keras
class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        os._exit(0)
trains = keras.Model.fit
keras.Model.fit = lambda self, *data, callbacks, **settings: trains(self, *data, callbacks=[*callbacks, Stop()], **settings)
fit.main(sys.argv[1:])
"""


def contender(command: list[str]):
    """A command that is run anew each time."""

    def answer(**_):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            running = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(running.pid, 0)
            taken = time.perf_counter() - began
        if status:
            raise RuntimeError(f"it ended with {os.waitstatus_to_exitcode(status)}")
        # of a process started by a small one, so what it says is its own
        return {"seconds": {"call": [taken]}, "peak_mb": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6}

    return {}, answer


def commands(data_dir: str, quick: bool) -> dict[str, list[str]]:
    """What is started, by the name of its row: arguments of Python."""
    modules = sorted(file.stem for file in (ROOT / "smtn_keras").glob("*.py") if re.search(r"^def main\(", file.read_text(), re.MULTILINE))
    small = ["--width", "0.05", "--image-size", "32"] if quick else []
    return {
        BARE: ["-c", "pass"],
        "import smtn_keras": ["-c", "import smtn_keras"],
        **{f"{module} --help": ["-m", f"smtn_keras.{module}", "--help"] for module in modules[: 1 if quick else None]},
        ENGINE: ["-c", "from smtn_keras import backend; backend.start()"],
        "first step of fit --preset small": ["-c", FIRST_STEP, "--preset", "small", "--data-dir", data_dir, *small],
    }


def measure(settings, work_folder) -> dict:
    """All take turns."""
    from smtn_keras.prepare import prepare

    prepare("synthetic", work_folder, samples=120 if settings.quick else 2000)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    contenders = {
        name: Contender(name, "startup", {"command": command}, environment)
        for name, command in commands(str(work_folder), settings.quick).items()
    }
    take_turns(list(contenders.values()), settings.seconds, settings.rounds)
    ratios, rows = {}, []
    for name, one in contenders.items():
        taken, beside = one.median("call"), ENGINE if name.startswith("first") else BARE
        bare, cells = contenders[beside].median("call"), None
        if taken and bare:
            if name not in (BARE, ENGINE):
                ratios[f"{name} over {beside}, seconds"] = {"value": taken / bare, "better": "lower"}
            cells = [f"{taken:.3f}", f"{taken - contenders[BARE].median('call'):.3f}", f"{one.peak_mb:.0f}"]
        rows.append(table_row([name], one, cells, 3))
    head = ["", "s", "s more than python alone", "MB at most", ""]
    notes = "From the start of Python to the end of the command; the first step is done when `fit` has trained one batch of a prepared set."
    return {
        "details": [dataclasses.asdict(one) for one in contenders.values()],
        "ratios": ratios,
        "head": head,
        "rows": rows,
        "notes": notes,
    }

"""Two hosts of one core each, which train together, against one of them: processes of `fit` on JAX that meet on this machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from statistics import median

from process import cores_here, on_cores

BATCHES = 32, 256  # of all hosts together
EPOCHS = 3  # the first, which compiles, is not counted


def measure(settings, work_folder: Path) -> dict:
    """The preset small on drawn faces; both take turns."""
    from smtn_keras.prepare import prepare

    prepare("synthetic", work_folder, samples=200 if settings.quick else 1200)
    flags = ["--preset", "small", "--dtype", "float32", "--data-dir", str(work_folder), "--epochs", str(EPOCHS)]
    if settings.quick:
        flags += ["--width", "0.05", "--image-size", "32"]
    head = ["", "s an epoch, one host", "s an epoch, two hosts", "one over two", ""]
    notes = (
        "`fit --preset small` in float32 on JAX, each host a process kept on a core of its own; an epoch with validation and files, the first of each run "
        "left out. Two hosts have half of each batch each, and add up gradients, batch normalisation's statistics and metrics in every step."
    )
    details, ratios, rows = {}, {}, []
    for batch in (16,) if settings.quick else BATCHES:
        taken = {1: [], 2: []}
        for number in range(settings.rounds or 2):
            for hosts in taken:
                taken[hosts] += _seconds(hosts, [*flags, "--batch-size", str(batch)], work_folder / f"{batch}-{number}-{hosts}")
        one, two = (median(of) if of else None for of in taken.values())
        name = f"batch {batch}"
        details[name] = {f"{hosts} hosts": of for hosts, of in taken.items()}
        if one and two:
            ratios[f"{name}: one host over two, seconds"] = {"value": one / two, "better": "higher"}
            rows.append([name, f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}", ""])
        else:
            rows.append([name, "-", "-", "-", f"not measured: a host failed, or there are not two cores (here {cores_here()})"])
    return {"details": details, "ratios": ratios, "head": head, "rows": rows, "notes": notes}


def _seconds(hosts: int, flags: list[str], run: Path) -> list[float]:
    """Of the epochs of a run behind the first; none where it failed."""
    from smtn_keras.runs import read_history

    if cores_here() < hosts:
        return []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "smtn_keras.fit", *flags, "--run", str(run)]
    processes = []
    for host in range(hosts):
        more = ["--hosts", str(hosts), "--host", str(host), "--coordinator", address] if hosts > 1 else []
        with on_cores(1, first=host):
            processes.append(subprocess.Popen([*command, *more], env=os.environ | {"KERAS_BACKEND": "jax"}, stdout=subprocess.DEVNULL))
    ended = [process.wait() for process in processes]
    if any(ended):
        return []
    return [row["seconds"] for row in read_history(run)][1:]

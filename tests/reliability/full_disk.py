"""Commands whose disk is full at a random moment: do they say so, is what they leave whole, and do they go on once there is room?"""

import contextlib
import subprocess
from pathlib import Path

import kills
import numpy as np

COMMANDS = (kills.prepare, kills.fit_1, kills.export, kills.compare, kills.report)


def measure(count: int, seed: int, folder: Path) -> list[dict]:
    """Runs commands on disks of random sizes, `count` in all, then enlarges each and runs them to the end.

    Returns:
        A row for each command: `tried` disks, and `faults`: no error, an exit code other than 2, a traceback, a file that is neither whole nor absent, a
        result that differs from that of a command with room.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i, make in enumerate(COMMANDS):
        reference = make(folder, "roomy")
        kills.finish(reference, folder)
        need = sum(file.stat().st_size for file in reference.out.rglob("*") if file.is_file())
        faults, disks = [], count // len(COMMANDS) + (i < count % len(COMMANDS))
        for disk in range(disks):
            room = int(need * rng.uniform(0.02, 0.9))
            with small_disk(folder / f"disk{disk}", room) as place:
                command = make(folder, place.name)
                code = command.start(command.first, folder / "log").wait()
                what, said = f"{room} of {need} bytes", (folder / "log").read_text()
                if code != 2 or "error: " not in said:
                    faults.append(f"{what}: exit {code}: {said[-300:]}")
                faults += kills.faults_of(command.check, command.out, log=folder / "log", what=what)
                enlarge(place, 20 * need + 100_000_000)
                kills.finish(command, folder)
                faults += kills.faults_of(command.same, command.out, reference.out, log=folder / "log", what=f"{what}, enlarged")
        note = "; ".join(faults) or "each said so, and went on to the same end once there was room"
        rows.append({"what": reference.name, "tried": disks, "faults": len(faults), "worst_seconds": None, "peak_mb": None, "note": note})
        print(rows[-1], flush=True)
    return rows


def may_mount() -> bool:
    """Whether this user may make file systems."""
    return subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0


@contextlib.contextmanager
def small_disk(place: Path, size: int):
    """A file system in memory of so many bytes."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def enlarge(place: Path, size: int):
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)

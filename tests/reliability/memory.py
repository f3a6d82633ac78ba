"""The memory of a child process."""

import numpy as np
import psutil

MOST_GROWTH = 0.05  # of what is taken after the warm-up


def resident_mb(pid: int) -> float:
    """What a process and those that it started hold in memory, in MB; pages that they share count once for each. NaN once it has ended."""
    try:
        process = psutil.Process(pid)
        total = sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
        return total / 1e6 or float("nan")  # 0: it has ended, and nobody has asked how
    except psutil.NoSuchProcess:
        return float("nan")


def growth(samples_mb: list[float], warm_up: float) -> float:
    """By which share memory grew from the end of the warm-up to the end: medians over a tenth of the samples each.

    Args:
        samples_mb: evenly over the work.
        warm_up: the share of them that does not count.

    Returns:
        NaN from fewer than twenty samples.
    """
    tenth, first = len(samples_mb) // 10, int(warm_up * len(samples_mb))
    if tenth < 2:
        return float("nan")
    return float(np.nanmedian(samples_mb[-tenth:]) / np.nanmedian(samples_mb[first : first + tenth]) - 1)

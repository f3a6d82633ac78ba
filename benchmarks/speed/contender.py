"""One contender of a benchmark in a process of its own: `python contender.py MODULE JSON`; the other end is turns.py.

`MODULE.contender(**JSON)` gives what is known of it and a function, which answers each request. Every answer also says how much memory
the process has taken at most so far, unless it says itself.
"""

import importlib
import json
import os
import re
import resource
import sys
from pathlib import Path


def main(module: str, arguments: str):
    # what libraries print to stdout must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what: dict):
        print(json.dumps({"peak_mb": peak_mb()} | what), file=answers, flush=True)

    sys.path.append(str(Path(__file__).parents[1]))  # of process.py
    facts, answer = importlib.import_module(module).contender(**json.loads(arguments))
    say(facts)
    for line in sys.stdin:
        say(answer(**json.loads(line)))


def peak_mb() -> float:
    """The most memory that this process has had in use so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the process that started this one has
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The ratios of an earlier run in a file: which of those measured now are worse."""

import json
from pathlib import Path

from smtn_keras import runs
from smtn_keras.errors import UserError

TOLERANCE = 1.2  # times as long may what it compares take


def read(file: Path) -> dict:
    """The content of a baseline file: by ratio its `value`, which is `better` (higher or lower), and the `machine` it was measured on.

    Raises:
        UserError: if it is none.
    """
    if not file.is_file():
        return {}
    try:
        known = json.loads(file.read_text())
        for ratio in known.values():
            if not ratio["value"] > 0 or ratio["better"] not in ("higher", "lower") or "machine" not in ratio:
                raise ValueError(f"a ratio of {ratio}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: expected a baseline written by benchmarks/run.py --save-baseline, got {error}; restore it") from None
    return known


def worse(ratios: dict, known: dict) -> list[str]:
    """A sentence for each ratio that is more than 20 % worse than the known one: as if its time had grown by more than that."""
    sentences = []
    for name, ratio in ratios.items():
        if name in known:
            now, before = ratio["value"], known[name]["value"]
            factor = before / now if ratio["better"] == "higher" else now / before
            if factor > TOLERANCE:
                sentences.append(f"{name}: {now:.3g}, before {before:.3g} ({100 * (factor - 1):.0f} % worse; {known[name]['machine']})")
    return sentences


def save(file: Path, known: dict, ratios: dict, environment: dict):
    """Writes the ratios beside those known, each with the machine it was measured on."""
    machine = f"{environment['processor']}, {environment['cores']} cores, keras {environment['versions']['keras']}"
    measured = {name: ratio | {"value": float(f"{ratio['value']:.4g}"), "machine": machine} for name, ratio in ratios.items()}
    runs.write(file, json.dumps(dict(sorted((known | measured).items())), indent=1) + "\n")

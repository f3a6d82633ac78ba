"""What an evaluation says of a model's certainty, in sentences: `calibration` and `contradictions` for people."""

KEYS = "confidence", "calibration", "contradictions"  # of a task's metrics


def sentences(result: dict) -> list[str]:
    """A sentence or two on each of the `KEYS` that a result has."""
    said = {"confidence": _confidence, "calibration": _calibration, "contradictions": _contradictions}
    metrics = [parts["metrics"] for parts in result.values()]
    return [said[key](of_task[key], of_task["samples"]) for of_task in metrics for key in KEYS if key in of_task]


def _confidence(of: dict, samples: int) -> str:
    return (
        f"Predicted errors of points: rank correlation with the true ones {of['rank_correlation']}. The 90% of the images with the smallest have "
        f"NME {of['nme_surest']:.2f}% and {of['failure_rate_surest']:.2f}% failures, the best 90% NME {of['nme_best']:.2f}%. A coordinate "
        f"was said to be off by {of['said']:.2f}% of the sides, and was by {of['found']:.2f}%."
    )


def _calibration(of: dict, samples: int) -> str:
    after = ""
    if "temperature" in of:
        after = f", {of['ece_mean_tempered']:.2f}% at the temperature {of['temperature']:.3f} that suits the validation part best"
    return (
        f"Expected calibration error of the probabilities: {of['ece_mean']:.2f}%{after}; on so few images a model that is right has "
        f"{of['ece_by_chance']:.2f}%."
    )


def _contradictions(of: dict, samples: int) -> str:
    said = ", ".join(f"{pair} {count}" for pair, count in of["pairs"].items()) or "none"
    return (
        f"Contradictions: {of['images']} of {samples} images (by their own labels {of['images_in_truth']}) show one of {of['known']} pairs of labels "
        f"that never stand together in the training part; said: {said}."
    )

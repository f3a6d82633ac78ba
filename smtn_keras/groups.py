"""Metrics by group: what a model is worth for each class of a label, such as for men and women, and how sure that is."""

import numpy as np

from .errors import UserError
from .metrics import ALPHA, image_errors, point_errors
from .tasks import MISSING, Attributes, Landmarks

RESAMPLES, AT_ONCE = 1000, 100  # of the bootstrap, and how many of them are held in memory
INTERVAL = 2.5, 97.5  # percentiles: 95 %
LEAST = 5  # samples of each class of a label that each group needs for the label to take part in balanced accuracy
MISSING_GROUP = "missing"
LOWER_IS_BETTER = ("nme", "failure_rate")


def members(name: str, data, split: str) -> dict[str, np.ndarray]:
    """The indices of the samples of each class of a label, by the truth; those that lack it last, as `missing`.

    Args:
        data: a `Prepared`, whose labels need not be the model's.

    Raises:
        UserError: if it has no such label.
    """
    places = {label.name: (task, i) for task in data.tasks if isinstance(task, Attributes) for i, label in enumerate(task.labels)}
    if name not in places:
        there = ", ".join(places) or "it has none"
        raise UserError(
            f"--by: expected a label of the data set '{data.name}' ({there}), got '{name}'; check the name, or choose by --data"
        )
    task, i = places[name]
    label, classes = task.labels[i], data.targets(split)[task.name][:, i]
    found = {of_class: np.flatnonzero(classes == c) for c, of_class in enumerate(label.classes)}
    return found | ({MISSING_GROUP: missing} if len(missing := np.flatnonzero(classes == MISSING)) else {})


def landmark_groups(landmarks_unit: np.ndarray, truth_px: np.ndarray, sizes: np.ndarray, task: Landmarks, groups: dict) -> dict:
    """Success rate, NME and failure rate of each group, as `metrics.landmark_metrics` defines them; returns what `_compared` does.

    Args:
        landmarks_unit, truth_px, sizes: as for `landmark_metrics`.
        groups: what `members` returns.
    """
    errors, present = point_errors(landmarks_unit, truth_px, sizes, task)
    index, per_image = image_errors(errors, present)
    counts, of_image = np.zeros((len(errors), 1), bool), np.zeros((len(errors), 1))
    counts[index], of_image[index, 0] = True, per_image
    metrics = {
        "success_rate": ((errors <= ALPHA) & present, present),
        "nme": (of_image, counts),
        "failure_rate": (counts & ~(of_image <= ALPHA), counts),
    }
    return _compared(groups, counts[:, 0], metrics)


def attribute_groups(classes: np.ndarray, truth: np.ndarray, task: Attributes, groups: dict) -> dict:
    """Accuracy and balanced accuracy, means over the labels, of each group; returns what `_compared` does and `balanced_labels`.

    The recall of a class that hardly occurs in a group says nothing, and were it left out, groups would be compared by different
    labels. So balanced accuracy is over the `balanced_labels`: those of which each class of people has at least `LEAST` samples of each class.

    Args:
        classes: predicted class indices `(samples, labels)`.
        truth: `(samples, labels)`, -1 where missing.
        groups: what `members` returns.
    """
    most = max(len(label.classes) for label in task.labels)
    of_class = truth[..., None] == np.arange(most)  # (samples, labels, classes)
    enough = [of_class[group].sum(0) >= LEAST for name, group in groups.items() if name != MISSING_GROUP and len(group)]
    no_class = np.arange(most) >= np.array([[len(label.classes)] for label in task.labels])
    balanced = np.flatnonzero((np.all(enough, axis=0) | no_class).all(1))
    known, right, has = truth != MISSING, classes == truth, of_class[:, balanced]
    metrics = {"accuracy": (right & known, known), "balanced_accuracy": (right[:, balanced, None] & has, has)}
    return _compared(groups, known.any(1), metrics) | {"balanced_labels": [task.labels[i].name for i in balanced]}


def _compared(groups: dict[str, np.ndarray], counts: np.ndarray, metrics: dict[str, tuple]) -> dict:
    """The metrics of each group and the gaps between them, with 95 % intervals of a bootstrap over the samples of each (percentiles, seeded).

    Args:
        counts: which samples have anything of the task, `(samples,)`.
        metrics: numerators and denominators, `(samples, ...)` each: their sums over a group are divided, and the quotients averaged
            over the last axis until one is left.

    Returns:
        `groups`: by name `samples`, and of each metric `[value, low, high]` in percent, None where there is nothing to count.
        `gaps`: of each metric `best` and `worst`, the names of these classes (not of `missing`), and their distance as `gap`
        `[value, low, high]`. Which two these are was chosen by the same samples, so that of many classes some gap is there by chance.
    """
    values, draws, result = {}, {}, {}
    for seed, (name, group) in enumerate(groups.items()):
        of_group = {metric: (above[group], below[group]) for metric, (above, below) in metrics.items()}
        ones, rng, size = np.ones((1, len(group))), np.random.default_rng(seed), max(len(group), 1)
        chunks = [rng.multinomial(len(group), np.full(size, 1 / size), AT_ONCE)[:, : len(group)] for _ in range(RESAMPLES // AT_ONCE)]
        values[name] = {metric: _quotients(ones, *parts)[0] for metric, parts in of_group.items()}
        draws[name] = {metric: np.concatenate([_quotients(chunk, *parts) for chunk in chunks]) for metric, parts in of_group.items()}
        result[name] = {"samples": int(counts[group].sum())}
        result[name] |= {metric: _interval(values[name][metric], draws[name][metric]) for metric in metrics}
    gaps = {}
    for metric in metrics:
        known = [name for name in groups if name != MISSING_GROUP and np.isfinite(values[name][metric])]
        if len(known) > 1:
            sign = -1 if metric in LOWER_IS_BETTER else 1
            order = sorted(known, key=lambda name: sign * values[name][metric])
            worst, best = order[0], order[-1]
            apart = [sign * (of[best][metric] - of[worst][metric]) for of in (values, draws)]
            gaps[metric] = {"gap": _interval(*apart), "best": best, "worst": worst}
    return {"groups": result, "gaps": gaps}


def _quotients(weights: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients of weighted sums, `(weightings,)`, averaged over what axes there are beside the samples; NaN where nothing counts."""
    sums = [np.tensordot(weights, part.astype(np.float64), 1) for part in (above, below)]
    with np.errstate(invalid="ignore", divide="ignore"):
        result = sums[0] / sums[1]
        while result.ndim > 1:
            known = np.isfinite(result)
            result = np.where(known, result, 0).sum(-1) / known.sum(-1)
    return result


def _interval(value: float, drawn: np.ndarray) -> list[float] | None:
    drawn = drawn[np.isfinite(drawn)]
    return [round(100 * float(v), 4) + 0.0 for v in (value, *np.percentile(drawn, INTERVAL))] if np.isfinite(value) and len(drawn) else None

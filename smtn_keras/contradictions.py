"""Labels that exclude each other, as far as the training pictures show: two that never stand together, said of one face."""

import numpy as np

from .tasks import Attributes

EXPECTED = 10  # so many samples with both labels there would be by chance, and there is none: of such luck there is one in 22,000


def exclusive_pairs(train: np.ndarray, task: Attributes) -> list[tuple[int, int]]:
    """Pairs of binary labels that no training sample has both, though independent ones would meet at least `EXPECTED` times.

    It is a rule about the labels of that data set, errors and fashions included, and not about faces.

    Args:
        train: `(samples, labels)`, -1 where missing; a sample counts for the pairs of which it has both labels.
    """
    labels = train[:, : task.binary_count]
    yes, known = np.float64(labels == 1), np.float64(labels >= 0)
    both_known, first_yes = known.T @ known, yes.T @ known  # of the samples where the other is known
    expected = first_yes * first_yes.T / np.maximum(both_known, 1)
    found = np.argwhere(np.triu((yes.T @ yes == 0) & (expected >= EXPECTED), 1))
    return [(int(a), int(b)) for a, b in found]


def contradictions(classes: np.ndarray, truth: np.ndarray, train: np.ndarray, task: Attributes) -> dict:
    """How often a model says both labels of an exclusive pair.

    Args:
        classes: predicted class indices `(samples, labels)`.
        truth, train: of this part and of the training part, `(samples, labels)`, -1 where missing.

    Returns:
        `known`, how many pairs there are; `images` with at least one of them among the predictions, `images_in_truth` among the labels;
        and `pairs`, of each that was said the number of images, the most frequent first.
    """
    pairs = exclusive_pairs(train, task)
    names = [label.name for label in task.labels]
    said, true = ({pair: (part[:, pair[0]] == 1) & (part[:, pair[1]] == 1) for pair in pairs} for part in (classes, truth))
    counts = {f"{names[a]} + {names[b]}": int(both.sum()) for (a, b), both in said.items() if both.any()}
    return {
        "known": len(pairs),
        "images": int(np.any([*said.values(), np.zeros(len(classes), bool)], axis=0).sum()),
        "images_in_truth": int(np.any([*true.values(), np.zeros(len(truth), bool)], axis=0).sum()),
        "pairs": dict(sorted(counts.items(), key=lambda item: -item[1])),
    }

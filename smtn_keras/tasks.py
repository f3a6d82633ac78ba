"""What a task is: names, sizes, the flip rule; and how the tasks of several data sets become one.

A data set brings a tuple of tasks; networks grow one task stack for each. Labels may be missing:
a landmark as NaN, a label as -1; loss and metrics skip them.
"""

import dataclasses

import numpy as np

from .errors import UserError
from .settings import fields_unlike

MISSING = -1  # a label that a sample lacks; a missing landmark is NaN


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Points to regress.

    Arrays are `(points, 2)`, x then y, in pixels of the image or in [0, 1] of its sides, from its upper left corner.

    Attributes:
        points: names, in the order of the arrays. "Left" is the image's left.
        flip_pairs: names that change places when the image is mirrored.
        normaliser: the two points whose distance is the unit of errors (the eyes; Eq. 2 of the paper).
    """

    points: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()
    normaliser: tuple[str, str] = ("left_eye", "right_eye")
    name: str = "landmarks"

    def __post_init__(self):
        for point in {*self.normaliser, *(p for pair in self.flip_pairs for p in pair)}:
            if point not in self.points:
                raise UserError(f"task '{self.name}': expected one of the points {', '.join(self.points)}, got '{point}'")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.points), 2)

    @property
    def flip_order(self) -> list[int]:
        """Index of the point that stands at each place after a mirroring."""
        partner = dict(self.flip_pairs) | {b: a for a, b in self.flip_pairs}
        return [self.points.index(partner.get(point, point)) for point in self.points]

    @property
    def normaliser_index(self) -> tuple[int, int]:
        return tuple(self.points.index(point) for point in self.normaliser)

    @property
    def mirror(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """What turns outputs into those of the mirrored image: an order of the points, then a factor, then an offset."""
        return self.flip_order, np.float32([-1, 1]), np.float32([1, 0])

    def flip(self, landmarks_unit: np.ndarray) -> np.ndarray:
        """Landmarks `(points, 2)` in [0, 1] of the mirrored image."""
        order, factor, offset = self.mirror
        return landmarks_unit[order] * factor + offset

    def translate(self, landmarks: np.ndarray, theirs: "Landmarks | None") -> np.ndarray:
        """Landmarks `(points, 2)` of another task in the order of this one's points, NaN where it has none of that name."""
        index = {point: i for i, point in enumerate(theirs.points)} if theirs else {}
        missing = np.full(2, np.nan, np.float32)
        return np.stack([landmarks[index[point]] if point in index else missing for point in self.points])

    def join(self, other: "Landmarks") -> "Landmarks":
        """The task with the points of both."""
        if self.normaliser != other.normaliser:
            raise UserError(
                f"task '{self.name}': expected joined data sets with one normaliser, got {self.normaliser} and {other.normaliser}; train them apart"
            )
        return dataclasses.replace(self, points=_union(self.points, other.points), flip_pairs=_union(self.flip_pairs, other.flip_pairs))


@dataclasses.dataclass(frozen=True)
class Label:
    """One attribute: binary as it stands, categorical with other `classes`.

    Attributes:
        flip: the class that each class becomes when the image is mirrored (None: itself).
    """

    name: str
    classes: tuple[str, ...] = ("no", "yes")
    flip: tuple[int, ...] | None = None

    def __post_init__(self):
        if len(self.classes) < 2:
            raise UserError(f"label '{self.name}': expected at least two classes, got {len(self.classes)}")
        if self.flip is not None and sorted(self.flip) != list(range(len(self.classes))):
            raise UserError(
                f"label '{self.name}': expected a flip that names each of its {len(self.classes)} classes once, got {self.flip}"
            )

    @property
    def binary(self) -> bool:
        return len(self.classes) == 2


@dataclasses.dataclass(frozen=True)
class Attributes:
    """Labels to classify: binary ones first, then categorical ones.

    Arrays of labels are `(labels,)` class indices, -1 where missing. Arrays of probabilities are
    `(binary labels + classes of the categorical ones,)`, named by `probability_names`.
    """

    labels: tuple[Label, ...]
    name: str = "attributes"

    def __post_init__(self):
        kinds = [label.binary for label in self.labels]
        if sorted(kinds, reverse=True) != kinds:
            raise UserError(
                f"task '{self.name}': expected binary labels before categorical ones, got {[label.name for label in self.labels]}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.labels),)

    @property
    def binary_count(self) -> int:
        return sum(label.binary for label in self.labels)

    @property
    def categorical(self) -> tuple[Label, ...]:
        return self.labels[self.binary_count :]

    @property
    def probability_names(self) -> list[str]:
        names = [label.name for label in self.labels[: self.binary_count]]
        return names + [f"{label.name}={c}" for label in self.categorical for c in label.classes]

    def flip(self, labels: np.ndarray) -> np.ndarray:
        """Labels `(labels,)` of the mirrored image."""
        flipped = labels.copy()
        for i, label in enumerate(self.labels):
            if label.flip and labels[i] != MISSING:
                flipped[i] = label.flip[labels[i]]
        return flipped

    @property
    def mirror(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """What turns probabilities into those of the mirrored image: an order of the columns, then a factor, then an offset."""
        swaps = [label.binary and label.flip == (1, 0) for label in self.labels[: self.binary_count]]
        order = list(range(self.binary_count))
        for label in self.categorical:
            order += [len(order) + c for c in (label.flip or range(len(label.classes)))]
        swapped = np.float32(swaps + [0] * (len(order) - len(swaps)))
        return order, 1 - 2 * swapped, swapped

    def translate(self, labels: np.ndarray, theirs: "Attributes | None") -> np.ndarray:
        """Labels `(labels,)` of another task in the order of this one's, -1 where it has none of that name."""
        index = {label.name: i for i, label in enumerate(theirs.labels)} if theirs else {}
        return np.array([labels[index[label.name]] if label.name in index else MISSING for label in self.labels], np.int8)

    def join(self, other: "Attributes") -> "Attributes":
        """The task with the labels of both."""
        known = {label.name: label for label in self.labels}
        for label in other.labels:
            if known.setdefault(label.name, label) != label:
                raise UserError(
                    f"label '{label.name}': expected the same classes in joined data sets, got {known[label.name].classes} and {label.classes}; "
                    "train them apart"
                )
        return dataclasses.replace(self, labels=tuple(sorted(known.values(), key=lambda label: not label.binary)))

    def classes_from(self, probabilities: np.ndarray, thresholds: np.ndarray | float = 0.5) -> np.ndarray:
        """The likeliest class of each label, `(batch, labels)` int8, from `(batch, probabilities)`.

        Args:
            thresholds: above which a binary label is there; one for all or `(binary labels,)`.
        """
        columns = [(probabilities[:, : self.binary_count] > thresholds)]
        start = self.binary_count
        for label in self.categorical:
            stop = start + len(label.classes)
            columns.append(probabilities[:, start:stop].argmax(1)[:, None])
            start = stop
        return np.concatenate([c.astype(np.int8) for c in columns], axis=1)


Task = Landmarks | Attributes
KINDS = {"landmarks": Landmarks, "attributes": Attributes}


def joint_tasks(sets: list[tuple[Task, ...]]) -> tuple[Task, ...]:
    """The tasks of several data sets as those of one: points and labels of the same name are the same.

    Raises:
        UserError: if two of a name differ in what they are.
    """
    joint = {}
    for task in (task for tasks in sets for task in tasks):
        known = joint.get(task.name)
        if known is not None and type(known) is not type(task):
            raise UserError(f"task '{task.name}': expected one kind of task in joined data sets, got points and labels; train them apart")
        joint[task.name] = known.join(task) if known else task
    return tuple(joint.values())


def _union(a: tuple, b: tuple) -> tuple:
    return tuple(dict.fromkeys(a + b))


def tasks_to_json(tasks: tuple[Task, ...]) -> list[dict]:
    """A list that `json` can write and `tasks_from_json` reads back."""
    kind_of = {cls: kind for kind, cls in KINDS.items()}
    return [{"kind": kind_of[type(task)], **dataclasses.asdict(task)} for task in tasks]


def tasks_from_json(items: list[dict], name: str = "tasks") -> tuple[Task, ...]:
    """Reads what `tasks_to_json` wrote.

    Args:
        items: the list.
        name: how errors call it.

    Raises:
        UserError: it is something else.
    """

    def frozen(value):
        return tuple(frozen(v) for v in value) if isinstance(value, list) else value

    def made(kind, item: dict):
        """A dataclass of its fields, if they have its types."""
        one = kind(**{key: frozen(value) for key, value in item.items()})
        if unlike := fields_unlike(one):
            raise TypeError(f"{unlike[0]} of a {kind.__name__} is {getattr(one, unlike[0])!r}")
        return one

    try:
        tasks = []
        for item in items:
            kind = KINDS[item["kind"]]
            fields = {key: value for key, value in item.items() if key != "kind"}
            if kind is Attributes:
                fields["labels"] = [made(Label, label) for label in fields["labels"]]
            tasks.append(made(kind, fields))
        named = [task.name for task in tasks]
        for names in (named, *(task.points if isinstance(task, Landmarks) else [label.name for label in task.labels] for task in tasks)):
            if not names or len(set(names)) < len(names):
                raise ValueError("nothing, or the same name twice")
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{name}: expected points and labels as smtn_keras writes them, got something else ({error})") from None
    return tuple(tasks)

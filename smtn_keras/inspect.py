"""Shows a data set as training sees it, and what is wrong with it: `python -m smtn_keras.inspect --data NAME`.

Prints how often labels are there, where points lie, copies of pictures within and across parts, and faces unlike the others; draws contact
sheets of pictures with points and labels. Ends with exit code 1 if something is surely wrong: points or labels that belie their names, eyes
swapped in or training pictures copied into more than 1 % of a part, rows that do not belong to their pictures, colours in another order.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import tyro

from .config import DataConfig
from .errors import UserError, clean_exit
from .presets import PRESETS, preset

LISTED = 10  # names of a kind
BLUER = 25  # of 255, by which skin is more blue than red where the two are swapped; it is about 70 more red


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """What to look at."""

    data: str
    """The prepared data set, or several that are trained as one: celeba+mtfl."""
    data_dir: str = "data"
    """The folder into which `smtn_keras.prepare` wrote it."""
    split: Literal["train", "validation", "test"] = "train"
    """The part that the contact sheet shows; the tables are of all parts."""
    pictures: int = 24
    """How many pictures it shows, each as it is and below as training sees it."""
    preset: Literal[PRESETS] = "small"
    """Whose variations it shows."""
    seed: int = 0
    """What choice and variations depend on."""
    out: str = "inspected"
    """The folder for the contact sheets: DATA-SPLIT.png, DATA-odd.png with faces unlike the others, copies.png with pairs."""

    def __post_init__(self):
        if not 1 <= self.pictures <= 400:
            raise UserError(f"--pictures: expected a number from 1 to 400, got {self.pictures}")


def main(argv: list[str] | None = None):
    """Command line."""
    with clean_exit():
        settings = tyro.cli(InspectConfig, args=argv, prog="python -m smtn_keras.inspect", description=__doc__)
        wrong = inspect(settings)
    if wrong:
        sys.exit(1)


def inspect(settings: InspectConfig) -> list[str]:
    """Prints the tables and draws the sheets; returns what is surely wrong, a sentence each."""
    from .data.glance import glance
    from .data.prepared import open_prepared
    from .sheets import draw_sample

    sets = [open_prepared(name, settings.data_dir) for name in DataConfig(data=settings.data).names]
    variations = preset(settings.preset, 1)
    wrong, odd, looks = [], [], {}
    for data in sets:
        print(f"# {data.name}: {', '.join(f'{split} {count}' for split, count in data.counts.items())}\n", flush=True)
        print("\n\n".join(_tables(data, wrong, odd)) + "\n", flush=True)
        file = Path(settings.out) / f"{data.name}-{settings.split}.png"
        print(f"written: {draw_sample(data, settings.split, settings.pictures, variations, settings.seed, file)}\n", flush=True)
        looks[data.name] = {split: glance(data, split) for split in data.counts}
        print(_pictures(data, looks[data.name], wrong, odd) + "\n")
        print(_odd_faces(data, settings, wrong, odd) + "\n")
    print(_copies(sets, looks, settings, wrong, odd) + "\n")
    for title, sentences in (("Surely wrong", wrong), ("Worth a look", odd)):
        print(f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences or ["nothing"]) + "\n")
    return wrong


def _tables(data, wrong: list[str], odd: list[str]) -> list[str]:
    """What annotations alone say."""
    from .data.faults import faults
    from .tasks import Landmarks

    blocks = []
    for split in data.counts:
        wrong += [f"{data.name}, {split} part: {fault}" for fault in faults(data.tasks, data.targets(split))]
    for task in data.tasks:
        blocks += [f"## {task.name}", _spread(data, task) if isinstance(task, Landmarks) else _frequencies(data, task, odd)]
    return blocks


def _spread(data, task) -> str:
    """Where each point lies in each part."""
    import numpy as np

    from .tables import table

    rows, a, b = [], *task.normaliser_index
    for i, point in enumerate(task.points):
        for split in data.counts:
            targets = data.targets(split)
            unit = targets[task.name] / targets["size"][:, None]
            px = targets[task.name]
            apart = np.linalg.norm(px[:, a] - px[:, b], axis=-1)[:, None]
            with np.errstate(all="ignore"):
                relative = (px[:, i] - (px[:, a] + px[:, b]) / 2) / apart
            known = np.isfinite(unit[:, i]).all(1)
            outside = ((unit[known, i] < 0) | (unit[known, i] > 1)).any(1).mean() if known.any() else 0
            cells = [_mean_and_spread(values[:, axis]) for values in (unit[:, i], relative) for axis in (0, 1)]
            rows.append([point, split, *cells, f"{100 * outside:.2f}", f"{100 * (1 - known.mean()):.2f}"])
    eyes = f"{task.points[a]} to {task.points[b]}"
    head = ["point", "part", "x", "y", "x from the middle", "y from the middle", "outside, %", "missing, %"]
    note = f"x and y in [0, 1] of the picture, mean ± standard deviation; then from the middle of {eyes} in units of their distance."
    return f"{note}\n\n{table(head, rows)}"


def _mean_and_spread(values) -> str:
    values = values[abs(values) < float("inf")]
    return f"{values.mean():.3f} ± {values.std():.3f}" if len(values) else "-"


def _frequencies(data, task, odd: list[str]) -> str:
    """How often each label is there, and how often it is missing, in each part."""
    from .tables import table
    from .tasks import MISSING

    rows = []
    for i, label in enumerate(task.labels):
        columns = {split: data.targets(split)[task.name][:, i] for split in data.counts}
        known = {split: column[column != MISSING] for split, column in columns.items()}
        missing = [f"{100 * (1 - len(known[split]) / len(column)):.2f}" for split, column in columns.items()]
        for number, name in enumerate(label.classes):
            if label.binary and not number:
                continue
            shares = [f"{100 * (values == number).mean():.2f}" if len(values) else "-" for values in known.values()]
            rows.append([label.name if label.binary else f"{label.name}={name}", *shares, *missing])
        if len(set(known["train"].tolist())) < 2:
            odd.append(f"{data.name}: label {label.name} is the same in all of the training part, so nothing is learnt of it")
    return table(["label, %", *data.counts, *(f"missing in {split}" for split in data.counts)], rows)


def _pictures(data, looks: dict, wrong: list[str], odd: list[str]) -> str:
    """Colours, and whether the rows of targets belong to the pictures."""
    import numpy as np

    from .data.faults import SOME
    from .data.glance import rows_explained
    from .tables import table

    rows = []
    for split, look in looks.items():
        part = f"{data.name}, {split} part"
        red, green, blue = np.median(look.colours, axis=0)
        of_faces = any(getattr(task, "normaliser", None) == ("left_eye", "right_eye") for task in data.tasks)
        if of_faces and np.median(look.colours[:, 0] - look.colours[:, 2]) < -BLUER:
            wrong.append(
                f"{part}: expected skin more red than blue, got {red:.0f} red and {blue:.0f} blue of 255; pictures were written as BGR"
            )
        black = (look.thumbnails.max((1, 2, 3)) <= 2).mean()
        if black > SOME:
            wrong.append(f"{part}: expected pictures of 0..255, got {100 * black:.1f} % of them black; were they written from 0..1?")
        cells = []
        for task in data.tasks:
            explained = rows_explained(look.thumbnails, task, data.targets(split)[task.name])
            cells += [f"{explained[lag]:.3f}" if explained else "-" for lag in (0, -1, 1)]
            if not explained:
                continue
            lag = max(explained, key=explained.get)
            if lag and explained[lag] > explained[0] + 0.02:
                wrong.append(
                    f"{part}: expected the {task.name} of each row to go with its picture best, got those of the row {'after' if lag > 0 else 'before'} "
                    f"it (R squared {explained[lag]:.3f}, not {explained[0]:.3f}); they are shifted by one row"
                )
            elif explained[0] < max(explained[-1], explained[1]) + 0.01:
                odd.append(
                    f"{part}: the {task.name} of a row go with its picture no better than those of the next; are they of other pictures?"
                )
        rows.append([split, f"{red:.0f} {green:.0f} {blue:.0f}", *cells])
    head = ["part", "R G B", *(f"{task.name}, {of}" for task in data.tasks for of in ("own row", "row before", "row after"))]
    note = (
        "Median colour of the box around the points, and how much of a row's targets a thumbnail explains (R squared of a held-out half), beside "
        "the targets of the rows around it: rows that belong together have more than 0, others about 0."
    )
    return f"## pictures\n\n{note}\n\n{table(head, rows)}"


def _odd_faces(data, settings: InspectConfig, wrong: list[str], odd: list[str]) -> str:
    """Faces whose points are unlike the others', changed for each other or outside of the picture."""
    import numpy as np

    from .data.faults import SOME, shapes, unlike
    from .sheets import draw
    from .tables import table
    from .tasks import Landmarks

    found = []  # part, index, what is odd
    for task in (task for task in data.tasks if isinstance(task, Landmarks)):
        for split in data.counts:
            targets = data.targets(split)
            shape = shapes(task, targets[task.name])
            swapped = [i for i, names in enumerate(shape.swapped) if names]
            if swapped:
                count = len(shape.swapped)
                sentence = f"{data.name}, {split} part: faces with points changed for each other: {len(swapped)} of {count}"
                (wrong if len(swapped) > SOME * count else odd).append(sentence)
            found += [(split, i, f"{shape.swapped[i]} swapped") for i in swapped[:LISTED]]
            far = [i for i in unlike(shape.off) if not shape.swapped[i]]
            found += [
                (split, i, f"{task.points[shape.worst[i]]} is furthest from the common shape, {shape.off[i]:.2f} off") for i in far[:LISTED]
            ]
            unit = np.nan_to_num(targets[task.name] / targets["size"][:, None], nan=0.5)
            by = np.maximum(-unit, unit - 1).max((1, 2))
            beyond = [i for i in np.argsort(-by, kind="stable") if by[i] > 0]
            found += [(split, i, f"a point {100 * by[i]:.1f} % of a side outside") for i in beyond[:LISTED]]
            if far or beyond:
                odd.append(
                    f"{data.name}, {split} part: faces unlike the others: {len(far)}; with points outside of the picture: {len(beyond)}"
                )
    if not found:
        return "## odd faces\n\nnone"
    rows = [[data.targets(split)["name"][i], split, what] for split, i, what in found]
    records = [data.source(split)[i] for split, i, _ in found]
    captions = [f"{split} {name}: {what}" for name, split, what in rows]
    file = draw(records, captions, data.tasks, Path(settings.out) / f"{data.name}-odd.png")
    return f"## odd faces\n\n{table(['picture', 'part', 'what is odd'], rows)}\n\nwritten: {file}"


def _copies(sets, looks: dict, settings: InspectConfig, wrong: list[str], odd: list[str]) -> str:
    """Pairs of pictures that are the same, told by their hashes and confirmed on their pixels."""
    import numpy as np
    from tqdm import tqdm

    from .data.faults import SOME
    from .data.glance import ALIKE, alike, correlation, near
    from .sheets import draw
    from .tables import table

    places = [(data, split, i) for data in sets for split in data.counts for i in range(data.counts[split])]
    tasks = sets[0].tasks
    sources = {(data.name, split): data.described_by(tasks).source(split) for data in sets for split in data.counts}
    hashes, thumbnails = (
        np.concatenate([getattr(looks[data.name][split], name) for data in sets for split in data.counts])
        for name in ("hashes", "thumbnails")
    )
    pairs = near(hashes)
    pairs = pairs[correlation(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]]) >= ALIKE]  # so that few pictures are decoded again
    found, copied = {}, {}  # pairs by their parts, and whether their files are the same; of each part what is in training too
    for pair in tqdm(pairs, "copies", unit=" pairs", disable=None):
        one, other = (places[i] for i in pair)
        records = [sources[data.name, split][i] for data, split, i in (one, other)]
        if not alike(*records):
            continue
        parts = tuple(f"{data.name}, {split}" for data, split, _ in (one, other))
        found.setdefault(parts, []).append((one, other, records[0]["image"] == records[1]["image"]))
        for (_, split, _), (data, part, i) in ((one, other), (other, one)):
            if split == "train" != part:
                copied.setdefault((f"{data.name}, {part} part", data.counts[part]), set()).add(i)
    for (part, count), which in copied.items():
        (wrong if len(which) > SOME * count else odd).append(f"{part}: training pictures in it: {len(which)} of {count}")
    if not found:
        return "## copies\n\nnone"
    rows, drawn = [], []
    for parts, of_parts in found.items():
        listed = [[sources[data.name, split][i] for data, split, i in pair] for *pair, _ in of_parts[: max(LISTED, settings.pictures)]]
        names = [[record["name"].decode() for record in pair] for pair in listed]
        rows.append([*parts, len(of_parts), sum(same for *_, same in of_parts), "; ".join(map(" = ".join, names[:LISTED]))])
        for pair, of_pair in zip(listed, names, strict=True):
            drawn += [(f"{part} {name}", record) for part, name, record in zip(parts, of_pair, pair, strict=True)]
    drawn = drawn[: 2 * settings.pictures]
    file = draw([record for _, record in drawn], [text for text, _ in drawn], tasks, Path(settings.out) / "copies.png", columns=8)
    return f"## copies\n\n{table(['part', 'part', 'pairs', 'same file', 'pictures'], rows)}\n\nwritten: {file}"


if __name__ == "__main__":
    main()

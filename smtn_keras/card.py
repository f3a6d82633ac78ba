"""The card of an exported model: `model.json` for programs and the same as `README.md` for people."""

import hashlib
from pathlib import Path

import numpy as np

from . import reading, runs
from .certainty import KEYS, sentences
from .errors import UserError
from .tables import by_group, headlines, table
from .tasks import Attributes, Landmarks, Task, tasks_from_json

CARD, README, FILE = "model.json", "README.md", "model.tflite"
MAX_SIDE = 10_000  # pixels of a frame
MEANING = {
    "float32": "float32 throughout",
    "float16": "weights in 16 bits, arithmetic in float32",
    "dynamic": "weights in 8 bits, inputs of their layers rounded to 8 bits as they come; the points' expectations in float32",
    "int8": "weights and maps of the stacks in 8 bits, heads as in dynamic; the points' expectations and all outputs in float32",
}
# by data set what a user of its labels must know
LIMITS = {
    "celeba": "Labels of CelebA. Two people who assigned its 40 attributes anew, each alone, agreed on at least 95 % of the values for 12 of the "
    "40 only, and for High_Cheekbones, Pointy_Nose and Oval_Face about as often as by chance. Of 5,068 faces that are in it twice, 10 to 860 "
    "have contradicting values, by attribute, and of those without No_Beard up to 40 % are estimated to be labelled wrongly (Wu et al. 2022, "
    "arXiv 2210.07356). So an accuracy here says how well a network repeats these labels, and differences of a few points between networks may be "
    "the labels'. Attractive, Big_Nose, Chubby, Male or Young are what annotators saw in a picture, not what somebody is. Of the colour of skin "
    "the labels say no more than Pale_Skin; how errors depend on it is unknown.",
}


def outputs_of(tasks: tuple[Task, ...], shapes: dict[str, tuple]) -> dict[str, dict]:
    """What each output is and the names along it.

    Args:
        shapes: of all outputs, the batch included.
    """
    meanings = {Landmarks: "x and y of each name, in [0, 1] of the picture's width and height", Attributes: "probability of each name"}
    named = {task.name: {"meaning": meanings[type(task)], "names": names_of(task)} for task in tasks}
    for name in sorted(shapes.keys() - named.keys()):
        points = named[name.removesuffix("_error")]["names"]
        named[name] = {"meaning": "by how much of the picture's sides a coordinate of each name is expected to be off", "names": points}
    return {name: {"shape": list(shapes[name]), "dtype": "float32", **entry} for name, entry in named.items()}


def names_of(task: Task) -> list[str]:
    """The names along a task's output."""
    return list(task.points) if isinstance(task, Landmarks) else task.probability_names


def shape_of(task: Task) -> tuple[int, ...]:
    """The shape of a model's answer to a task, without the batch."""
    return task.shape if isinstance(task, Landmarks) else (len(task.probability_names),)


def describe_file(file: Path) -> dict:
    """Name, size and checksum of a file."""
    with file.open("rb") as stream:
        return {"name": file.name, "bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def without_details(result: dict) -> dict:
    """One evaluation, of which a card keeps what has a floor, what is said of certainty, and the groups."""
    return {
        task: parts | {"metrics": {key: value for key, value in parts["metrics"].items() if key in (*parts["floor"], *KEYS)}}
        for task, parts in result.items()
    }


def write(folder: Path, card: dict):
    """Writes both forms."""
    runs.write(folder / CARD, runs.as_json(card))
    runs.write(folder / README, text(card))


def read(folder: Path) -> dict:
    """What `write` wrote.

    Raises:
        UserError: if it is not there, or is not a card of ours.
    """
    file = Path(folder) / CARD
    try:
        card = reading.read_json(file)
        frame = card["data"]["frame"]
        width, height = frame["size"]
        if not all(type(side) is int and 0 < side <= MAX_SIDE for side in (width, height)):
            raise ValueError(f"a frame of {frame['size']} pixels")
        for task in tasks_of(card):
            if isinstance(task, Landmarks):  # cutting a face needs them
                np.reshape(np.float64(frame["mean_landmarks"][task.name]), task.shape)
        if not all(isinstance(value, str) for value in (card["file"]["sha256"], card["signature"], card["data"]["licence"])):
            raise ValueError("a checksum, signature or licence that is no text")
        if not isinstance(card["metrics"], dict) or not isinstance(card["run_metrics"], dict):
            raise ValueError("metrics of no data")
        text(card)  # says whether the rest is there, too
    except FileNotFoundError:
        raise UserError(
            f"{file}: expected the names and frame of the model beside it, found no such file; copy it from the export"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"{file}: expected a {CARD} written by smtn_keras.export, got a damaged or different file ({error}); export it again"
        ) from None
    return card


def tasks_of(card: dict) -> tuple[Task, ...]:
    """The tasks that a model of this card answers."""
    return tasks_from_json(card["data"]["tasks"])


def check_file(file: Path, card: dict):
    """Refuses a file that is not the card's.

    Raises:
        UserError: if it is missing, was changed or was exchanged.
    """
    if not file.is_file():
        raise UserError(f"{file}: expected the model that the {CARD} beside it describes, found no such file; copy both from the export")
    came, wanted = describe_file(file)["sha256"], card["file"]["sha256"]
    if came != wanted:
        raise UserError(
            f"{file}: expected the model that the {CARD} beside it describes (sha256 {wanted[:12]}), got a damaged or different file "
            f"({came[:12]}); copy both from the export"
        )


def text(card: dict) -> str:
    """The card as a page of Markdown."""
    file, data, quantisation, latency = card["file"], card["data"], card["quantisation"], card["latency"]
    arithmetic = f"`{quantisation['preset']}`: {MEANING[quantisation['preset']]}"
    if quantisation["calibrated_on"]:
        arithmetic += f"; calibrated on {quantisation['calibrated_on']}"
    facts = {
        "network": f"`{card['network']}`, {card['parameters'] / 1e6:.2f} M parameters, of the run `{card['run']}`"
        + (", averaged over a picture and its mirror image" if card["flip_averaged"] else ""),
        "file": f"`{file['name']}`, {file['bytes'] / 1e6:.2f} MB, sha256 `{file['sha256']}`",
        "arithmetic": arithmetic,
        "input": f"`{card['input']['name']}`, {card['input']['dtype']} {_shape(card['input'])}: {card['input']['meaning']}",
        "probabilities": (calibration := card.get("calibration"))
        and f"logits divided by the temperature {calibration['temperature']}, fitted on {calibration['fitted_on']}",
        "signature": f"`{card['signature']}`, with the outputs below by name",
        "latency": latency
        and f"{latency['milliseconds']:.2f} ms a call on one thread of {latency['processor']}, median of {latency['calls']}",
        "training data": f"{data['name']}, {data['counts']['train']:,} pictures",
        "licence of the data": data["licence"],
    }
    lines = [f"# {card['name']}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items() if value), ""]
    lines += [f"Made by {card['made_by']}, and made from `{CARD}`, which says the same to programs.", "", "## Outputs", ""]
    for name, output in card["outputs"].items():
        lines.append(
            f"- `{name}`, {output['dtype']} {_shape(output)}: {output['meaning']}. Names, in this order: {', '.join(output['names'])}."
        )
    lines += [
        "",
        "Points count from the picture's upper left corner. Pictures are to be cut as the training part's were: their mean points lie at "
        f"`data.frame.mean_landmarks` of `{CARD}`, in [0, 1] of a frame of {' x '.join(map(str, data['frame']['size']))} pixels, which is "
        "then resized to the input.",
        "",
        *(line for name, limits in LIMITS.items() if name in data["name"].split("+") for line in ("## Limits", "", limits, "")),
        "## Measured",
        "",
    ]
    return "\n".join([*lines, *_tables(card), *_groups(card)]) + "\n"


def _tables(card: dict) -> list[str]:
    """The headlines of the file, of the run it was made from where that was measured too, and of the floor."""
    if not card["metrics"]:
        return [f"Not yet: `python -m smtn_keras.evaluate --model FOLDER --split validation` measures this file and adds it to `{CARD}`."]
    columns = list(dict.fromkeys(name for result in card["metrics"].values() for name in headlines(result)))
    rows = []
    for key, result in card["metrics"].items():
        of = {"this file": headlines(result), "the run": headlines(card["run_metrics"].get(key, {})), "floor": headlines(result, "floor")}
        rows += [[key, who, *(f"{row[c]:.2f}" if c in row else "" for c in columns)] for who, row in of.items() if row]
    return [
        "In percent, read from this file; the run is the network before it was exported, the floor what is reached without looking.",
        "",
        table(["data", "", *columns], rows),
        *(f"\n{key}: {' '.join(lines)}" for key, result in card["metrics"].items() if (lines := sentences(result))),
    ]


def _groups(card: dict) -> list[str]:
    """Tables by group of those parts that were measured so."""
    blocks = [f"{key}:\n\n{block}" for key, result in card["metrics"].items() for block in by_group(result)]
    if not blocks:
        return []
    how = (
        "For each class of a label, in percent, with 95 % intervals of a bootstrap; the gap is between the best and the worst class. Balanced "
        "accuracy is over the labels of which every class has some images of either kind."
    )
    return ["", "## By group", "", "\n\n".join([how, *blocks])]


def _shape(entry: dict) -> str:
    return f"`({', '.join(map(str, entry['shape']))})`"

"""Images a second of `smtn_keras.prepare`: drawn faces, and a folder laid out as CelebA is."""

import contextlib
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from turns import Contender, table_row, take_turns


def contender(name: str, source: str | None, samples: int, folder: str):
    """A preparation into a new folder each time, and beside it the least that it must do, in one thread: drawing, or decoding."""
    from smtn_keras.data.synthetic import draw_face
    from smtn_keras.prepare import prepare

    def prepared():
        with tempfile.TemporaryDirectory(dir=folder) as into, contextlib.redirect_stdout(sys.stderr):
            prepare(name, Path(into), **({"source": Path(source)} if source else {"samples": samples}))

    def floor():
        if source is None:
            for i in range(samples):
                draw_face(0, i)
            return
        import cv2

        for file in Path(source).glob("img_align_celeba/*.jpg"):
            cv2.imread(str(file))

    def answer(**_):
        seconds = {}
        for what, work in (("prepare", prepared), ("floor", floor)):
            began = time.perf_counter()
            work()
            seconds[what] = [time.perf_counter() - began]
        return {"seconds": seconds}

    return {}, answer


def write_celeba(folder: Path, count: int):
    """A folder of drawn faces laid out as CelebA is published."""
    import cv2

    from smtn_keras.data.celeba import ATTRIBUTES
    from smtn_keras.data.synthetic import draw_face

    pictures = folder / "img_align_celeba"
    pictures.mkdir(parents=True)
    points = "lefteye righteye nose leftmouth rightmouth".split()  # noqa: SIM905
    labels = [str(count), " ".join(ATTRIBUTES)]
    places = [str(count), " ".join(f"{point}_{axis}" for point in points for axis in "xy")]
    parts = []
    for i in range(count):
        image, landmarks_px, attributes = draw_face(0, i)
        name = f"{i + 1:06d}.jpg"
        cv2.imwrite(str(pictures / name), image[..., ::-1])
        labels.append(f"{name} {' '.join(str(2 * int(label) - 1) for label in attributes)}")
        places.append(f"{name} {' '.join(str(int(place)) for place in landmarks_px.ravel())}")
        parts.append(f"{name} {(i % 10 == 8) + 2 * (i % 10 == 9)}")  # 8 to 1 to 1
    for stem, lines in (("list_attr_celeba", labels), ("list_landmarks_align_celeba", places), ("list_eval_partition", parts)):
        (folder / f"{stem}.txt").write_text("\n".join(lines) + "\n")


def measure(settings, work_folder) -> dict:
    """Both take turns."""
    samples = 60 if settings.quick else 2000
    write_celeba(work_folder / "celeba", samples)
    contenders = {
        name: Contender(name, "prepare", {"name": name, "source": source, "samples": samples, "folder": str(work_folder)})
        for name, source in (("synthetic", None), ("celeba", str(work_folder / "celeba")))
    }
    take_turns(list(contenders.values()), settings.seconds, settings.rounds)
    ratios, rows = {}, []
    for name, one in contenders.items():
        taken, floor = one.median("prepare"), one.median("floor")
        cells = None
        if taken:
            ratios[f"{name}: the least over prepare, seconds"] = {"value": floor / taken, "better": "higher"}
            cells = [f"{samples / taken:.0f}", f"{samples / floor:.0f}", f"{floor / taken:.2f}", f"{one.peak_mb:.0f}"]
        rows.append(table_row([name, str(samples)], one, cells, 4))
    head = ["", "pictures", "images/s", "the least, images/s", "the least over prepare, seconds", "MB at most", ""]
    notes = (
        "The least is what cannot be left out, in one thread: drawing each face (synthetic), or decoding each JPEG (celeba, here a folder of drawn "
        "faces in its layout)."
    )
    return {
        "details": [dataclasses.asdict(one) for one in contenders.values()],
        "ratios": ratios,
        "head": head,
        "rows": rows,
        "notes": notes,
    }

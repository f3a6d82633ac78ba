"""Milliseconds a face in headless Chromium, with WebAssembly: `python benchmarks/browser.py exported/mobile exported/mobile_tiny`

Exported models and the networks of face-api are asked in turn for the same crops, so that other work on the machine slows all alike.
Needs Debian's chromium, `pip install playwright` and `npm ci --prefix web`.
"""

import base64
import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from tqdm import trange

from smtn_keras import web
from smtn_keras.errors import UserError, clean_exit
from smtn_keras.report import check_markers, insert
from smtn_keras.tables import table

HERE = Path(__file__).parent
SWITCHES = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
PACKAGES = {
    "@vladmandic/face-api": ("dist/face-api.esm.js", "model/age_gender_model*", "model/face_landmark_68_model*"),
    "@tensorflow/tfjs-backend-wasm": ("wasm-out/*.wasm",),
}
PEERS = {"points68": "face-api, 68 points", "ageGender": "face-api, age and gender"}  # by their function in browser.js
WEIGHTS = ("face_landmark_68_model", "age_gender_model")
POLICY = web.POLICY | {"script-src": "'self' blob: 'unsafe-inline' 'unsafe-eval'", "worker-src": "'self' blob:"}  # face-api asks for more
WARM_UP = 10


class Browser:
    """Networks in a page of a headless Chromium: exported folders first, then peers.

    Attributes:
        usable_ms: how long the first model's page took until it could take photos; None without models.
        served: all its files, by their path in the URL.

    Raises:
        UserError: if a package, the browser or a model's folder is missing, or a network does not run there.
    """

    def __init__(self, models: Sequence[str | Path] = (), peers: Sequence[str] = tuple(PEERS)):
        self.served = {f"/{name}": HERE / name for name in ("browser.html", "browser.js")}
        if peers:
            self.served |= web.npm_files(PACKAGES, "npm ci")
        for i, model in reversed(list(enumerate(models))):
            of_page = web.page_files(model)
            self.served |= of_page | {f"/models/{i}/{name}": of_page[f"/model/{name}"] for name in ("model.tflite", "model.json")}
        loads = [f"exported('/models/{i}/')" for i in range(len(models))] + [f"{name}()" for name in peers]
        with contextlib.ExitStack() as ends:
            self._page = ends.enter_context(_page())
            url = ends.enter_context(web.serving(self.served, policy=POLICY))
            self.usable_ms = self._usable_ms(url) if models else None
            self._page.goto(f"{url}browser.html")
            self._run("async () => { window.all = await import('/browser.js'); window.networks = [] }")
            for load in loads:
                self._run(f"async () => {{ networks.push(await all.{load}) }}")
            self._ends = ends.pop_all()

    def ask(self, crop: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Of each network its points in a crop, and milliseconds.

        Args:
            crop: `(h, w, 3)` uint8 RGB.

        Returns:
            Points `(points, 2)`, or `(0, 2)`, are in pixels from the upper left corner.
        """
        rgba = base64.b64encode(np.dstack([crop, np.full(crop.shape[:2], 255, np.uint8)]).tobytes()).decode()
        answers = self._run("([width, height, rgba]) => all.ask(networks, width, height, rgba)", [crop.shape[1], crop.shape[0], rgba])
        return [(np.array(points).reshape(-1, 2), milliseconds) for points, milliseconds in answers]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ends.close()

    def _usable_ms(self, url: str) -> float:
        self._page.goto(f"{url}?accelerator=wasm")
        self._page.wait_for_selector("body:not([data-state=loading])")
        return self._run("() => performance.getEntriesByName('ready')[0].startTime")

    def _run(self, function: str, argument=None):
        from playwright.sync_api import Error

        try:
            return self._page.evaluate(function, argument)
        except Error as error:
            raise UserError(f"expected networks that run in the browser, got: {error.message.splitlines()[0]}") from None


class FaceApi(Browser):
    """face-api alone, for crops that a face fills as its detector's box does.

    Attributes:
        files: its weights.
    """

    def __init__(self):
        super().__init__()
        self.files = [file for file in self.served.values() if file.suffix == ".bin"]

    def landmarks(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """The 68 points of a crop `(h, w, 3)` uint8 RGB, and the milliseconds that they, age and gender took.

        Returns:
            Points `(68, 2)` are in pixels from the upper left corner.
        """
        (points_px, of_points), (_, of_age_and_gender) = self.ask(crop)
        return points_px, of_points + of_age_and_gender


@contextlib.contextmanager
def _page():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("expected the package playwright, found none; run: pip install playwright") from None
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise UserError("expected the browser chromium, found none; install Debian's package chromium")
    with sync_playwright() as playwright, contextlib.closing(playwright.chromium.launch(executable_path=program, args=SWITCHES)) as browser:
        yield browser.new_page()


@dataclasses.dataclass(frozen=True)
class Row:
    """How long a network took.

    Attributes:
        milliseconds: a face, the median.
        megabytes: its files.
    """

    name: str
    milliseconds: float
    megabytes: float


def measure(models: Sequence[str | Path], crops: Sequence[np.ndarray], rounds: int) -> tuple[list[Row], float | None]:
    """Times exported folders and face-api in turns.

    Args:
        models: as `web.page_files` takes them.
        crops: `(h, w, 3)` uint8 RGB, cut as the models' training data; in each round all answer for one.

    Returns:
        A row for each, and after how many milliseconds the page of the first model could take photos.
    """
    with Browser(models) as browser:
        times = [[ms for _, ms in browser.ask(crops[i % len(crops)])] for i in trange(WARM_UP + rounds, unit=" rounds")]
    weights = [[browser.served[f"/models/{i}/model.tflite"]] for i in range(len(models))]
    weights += [[file for file in browser.served.values() if file.name == f"{name}.bin"] for name in WEIGHTS]
    megabytes = [sum(file.stat().st_size for file in files) / 1e6 for files in weights]
    names = [*map(str, models), *PEERS.values()]
    return [Row(*row) for row in zip(names, np.median(times[WARM_UP:], axis=0), megabytes, strict=True)], browser.usable_ms


def main(models: tyro.conf.Positional[tuple[str, ...]] = ("mobile",), rounds: int = 200, into: str | None = None):
    """Milliseconds a face in headless Chromium, with WebAssembly.

    Args:
        models: Exported folders, or names of shipped models.
        rounds: In each, all answer for one face.
        into: A Markdown file whose lines between '<!-- browser: begin -->' and '<!-- browser: end -->' are replaced by the table.
    """
    if not models or rounds < 1:
        raise UserError(f"expected a model and at least one round, got {len(models)} and {rounds}; name a model")
    if into:
        check_markers(Path(into), "browser")
    from smtn_keras.data.synthetic import draw_face

    rows, usable_ms = measure(models, [draw_face(seed=0, index=i)[0] for i in range(20)], rounds)
    lines = [[row.name, f"{row.milliseconds:.2f}", f"{row.megabytes:.2f}"] for row in rows]
    text = f"{table(['', 'ms', 'MB'], lines)}\n\nThe page of {models[0]} takes photos {usable_ms / 1000:.2f} s after it is asked for."
    print(text)
    if into:
        insert(Path(into), "browser", text)


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main, prog="python benchmarks/browser.py", description=__doc__)

"""The notebooks: as committed they were run from top to bottom and have learned something, and they still run."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TINY = {"samples": 60, "epochs": (1, 1), "network": ["--image-size", "16", "--width", "0.04", "--no-batch-norm"]}
QUICK = {
    "01_quickstart": TINY,
    "02_feature_maps": TINY | {"pictures_seen": 4},
    "03_compare_networks": {
        "samples": 60,
        "epochs": 2,
        "networks": ["separation_stage1"],
        "flags": ["--image-size", "16", "--width", "0.04"],
    },
    "04_export_and_device": {"samples": 60, "epochs": 1, "image_size": 16, "widths": (0.06, 0.04)},
    "05_your_own_data": TINY,
}
MOST_BYTES = 1_500_000
MACHINE = re.compile(r"(?<![\w.])/(?:tmp|home|root|Users|opt|usr|private)\b|[A-Z]:\\\\|site-packages|cuda", re.IGNORECASE)

each = pytest.mark.parametrize("name", QUICK)


def read(name: str):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook) -> list:
    return [output for cell in code(notebook) for output in cell.outputs]


def said(notebook) -> list[str]:
    """All text of the outputs."""
    texts = [output.text for output in outputs(notebook) if output.output_type == "stream"]
    return texts + [text for output in outputs(notebook) for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]


def names_set(source: str) -> set[str]:
    return {target.id for node in ast.parse(source).body for target in node.targets}


def test_every_notebook_is_tested():
    assert [file.stem for file in sorted(NOTEBOOKS.glob("*.ipynb"))] == sorted(QUICK)


@each
def test_committed_notebook_was_run_from_top_to_bottom(name):
    notebook = read(name)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    kinds = {output.output_type if output.output_type != "stream" else output.name for output in outputs(notebook)}
    assert kinds <= {"stdout", "display_data", "execute_result"}, "errors, warnings or progress bars"
    assert any(kind.startswith("image/") for output in outputs(notebook) for kind in output.get("data", {}))


@each
def test_committed_notebook_is_small_and_tells_nothing_of_the_machine(name):
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < MOST_BYTES
    found = [match[0] for text in [*said(read(name)), *(cell.source for cell in read(name).cells)] for match in MACHINE.finditer(text)]
    assert not found


@each
def test_committed_notebook_shows_runs_above_their_floor(name):
    tables = [rows for text in said(read(name)) for rows in tables_of(text)]
    compared = 0
    for rows in tables:
        floors = [row for row in rows if row["name"].startswith("*floor")]
        for column, better in (("NME", -1), ("balanced", 1)):
            for row in rows:
                if column in row and floors and not row["name"].startswith("*"):  # those are floors and the paper's own
                    assert better * (float(row[column]) - float(floors[0][column])) > 0, (row["name"], column)
                    compared += 1
    assert compared >= 4, "two runs, points and labels"


def tables_of(markdown: str) -> list[list[dict[str, str]]]:
    """The rows of each Markdown table by the names of its columns; that of the first is `name`."""
    found, head = [], None
    for line in markdown.splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if head is None:
            head = ["name", *cells[1:]]
            found.append([])
        elif set(line) - set("|-: "):
            found[-1].append(dict(zip(head, cells, strict=True)))
    return found


# -- running them -----------------------------------------------------------------------------------


def with_parameters(notebook, values: dict):
    """The notebook with other values in its cell of parameters."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert set(values) == names_set(cell.source)
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    return notebook


def placed(notebook, folder: Path):
    """The notebook with a cell before it that brings a used kernel where a fresh one starts, and temporary files to a folder."""
    begin = f"import os, tempfile\nos.chdir({str(NOTEBOOKS)!r})\ntempfile.tempdir = {str(folder)!r}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(begin))
    return notebook


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all quick runs, as most of their time would go into importing TensorFlow."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)


@each
def test_notebook_runs_with_little_data(name, kernel, tmp_path):
    notebook = placed(with_parameters(read(name), QUICK[name]), tmp_path)
    NotebookClient(notebook, km=kernel, timeout=600).execute()
    assert not [output for output in outputs(notebook) if output.output_type == "stream" and output.name == "stderr"]
    assert any(kind.startswith("image/") for output in outputs(notebook) for kind in output.get("data", {}))


def test_a_command_that_fails_stops_a_notebook(kernel):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("from smtn_keras import fit\nfit.main(['--image-size', '17'])")])
    with pytest.raises(CellExecutionError, match="SystemExit"):
        NotebookClient(notebook, km=kernel, timeout=600).execute()


@pytest.mark.slow
@each
def test_notebook_runs_as_it_is(name, tmp_path):
    notebook = placed(read(name), tmp_path)
    NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()

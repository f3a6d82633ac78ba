"""Every reader given mutated files and odd values takes them or refuses them in one sentence, and so it does what once was a fault.

Few inputs, and the same in each run; `tests/reliability/fuzz.py` tries many.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reliability import fuzz
from reliability.fuzz import GROWN, GUIDED, ODD, SHARES, State, mutated
from reliability.readers import READERS, Reader, fault_of

from smtn_keras.errors import UserError

CORPUS = Path(__file__).parent / "hostile"  # READER/KIND-WHAT: files that once were a fault
EXAMPLES = {"SavedModels": 2, ".tflite": 10, ".keras and .npz": 10, "prepared folders": 6}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """The readers by name, each made when it is asked for."""
    made = {}

    def reader(name):
        if name not in made:
            made[name] = READERS[name](tmp_path_factory.mktemp("reader"))
        return made[name]

    return reader


def test_every_reader_has_its_share():
    assert set(SHARES) == set(READERS) and set(GUIDED) < set(READERS)
    assert sum(SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name == "SavedModels" else ()) for name in READERS])
def test_mutated_files(name, readers):
    reader = readers(name)
    for kind, seed in enumerate(reader.seeds):
        reader.read(seed, kind)  # whole ones are taken

    @settings(max_examples=EXAMPLES.get(name, 40), derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32), st.integers(0, len(reader.seeds) - 1))
    def check(number, kind):
        assert fault_of(reader, mutated(random.Random(number), reader.seeds, kind), kind) is None

    check()


VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=5)),
    *(st.lists(st.text(max_size=3) | st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
)


def _places(content, path=()):
    """The paths of everything in a JSON text."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] * bool(path) + [place for key, value in parts for place in _places(value, (*path, key))]


@pytest.mark.parametrize("name", ["files of a run", "cards", "prepared folders"])
def test_json_with_another_value(name, readers):
    reader = readers(name)
    kinds = [kind for kind, seed in enumerate(reader.seeds) if seed.lstrip()[:1] == b"{"]
    places = {kind: _places(json.loads(reader.seeds[kind])) for kind in kinds}

    @settings(max_examples=6 if name == "prepared folders" else 50, derandomize=True, deadline=None, database=None)
    @given(st.data(), st.sampled_from(kinds), VALUES)
    def check(data, kind, value):
        content = part = json.loads(reader.seeds[kind])
        *above, last = data.draw(st.sampled_from(places[kind]))
        for key in above:
            part = part[key]
        part[last] = value
        assert fault_of(reader, json.dumps(content).encode(), kind) is None

    check()


@pytest.mark.parametrize("name", ["CelebA's lists", "MTFL's lists"])
def test_lists_with_another_word(name, readers):
    reader = readers(name)

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(
        st.data(),
        st.integers(0, len(reader.seeds) - 1),
        st.sampled_from(ODD) | st.floats().map(lambda x: repr(x).encode()) | st.binary(max_size=6),
    )
    def check(data, kind, word):
        words = re.split(rb"([\s,]+)", reader.seeds[kind])
        words[2 * data.draw(st.integers(0, len(words) // 2))] = word
        assert fault_of(reader, b"".join(words), kind) is None

    check()


@pytest.mark.parametrize("file", [str(file.relative_to(CORPUS)) for file in sorted(CORPUS.glob("*/*"))])
def test_what_once_was_a_fault(file, readers):
    name = next(name for name in READERS if re.sub(r"\W+", "_", name) == Path(file).parent.name)
    assert fault_of(readers(name), (CORPUS / file).read_bytes(), int(Path(file).name.partition("-")[0])) is None


# -- the fuzzer itself ------------------------------------------------------------------------------


def test_what_counts_as_a_fault():
    def says(error):
        def read(data, kind):
            raise error

        return fault_of(Reader([], read), b"")

    assert fault_of(Reader([], lambda data, kind: None), b"") is None
    assert says(UserError("x: expected one thing, got another; correct it")) is None
    assert says(UserError("no")) == "says: no"
    assert says(KeyError("a")) == "KeyError: 'a'"
    assert says(RuntimeWarning("overflow")) == "RuntimeWarning: overflow"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "ends", "tried", "faults"),
    [
        ("data", 0, 2, 0),
        ("data[9]", 0, 2, 2),
        ("time.sleep(60)", -signal.SIGALRM, 1, 0),
        ("os.abort()", -signal.SIGABRT, 1, 0),
        ("kept.append(bytearray(b'x' * 200_000_000))", GROWN, 1, 1),
    ],
)
def test_a_child_says_how_it_fares(code, ends, tried, faults, tmp_path):
    """In a process of its own, as some end it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "faults").mkdir()
    (tmp_path / "work" / "state").write_bytes(bytes(State()))
    child = f"""if True:
        import os, sys, time
        from pathlib import Path
        from reliability import fuzz
        from reliability.readers import Reader
        kept = []
        fuzz.SECONDS, fuzz.MEGABYTES = 3, 100
        watched = fuzz.Watched("zips", Reader([], lambda data, kind: {code}), 7, Path({str(tmp_path / "work")!r}))
        watched(b"one", 0)
        watched(b"two", 1)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), str(Path(__file__).parent)))}
    assert subprocess.run([sys.executable, "-c", child], env=environment, check=False).returncode == ends
    state = State.from_buffer_copy((tmp_path / "work" / "state").read_bytes())
    assert (state.tried, state.faults) == (tried, faults)
    assert (tmp_path / "work" / "current").read_bytes() == (b"\1two" if tried == 2 else b"\0one")
    kept = [file.read_bytes() for file in sorted((tmp_path / "faults").iterdir())]
    assert kept == [b"\0one", b"\1two"][:faults]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zips", "MTFL's lists"])
def test_measure(name, tmp_path, monkeypatch):
    if name in GUIDED:
        pytest.importorskip("atheris", reason="pip install 'smtn_keras[fuzz]'")
    monkeypatch.setattr(fuzz, "SHARES", {name: 1})
    [row] = fuzz.measure(30, 5, tmp_path)
    assert row["what"] == name and row["tried"] >= 30 and row["faults"] == 0
    assert 0 < row["worst_seconds"] < 5 and row["peak_mb"] < 1000 and row["note"]
    assert list((tmp_path / "faults").iterdir()) == []

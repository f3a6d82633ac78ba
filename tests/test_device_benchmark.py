"""benchmarks/device.py: which points of a peer are ours, what they are worth, and that the others go on without one that is lost."""

import csv
import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from smtn_keras import export, runs
from smtn_keras.errors import UserError

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import device
import process
from peers import faces, measure, scores, serve, tables

# left eye, right eye, nose and mouth: 40 px between the eyes
FACE = np.float64([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
SIZES = np.array([[100, 100]])


# -- processes --------------------------------------------------------------------------------------

FAKE = """
import json, sys, time
import numpy as np
said = {"points": POINTS, "gives": "nothing", "threads": "one", "megabytes": 1.5, "versions": {}}
START
print(json.dumps(said), flush=True)
for number, line in enumerate(sys.stdin):
    request = json.loads(line)
    truth = np.load(request["faces"].replace(".npz", ".npy"))
    ON_REQUEST
    answers = [None if i in MISSED else {"landmarks": (truth[i] + 2).tolist()} for i in request["indices"]]
    print(json.dumps({"answers": answers, "milliseconds": [float(i) for i in request["indices"]]}), flush=True)
"""


class Faked(measure.Contender):
    """A contender whose process is a few lines: its points lie 2 px to the lower right of the truth."""

    script: Path

    def start(self, cores, cache):
        running = process.Process([sys.executable, str(self.script)], cores)
        self.facts = running.facts
        return running


@pytest.fixture
def fake(tmp_path):
    def make(name, start="", on_request="pass", missed=()):
        contender = Faked(name, "fake", None, "whole")
        contender.script = tmp_path / f"{name}.py"
        replaced = {"POINTS": repr(list(serve.FIVE)), "START": start, "ON_REQUEST": on_request, "MISSED": repr(list(missed))}
        text = FAKE
        for word, by in replaced.items():
            text = text.replace(word, by)
        contender.script.write_text(text)
        return contender

    return make


@pytest.fixture
def ten(tmp_path):
    """A data set of ten black pictures."""
    truth = np.stack([FACE + i for i in range(10)])
    np.savez(tmp_path / "ten.npz", *np.zeros((10, 100, 100, 3), np.uint8))
    np.save(tmp_path / "ten.npy", truth)
    part = faces.Part(tmp_path / "ten.npz", truth, SIZES.repeat(10, 0))
    return faces.Faces("ten", part, part, None)


def test_a_peer_is_measured_before_and_after_its_offset(fake, ten, tmp_path):
    peer = fake("peer", missed=[4])
    measure.accuracy(peer, [ten], 1, tmp_path)
    result = peer.metrics["ten"]
    assert peer.not_measured is None
    assert result["nme"] == pytest.approx(100 * np.hypot(2, 2) / 40, abs=1e-3)
    assert result["nme_after_offset"] == pytest.approx(0, abs=1e-3)
    assert result["not_found"] == result["failure_rate"] == 10
    assert peer.offsets["ten"] == [[-0.05, -0.05]] * 5


def test_what_was_measured_is_not_measured_again_while_all_stays_the_same(fake, ten, tmp_path):
    first, again, other = fake("peer"), fake("peer"), fake("peer")
    measure.accuracy(first, [ten], 1, tmp_path)
    again.script.write_text("raise SystemExit('started')")
    measure.accuracy(again, [ten], 1, tmp_path)
    assert again.not_measured is None
    assert (again.facts, again.metrics, again.views, again.offsets) == (first.facts, first.metrics, first.views, first.offsets)
    more = dataclasses.replace(ten, test=dataclasses.replace(ten.test, truth_px=ten.test.truth_px + 1))
    measure.accuracy(other, [more], 1, tmp_path)
    assert other.not_measured == "started"


def test_one_that_dies_or_says_nothing_does_not_end_the_run(fake, ten, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 20)
    dies = fake("dies", on_request="raise RuntimeError('no more')")
    later = fake("later", on_request="if number == 4: sys.exit('enough')")
    absent = fake("absent", start="import no_such_package")
    good = fake("good")
    for one in (dies, later, absent, good):
        measure.accuracy(one, [ten], 1, tmp_path)
    assert (dies.not_measured, absent.not_measured) == ("RuntimeError: no more", "ModuleNotFoundError: No module named 'no_such_package'")
    assert later.not_measured is None and good.not_measured is None
    measure.times([dies, later, absent, good], ten.test, "ten", 1, 8, tmp_path)
    assert later.not_measured == "when timed, enough" and not later.milliseconds and later.metrics
    assert good.not_measured is None and good.milliseconds["1"]["count"] == 8 * measure.A_TURN
    assert not dies.milliseconds and not absent.milliseconds


def test_silence_has_an_end(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "PATIENCE", 0.5)
    with pytest.raises(process.Lost, match=r"it did not answer for 0\.5 s"):
        fake("silent", start="time.sleep(60)").start(1, tmp_path)


def test_a_process_stays_on_its_cores(tmp_path):
    script = tmp_path / "where.py"
    script.write_text(
        "import os, json; print(json.dumps({'cores': len(os.sched_getaffinity(0)), 'threads': os.environ['OMP_NUM_THREADS']}))"
    )
    if process.cores_here() < 2:
        pytest.skip("one core")
    for cores in (1, 2):
        running = process.Process([sys.executable, str(script)], cores)
        assert running.facts == {"cores": cores, "threads": str(cores)}
        running.close()
    assert process.cores_here() >= 2


def test_an_environment_is_made_once_and_anew_where_it_was_broken_off(tmp_path, monkeypatch):
    ran = []

    def run(*command):
        ran.append(" ".join(map(str, command)))
        (tmp_path / "cache" / f"dlib-{sys.version_info.major}.{sys.version_info.minor}").mkdir(parents=True, exist_ok=True)
        if "pip" in command and len(ran) == 2:
            raise process.Lost("it could not be installed: no network")

    monkeypatch.setattr(process, "_run", run)
    wanted = measure.HERE / "dlib.txt"
    with pytest.raises(process.Lost, match="no network"):
        process.interpreter(wanted, tmp_path / "cache")
    python, *_ = process.interpreter(wanted, tmp_path / "cache")
    assert len(ran) == 4 and python.startswith(str(tmp_path / "cache" / "dlib-"))
    process.interpreter(wanted, tmp_path / "cache")
    assert len(ran) == 4
    changed = tmp_path / "dlib.txt"
    changed.write_text("numpy==1.0\n")
    process.interpreter(changed, tmp_path / "cache")
    assert len(ran) == 6 and "--clear" in ran[4]


def test_what_pip_says_is_the_reason():
    program = "import sys; print('WARNING: old', 'ERROR: No such file', '', 'WARNING: x', sep='\\n', file=sys.stderr); sys.exit(1)"
    with pytest.raises(process.Lost, match=r"^it could not be installed: No such file$"):
        process._run(sys.executable, "-c", program)


@pytest.mark.parametrize("packages", ["mediapipe", "dlib"])
def test_peers_packages_are_pinned(packages):
    lines = [line for line in (measure.HERE / f"{packages}.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines and all("==" in line for line in lines)
    assert packages in {which for _, which, _ in device.PEERS.values()}


def test_every_peer_is_served():
    assert set(device.PEERS) == set(serve.SERVED) - {"ours"}


# -- tables -----------------------------------------------------------------------------------------


def canned():
    def one(name, ours=False, reason=None, metrics=None, milliseconds=None, **facts):
        return {
            "name": name,
            "model": "x.tflite" if ours else None,
            "metrics": metrics or {},
            "milliseconds": milliseconds or {},
            "facts": facts,
            "not_measured": reason,
        }

    def result(nme, after, success, failures, missed=0.0, points=5, **more):
        return {
            "nme": nme,
            "nme_after_offset": after,
            "success_rate": success,
            "failure_rate": failures,
            "not_found": missed,
            "points": points,
            **more,
        }

    return {
        "environment": {"processor": "a processor"},
        "settings": {"data": ["mtfl"], "cores": [1, 2]},
        "data": {"mtfl": {"validation": 400, "test": 1000}},
        "contenders": [
            one(
                "mobile",
                True,
                None,
                {"mtfl": result(5.5, 5.25, 91.5, 3.4, accuracy=88.3)},
                {"1": {"median": 2.0}, "2": {"median": 1.5}},
                megabytes=1.9,
                gives="5 points, 41 attributes",
                threads="as many as cores",
            ),
            one(
                "few",
                False,
                None,
                {"mtfl": result(10.0, 4.0, 60.0, 7.0, 1.5, 3)},
                {"1": {"median": 5.0}},
                megabytes=9.15,
                gives="3 points",
                threads="one by design",
            ),
            one("absent", False, "it could not be | installed"),
        ],
    }


def test_the_table_has_a_row_for_each_and_the_reason_for_what_is_missing():
    head, _, *rows = tables.markdown(canned()).splitlines()[:5]
    assert head == "|  |  | mtfl NME | mtfl moved | mtfl success | mtfl failures | ms, 1 core | ms, 2 cores | MB | gives |"
    assert rows == [
        "| 1 | mobile | 5.50 | 5.25 | 91.50 | 3.40 | 2.00 (1.00x) | 1.50 (1.00x) | 1.90 | 5 points, 41 attributes; 88.30 % right on mtfl |",
        "| 2 | few | 10.00 (3 points) | 4.00 (3 points) | 60.00 | 7.00 (1.50 not found) | 5.00 (2.50x) | - | 9.15 | 3 points |",
        "| 3 | absent | - | - | - | - | - | - | - | not measured: it could not be / installed |",
    ]


def test_the_legend_names_faces_processor_and_threads():
    legend = tables.markdown(canned())
    assert "1000 of mtfl (400)" in legend and "a processor" in legend
    assert "as many as cores: mobile; one by design: few" in legend


def test_all_numbers_are_written(tmp_path):
    tables.write(canned(), tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["device.csv", "device.json", "device.md", "device.png"]
    rows = list(csv.DictReader((tmp_path / "out" / "device.csv").open()))
    assert [(row["name"], row["mtfl_nme"], row["milliseconds_2"], row["not_measured"]) for row in rows] == [
        ("mobile", "5.5", "1.5", ""),
        ("few", "10.0", "", ""),
        ("absent", "", "", "it could not be | installed"),
    ]
    assert json.loads((tmp_path / "out" / "device.json").read_text()) == canned()


# -- ours, from the file to the table ---------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(drawn):
    export.main(["--run", str(drawn / "stage2"), "--out", str(drawn / "device" / "small")])
    return drawn / "device" / "small"


def test_an_export_is_worth_what_evaluate_says_of_its_run(exported, drawn, tmp_path, capsys):
    out, page = tmp_path / "out", tmp_path / "page.md"
    page.write_text("before\n<!-- device: begin -->\n<!-- device: end -->\nafter\n")
    flags = [
        "--data",
        "synthetic",
        "--data-dir",
        str(drawn / "data"),
        "--cores",
        "1",
        "--rounds",
        "2",
        "--out",
        str(out),
        "--into",
        str(page),
        "--cache",
        str(tmp_path),
    ]
    device.main([str(exported), str(exported / "model.tflite"), "--peers", *flags])
    everything = json.loads((out / "device.json").read_text())
    folder, file = everything["contenders"]
    run = runs.read_metrics(drawn / "stage2")["synthetic/test"]
    result = folder["metrics"]["synthetic"]
    assert result == file["metrics"]["synthetic"] and result["not_found"] == 0
    assert result["samples"] == run["landmarks"]["metrics"]["samples"]
    assert result["nme"] == pytest.approx(run["landmarks"]["metrics"]["nme"], abs=0.02)
    assert result["accuracy"] == pytest.approx(run["attributes"]["metrics"]["accuracy_mean"], abs=0.05)
    assert folder["milliseconds"]["1"]["count"] == 2 * measure.A_TURN and folder["milliseconds"]["1"]["median"] > 0
    assert folder["facts"]["gives"] == "5 points, 40 attributes"
    assert folder["facts"]["megabytes"] == (exported / "model.tflite").stat().st_size / 1e6
    assert everything["environment"]["processor"] and "commit" in everything["environment"]
    said = capsys.readouterr().out
    assert f"| {exported} | " in said and "(1.00x)" in said
    assert page.read_text() == f"before\n<!-- device: begin -->\n{said}<!-- device: end -->\nafter\n"


def test_exports_are_timed_on_drawn_faces_without_data(exported, capsys):
    device.main([str(exported), "--peers", "--data", "--cores", "1", "--rounds", "1"])
    head, _, row = capsys.readouterr().out.splitlines()[:3]
    assert head == "|  |  | ms, 1 core | MB | gives |" and "(1.00x)" in row


def test_a_peer_without_packages_has_a_row_with_the_reason(exported, capsys, monkeypatch, tmp_path):
    def lost(*_):
        raise process.Lost("it could not be installed: no network")

    monkeypatch.setattr(process, "_run", lost)
    device.main([str(exported), "--peers", "dlib_68", "--data", "--cores", "1", "--rounds", "1", "--cache", str(tmp_path / "cache")])
    assert "| 2 | dlib, 68 points | - | - | not measured: it could not be installed: no network |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--peers", "nobody"], "--peers: expected some of mediapipe, .*, got 'nobody'; check the name"),
        (["--rounds", "0"], "expected positive numbers, got 0 and None"),
        (["--faces", "0"], "expected positive numbers, got 40 and 0"),
        (["--cores", "1", "1000"], r"--cores: expected numbers from 1 to \d+, as many as are here, got \(1, 1000\)"),
        (["--cores"], "--cores: expected numbers from 1"),
        (["--data-dir", "nowhere"], "expected a prepared data set, got none"),
        (["--out", __file__], "expected a folder, got a file; name another"),
        (["--into", "nowhere.md"], "nowhere.md: expected a file with the lines '<!-- device: begin -->' and '<!-- device: end -->'"),
    ],
)
def test_bad_settings_are_refused(exported, capsys, flags, sentence):
    refused(capsys, sentence, str(exported), *flags)


def refused(capsys, sentence, *flags):
    with pytest.raises(SystemExit) as end:
        device.main(list(flags))
    said = capsys.readouterr().err
    assert end.value.code == 2 and "Traceback" not in said
    assert re.search(sentence, " ".join(said.replace("│", " ").split()))


def test_bad_models_are_refused(exported, tmp_path, capsys, monkeypatch):
    refused(capsys, "found no .*model.tflite; check MODEL", str(tmp_path))
    (tmp_path / "model.tflite").write_bytes(b"not this")
    refused(capsys, "found no .*model.json; check MODEL", str(tmp_path))
    (tmp_path / "model.json").write_bytes((exported / "model.json").read_bytes())
    refused(capsys, "expected a LiteRT model of smtn_keras.export, got one that fails", str(tmp_path), "--peers", "--data", "--cores", "1")
    monkeypatch.setattr(device, "ROOT", tmp_path)
    with pytest.raises(UserError, match="MODEL: expected one, or some in"):
        device.compare(device.DeviceConfig())


def test_data_without_the_five_points_is_refused(tiny_dir, tmp_path):
    import tiny

    tiny.TinyStranger(data_dir=tmp_path).prepare()
    with pytest.raises(UserError, match="expected data sets with CelebA's five points, got tinystranger without left_eye"):
        faces.open_faces("tinystranger", str(tmp_path), tmp_path, None)
    part = faces.open_faces("tiny", str(tiny_dir), tmp_path, 3).test
    assert len(part) == 3 and len(np.load(part.file)) == 3


def test_mtcnn_answers_in_pixels_of_the_picture_whatever_its_view(tmp_path):
    pytest.importorskip("mtcnn")
    photo = pytest.importorskip("skimage.data").astronaut()[:240, 120:330]
    np.savez(tmp_path / "photo.npz", photo, np.zeros_like(photo))
    running = measure.Contender("MTCNN", "mtcnn", None, "margins").start(1, tmp_path)
    assert running.facts["points"] == list(serve.FIVE) and 1.5 < running.facts["megabytes"] < 2.5
    (whole, nobody), (wider, _) = (
        running.ask(faces=str(tmp_path / "photo.npz"), indices=[0, 1], view=view)["answers"]
        for view in (scores.WHOLE, [-0.25, -0.25, 1.25, 1.25])
    )
    running.close()
    assert nobody is None
    left_eye, right_eye, nose, left_mouth, right_mouth = np.array(whole["landmarks"])
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0] and left_eye[1] < nose[1] < left_mouth[1]
    np.testing.assert_allclose(whole["landmarks"], wider["landmarks"], atol=4)

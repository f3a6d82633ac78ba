"""Tables say what metrics.json says."""

import json
import shutil
from pathlib import Path

import pytest

from smtn_keras import report
from smtn_keras.ablation import ablation
from smtn_keras.analysis import analysis
from smtn_keras.config import Config
from smtn_keras.curve import learning_curve
from smtn_keras.errors import UserError
from smtn_keras.tables import results

ROOT = Path(__file__).parent.parent


def cells(text, first):
    """The cells of the table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_holds_the_runs_numbers_and_the_floors(drawn):
    text = results((str(drawn / "stage1"), str(drawn / "stage2")))
    head = cells(text, "network")
    stage2 = dict(zip(head, cells(text, "SMTN channelwise, from stage 1"), strict=True))
    floor = dict(zip(head, cells(text, "*floor"), strict=True))
    written = json.loads((drawn / "stage2" / "metrics.json").read_text())["synthetic/test"]
    assert stage2["nose"] == f"{written['landmarks']['metrics']['success_rate']['nose']:.2f}"
    assert stage2["NME"] == f"{written['landmarks']['metrics']['nme']:.2f}"
    assert stage2["accuracy"] == f"{written['attributes']['metrics']['accuracy_mean']:.2f}"
    assert floor["NME"] == f"{written['landmarks']['floor']['nme']:.2f}"
    assert stage2["seed"] == "0"
    assert "synthetic" in text


def test_a_run_without_metrics_is_named_with_the_command(drawn, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(drawn / "stage1", copy)
    (copy / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"smtn_keras\.evaluate --run .* --split test"):
        results((str(copy),))


def page(tmp_path, *names):
    """A Markdown file with the markers of each name around the word old."""
    file = tmp_path / "page.md"
    blocks = (f"\nold {name}\n".join(report.markers(name)) for name in names)
    file.write_text("\n".join(["before", *blocks, "after\n"]))
    return file


def test_into_replaces_only_what_stands_between_the_markers_of_its_name(drawn, tmp_path):
    file = page(tmp_path, "ablation", "results", "curve")
    report.main([str(drawn / "stage1"), "--into", str(file)])
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old results" not in text
    assert "old ablation" in text
    assert "old curve" in text
    assert text.index("ablation: end") < text.index("hard sharing") < text.index("results: end")


def test_an_ablation_of_trained_runs_goes_into_its_own_place(drawn, tmp_path):
    file = page(tmp_path, "ablation", "results")
    folders = [str(drawn / "stage1"), str(drawn / "stage2")]
    report.main([*folders, "--show", "ablation", "--split", "test", "--into", str(file)])
    text = file.read_text()
    assert "old ablation" not in text
    assert "old results" in text
    nme = [json.loads((drawn / f"stage{s}" / "metrics.json").read_text())["synthetic/test"]["landmarks"]["metrics"]["nme"] for s in (1, 2)]
    assert cells(text, "`--stage 2`")[2] == f"{nme[1] - nme[0]:+.2f}"


def test_an_analysis_of_a_measured_run_names_its_worst_face(drawn, capsys):
    report.main([str(drawn / "stage2"), "--show", "analysis"])
    index, error = json.loads((drawn / "stage2" / "metrics.json").read_text())["synthetic/test"]["landmarks"]["metrics"]["worst"][0]
    assert f"in percent: {index} ({error:.2f})" in capsys.readouterr().out


@pytest.mark.parametrize("named", [True, False])
def test_a_curve_is_drawn_where_it_is_asked_for_or_beside_the_page(tmp_path, named):
    folders = []
    for samples in (100, 200, 400):
        folder = tmp_path / str(samples)
        folder.mkdir()
        folders.append(str(folder))
        (folder / "config.json").write_text(Config().with_(data={"samples": samples}).resolved().to_json())
        (folder / "data.json").write_text(json.dumps({"counts": {"train": 1000}}))
        metrics = {"landmarks": {"metrics": {"samples": 9, "success_rate_average": 90, "nme": 1000 / samples}}}
        (folder / "metrics.json").write_text(json.dumps({"synthetic/validation": metrics}))
    file = page(tmp_path, "curve")
    figure = tmp_path / "drawn" / "it.png" if named else tmp_path / "learning_curve.png"
    report.main([*folders, "--show", "curve", "--into", str(file), *(["--figure", str(figure)] if named else [])])
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"({'drawn/it.png' if named else 'learning_curve.png'})" in file.read_text()
    assert "n^-1.000" in file.read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["a", "b", "--show", "analysis"], "expected one run, got 2"),
        (["a", "--figure", "x.png"], "expected --show curve"),
        (["a", "--show", "curve", "--figure", "x.txt"], "ends in one of"),
        (["a", "--out", "x", "--show", "ablation"], "neither --show nor --into"),
        (["a", "--data-dir", "x"], "expected --out beside it"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, said, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as end:
        report.main(flags)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_a_page_without_markers_is_refused_and_kept(tmp_path):
    file = page(tmp_path, "results")
    before = file.read_text()
    with pytest.raises(UserError, match="found them not"):
        report.insert(file, "ablation", "table")
    assert file.read_text() == before


def shown_in(page, name):
    begin, end = report.markers(name)
    return (ROOT / page).read_text().split(begin)[1].split(end)[0].strip()


def records(*patterns):
    return tuple(sorted(str(folder) for pattern in patterns for folder in (ROOT / "docs").glob(pattern)))


def test_the_readme_says_what_the_recorded_runs_say():
    shown = shown_in("README.md", "results")
    assert shown == results(records("runs/*"))
    assert shown.count("floor") == 3  # one table for each data set


def test_the_recipe_says_what_the_recorded_runs_say():
    page = "docs/recipe.md"
    assert shown_in(page, "ablation") == ablation(records("ablation/*"))
    assert shown_in(page, "ablation").count("\n| `") > 30
    assert shown_in(page, "results") == results(records("runs/celeba-*"))
    best = ROOT / "docs" / "runs" / "joined-stage3-best-seed0"
    assert shown_in(page, "analysis") == analysis(str(best), "test+flip")
    curve = shown_in(page, "curve")
    assert curve.startswith(learning_curve((*records("runs/celeba-stage1-seed0"), *records("curve/*")))[0])
    assert with_the_mirror_image(best) in " ".join((ROOT / page).read_text().split())
    assert (ROOT / "docs" / curve.rpartition("(")[2].rstrip(")")).is_file()


def with_the_mirror_image(run):
    """What the recipe says of the answers averaged with the mirror image."""
    metrics = json.loads((run / "metrics.json").read_text())
    points, labels = (metrics["celeba/test+flip"][task]["metrics"] for task in ("landmarks", "attributes"))
    turned, faces = (metrics["mtfl/test+flip"][task]["metrics"] for task in ("landmarks", "attributes"))
    accuracy = faces["accuracy"]
    return (
        f"{points['success_rate_average']:.2f} % success, NME {points['nme']:.2f} % and {labels['accuracy_mean']:.2f} % accuracy on CelebA, and NME "
        f"{turned['nme']:.2f} % with {turned['failure_rate']:.1f} % failures on all 1,000 AFLW faces of MTFL (gender {accuracy['Male']:.1f}, smile "
        f"{accuracy['Smiling']:.1f}, glasses {accuracy['Eyeglasses']:.1f} %). With `--thresholds` as well the accuracy on CelebA is "
        f"{metrics['celeba/test+flip+thresholds']['attributes']['metrics']['accuracy_mean']:.2f} %"
    )


def test_joined_runs_have_a_row_for_each_of_their_data_sets(drawn, tmp_path):
    joined = shutil.copytree(drawn / "stage1", tmp_path / "joined")
    config = json.loads((joined / "config.json").read_text())
    config["preset"], config["data"]["data"] = "best", "synthetic+mtfl"
    (joined / "config.json").write_text(json.dumps(config))
    metrics = json.loads((joined / "metrics.json").read_text())
    points = metrics["synthetic/test"]["landmarks"]
    (joined / "metrics.json").write_text(json.dumps(metrics | {"mtfl/test": {"landmarks": points}}))
    text = results((str(drawn / "stage2"), str(joined)))
    of_synthetic, of_mtfl = text.split("\n\n**mtfl**")
    assert "**synthetic**" in of_synthetic
    assert "stage 1, baseline), preset best, trained on synthetic+mtfl |" in of_synthetic
    row = dict(zip(cells(of_mtfl, "network"), cells(of_mtfl, "hard sharing"), strict=True))
    assert row["NME"] == f"{points['metrics']['nme']:.2f}"
    assert "accuracy" not in row  # that data set had no label
    with pytest.raises(UserError, match="expected metrics of synthetic/validation"):
        results((str(joined),), "validation")

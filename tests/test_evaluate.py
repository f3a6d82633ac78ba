"""Measuring a run: every sample counts, each number has its floor, and the numbers are those of the model."""

import json
import shutil

import cv2
import numpy as np
import pytest
import tiny

from smtn_keras import evaluate, runs
from smtn_keras.evaluate import table


@pytest.fixture(scope="module")
def run(tiny_stage1, tmp_path_factory):
    """A copy, so that the run that all tests share stays as it was trained."""
    return shutil.copytree(tiny_stage1, tmp_path_factory.mktemp("evaluate") / "run")


@pytest.fixture(scope="module")
def measured(run):
    """What `metrics.json` says of the test part."""
    evaluate.main(["--run", str(run), "--split", "test"])
    return json.loads((run / "metrics.json").read_text())["tiny/test"]


def refusal(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(item) for item in argv])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.replace("│", " ").split())


def test_metrics_json_has_metrics_and_floor_of_each_task(measured):
    assert measured.keys() == {"landmarks", "attributes"}
    for task, keys in {
        "landmarks": {"samples", "success_rate", "success_rate_average", "nme", "failure_rate", "success_curve"},
        "attributes": {"samples", "accuracy", "accuracy_mean", "balanced_accuracy", "balanced_accuracy_mean"},
    }.items():
        assert measured[task].keys() == {"metrics", "floor"}
        details = {"worst", "success_by_yaw", "success_by_class", "confusion", "confidence", "calibration", "contradictions"}
        assert measured[task]["metrics"].keys() - details == measured[task]["floor"].keys() == keys
    by_bar = measured["landmarks"]["metrics"]["success_by_class"]["Bar"]
    assert list(by_bar) == ["left", "none", "right"] and sum(part["samples"] for part in by_bar.values()) == 13
    assert list(measured["landmarks"]["metrics"]["success_rate"]) == list(tiny.POINTS.points)
    assert list(measured["attributes"]["metrics"]["balanced_accuracy"]) == ["Bright", "Big_Dots", "Bar"]


def test_no_sample_is_dropped(run, measured):
    assert [measured[task][kind]["samples"] for task in measured for kind in ("metrics", "floor")] == [13] * 4
    evaluate.main(["--run", str(run), "--split", "validation", "--batch-size", "8"])  # 21 = 8 + 8 + 5
    validation = runs.read_metrics(run)["tiny/validation"]
    assert [validation[task]["metrics"]["samples"] for task in validation] == [21, 21]


def test_missing_labels_are_left_out_of_the_train_part(run):
    evaluate.main(["--run", str(run), "--split", "train"])
    train = runs.read_metrics(run)["tiny/train"]
    # fourteen of 96 pictures lack something: picture i its points from i % 5 on, and with the first or the second point the eyes
    without_eyes = sum(i % 7 == 0 and i % 5 < 2 for i in range(96))
    assert train["landmarks"]["metrics"]["samples"] == 96 - without_eyes
    assert train["attributes"]["metrics"]["samples"] == 96


def test_the_numbers_are_those_of_the_model_on_the_pictures(run, measured):
    images, truth = [], []
    for i in range(tiny.COUNTS["test"]):
        example = tiny.example("test", i)
        picture = cv2.imdecode(np.frombuffer(example.image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        images.append(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA))
        truth.append(example.targets)
    outputs = runs.load(run).model(np.float32(images))
    points_px = np.asarray(outputs["landmarks"])[..., :2] * np.float32(tiny.FRAME)
    truth_px = np.stack([targets["landmarks"] for targets in truth])
    errors = np.linalg.norm(points_px - truth_px, axis=-1) / np.linalg.norm(truth_px[:, 0] - truth_px[:, 1], axis=-1)[:, None]
    assert measured["landmarks"]["metrics"]["nme"] == pytest.approx(100 * errors.mean(), rel=1e-3)
    assert measured["landmarks"]["metrics"]["success_rate"]["nose"] == pytest.approx(100 * (errors[:, 2] <= 0.1).mean(), abs=1e-3)

    units = np.asarray(outputs["attributes"])  # no, yes; no, yes; left, none, right
    labels = np.stack([targets["attributes"] for targets in truth])
    right = {"Bright": (units[:, 1] > units[:, 0]) == labels[:, 0], "Bar": units[:, 4:].argmax(1) == labels[:, 2]}
    for name, hits in right.items():
        assert measured["attributes"]["metrics"]["accuracy"][name] == pytest.approx(100 * hits.mean(), abs=1e-3)


def test_floors_are_the_mean_shape_and_the_majority_of_the_training_part(measured):
    train, test = ([tiny.example(split, i).targets for i in range(tiny.COUNTS[split])] for split in ("train", "test"))
    bars = [targets["attributes"][2] for targets in train]
    majority = max(range(3), key=bars.count)
    hits = [targets["attributes"][2] == majority for targets in test]
    assert measured["attributes"]["floor"]["accuracy"]["Bar"] == pytest.approx(100 * np.mean(hits), abs=1e-3)
    shape = np.nanmean([targets["landmarks"] for targets in train], axis=0)  # all frames have one size
    errors = [np.linalg.norm(shape - t["landmarks"], axis=1).mean() / np.linalg.norm(t["landmarks"][0] - t["landmarks"][1]) for t in test]
    assert measured["landmarks"]["floor"]["nme"] == pytest.approx(100 * np.mean(errors), rel=1e-3)


def test_the_batch_size_does_not_change_the_numbers(run, measured):
    evaluate.main(["--run", str(run), "--split", "test", "--batch-size", "5"])
    again = runs.read_metrics(run)["tiny/test"]
    for task in measured:
        for key in measured[task]["floor"]:  # all but the details
            assert again[task]["metrics"][key] == pytest.approx(measured[task]["metrics"][key], abs=1e-2), key


def test_evaluations_stand_side_by_side(run, measured):
    evaluate.main(["--run", str(run)])  # validation, by itself
    assert {"tiny/validation", "tiny/test"} <= runs.read_metrics(run).keys()
    assert runs.read_metrics(run)["tiny/test"]["landmarks"]["floor"] == measured["landmarks"]["floor"]


def test_the_table_has_each_number_beside_its_floor(run, measured, capsys):
    evaluate.main(["--run", str(run), "--split", "test"])
    said = capsys.readouterr().out
    assert f"written: {run / 'metrics.json'}" in said
    lines = [line.split() for line in said.splitlines()]
    nme, accuracy = measured["landmarks"]["metrics"]["nme"], measured["attributes"]["metrics"]["accuracy"]["Bright"]
    assert ["nme", f"{nme:.2f}%", f"{measured['landmarks']['floor']['nme']:.2f}%"] in lines
    assert ["Bright", f"{accuracy:.2f}%", f"{measured['attributes']['floor']['accuracy']['Bright']:.2f}%"] in lines
    assert {"success", "failure", "balanced", "accuracy"} <= {line[0] for line in lines if line}
    assert [line for line in lines if line[:1] == ["success"] and line[1] in tiny.POINTS.points]
    assert "(13 samples)" in said


def test_the_table_leaves_out_what_the_data_lacks():
    parts = {"samples": 1, "accuracy": {"Hat": None, "Young": 50.0}, "accuracy_mean": 50.0}
    lines = [line.split() for line in table({"attributes": {"metrics": parts, "floor": parts}}).splitlines()]
    assert ["Young", "50.00%", "50.00%"] in lines
    assert not [line for line in lines if line[:1] == ["Hat"]]


def test_a_stage_2_run_is_measured_alike(tiny_stage2, tmp_path, measured):
    run = shutil.copytree(tiny_stage2, tmp_path / "run")
    evaluate.main(["--run", str(run), "--split", "test"])
    result = runs.read_metrics(run)["tiny/test"]
    for task in measured:
        assert result[task]["floor"] == measured[task]["floor"]
        assert result[task]["metrics"]["samples"] == 13


def test_other_data_is_measured_on_the_points_and_labels_it_shares(run):
    evaluate.main(["--run", str(run), "--data", "tinyother", "--split", "test"])
    result = runs.read_metrics(run)["tinyother/test"]
    accuracy = result["attributes"]["metrics"]["accuracy"]
    assert accuracy["Bright"] is not None
    assert (accuracy["Big_Dots"], accuracy["Bar"]) == (None, None)
    assert result["attributes"]["metrics"]["accuracy_mean"] == accuracy["Bright"]
    assert result["landmarks"]["metrics"]["samples"] == 4


def test_data_that_shares_nothing_is_refused(run, tmp_path, capsys):
    folder = tmp_path / "data"
    tiny.TinyStranger(data_dir=folder).prepare()
    assert "expected data with a point or label of the run's tasks ('tiny'), got 'tinystranger' with none" in refusal(
        capsys, "--run", run, "--data", "tinystranger", "--data-dir", folder
    )
    assert "tinystranger/validation" not in runs.read_metrics(run)


# -- what can be asked for at test time -------------------------------------------------------------


def test_flip_averaging_answers_with_the_mean_of_a_picture_and_its_mirror_image(run, measured):
    from smtn_keras.predictor import load_predictor

    pictures = [tiny.picture(tiny.example("test", i).targets["landmarks"], bar=2) for i in range(3)]
    plain, averaged = load_predictor(run), load_predictor(run, flip=True)
    ours, mirrored = plain(pictures), plain([np.ascontiguousarray(p[:, ::-1]) for p in pictures])
    points = (ours["landmarks"] + (mirrored["landmarks"] * [-1, 1] + [1, 0])[:, [1, 0, 2, 4, 3]]) / 2
    np.testing.assert_allclose(averaged(pictures)["landmarks"], points, atol=1e-5)
    # bright, big dots, bar left, none, right: the bar changes sides
    labels = (ours["attributes"] + mirrored["attributes"][:, [0, 1, 4, 3, 2]]) / 2
    np.testing.assert_allclose(averaged(pictures)["attributes"], labels, atol=1e-5)

    evaluate.main(["--run", str(run), "--split", "test", "--flip"])
    flipped = runs.read_metrics(run)["tiny/test+flip"]
    assert flipped["landmarks"]["metrics"]["nme"] != measured["landmarks"]["metrics"]["nme"]
    assert flipped["landmarks"]["floor"] == measured["landmarks"]["floor"]


def test_thresholds_are_those_that_are_best_on_the_validation_part(run, tiny_dir):
    from smtn_keras.data.prepared import open_prepared
    from smtn_keras.predictor import load_predictor

    evaluate.main(["--run", str(run), "--thresholds", "--split", "validation"])
    evaluate.main(["--run", str(run), "--split", "validation"])
    written = runs.read_metrics(run)
    tuned, plain = (written[f"tiny/validation{suffix}"]["attributes"]["metrics"]["accuracy"] for suffix in ("+thresholds", ""))
    data = open_prepared("tiny", tiny_dir)
    pictures = [cv2.imdecode(np.frombuffer(r["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for r in data.source("validation")]
    probabilities, truth = load_predictor(run)(pictures)["attributes"], data.targets("validation")["attributes"]
    for i, name in enumerate(("Bright", "Big_Dots")):
        best = max(((probabilities[:, i] > t) == truth[:, i]).mean() for t in [-1, *np.sort(probabilities[:, i])])
        assert tuned[name] == pytest.approx(100 * best, abs=1e-3) and tuned[name] >= plain[name]
    assert tuned["Bar"] == plain["Bar"]  # three classes: the likeliest


def test_what_is_no_run_is_refused(run, tmp_path, capsys):
    assert "expected a run folder with a config.json, found none" in refusal(capsys, "--run", tmp_path)
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "best.keras").unlink()
    assert "best.keras: expected a file of this run, as checksums.sha256 lists it, found none" in refusal(capsys, "--run", bare)


def test_data_that_is_not_there_is_refused(run, tmp_path, capsys):
    said = refusal(capsys, "--run", run, "--data", "celeba", "--data-dir", tmp_path)
    assert "expected a prepared data set, got none" in said
    assert "python -m smtn_keras.prepare celeba" in said


@pytest.mark.parametrize("size", ["0", "-3"])
def test_a_batch_size_below_one_is_refused(run, capsys, monkeypatch, size):
    monkeypatch.setenv("COLUMNS", "400")
    assert "--batch-size: expected" in refusal(capsys, "--run", run, "--batch-size", size)


def test_a_model_that_answers_nan_is_refused(tiny_stage1, tmp_path, capsys):
    run = shutil.copytree(tiny_stage1, tmp_path / "run")
    model = runs.load(run).model
    layer = model.get_layer("landmarks_heatmaps")
    layer.set_weights([np.full_like(weight, np.nan) for weight in layer.get_weights()])
    with runs.kept(run / "best.keras") as beside:
        model.save(beside)
    assert "got NaN or infinity in landmarks for 21 of 21 pictures" in refusal(capsys, "--run", run)
    assert not (run / "metrics.json").exists()


# -- exported files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    from smtn_keras import export

    folder = tmp_path_factory.mktemp("exported") / "tiny"
    export.main(["--run", str(run), "--out", str(folder), "--no-saved-model"])
    return folder


def test_a_file_is_measured_like_its_run(exported, measured, tiny_dir, capsys):
    before = json.loads((exported / "model.json").read_text())
    evaluate.main(["--model", str(exported / "model.tflite"), "--data-dir", str(tiny_dir), "--split", "test"])
    said = capsys.readouterr().out
    assert f"written: {exported / 'model.json'}" in said
    card = json.loads((exported / "model.json").read_text())
    of_file = card["metrics"].pop("tiny/test")
    assert card == before, "nothing else changes"
    for task, parts in of_file.items():
        assert parts["floor"] == measured[task]["floor"]
        assert parts["metrics"].keys() - {"confidence", "calibration", "contradictions"} == parts["floor"].keys()
        for key in parts["floor"]:
            assert parts["metrics"][key] == pytest.approx(measured[task]["metrics"][key], abs=1e-3), key
    lines = [line.split() for line in said.splitlines()]
    assert ["nme", f"{measured['landmarks']['metrics']['nme']:.2f}%", f"{measured['landmarks']['floor']['nme']:.2f}%"] in lines
    assert (
        f"| tiny/test | this file | {of_file['landmarks']['metrics']['success_rate_average']:.2f} |" in (exported / "README.md").read_text()
    )


def test_a_file_can_be_measured_on_other_data(exported, tiny_dir):
    evaluate.main(["--model", str(exported), "--data", "tinyother", "--data-dir", str(tiny_dir), "--thresholds"])
    metrics = json.loads((exported / "model.json").read_text())["metrics"]
    assert {"tinyother/validation+thresholds", "tiny/validation"} <= metrics.keys()
    assert metrics["tinyother/validation+thresholds"]["attributes"]["metrics"]["accuracy"]["Bar"] is None


def test_what_is_to_be_measured_is_named_once(run, exported, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "400")
    assert "expected either --run or --model, got neither" in refusal(capsys, "--split", "test")
    assert "expected either --run or --model, got both" in refusal(capsys, "--run", run, "--model", exported)
    assert "--flip: expected a run, got --model" in refusal(capsys, "--model", exported, "--flip")
    assert "expected an exported folder or a .tflite file with its model.json beside it" in refusal(capsys, "--model", tmp_path)
    assert "expected an exported folder" in refusal(capsys, "--model", tmp_path / "nothing.tflite")
    assert "python -m smtn_keras.prepare celeba" in refusal(capsys, "--model", exported, "--data", "celeba", "--data-dir", tmp_path)

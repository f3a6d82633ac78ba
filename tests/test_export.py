"""Exports answer like the run, and say what they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from smtn_keras import export, runs
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.predictor import load_predictor
from smtn_keras.runs import load as load_run


def test_signature_has_fixed_batch_names_and_builtin_operations_only(exported):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # no delegate and no Flex: operations other than built-in ones would not load
    interpreter = Interpreter(
        str(exported / "model.tflite"), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature["inputs"] == ["image"]
    assert sorted(signature["outputs"]) == ["attributes", "landmarks", "landmarks_error"]
    runner = interpreter.get_signature_runner("serving_default")
    assert runner.get_input_details()["image"]["shape"].tolist() == [1, 32, 32, 3]
    assert not [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"].startswith("Flex")]


def test_saved_model_takes_any_batch_and_gives_probabilities(exported):
    import tensorflow as tf

    signature = tf.saved_model.load(str(exported / "saved_model")).signatures["serving_default"]
    answer = signature(image=tf.zeros((3, 32, 32, 3)))
    assert answer["landmarks"].shape == (3, 5, 2)
    assert answer["landmarks"].dtype == answer["attributes"].dtype == tf.float32
    attributes = answer["attributes"].numpy()
    assert attributes.shape == (3, 40)
    assert (attributes > 0).all()
    assert (attributes < 1).all()


def test_all_formats_answer_like_the_run(drawn, exported):
    faces = [draw_face(seed=5, index=i)[0] for i in range(4)]
    of_run = load_predictor(drawn / "stage2")(faces)
    for path in (exported, exported / "saved_model", exported / "model.tflite"):
        answer = load_predictor(path)(faces)
        for name in ("landmarks", "attributes"):
            np.testing.assert_allclose(answer[name], of_run[name], atol=1e-4, err_msg=str(path))
    assert np.ptp(of_run["landmarks"], axis=0).max() > 1e-6, "the answer must depend on the picture"


def test_predicted_errors_are_delivered(drawn, tmp_path, capsys):
    """Trained with the likelihood, a model says how far off a point may be, in all formats, and of a mirror image alike."""
    import cv2

    from smtn_keras import fit, predict

    run, picture = tmp_path / "run", draw_face(seed=5, index=0)[0]
    argv = ["--uncertainty", "--image-size", "32", "--width", "0.06", "--epochs", "1", "--dtype", "float32"]
    fit.main(["--data-dir", str(drawn / "data"), "--run", str(run), *argv])
    export.main(["--run", str(run), "--out", str(tmp_path / "out"), "--flip"])
    of_run = load_predictor(run)([picture])
    network = load_run(run).model(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)[None].astype("float32"))["landmarks"]
    np.testing.assert_allclose(of_run["landmarks_error"], np.exp(network[..., 2]) / 20, rtol=1e-4)
    averaged = load_predictor(run, flip=True)([picture, np.ascontiguousarray(picture[:, ::-1])])["landmarks_error"]
    np.testing.assert_allclose(averaged[1], averaged[0][[1, 0, 2, 4, 3]], rtol=1e-4)
    for path in ("saved_model", "model.tflite"):
        exported_error = load_predictor(tmp_path / "out" / path)([picture])["landmarks_error"]
        np.testing.assert_allclose(exported_error, averaged[:1], rtol=1e-3, err_msg=path)
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["outputs"]["landmarks_error"]["names"][2] == "nose" and card["flip_averaged"]

    file = tmp_path / "face.png"
    cv2.imwrite(str(file), picture[..., ::-1])
    capsys.readouterr()
    predict.main([str(file), "--model", str(run), "--no-detect", "--json"])
    errors = json.loads(capsys.readouterr().out)["errors"]
    height, width = picture.shape[:2]
    assert errors["nose"] == pytest.approx(of_run["landmarks_error"][0, 2] * (height * width) ** 0.5, abs=0.01)


def test_card_names_what_the_outputs_mean(exported):
    card = json.loads((exported / "model.json").read_text())
    assert card["outputs"]["landmarks"]["names"] == ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    assert card["outputs"]["attributes"]["names"][20] == "Male"
    assert card["input"]["shape"] == [1, 32, 32, 3]
    assert card["data"]["licence"] == "CC0-1.0"
    assert card["data"]["frame"]["size"] == [178, 218]
    assert "synthetic/test" in card["run_metrics"] and "synthetic/validation" in card["metrics"]


@pytest.mark.parametrize(("preset", "offset_px"), [("float32", 0.06), ("float16", 0.3), ("dynamic", 0.3), ("int8", 0.6)])
def test_parity_is_enforced(preset, offset_px):
    from smtn_keras.data.celeba import FIVE_POINTS

    same = {"landmarks": np.zeros((2, 5, 2))}
    export._check_parity({"run": same, "LiteRT": same, "SavedModel": same}, (FIVE_POINTS,), [178, 218], preset, "two pictures")
    wrong = np.zeros((2, 5, 2)) + np.array([offset_px / 178, offset_px / 218])
    for points, who in ((wrong, "LiteRT"), (wrong * np.nan, "LiteRT"), (np.where(wrong > 0, 0.06 / 178, 0), "SavedModel")):
        answers = {"run": same, "LiteRT": same, "SavedModel": same} | {who: {"landmarks": points}}
        with pytest.raises(UserError, match=f"landmarks of {who}"):
            export._check_parity(answers, (FIVE_POINTS,), [178, 218], preset, "two pictures")


def test_one_odd_picture_is_allowed_where_the_mean_decides():
    from smtn_keras.data.celeba import FIVE_POINTS

    same, odd = np.zeros((32, 5, 2)), np.zeros((32, 5, 2))
    odd[3] = 2 / 178
    answers = {"run": {"landmarks": same}, "LiteRT": {"landmarks": odd}}
    export._check_parity(answers, (FIVE_POINTS,), [178, 178], "int8", "32 pictures")
    with pytest.raises(UserError, match=r"by 2\.0000 px, 0\.0625 on average"):
        export._check_parity(answers, (FIVE_POINTS,), [178, 178], "float16", "32 pictures")


def test_a_failed_export_leaves_nothing(drawn, tmp_path, monkeypatch):
    monkeypatch.setitem(export.TOLERANCES, "float32", export.Tolerance("at most", -1, -1))
    with pytest.raises(UserError, match="nothing was exported"):
        export.export(export.ExportConfig(run=str(drawn / "stage1"), out=str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_export_measures_what_it_loses(drawn, tmp_path, capsys):
    pytest.importorskip("litert_quantizer")
    argv = ["--run", str(drawn / "stage1"), "--out", str(tmp_path / "out"), "--quantise", "int8", "--input", "uint8", "--batch", "5"]
    export.main([*argv, "--no-saved-model"])
    said = capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["README.md", "model.json", "model.tflite"]
    assert "calibrated on 100 pictures of synthetic/train" not in said, "the training part has fewer"
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    count = runs.read_data_card(drawn / "stage1")["counts"]
    assert card["quantisation"]["calibrated_on"] == f"{count['train']} pictures of synthetic/train"
    assert f"calibrated on {count['train']} pictures of synthetic/train" in said
    assert (card["input"]["shape"], card["input"]["dtype"]) == ([5, 32, 32, 3], "uint8")
    assert card["outputs"]["landmarks"]["shape"] == [5, 5, 2]

    row = next(line.split() for line in said.splitlines() if line.split()[:1] == ["NME"])
    run, file = (card[key]["synthetic/validation"]["landmarks"]["metrics"]["nme"] for key in ("run_metrics", "metrics"))
    assert f"loss on synthetic/validation, {count['validation']} pictures" in said
    assert row[1:] == [f"{run:.2f}%", f"{file:.2f}%", f"{round(file - run, 2) + 0.0:+.2f}"]
    assert 0 < abs(file - run) < 1

    # seven pictures are a whole batch and a part of one
    pictures = [draw_face(seed=6, index=i)[0] for i in range(7)]
    of_run, of_file = load_predictor(drawn / "stage1")(pictures), load_predictor(tmp_path / "out", threads=2)(pictures)
    for name, limit in (("landmarks", 0.01), ("attributes", 0.05)):
        assert of_file[name].shape == of_run[name].shape
        assert 0 < np.abs(of_file[name] - of_run[name]).mean() < limit


def test_without_prepared_data_the_card_says_what_calibrated_and_what_was_not_measured(drawn, tmp_path, capsys):
    pytest.importorskip("litert_quantizer")
    run = shutil.copytree(drawn / "stage1", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"]["data_dir"] = str(tmp_path / "gone")
    with runs.kept(run / "config.json") as beside:
        beside.write_text(json.dumps(config))
    export.main(["--run", str(run), "--out", str(tmp_path / "out"), "--quantise", "int8", "--no-saved-model"])
    said = capsys.readouterr().out
    assert f"loss against the run: not measured, as synthetic is not prepared in {tmp_path / 'gone'}" in said
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["metrics"] == {} and "synthetic/test" in card["run_metrics"]
    assert card["quantisation"]["calibrated_on"].startswith("100 pictures of drawn faces, as the training pictures are not at hand")
    assert "Not yet: `python -m smtn_keras.evaluate --model" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UserError, match="expected a prepared data set, got none"):
        export.export(export.ExportConfig(run=str(run), out=str(tmp_path / "other"), data_dir=str(tmp_path)))


def test_a_batch_below_one_is_refused(tmp_path):
    with pytest.raises(UserError, match="--batch: expected a positive number, got 0"):
        export.ExportConfig(run="run", out=str(tmp_path / "out"), batch=0)


def test_an_existing_folder_is_kept(exported, drawn, capsys):
    before = (exported / "model.json").read_text()
    with pytest.raises(SystemExit) as end:
        export.main(["--run", str(drawn / "stage1"), "--out", str(exported)])
    assert end.value.code == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert (exported / "model.json").read_text() == before


def test_a_damaged_saved_model_is_one_sentence(exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "saved_model" / "saved_model.pb").write_bytes(b"not this")
    with pytest.raises(UserError, match="expected a SavedModel, got a damaged or different file"):
        load_predictor(copy / "saved_model")


def _rename(card):
    card["tasks"][0]["name"] = "points"
    card["frame"]["mean_landmarks"]["points"] = card["frame"]["mean_landmarks"]["landmarks"]


OTHERS = {
    "of another name": (_rename, r"expected an output 'points' of shape \(1, 5, 2\) as model.json says, got only attributes, landmarks"),
    "of fewer labels": (
        lambda card: card["tasks"][1]["labels"].pop(),
        r"expected an output 'attributes' of shape \(1, 39\) .* got \(1, 40\)",
    ),
    "without a frame": (lambda card: card.pop("frame"), r"damaged or different file \('frame'\)"),
    "of other points": (lambda card: card["frame"]["mean_landmarks"]["landmarks"].pop(), "damaged or different file"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_card_of_another_model_is_one_sentence(exported, tmp_path, case):
    change, words = OTHERS[case]
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    card = json.loads((copy / "model.json").read_text())
    change(card["data"])
    (copy / "model.json").write_text(json.dumps(card))
    for path in (copy, copy / "saved_model"):
        with pytest.raises(UserError, match=words):
            load_predictor(path)


def test_a_model_of_nan_is_said_so():
    from smtn_keras.data.celeba import FIVE_POINTS
    from smtn_keras.predictor import _check_outputs

    with pytest.raises(UserError, match="expected numbers as 'landmarks', got NaN"):
        _check_outputs({"landmarks": np.full((1, 5, 2), np.nan)}, (FIVE_POINTS,), Path("model.tflite"))


def test_what_is_no_model_is_said_so(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="expected a run folder, an exported folder"):
            load_predictor(path)

"""Exports answer like the run, and say what they are."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from smtn_keras import export
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.predictor import load_predictor
from smtn_keras.runs import load as load_run


@pytest.fixture(scope="session")
def exported(drawn):
    export.main(["--run", str(drawn / "stage2"), "--out", str(drawn / "exported" / "small")])
    return drawn / "exported" / "small"


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
    assert "synthetic/test" in card["metrics"]


def test_parity_is_enforced():
    from smtn_keras.data.celeba import FIVE_POINTS

    same = {"landmarks": np.zeros((2, 5, 2))}
    export._check_parity({"run": same, "LiteRT": same}, (FIVE_POINTS,), [178, 218], "two pictures")
    # 0.001 of 218 px is 0.218 px, more than the 0.05 px allowed; NaN is never alike
    for wrong in (0.001, np.nan):
        with pytest.raises(UserError, match="landmarks of LiteRT"):
            export._check_parity(
                {"run": same, "LiteRT": {"landmarks": np.full((2, 5, 2), wrong)}}, (FIVE_POINTS,), [178, 218], "two pictures"
            )


def test_a_failed_export_leaves_nothing(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE_PX", -1)
    with pytest.raises(UserError, match="nothing was exported"):
        export.export(export.ExportConfig(run=str(drawn / "stage1"), out=str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(exported, drawn, capsys):
    before = (exported / "model.json").read_text()
    with pytest.raises(SystemExit) as end:
        export.main(["--run", str(drawn / "stage1"), "--out", str(exported)])
    assert end.value.code == 2
    assert "does not exist yet" in capsys.readouterr().err
    assert (exported / "model.json").read_text() == before


@pytest.mark.parametrize("what", ["model.tflite", "saved_model/saved_model.pb", "model.json"])
def test_a_damaged_file_is_one_sentence(exported, tmp_path, what):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    (copy / what).write_bytes(b"not this")
    path = {"model.tflite": copy / "model.tflite", "model.json": copy, "saved_model/saved_model.pb": copy / "saved_model"}[what]
    with pytest.raises(UserError, match="damaged or different file"):
        load_predictor(path)


def test_what_is_no_model_is_said_so(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="expected a run folder, an exported folder"):
            load_predictor(path)


def test_the_benchmark_times_each_model_beside_the_first(exported, capsys):
    main = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "exports.py"))["main"]
    main((str(exported), str(exported / "saved_model")), rounds=3)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{exported}  ") and first.endswith(" 1.00 times the first")
    milliseconds, ratio = (float(word) for line in (second.split("saved_model")[1],) for word in (line.split()[0], line.split()[2]))
    assert ratio == pytest.approx(milliseconds / float(first.split()[1]), rel=0.05, abs=0.01)

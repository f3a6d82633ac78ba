"""The card: what it says is so, and a model that is not the card's is refused."""

import json
import shutil

import pytest

from smtn_keras import card as cards
from smtn_keras.errors import UserError
from smtn_keras.predictor import load_predictor


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy", ignore=shutil.ignore_patterns("saved_model"))


def change(folder, **entries):
    """Writes other entries into a card."""
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | entries))


def test_the_card_describes_the_file(exported):
    import hashlib

    card = cards.read(exported)
    content = (exported / "model.tflite").read_bytes()
    assert card["file"] == {"name": "model.tflite", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert card["quantisation"]["preset"] == "float32" and card["quantisation"]["calibrated_on"] is None
    assert card["latency"]["milliseconds"] > 0 and card["latency"]["processor"]
    assert card["outputs"]["landmarks"]["shape"] == [1, 5, 2] and card["outputs"]["attributes"]["shape"] == [1, 40]


def test_people_read_the_same(exported):
    card, page = cards.read(exported), (exported / "README.md").read_text()
    result = card["metrics"]["synthetic/validation"]["landmarks"]
    for fact in (
        "# small\n",
        card["file"]["sha256"],
        "`image`, float32 `(1, 32, 32, 3)`",
        "left_eye, right_eye, nose, left_mouth, right_mouth",
        "5_o_Clock_Shadow, Arched_Eyebrows",
        "CC0-1.0",
        card["latency"]["processor"],
    ):
        assert fact in page
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    table = {row[1]: row for row in rows if row[0] == "synthetic/validation"}
    place = next(row for row in rows if "NME" in row).index("NME")
    assert table["this file"][place] == table["the run"][place] == f"{result['metrics']['nme']:.2f}"
    assert table["floor"][place] == f"{result['floor']['nme']:.2f}" != table["this file"][place]


def test_only_what_has_seen_celeba_is_limited_by_its_labels(exported):
    card = cards.read(exported)
    assert "2210.07356" not in cards.text(card)
    for name, said in (("celeba+mtfl", True), ("celeba", True), ("mtfl", False), ("celeba_of_mine", False)):
        page = cards.text(card | {"data": card["data"] | {"name": name}})
        assert ("12 of the 40" in page) == ("## Limits" in page) == said


def test_a_card_says_how_sure_its_model_may_be(exported):
    card, page = cards.read(exported), (exported / "README.md").read_text()
    points, labels = (card["metrics"]["synthetic/validation"][task]["metrics"] for task in ("landmarks", "attributes"))
    assert f"rank correlation with the true ones {points['confidence']['rank_correlation']}" in page
    assert f"Expected calibration error of the probabilities: {labels['calibration']['ece_mean']:.2f}%" in page
    assert f"Contradictions: {labels['contradictions']['images']} of" in page
    assert card["calibration"] is None and "temperature" not in page
    del card["calibration"]  # as of exports that are older
    assert cards.text(card) == page


def test_headlines_are_the_numbers_that_stand_for_all():
    metrics = {"samples": 3, "success_rate": {"nose": 1.0}, "success_rate_average": 1.0, "nme": 2.0, "failure_rate": 3.0, "worst": []}
    labels = {"samples": 3, "accuracy": {"Hat": 4.0}, "accuracy_mean": 4.0, "balanced_accuracy_mean": None}
    floor = {"success_rate_average": 9.0, "nme": 8.0, "failure_rate": 7.0}
    result = {"landmarks": {"metrics": metrics, "floor": floor}, "attributes": {"metrics": labels, "floor": {"accuracy_mean": 6.0}}}
    assert cards.headlines(result) == {"success": 1.0, "NME": 2.0, "failures": 3.0, "accuracy": 4.0}
    assert cards.headlines(result, "floor") == {"success": 9.0, "NME": 8.0, "failures": 7.0, "accuracy": 6.0}
    assert cards.without_details(result)["landmarks"] == {
        "metrics": {"success_rate_average": 1.0, "nme": 2.0, "failure_rate": 3.0},
        "floor": floor,
    }


def test_a_changed_file_is_refused(copy):
    content = bytearray((copy / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.tflite").write_bytes(content)
    for path in (copy, copy / "model.tflite"):
        with pytest.raises(
            UserError, match=r"model\.tflite: expected the model that the model\.json beside it describes \(sha256 \w{12}\), got"
        ):
            load_predictor(path)


def test_a_missing_file_is_refused(copy):
    (copy / "model.tflite").unlink()
    with pytest.raises(UserError, match="found no such file; copy both from the export"):
        load_predictor(copy)


def test_a_file_that_is_no_model_is_refused_even_if_the_card_knows_it(copy):
    (copy / "model.tflite").write_bytes(b"not this")
    change(copy, file=cards.describe_file(copy / "model.tflite"))
    with pytest.raises(UserError, match="expected a LiteRT model, got a damaged or different file"):
        load_predictor(copy)


@pytest.mark.parametrize(
    "content", ["not this", "[]", "{}", '{"data": {"tasks": [{"kind": "boxes"}]}}', '{"data": {"tasks": []}}', "\ud800"]
)
def test_a_foreign_card_is_refused(copy, content):
    (copy / "model.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(
        UserError, match=r"model\.json: expected a model\.json written by smtn_keras\.export, got a damaged or different file"
    ):
        load_predictor(copy)


def test_a_card_of_other_names_is_refused(copy):
    data = cards.read(copy)["data"]
    data["tasks"][1]["labels"][3]["name"] = "Winking"
    change(copy, data=data)
    with pytest.raises(UserError, match=r"expected the names of attributes that its model\.json says, got 'Bags_Under_Eyes' for 'Winking'"):
        load_predictor(copy)


def test_a_file_without_its_card_is_refused(exported, tmp_path):
    shutil.copy(exported / "model.tflite", tmp_path / "model.tflite")
    with pytest.raises(UserError, match="expected the names and frame of the model beside it, found no such file"):
        load_predictor(tmp_path / "model.tflite")

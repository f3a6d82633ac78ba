"""Files of runs and models that are corrupt or crafted are refused in one sentence; none of them runs code, and none leads to another file."""

import csv
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tiny

from smtn_keras import card as cards
from smtn_keras import model_files, networks, runs
from smtn_keras.config import Config, NetworkConfig, read_config
from smtn_keras.errors import UserError
from smtn_keras.peers import nets, svm
from smtn_keras.predictor import load_predictor, shipped
from smtn_keras.stopping import TaskwiseStopping
from smtn_keras.tasks import Attributes, Label

CONFIG = Config(network=NetworkConfig(image_size=32, width=0.05))


def refused(expected, call, *arguments):
    """The message of a refusal, one printable line that matches."""
    with pytest.raises(UserError, match=expected) as caught:
        call(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- what a run says of itself ----------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run's folder with what it says of itself."""
    parts = {"landmarks": {"metrics": {"nme": 4.5}, "floor": {"nme": 9}}}
    (tmp_path / "config.json").write_text(CONFIG.to_json())
    (tmp_path / "data.json").write_text(json.dumps({"tasks": runs.tasks_to_json(tiny.TASKS), "counts": {"train": 3}}))
    (tmp_path / "environment.json").write_text(json.dumps({"parameters": 1000}))
    (tmp_path / "metrics.json").write_text(json.dumps({"tiny/test": parts}))
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")
    return tmp_path


READERS = {
    "config.json": read_config,
    "data.json": runs.read_tasks,
    "environment.json": lambda folder: runs.read_environment(folder)["parameters"],
    "metrics.json": runs.read_metrics,
    "history.csv": runs.read_history,
}


@pytest.mark.parametrize(
    "content", [b"[]", b"3", b'"x"', b"null", b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"{" + b"9" * 5000]
)
@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".json")])
def test_json_of_a_wrong_kind(name, content, run):
    (run / name).write_bytes(content)
    refused(f"{name}: expected .* got something else .*; (train|make) the run again", READERS[name], run)


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_run_is_neither_waited_for_nor_read_whole(name, run):
    (run / name).unlink()
    os.mkfifo(run / name)
    if name in ("config.json", "history.csv"):  # a pipe is no such file
        (refused("found none", read_config, run) if name == "config.json" else READERS[name](run))
    else:
        refused(f"{name}: expected JSON", READERS[name], run)
    (run / name).unlink()
    with (run / name).open("wb") as file:
        file.truncate(1 << 40)
    refused(f"{name}: expected", READERS[name], run)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("network", "width", "0.25"),
        ("network", "image_size", 64.0),
        ("network", "batch_norm", 1),
        ("network", "head", "../paper"),
        ("network", "kind", ["separation"]),
        ("network", "width", float("nan")),
        ("training", "epochs", True),
        ("training", "learning_rate", None),
        ("training", "seed", 10**400),
        ("data", "tasks", "landmarks"),
        ("data", "sampling", [1, "1"]),
        ("data", "data", None),
        ("run", "run", 3),
        ("run", "strange", 3),
    ],
)
def test_settings_of_a_wrong_kind(part, field, value, run):
    content = json.loads(CONFIG.to_json())
    content[part][field] = value
    (run / "config.json").write_text(json.dumps(content))
    refused(r"expected (a configuration written by smtn_keras\.fit|a (multiple|number|positive)|\d)", read_config, run)


@pytest.mark.parametrize("content", [{"stage": 7}, {"stage": "1"}, {"preset": "evil"}, {"data": []}, {"network": None}, {"__class__": 1}])
def test_parts_of_a_wrong_kind(content, run):
    (run / "config.json").write_text(json.dumps(json.loads(CONFIG.to_json()) | content))
    refused(r"config\.json: expected a configuration written by smtn_keras\.fit, got something else|--network", read_config, run)


def test_every_recorded_configuration_is_read():
    files = sorted(Path(__file__).parents[1].glob("docs/**/config.json"))
    assert len(files) > 50
    for file in files:
        read_config(file.parent)


def test_every_record_of_a_run_is_read():
    folders = sorted({file.parent for file in Path(__file__).parents[1].glob("docs/**/metrics.json")})
    assert len(folders) > 50
    for folder in folders:
        assert runs.read_metrics(folder) and runs.read_history(folder) is not None
        runs.read_environment(folder)["parameters"]
        runs.read_tasks(folder)


@pytest.mark.parametrize(
    "tasks",
    [
        {},
        [],
        [3],
        [{"kind": "boxes"}],
        [{"kind": ["landmarks"], "points": []}],
        [{"kind": "landmarks", "points": "abc", "normaliser": ["a", "b"]}],
        [{"kind": "landmarks", "points": [1, 2], "normaliser": [1, 2]}],
        [{"kind": "landmarks", "points": ["a", "b", "a"], "normaliser": ["a", "b"]}],
        [{"kind": "landmarks", "points": ["a", "b"], "normaliser": ["a", "b"], "flip_pairs": [["a"]]}],
        [{"kind": "landmarks", "points": ["a", "b"], "normaliser": ["a", "b"], "name": 3}],
        [{"kind": "attributes", "labels": []}],
        [{"kind": "attributes", "labels": {"name": "Hat"}}],
        [{"kind": "attributes", "labels": [{"name": "Hat", "classes": "ab"}]}],
        [{"kind": "attributes", "labels": [{"name": "Hat", "flip": ["0", "1"]}]}],
        [{"kind": "attributes", "labels": [{"name": "Hat"}, {"name": "Hat"}]}],
        [{"kind": "attributes", "labels": [{"name": "Hat"}], "__class__": "x"}],
        [{"kind": "attributes", "labels": [{"name": "Hat"}]}] * 2,
    ],
)
def test_tasks_of_a_wrong_kind(tasks, run):
    (run / "data.json").write_text(json.dumps({"tasks": tasks}))
    refused("expected", runs.read_tasks, run)


@pytest.mark.parametrize(
    "metrics", [[], {"nme": "4.5"}, {"confusion": [[1, "2"]]}, None, {"nme": {"deep": {"deeper": {}, "text": ""}}}, {"nme": True, "x": "y"}]
)
def test_metrics_of_a_wrong_kind(metrics, run):
    (run / "metrics.json").write_text(json.dumps({"tiny/test": {"landmarks": {"metrics": metrics, "floor": {}}}}))
    refused(r"metrics\.json: expected metrics of each task in 'tiny/test', got something else", runs.read_metrics, run)


@pytest.mark.parametrize(
    "history", ["epoch\nx\n", "epoch,loss\n1\n", "loss\n1\n", "epoch\n1,2,3\n", "epoch\nnan\n", "epoch\n\0\n", "epoch,loss\n1,\n"]
)
def test_a_history_of_a_wrong_kind(history, run):
    (run / "history.csv").write_text(history)
    refused(r"history\.csv: expected the numbers of a run's epochs, got something else", runs.read_history, run)


def test_a_long_field_of_a_history(run):
    (run / "history.csv").write_text("epoch\n" + "1" * (csv.field_size_limit() + 1))
    refused(r"history\.csv: expected the numbers of a run's epochs", runs.read_history, run)


@pytest.mark.parametrize("errors", ["{}", "[[1, 2]]", "[[[1], [2, 3]]]", '[[["a"], ["b"]]]', "[" * 100_000, "null"])
def test_errors_of_stopped_labels_of_a_wrong_kind(errors, tmp_path):
    (tmp_path / "stopping.json").write_text(errors)
    callback = TaskwiseStopping.__new__(TaskwiseStopping)
    callback._file, callback._task = tmp_path / "stopping.json", Attributes(labels=(Label("Hat"),))
    refused(r"stopping\.json: expected the errors of a run's epochs, got something else", callback._read)
    (tmp_path / "stopping.json").write_text("[[[0.5], [NaN]]]")
    assert len(callback._read()) == 1


def test_a_missing_entry_is_named_when_it_is_asked_for(run):
    (run / "environment.json").write_text("{}")
    refused(r"environment\.json: expected an entry 'parameters', found none", READERS["environment.json"], run)
    (run / "environment.json").write_text('{"parameters": "many"}')
    refused(
        r"environment\.json: expected JSON written by smtn_keras, got something else \(parameters is 'many'\)", runs.read_environment, run
    )


# -- weights ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return networks.build(CONFIG, tiny.TASKS)


@pytest.fixture(scope="module")
def whole_weights(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "best.keras"
    model.save(file)
    runs.load_weights(model, file)  # as it is, it is taken
    return file


@pytest.fixture
def weights(whole_weights, tmp_path):
    return Path(shutil.copy(whole_weights, tmp_path))


def rewrite(file, change=lambda weights: None, compression=zipfile.ZIP_STORED, **members):
    """Writes a `.keras` file anew with other members, or with its weights changed as HDF5."""
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(content["model.weights.h5"])
    with h5py.File(stream, "r+") as h5:
        change(h5)
    content["model.weights.h5"] = stream.getvalue()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in (content | members).items():
            archive.writestr(name, data)


def first_array(weights):
    """The path of an array of weights that a network reads."""
    found = []
    weights.visititems(lambda name, part: found.append(name) if isinstance(part, h5py.Dataset) and part.ndim == 4 else None)
    return found[0]


def replace(make):
    """A change that puts something else in the place of an array."""

    def change(weights):
        name = first_array(weights)
        shape = weights[name].shape
        del weights[name]
        make(weights, name, shape)

    return change


CRAFTED = {
    "a link to another file": (
        replace(lambda weights, name, shape: weights.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/"))),
        "weights with a link at",
    ),
    "a link within": (replace(lambda weights, name, shape: weights.__setitem__(name, h5py.SoftLink("/"))), "weights with a link at"),
    "values of another file": (
        replace(lambda weights, name, shape: weights.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])),
        "that are not in the file",
    ),
    "a terabyte of nothing": (
        replace(lambda weights, name, shape: weights.create_dataset(name, (1 << 38,), "f4", chunks=(1 << 20,))),
        "that are not in the file",
    ),
    "zeros that unfold": (
        replace(lambda weights, name, shape: weights.create_dataset(name, data=np.zeros(10_000_000, "f4"), compression="gzip")),
        "that are not in the file",
    ),
    "texts": (replace(lambda weights, name, shape: weights.create_dataset(name, data="text")), "that are not in the file"),
    "another shape": (
        replace(lambda weights, name, shape: weights.create_dataset(name, data=np.zeros((3, 3), "f4"))),
        "could not be loaded",
    ),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_weights(case, weights, model):
    change, came = CRAFTED[case]
    rewrite(weights, change)
    refused(
        rf"best\.keras: expected a \.keras file of this run's network, got something else \(.*{came}", runs.load_weights, model, weights
    )


def test_a_packed_keras_file(weights, model):
    rewrite(weights, compression=zipfile.ZIP_DEFLATED)
    refused(r"got something else \(packed members", runs.load_weights, model, weights)


@pytest.mark.parametrize("name", ["../../evil.txt", "/tmp/evil.txt", "assets/vocabulary.txt"])
def test_a_member_that_keras_does_not_write(name, weights, model):
    rewrite(weights, **{name: b"evil"})
    refused("got something else .a member '.*', which Keras does not write", runs.load_weights, model, weights)


def test_members_in_one_place_that_unfold_to_more_than_the_file(weights, model):
    data = weights.read_bytes()
    with zipfile.ZipFile(weights) as archive:
        size = archive.getinfo("config.json").file_size.to_bytes(4, "little")
    weights.write_bytes(data.replace(size, (1 << 31).to_bytes(4, "little")))
    refused(r"got something else \(packed members", runs.load_weights, model, weights)


def test_a_flipped_bit_of_weights(weights, model):
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    refused("got something else .Bad CRC-32", runs.load_weights, model, weights)


def test_weights_that_are_no_file(model, tmp_path):
    os.mkfifo(tmp_path / "best.keras")
    refused("found no such file", runs.load_weights, model, tmp_path / "best.keras")


def test_a_keras_file_with_code_is_not_loaded(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + os.getpid(), output_shape=(2,))(inputs)).save(tmp_path / "nets.keras")
    refused(r"nets\.keras: expected a trained method's nets, got something else", nets.load, tmp_path / "nets.keras")


def test_a_keras_file_does_not_read_other_files(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret\n")
    keras.Sequential([keras.Input((1,), dtype="string"), keras.layers.StringLookup(vocabulary=["a"])]).save(tmp_path / "nets.keras")
    with zipfile.ZipFile(tmp_path / "nets.keras") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = content["config.json"].decode()
    assert '"vocabulary": ["a"]' in config or '"vocabulary": null' in config
    config = config.replace('"vocabulary": ["a"]', f'"vocabulary": "{secret}"').replace('"vocabulary": null', f'"vocabulary": "{secret}"')
    with zipfile.ZipFile(tmp_path / "nets.keras", "w") as archive:
        for name in ("metadata.json", "model.weights.h5"):
            archive.writestr(name, content[name])
        archive.writestr("config.json", config)
    refused(r"nets\.keras: expected a trained method's nets, got something else", nets.load, tmp_path / "nets.keras")


@pytest.mark.parametrize("kind", ["pickled", "packed", "fifo"])
def test_crafted_arrays(kind, tmp_path):
    file = tmp_path / "facetracer.npz"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "packed":
        np.savez_compressed(file, names=svm.names(tiny.LABELS), weights=np.zeros(100_000_000, np.int8))
    else:
        np.savez(file, names=np.array([object()], object))
    refused("expected a trained method's arrays, got a damaged or other file", svm.read, file, tiny.LABELS)


# -- exports ----------------------------------------------------------------------------------------


@pytest.fixture
def export(tmp_path):
    return shutil.copytree(shipped("mobile_tiny"), tmp_path / "export")


def change_card(folder, *path, value):
    card = place = json.loads((folder / cards.CARD).read_text())
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (folder / cards.CARD).write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("data", "frame", "size"), [10**9, 10**9]),
        (("data", "frame", "size"), [0, 10]),
        (("data", "frame", "size"), ["80", "100"]),
        (("data", "frame", "size"), 80),
        (("data", "frame", "mean_landmarks", "landmarks"), [[1, 2]]),
        (("data", "frame", "mean_landmarks", "landmarks"), [["x", "y"]] * 5),
        (("data", "tasks", 0, "points"), "abcde"),
        (("data", "licence"), ["x"]),
        (("data", "counts"), []),
        (("file", "sha256"), 3),
        (("signature",), ["serve"]),
        (("metrics",), []),
        (("metrics",), {"tiny/test": 3}),
        (("parameters",), "many"),
        (("parameters",), 10**400),
        (("outputs",), {"landmarks": 3}),
        (("latency",), 3),
    ],
)
def test_a_card_of_a_wrong_kind(path, value, export):
    change_card(export, *path, value=value)
    refused(r"model\.json: expected a model\.json written by smtn_keras\.export, got a damaged or different file", load_predictor, export)


@pytest.mark.parametrize("name", [cards.CARD, cards.FILE])
def test_an_export_is_not_waited_for(name, export):
    (export / name).unlink()
    os.mkfifo(export / name)
    refused("expected", load_predictor, export / cards.FILE if name == cards.CARD else export)


def know(folder):
    """Makes the card know the file as it is, as the card of a crafted one would."""
    change_card(folder, "file", value=cards.describe_file(folder / cards.FILE))


def edit_litert(folder, change):
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model(str(folder / cards.FILE))
    change(content)
    (folder / cards.FILE).write_bytes(flatbuffer_utils.convert_object_to_bytearray(content))
    know(folder)


def huge_map(content):
    content.subgraphs[0].tensors[5].shape = np.int32([1, 100_000, 100_000, 64])


def huge_input(content):
    content.subgraphs[0].tensors[content.subgraphs[0].inputs[0]].shape = np.int32([1, 100_000, 100_000, 3])


def loop(content):
    from ai_edge_litert import schema_py_generated as schema

    content.operatorCodes[0].builtinCode = schema.BuiltinOperator.WHILE
    content.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.WHILE


def custom(content):
    from ai_edge_litert import schema_py_generated as schema

    content.operatorCodes[0].builtinCode = content.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    content.operatorCodes[0].customCode = b"FlexReadFile"


@pytest.mark.parametrize(
    ("change", "came"),
    [(huge_map, "maps and weights of"), (huge_input, "maps and weights of"), (loop, "an operation WHILE"), (custom, "an operation CUSTOM")],
)
def test_a_crafted_litert_file(change, came, export):
    edit_litert(export, change)
    refused(rf"model\.tflite: expected a LiteRT model, got a damaged or different file \({came}", load_predictor, export)


@pytest.mark.parametrize("cut", [0, 3, 8, 100, 1000, 500_000])
def test_a_cut_litert_file(cut, export):
    (export / cards.FILE).write_bytes((export / cards.FILE).read_bytes()[:cut])
    know(export)
    refused(r"model\.tflite: expected", load_predictor, export)


@pytest.mark.parametrize("name", ["mobile", "mobile_tiny", "mobile_synthetic"])
def test_shipped_files_pass(name):
    model_files.check_litert((shipped(name) / cards.FILE).read_bytes())


@pytest.fixture
def saved(export):
    """A SavedModel beside a card of its own."""
    from smtn_keras.litert import write_saved_model
    from smtn_keras.predictor import serving_model

    card = cards.read(export)
    config = CONFIG.with_(network={"image_size": card["input"]["shape"][1]})
    tasks = cards.tasks_of(card)
    write_saved_model(serving_model(networks.build(config, tasks), tasks, config), export / "saved_model")
    return export / "saved_model"


def edit_graph(folder, change):
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(content.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(content.SerializeToString())


def add(op, name):
    """A change that adds an operation to the function that a call of a name asks for."""

    def change(graph):
        function = next(function for function in graph.graph_def.library.function if name in function.signature.name)
        function.node_def.add(name="evil", op=op)

    return change


def call_saver(graph):
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    saver = next(name for name in functions if "traced_save" in name)
    caller = next(function for name, function in functions.items() if "signature_wrapper" in name)
    caller.node_def.add(name="evil", op="StatefulPartitionedCall").attr["f"].func.name = saver


def only_graph(graph):
    graph.ClearField("object_graph_def")


def test_a_saved_model_is_no_program_of_others(saved):
    whole = (saved / "saved_model.pb").read_bytes()
    load_predictor(saved)
    for change, came in (
        (add("ReadFile", "signature_wrapper"), "an operation ReadFile"),
        (add("WriteFile", "<lambda>"), "an operation WriteFile"),
        (add("While", "<lambda>"), "an operation While"),
        (add("PyFunc", "<lambda>"), "an operation PyFunc"),
        (call_saver, "an operation "),
        (only_graph, "a graph of TensorFlow 1"),
    ):
        (saved / "saved_model.pb").write_bytes(whole)
        edit_graph(saved, change)
        refused(rf"saved_model: expected a SavedModel, got a damaged or different file \({came}", load_predictor, saved)
    (saved / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    refused("saved_model: expected a SavedModel, got a damaged", load_predictor, saved)
    (saved / "saved_model.pb").write_bytes(whole)
    (saved / "saved_model.pbtxt").write_text("")
    refused(r"a file 'saved_model\.pbtxt', which an export does not write", load_predictor, saved)
    (saved / "saved_model.pbtxt").unlink()
    values = next((saved / "variables").glob("*.data*"))
    values.rename(saved.parent / "elsewhere")
    values.symlink_to(saved.parent / "elsewhere")
    refused(r"variables\.data-00000-of-00001 leads out of it", load_predictor, saved)

"""LiteRT files have the arithmetic that was asked for, and say what their outputs are."""

import sys

import numpy as np
import pytest

from smtn_keras import litert
from smtn_keras.card import names_of
from smtn_keras.data.pipeline import resize
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.predictor import serving_model
from smtn_keras.runs import load as load_run

SIZE = 32


@pytest.fixture(scope="module")
def run(drawn):
    return load_run(drawn / "stage1")


@pytest.fixture(scope="module")
def faces_drawn():
    """Twelve drawn faces, `(1, 32, 32, 3)` uint8 each."""
    return [resize(draw_face(seed=2, index=i)[0], SIZE)[None] for i in range(12)]


@pytest.fixture(scope="module")
def float_model(run):
    return litert.convert(serving_model(run.model, run.tasks, run.config))


@pytest.fixture(scope="module")
def files(run, float_model, faces_drawn):
    """A file by preset."""
    pytest.importorskip("litert_quantizer")
    images = [face.astype(np.float32) for face in faces_drawn]
    return {preset: litert.quantise(float_model, preset, run.model, images) for preset in ("float32", "float16", "dynamic", "int8")}


def runner(model, **options):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=model, **options).get_signature_runner("serving_default")


def operations(model):
    """Of each operation its kind, the types of its inputs and of its output, and its output's name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # no delegate and no Flex: operations other than built-in ones would not load
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    return [
        (op["op_name"], [tensors[i]["dtype"].__name__ for i in op["inputs"] if i >= 0], tensors[op["outputs"][0]])
        for op in interpreter._get_ops_details()
    ]


def kinds(model, kind):
    """The types in all operations of a kind but the layer of the heatmaps: of the input, the weights and the output."""
    return {
        (*types[:2], output["dtype"].__name__)
        for name, types, output in operations(model)
        if name == kind and "heatmaps" not in output["name"]
    }


def test_convs_have_the_arithmetic_of_the_preset(files):
    assert kinds(files["float32"], "CONV_2D") == {("float32", "float32", "float32")}
    assert kinds(files["dynamic"], "CONV_2D") == {("float32", "int8", "float32")}
    assert kinds(files["int8"], "CONV_2D") == {("int8", "int8", "int8")}
    assert kinds(files["int8"], "MAX_POOL_2D") == {("int8", "int8")} and kinds(files["int8"], "CONCATENATION") >= {("int8", "int8", "int8")}
    halves = [types for name, types, _ in operations(files["float16"]) if name == "DEQUANTIZE"]
    assert len(halves) >= len([name for name, *_ in operations(files["float16"]) if name == "CONV_2D"])
    assert all(types == ["float16"] for types in halves)


@pytest.mark.parametrize("preset", ["float16", "dynamic", "int8"])
def test_points_and_probabilities_are_made_in_float(files, preset):
    """From the heatmaps' logits on: 256 levels are too few for an expectation."""
    found = operations(files[preset])
    heatmaps = next(i for i, (name, _, output) in enumerate(found) if name == "CONV_2D" and "heatmaps" in output["name"])
    expectation = next(i for i, (name, *_) in enumerate(found) if name == "SOFTMAX" and i > heatmaps)
    for name, types, output in found[heatmaps + 1 : expectation + 2]:
        assert name in ("RESHAPE", "TRANSPOSE", "SOFTMAX", "FULLY_CONNECTED")
        assert types[0] == "float32" and output["dtype"] == np.float32
    name, types, _ = found[expectation + 1]
    assert (name, types) == ("FULLY_CONNECTED", ["float32", "float32"]), "the cells' positions are no weights to round"
    assert {of["dtype"] for of in runner(files[preset]).get_output_details().values()} == {np.float32}


@pytest.mark.parametrize("preset", ["float32", "float16", "dynamic", "int8"])
def test_nothing_is_dynamic_or_custom(files, preset):
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromPackedBuf(files[preset])
    assert not [code.customCode for code in content.operatorCodes if code.customCode]
    tensors = content.subgraphs[0].tensors
    assert not [tensor.name for tensor in tensors if any(side < 1 for side in (*tensor.shape, *(tensor.shapeSignature or ())))]


def test_answers_stay_near_those_of_the_network(files, faces_drawn):
    answers = {preset: [runner(model)(image=face.astype(np.float32)) for face in faces_drawn] for preset, model in files.items()}
    for preset, px, probability in (("float16", 0.02, 0.002), ("dynamic", 0.1, 0.02), ("int8", 0.2, 0.03)):
        for name, limit in (("landmarks", px / SIZE), ("attributes", probability)):
            pairs = zip(answers[preset], answers["float32"], strict=True)
            assert 0 < np.mean([np.abs(a[name] - b[name]).mean() for a, b in pairs]) < limit, (preset, name)


def test_int8_is_calibrated_on_the_images(run, float_model, files):
    """Its first map is the normalised image, (RGB - mean) / 58, in 255 steps from the lowest to the highest value seen, 0 included."""

    def step(model):
        _, _, output = next(op for op in operations(model) if op[0] == "QUANTIZE")
        return output["quantization_parameters"]["scales"][0]

    dark = np.full((1, SIZE, SIZE, 3), 20, np.float32)
    dark[:, :4] = 90
    model = litert.quantise(float_model, "int8", run.model, [dark] * 3)
    low = (20 - 123.68) / 58  # of red; the highest value, of blue, is (90 - 103.939) / 58 and below 0
    assert step(model) == pytest.approx(-low / 255, rel=0.01)
    assert step(files["int8"]) > 1.5 * step(model), "drawn faces have bright pixels too"


def test_uint8_images_are_answered_like_float_ones(run, files, faces_drawn):
    model = litert.convert(serving_model(run.model, run.tasks, run.config), batch=2, input_type="uint8")
    asked = runner(model)
    details = asked.get_input_details()["image"]
    assert details["dtype"] == np.uint8 and details["shape"].tolist() == [2, SIZE, SIZE, 3]
    both = asked(image=np.concatenate(faces_drawn[:2]))
    for i, face in enumerate(faces_drawn[:2]):
        for name, values in runner(files["float32"])(image=face.astype(np.float32)).items():
            np.testing.assert_allclose(both[name][i], values[0], atol=1e-5, err_msg=name)


def test_names_are_inside_the_file(run, files, faces_drawn):
    from ai_edge_litert import schema_py_generated as schema

    names = {task.name: names_of(task) for task in run.tasks} | {"other": ["ë", "two words"]}
    model = litert.with_names(files["int8"], names)
    assert litert.names_in(model, [*names, "unknown"]) == names
    assert litert.names_in(files["int8"], list(names)) == {}
    content = schema.ModelT.InitFromPackedBuf(model)
    assert not any(buffer.offset for buffer in content.buffers), "weights behind the flatbuffer, where older runtimes do not look"
    image = faces_drawn[0].astype(np.float32)
    for name, values in runner(files["int8"])(image=image).items():
        np.testing.assert_array_equal(runner(model)(image=image)[name], values)


def test_without_the_quantiser_one_is_told_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    with pytest.raises(UserError, match=r"--quantise dynamic: .* pip install 'smtn_keras\[quantise\]'"):
        litert.quantise(b"", "dynamic", run.model)
    assert litert.quantise(b"as it is", "float32", run.model) == b"as it is"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "separation", "backbone": "mobilenet_v2", "width": 0.35, "head": "both"},
        {"kind": "separation", "fusion": "concat", "activation": "crelu"},
        {"kind": "mtan"},
        {"kind": "cascade"},
        {"kind": "cross_stitch"},
        {"kind": "tcdcn", "backbone": "shallow", "head": "paper"},
    ],
    ids=lambda settings: settings["kind"],
)
def test_every_system_can_be_int8(settings, faces_drawn):
    """Flip-averaged, so that the network is in the file twice."""
    import keras

    from smtn_keras import networks
    from smtn_keras.config import Config, NetworkConfig
    from smtn_keras.data.celeba import TASKS

    pytest.importorskip("litert_quantizer")
    keras.utils.set_random_seed(0)
    config = Config(stage=1, network=NetworkConfig(**{"image_size": SIZE, "width": 0.06} | settings))
    network = networks.build(config, TASKS)
    images = [face.astype(np.float32) for face in faces_drawn]
    float_model = litert.convert(serving_model(network, TASKS, config, flip=True))
    quantised = litert.quantise(float_model, "int8", network, images)
    assert kinds(quantised, "CONV_2D") == {("int8", "int8", "int8")}
    back = [output["name"] for name, _, output in operations(quantised) if name == "DEQUANTIZE"]
    assert len(back) <= 8, "maps go back to float at the heads alone"
    before, after = runner(float_model), runner(quantised)
    answers = [(before(image=image), after(image=image)) for image in images]
    for name in ("landmarks", "attributes"):
        assert np.mean([np.abs(a[name] - b[name]) for a, b in answers]) < 0.03, name

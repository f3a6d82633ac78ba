"""benchmarks/run.py: what it counts, what it compares with, and that it goes on without a contender that is lost."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smtn_keras.errors import UserError
from smtn_keras.presets import preset

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks/speed"))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import baseline
import inputs
import limits
import prepare
import run
import startup
import steps
import train_step
import turns

# -- the count of a step ----------------------------------------------------------------------------


def stacks(frozen):
    """Two stacks of convs over 4x4 pixels, the first maybe frozen, fused and followed by an FC layer."""
    import keras
    from keras import layers

    image = keras.Input((4, 4, 3))
    shared = image
    for name in ("a", "b"):
        shared = layers.Conv2D(5, 3, padding="same", trainable=not frozen, name=f"shared_{name}")(shared)
    own = layers.Conv2D(7, 3, padding="same", name="own_a")(image)
    both = layers.Concatenate()([own, shared])
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Conv2D(7, 1, name="fuse")(both))))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_step_counts_the_gradients_that_are_needed(frozen):
    first, second, own, fuse, dense = 16 * 9 * 3 * 5, 16 * 9 * 5 * 5, 16 * 9 * 3 * 7, 16 * 12 * 7, 16 * 7 * 2
    shared = first + second if frozen else 2 * first + 3 * second
    assert limits.step_multiply_adds(stacks(frozen)) == shared + 2 * own + 3 * fuse + 3 * dense


def test_a_model_inside_counts_as_its_layers_do():
    import keras
    from keras import layers

    def inner(frozen):
        image = keras.Input((4, 4, 3))
        return keras.Model(image, layers.Conv2D(5, 3, padding="same", trainable=not frozen)(image))

    image = keras.Input((4, 4, 3))
    first, second = 16 * 3 * 3, 16 * 9 * 3 * 5
    for frozen, passes in ((False, 3), (True, 2)):
        model = keras.Model(image, inner(frozen)(layers.Conv2D(3, 1)(image)))
        assert limits.step_multiply_adds(model) == 2 * first + passes * second


def test_the_peak_of_a_dtype_is_the_best_of_all():
    slow = turns.Contender("slow", "limits", {}, facts={"flops": {"product float32": 100, "convolution float32": 90}})
    slow.seconds = {"product float32": [1.0, 2.0, 9.0], "convolution float32": [1.0, 1.0]}
    fast = turns.Contender("fast", "limits", {}, facts={"flops": {"product bfloat16": 100}}, seconds={"product bfloat16": [0.5]})
    assert limits.peaks([slow, fast, turns.Contender("lost", "limits", {})]) == {"float32": 90, "bfloat16": 200}


# -- the same network in PyTorch --------------------------------------------------------------------

TINY = {"width": 0.05, "image_size": 32}
SAME = {
    "stage 1, paper": (1, {"head": "paper", "batch_norm": False}),
    "stage 1, softargmax": (1, {"uncertainty": True}),
    "stage 2, concat": (2, {"head": "pooled", "fusion": "concat", "batch_norm": False}),
    "stage 2, channelwise": (2, {"branch": "conv1_2", "fuse_at": "block", "task_width": 0.1, "uncertainty": True}),
}


@pytest.mark.parametrize("name", SAME)
def test_pytorch_computes_what_keras_does(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra bench)")
    import keras
    import torch_networks

    from smtn_keras import networks
    from smtn_keras.data.celeba import TASKS
    from smtn_keras.losses import task_losses

    stage, network = SAME[name]
    config = preset("small", stage).with_(network=TINY | network, training={"batch_size": 3}).resolved()
    images, targets = steps.batch(config, TASKS)
    keras.utils.set_random_seed(0)
    ours = networks.build(config, TASKS)
    theirs = torch_networks.Network(config, TASKS).eval()
    assert torch_networks.parameters(theirs) == ours.count_params()
    trainable = sum(weight.numel() for weight in theirs.parameters() if weight.requires_grad)
    assert trainable == sum(int(np.prod(weight.shape)) for weight in ours.trainable_weights)
    for layer_name, layer in theirs.layers.items():
        copy(ours.get_layer(layer_name), layer, torch)
    with torch.no_grad():
        outputs = theirs(torch.from_numpy(images))
    answers = ours(images.astype("float32"), training=False)
    for task in TASKS:
        np.testing.assert_allclose(outputs[task.name].numpy(), keras.ops.convert_to_numpy(answers[task.name]), atol=1e-4)
    losses, weights = task_losses(TASKS, config)
    wanted = sum(weights[key] * losses[key](targets[key], answers[key]) for key in losses)
    truth = {"landmarks": torch.from_numpy(targets["landmarks"]), "attributes": torch.from_numpy(targets["attributes"]).long()}
    assert float(torch_networks.losses(outputs, truth, config, TASKS)) == pytest.approx(float(wanted), rel=1e-4)


def copy(ours, theirs, torch):
    """The weights of a Keras layer, in PyTorch's order of axes."""
    weights = [np.random.default_rng(0).normal(1, 0.1, weight.shape) if "_bn" in ours.name else np.array(weight) for weight in ours.weights]
    if "_bn" in ours.name:
        ours.set_weights(weights)  # fresh statistics would hide which is which
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    names = ("weight", "bias", "running_mean", "running_var")
    theirs.load_state_dict(
        {key: torch.tensor(weight.transpose(axes[weight.ndim])) for key, weight in zip(names, weights, strict=False)}, strict=False
    )


def test_pytorch_says_what_it_has_not():
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra bench)")
    import torch_networks

    from smtn_keras.data.celeba import TASKS

    with pytest.raises(UserError, match="not rebuilt in PyTorch"):
        torch_networks.Network(preset("small", 1).with_(network={"kind": "mtan"}), TASKS)


# -- the baseline -----------------------------------------------------------------------------------

KNOWN = {
    "speedup": {"value": 2.0, "better": "higher", "machine": "m"},
    "overhead": {"value": 1.0, "better": "lower", "machine": "m"},
}


def ratios(speedup, overhead):
    return {"speedup": {"value": speedup, "better": "higher"}, "overhead": {"value": overhead, "better": "lower"}}


def test_a_ratio_is_worse_in_its_own_direction():
    assert baseline.worse(ratios(1.7, 1.19), KNOWN) == []
    assert baseline.worse(ratios(9.0, 0.1), KNOWN) == []
    assert baseline.worse(ratios(1.6, 1.3), KNOWN) == [
        "speedup: 1.6, before 2 (25 % worse; m)",
        "overhead: 1.3, before 1 (30 % worse; m)",
    ]
    assert baseline.worse({"new": {"value": 1.0, "better": "higher"}}, KNOWN) == []


def test_a_baseline_keeps_what_was_not_measured_now(tmp_path):
    file = tmp_path / "baseline.json"
    environment = {"processor": "p", "cores": 2, "versions": {"keras": "3"}}
    baseline.save(file, KNOWN, {"speedup": {"value": 3.00001, "better": "higher"}}, environment)
    known = baseline.read(file)
    assert known["overhead"] == KNOWN["overhead"]
    assert known["speedup"] == {"value": 3.0, "better": "higher", "machine": "p, 2 cores, keras 3"}
    assert baseline.read(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"value": 0, "better": "higher", "machine": ""}}'])
def test_a_damaged_baseline_is_refused(text, tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(UserError, match="expected a baseline written by"):
        baseline.read(file)


# -- the command ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, says",
    [
        (["no_such"], "NAME: expected some of train_step"),
        (["--frameworks", "caffe"], "--frameworks: expected some of"),
        (["--rounds", "0"], "--seconds and --rounds: expected positive numbers"),
        (["--into", "no_such.md"], "no_such.md: expected a file with the lines"),
        (["--quick", "--save-baseline"], "--save-baseline and --check: expected a full run"),
    ],
)
def test_bad_flags_end_in_a_sentence(flags, says, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(flags)
    assert end.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("check, code", [(True, 1), (False, 0)])
def test_a_check_fails_on_a_worse_ratio(check, code, tmp_path, monkeypatch, capsys):
    result = {"details": {}, "ratios": ratios(1.6, 1.0), "head": ["", "s"], "rows": [["a", "1"]], "notes": "Notes."}
    monkeypatch.setattr(startup, "measure", lambda settings, folder: result)
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps({f"startup: {name}": ratio for name, ratio in KNOWN.items()}))
    flags = ["startup", "--baseline", str(file), "--out", str(tmp_path / "out"), *(["--check"] if check else [])]
    try:
        run.main(flags)
        ended = 0
    except SystemExit as end:
        ended = end.code
    assert ended == code
    said = capsys.readouterr()
    assert "| a | 1 |" in said.out and "Notes." in said.out
    assert "1 of 2 ratios are over 20 % worse" in said.err and "startup: speedup: 1.6, before 2 (25 % worse; m)" in said.err
    assert json.loads((tmp_path / "out" / "startup.json").read_text())["ratios"] == ratios(1.6, 1.0)
    run.main(["startup", "--baseline", str(file), "--save-baseline"])
    assert baseline.read(file)["startup: speedup"]["value"] == 1.6


def faked(name, script, tmp_path):
    """A contender whose module is a few lines."""
    (tmp_path / f"{name}.py").write_text(script)
    return turns.Contender(name, name, {"number": 2}, {"PYTHONPATH": str(tmp_path)})


GOOD = "def contender(number):\n    return {'twice': 2 * number}, lambda **_: {'seconds': {'step': [1.0, 3.0]}}\n"


def test_contenders_take_turns_without_those_that_are_lost(tmp_path):
    good = faked("good", GOOD, tmp_path)
    dies = faked("dies", GOOD.replace("{'seconds'", "1 / 0 or {'seconds'"), tmp_path)
    absent = faked("absent", "import no_such_package\n", tmp_path)
    turns.take_turns([absent, dies, good], seconds=0)
    assert good.facts["twice"] == 4 and good.seconds == {"step": [1.0, 3.0] * turns.LEAST}
    assert good.median() == 2.0 and good.spread() == (1.0, 3.0) and 1 < good.peak_mb < 100
    assert absent.not_measured == "ModuleNotFoundError: No module named 'no_such_package'"
    assert dies.not_measured == "when timed, ZeroDivisionError: division by zero" and dies.median() is None


def test_a_table_has_shares_of_the_peak_and_reasons():
    def one(framework, dtype, *taken, **more):
        facts = {"parameters": 5e5} | ({} if framework == "torch" else {"step_multiply_adds": 10})
        return turns.Contender(f"{framework} {dtype}", "steps", {}, facts=facts, seconds={"step": list(taken)}, peak_mb=100.0, **more)

    contenders = {
        ("tensorflow", "float32"): one("tensorflow", "float32", 2.0, 2.0),
        ("tensorflow", "bfloat16"): one("tensorflow", "bfloat16", 1.0, 1.0),
        ("torch", "float32"): one("torch", "float32", 3.0, 3.0),
        ("jax", "float32"): turns.Contender("jax", "steps", {}, not_measured="no jax"),
    }
    peak, flops = {"float32": 40.0, "bfloat16": 100.0}, 4 * train_step._flops(contenders.values())
    assert flops == 80
    assert {key: ratio["value"] for key, ratio in train_step._ratios("n", contenders, peak, flops).items()} == {
        "n: tensorflow float32, share of the peak": 1.0,
        "n: tensorflow bfloat16, share of the peak": 0.8,
        "n: float32 over bfloat16, seconds": 2.0,
        "n: PyTorch over TensorFlow, seconds, float32": 1.5,
    }
    rows = [train_step._row("n", key, one, contenders, peak, flops, 4) for key, one in contenders.items()]
    assert rows[2][2:8] == ["3", "3 to 3", "1.333", "1.50", "0", "67 %"]
    assert rows[3][2] == "-" and rows[3][-1] == "not measured: no jax"


def test_networks_measured_apart_stand_in_one_table_in_their_order(tmp_path, monkeypatch, capsys):
    def pretend(contenders, seconds, rounds):
        for one in contenders:
            one.seconds, one.peak_mb, one.facts = {"step": [seconds], "gemm": [1.0]}, 1.0, {"parameters": 1, "step_multiply_adds": 1}

    monkeypatch.setattr(train_step, "take_turns", pretend)
    monkeypatch.setattr(train_step, "peaks", lambda probes: {"float32": 1e3, "bfloat16": 1e3})
    flags = ["train_step", "--frameworks", "tensorflow", "--out", str(tmp_path), "--baseline", str(tmp_path / "none.json")]
    for only, seconds in (("mobile_tiny", "3"), ("best, stage 2", "2"), ("mobile_tiny", "4")):
        run.main([*flags, "--only", only, "--seconds", seconds])
    everything = json.loads((tmp_path / "train_step.json").read_text())
    assert [row[:3] for row in everything["rows"][::2]] == [
        ["best, stage 2", "TensorFlow float32", "2"],
        ["mobile_tiny", "TensorFlow float32", "4"],
    ]
    assert len(everything["rows"]) == 4 and {key.partition(":")[0] for key in everything["ratios"]} == set(everything["details"])
    everything["environment"]["processor"] = "another"
    (tmp_path / "train_step.json").write_text(json.dumps(everything))
    with pytest.raises(SystemExit):
        run.main([*flags, "--only", "mobile_tiny"])
    assert "results of this machine" in capsys.readouterr().err


# -- the other benchmarks ---------------------------------------------------------------------------


def test_a_folder_of_drawn_faces_is_read_as_celeba(tmp_path):
    from smtn_keras.data.celeba import CelebA
    from smtn_keras.data.synthetic import draw_face

    prepare.write_celeba(tmp_path / "celeba", 10)
    splits = CelebA(source=tmp_path / "celeba", data_dir=tmp_path / "data").splits()
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 8, "validation": 1, "test": 1}
    _, landmarks_px, attributes = draw_face(0, 8)
    (example,) = splits["validation"]
    np.testing.assert_array_equal(example.targets["landmarks"], landmarks_px.astype(int))
    np.testing.assert_array_equal(example.targets["attributes"], attributes)


def test_every_command_is_started():
    commands = startup.commands("data", quick=False)
    assert {"fit --help", "prepare --help", "evaluate --help", "web --help", "import smtn_keras"} <= set(commands)
    assert "config --help" not in commands


def test_a_command_is_timed_and_one_that_fails_is_no_figure():
    facts, answer = startup.contender(["-c", "import time; time.sleep(0.2)"])
    said = answer()
    assert facts == {} and 0.2 < said["seconds"]["call"][0] < 20 and said["peak_mb"] > 1
    with pytest.raises(RuntimeError, match="ended with 3"):
        startup.contender(["-c", "raise SystemExit(3)"])[1]()


def test_the_input_is_timed_by_batches(tiny_dir):
    config = preset("small", 1).with_(
        data={"data": "tiny", "data_dir": str(tiny_dir)}, network={"image_size": 32}, training={"batch_size": 4}
    )
    _, answer = inputs.contender(config.to_json(), turn_seconds=0.05)
    assert 0 < answer()["seconds"]["batch"][0] < 20
    assert 0 < answer()["seconds"]["batch"][0] < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", run.BENCHMARKS)
def test_a_quick_run_measures_all_and_writes_it(name, tmp_path):
    page, out = tmp_path / "page.md", tmp_path / "out"
    page.write_text(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n")
    run.main([name, "--quick", "--frameworks", "tensorflow", "--out", str(out), "--into", str(page)])
    everything = json.loads((out / f"{name}.json").read_text())
    assert everything["environment"]["processor"] and everything["rows"] and everything["ratios"]
    assert not any("not measured" in row[-1] for row in everything["rows"])
    assert (out / f"{name}.md").read_text().strip() in page.read_text()

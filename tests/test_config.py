"""Settings: the paper's recipe, flags, JSON, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import pytest

from smtn_keras import backend, fit
from smtn_keras.config import Config, DataConfig, NetworkConfig, RunConfig, TrainingConfig, read_config
from smtn_keras.errors import UserError
from smtn_keras.presets import BACKBONE, PRESETS, parse, preset

# a value other than the default for every field, as flags
FLAGS = {
    "data": {
        "data": (["--data", "mtfl"], "mtfl"),
        "data_dir": (["--data-dir", "elsewhere"], "elsewhere"),
        "tasks": (["--tasks", "landmarks"], ("landmarks",)),
        "sampling": (["--data", "celeba+mtfl", "--sampling", "2", "1"], (2, 1)),
        "samples": (["--samples", "1000"], 1000),
        "flip": (["--no-flip"], False),
        "shift": (["--shift", "0.01"], 0.01),
        "scale": (["--scale", "0.02"], 0.02),
        "rotation": (["--rotation", "3"], 3),
        "colour": (["--colour", "0.3"], 0.3),
        "blur": (["--blur", "1"], 1),
        "jpeg": (["--jpeg", "30"], 30),
        "erase": (["--erase", "0.4"], 0.4),
        "mixup": (["--mixup", "0.2"], 0.2),
        "identities": (["--network", "lnets_anet", "--identities", "identity_CelebA.txt"], "identity_CelebA.txt"),
        "cache": (["--no-cache"], False),
        "workers": (["--workers", "3"], 3),
    },
    "network": {
        "image_size": (["--image-size", "96"], 96),
        "width": (["--width", "1"], 1),
        "batch_norm": (["--no-batch-norm"], False),
        "head": (["--head", "paper"], "paper"),
        "uncertainty": (["--no-uncertainty"], False),
        "dropout": (["--dropout", "0.4"], 0.4),
        "gradient_balance": (["--gradient-balance"], True),
        "attribute_output": (["--attribute-output", "logits"], "logits"),
        "kind": (["--network", "mtan"], "mtan"),
        "backbone": (["--backbone", "shallow"], "shallow"),
        "activation": (["--activation", "crelu"], "crelu"),
        "conv": (["--conv", "separable"], "separable"),
        "task_width": (["--network", "separation", "--task-width", "0.125"], 0.125),
        "sharing": (["--sharing", "trace"], "trace"),
        "sharing_weight": (["--sharing-weight", "0.5"], 0.5),
        "apart": (["--network", "separation", "--apart", "0.2"], 0.2),
        "branch": (["--branch", "conv2_2"], "conv2_2"),
        "fusion": (["--fusion", "concat"], "concat"),
        "fuse_at": (["--fuse-at", "block"], "block"),
        "fusion_init": (["--fusion-init", "random"], "random"),
        "init": (["--width", "1", "--init", "imagenet"], "imagenet"),
        "weights": (["--width", "1", "--init", "imagenet", "--weights", "vgg.h5"], "vgg.h5"),
    },
    "training": {
        "epochs": (["--epochs", "3"], 3),
        "batch_size": (["--batch-size", "7"], 7),
        "accumulate": (["--accumulate", "4"], 4),
        "optimizer": (["--optimizer", "sgd"], "sgd"),
        "learning_rate": (["--learning-rate", "0.5"], 0.5),
        "schedule": (["--schedule", "constant"], "constant"),
        "weight_decay": (["--weight-decay", "0.25"], 0.25),
        "ema": (["--ema", "0.99"], 0.99),
        "landmarks_loss": (["--no-uncertainty", "--landmarks-loss", "mse"], "mse"),
        "landmark_scale": (["--landmark-scale", "2"], 2),
        "landmark_unit": (["--no-uncertainty", "--landmark-unit", "eyes"], "eyes"),
        "landmarks_weight": (["--landmarks-weight", "3"], 3),
        "attributes_weight": (["--attributes-weight", "4"], 4),
        "attributes_loss": (["--attributes-loss", "focal"], "focal"),
        "attributes_mean": (["--attributes-mean", "faces"], "faces"),
        "label_smoothing": (["--label-smoothing", "0.1"], 0.1),
        "label_weighting": (["--label-weighting", "frequency"], "frequency"),
        "balance": (["--no-uncertainty", "--balance", "uncertainty"], "uncertainty"),
        "teacher": (["--teacher", "runs/large"], "runs/large"),
        "teacher_weight": (["--teacher-weight", "0.5"], 0.5),
        "dtype": (["--dtype", "bfloat16"], "bfloat16"),
        "seed": (["--seed", "9"], 9),
    },
    "run": {
        "run": (["--run", "here"], "here"),
        "runs": (["--runs", "there"], "there"),
        "from_run": (["--stage", "2", "--from", "that"], "that"),
        "resume": (["--resume"], True),
        "checkpoint_minutes": (["--checkpoint-minutes", "1"], 1.0),
        "hosts": (["--hosts", "2"], 2),
        "host": (["--host", "1"], 1),
        "coordinator": (["--coordinator", "10.0.0.1:1234"], "10.0.0.1:1234"),
    },
}
PARTS = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig, "run": RunConfig}


def parsed(*argv):
    return parse(list(argv), "fit", "Trains.")


# -- presets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [1, 2])
def test_paper_is_the_papers_recipe(stage):
    config = preset("paper", stage)
    training, network, data = config.training, config.network, config.data
    assert (training.optimizer, training.learning_rate, training.schedule, training.weight_decay) == ("sgd", 1e-4, "constant", 0)
    assert (training.batch_size, training.epochs, training.landmarks_loss) == (32, 100, "mse")
    assert (training.landmarks_weight, training.attributes_weight) == (1, 1)  # Eq. 1
    assert (network.image_size, network.width, network.batch_norm) == (128, 1, False)
    assert (network.head, network.attribute_output, network.fuse_at) == ("paper", "softmax", "conv")
    assert (data.data, data.flip, data.shift, data.scale, data.rotation, data.colour) == ("celeba", False, 0, 0, 0, 0)


def test_best_trains_on_both_real_sets_with_faces_that_need_not_be_aligned():
    for stage in (1, 2, 3):
        best, small = preset("best", stage), preset("small", stage)
        assert (best.preset, best.stage, best.data.names) == ("best", stage, ("celeba", "mtfl"))
        assert best.network.image_size > small.network.image_size
        assert best.training.epochs > small.training.epochs
        assert best.data.scale > small.data.scale and best.data.rotation > small.data.rotation
    assert preset("best", 3).training.learning_rate < preset("best", 2).training.learning_rate


def test_paper_stage_2_is_table_2s_best_row():
    network = preset("paper", 2).resolved().network
    assert (network.fusion, network.init, network.fusion_init, network.branch) == ("concat", "scratch", "random", "input")


@pytest.mark.parametrize("stage", [1, 2])
def test_small_and_demo_are_narrow_and_use_softargmax(stage):
    for name in ("small", "demo"):
        config = preset(name, stage)
        assert (config.preset, config.stage, config.network.width, config.network.head) == (name, stage, 0.25, "softargmax")
    assert preset("demo", stage).training.epochs < preset("small", stage).training.epochs < preset("paper", stage).training.epochs


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="expected one of paper, best, small, demo, mobile, mobile_tiny, got 'huge'"):
        preset("huge", 1)


def test_a_resolved_configuration_says_what_depends_on_the_stage():
    stage1, stage2, concat = Config(1).resolved(), Config(2).resolved(), Config(2, network=NetworkConfig(fusion="concat")).resolved()
    assert (stage1.network.branch, stage1.network.init) == ("end", "scratch")
    assert (stage2.network.branch, stage2.network.init) == ("input", "stage1")
    assert (concat.network.branch, concat.network.init) == ("input", "scratch")
    asked = Config(2, network=NetworkConfig(kind="separation", branch="conv3_3", init="scratch"))
    assert asked.resolved() == asked


# -- flags ------------------------------------------------------------------------------------------


def test_the_table_of_flags_above_is_complete():
    assert {part: set(fields) for part, fields in FLAGS.items()} == {
        part: {field.name for field in dataclasses.fields(cls)} for part, cls in PARTS.items()
    }


@pytest.mark.parametrize(("part", "field"), [(part, field) for part, fields in FLAGS.items() for field in fields])
def test_every_field_is_a_flag(part, field):
    flags, value = FLAGS[part][field]
    assert getattr(getattr(parsed(), part), field) != value
    assert getattr(getattr(parsed(*flags), part), field) == value


def test_stage_and_preset_are_flags_and_decide_the_rest():
    assert parsed("--stage", "2", "--preset", "paper") == preset("paper", 2)
    assert parsed("--preset=demo") == preset("demo", 1)
    assert parsed() == preset("small", 1)
    own = parsed("--preset", "paper", "--epochs", "2")
    assert own == preset("paper", 1).with_(training={"epochs": 2})


def test_a_stage_1_run_fixes_the_backbone_but_flags_win(tmp_path):
    theirs = Config(
        1,
        "demo",
        network=NetworkConfig(image_size=48, width=0.1, batch_norm=False, head="pooled", attribute_output="logits", fuse_at="block"),
    )
    (tmp_path / "config.json").write_text(theirs.to_json())
    assert parse(["--stage", "2"], "fit", "", before=tmp_path).preset == "demo"
    assert parse(["--stage", "2", "--preset", "small"], "fit", "", before=tmp_path).preset == "small"
    ours = parse(["--stage", "2"], "fit", "", before=tmp_path).network
    assert [getattr(ours, field) for field in BACKBONE] == [48, "vgg16", 0.1, "relu", "full", False, "pooled", False, "logits"]
    assert ours.fuse_at == "conv"
    assert parse(["--stage", "2", "--width", "0.5"], "fit", "", before=tmp_path).network.width == 0.5


@pytest.mark.parametrize(
    ("command", "flag"),
    [("fit", "--learning-rate"), ("compare", "--networks"), ("report", "--split"), ("predict", "--camera"), ("inspect", "--pictures")],
)
def test_help_imports_no_heavy_library(command, flag):
    code = (
        f"import sys; from smtn_keras import {command}\n"
        f"try: {command}.main(['--help'])\n"
        "except SystemExit as end: print('code', end.code)\n"
        "print('heavy', sorted({'keras', 'tensorflow', 'jax', 'tensorflow_datasets', 'grain', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("code 0\nheavy []\n")
    assert flag in done.stdout


# -- JSON -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [1, 2])
def test_a_configuration_survives_json(stage):
    for name in PRESETS if stage == 1 else ("paper", "best", "small", "demo"):
        config = preset(name, stage).with_(run={"run": "a", "from_run": "b" if stage == 2 else None}, network={"branch": "conv2_2"})
        assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '{"stage": 1, "colour": 3}', '{"network": {"depth": 5}}', '{"network": 5}', '{"training": {"epochs": "x"}}']
)
def test_json_that_is_no_configuration_is_refused(text):
    with pytest.raises(UserError, match=r"^old/config\.json: expected a configuration written by smtn_keras\.fit, got something else"):
        Config.from_json(text, "old/config.json")


def test_json_with_a_refused_value_is_refused():
    with pytest.raises(UserError, match="--epochs: expected a number from 1"):
        Config.from_json(json.dumps({"training": {"epochs": 0}}))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"expected a run folder with a config\.json, found none; make one with 'python -m smtn_keras\.fit'"
    ):
        read_config(tmp_path)


# -- refused values ---------------------------------------------------------------------------------

REFUSED = [
    ("--image-size 100", "--image-size: expected a multiple of 16, got 100; try 96"),
    ("--image-size 0", "--image-size: expected a multiple of 16, got 0; try 16"),
    ("--image-size -32", "--image-size: expected a multiple of 16, got -32; try 16"),
    ("--width 0", "--width: expected a number from 0.03 to 4, got 0"),
    ("--width 5", "--width: expected a number from 0.03 to 4, got 5"),
    ("--width nan", "--width: expected a number from 0.03 to 4, got nan"),
    ("--shift 1", "--shift: expected a number from 0 to 0.9, got 1"),
    ("--scale -0.1", "--scale: expected a number from 0 to 0.9, got -0.1"),
    ("--colour 2", "--colour: expected a number from 0 to 0.9, got 2"),
    ("--rotation 181", "--rotation: expected a number from 0 to 180, got 181"),
    ("--epochs 0", "--epochs: expected a number from 1"),
    ("--batch-size 0", "--batch-size: expected a number from 1"),
    ("--seed -1", "--seed: expected a number from 0"),
    ("--learning-rate 0", "--learning-rate: expected a positive number, got 0"),
    ("--learning-rate nan", "--learning-rate: expected a positive number, got nan"),
    ("--learning-rate inf", "--learning-rate: expected a positive number, got inf"),
    ("--landmark-scale -1", "--landmark-scale: expected a positive number, got -1"),
    ("--weight-decay -1", "--weight-decay: expected a number from 0"),
    ("--landmarks-weight -1", "--landmarks-weight: expected a number from 0"),
    ("--attributes-weight nan", "--attributes-weight: expected a number from 0"),
    ("--init imagenet --width 0.5", "--init imagenet: expected --width 1"),
    ("--weights vgg.h5", "--weights: expected --init imagenet beside it"),
    (
        "--branch input",
        "--branch input: expected one of end, conv1_2, conv2_2, conv3_3 with --network hard_sharing and --backbone vgg16 in stage 1",
    ),
    ("--identities list.txt", "--identities: expected --network lnets_anet beside it, got hard_sharing"),
    ("--network panda_w --data celeba+mtfl", "--network panda_w: expected one data set, got --data celeba+mtfl"),
    ("--network mtan --branch conv2_2", "--branch conv2_2: expected --network hard_sharing or separation or tcdcn beside it, got mtan"),
    ("--network mtan --stage 2", "--network mtan: expected --stage 1, or one of separation, cross_stitch, nddr in stage 2"),
    ("--network soft_sharing --balance pcgrad", "--balance pcgrad: expected a network in whose shared stack the tasks' gradients meet"),
    ("--uncertainty --balance gradnorm", "--balance gradnorm: expected --no-uncertainty beside it"),
    ("--apart 1", "--apart: expected --network separation in stage 1 or 3"),
    ("--backbone resnet50", "--backbone resnet50: expected --width 1, the only one it has, got --width 0.25"),
    ("--backbone mobilenet_v2", "--backbone mobilenet_v2: expected --width 0.35 or more, got 0.25; add --width 0.35"),
    ("--backbone mobilenet_v2 --image-size 16", "--backbone mobilenet_v2: expected --image-size 32 or more, got 16"),
    ("--backbone mobilenet_v2 --activation crelu", "--activation crelu: expected --backbone vgg16 beside it, got mobilenet_v2"),
    ("--backbone shallow --conv separable", "--conv separable: expected --backbone vgg16 beside it, got shallow"),
    ("--task-width 0.1", "--task-width: expected --network separation beside it, got hard_sharing; leave it out"),
    ("--stage 2 --from a --task-width 0.1 --init stage1", "--task-width: expected --init scratch beside it"),
    ("--preset mobile --stage 2", "--preset mobile: expected --stage 1, in which all its stacks train at once, got --stage 2"),
    ("--teacher a --balance pcgrad", "--teacher: expected --balance fixed or uncertainty beside it, got pcgrad"),
    ("--backbone shallow --init imagenet", "--init imagenet: expected a network that was trained on ImageNet"),
    ("--init stage1", "--init stage1: expected scratch or imagenet in stage 1"),
    ("--from runs/x", "--from runs/x: expected --stage 2 or 3 beside it"),
    (
        "--stage 3 --branch end",
        "--branch end: expected one of input, conv1_2, conv2_2, conv3_3 with --network separation and --backbone vgg16 in stage 3",
    ),
    ("--uncertainty --landmarks-loss mse", "--uncertainty: expected --landmarks-loss l1 beside it"),
    ("--uncertainty --landmark-unit eyes", "--uncertainty: expected --landmark-unit image beside it"),
    ("--uncertainty --balance uncertainty", "--balance uncertainty: expected --no-uncertainty beside it"),
    ("--stage 2 --gradient-balance", "--gradient-balance: expected --network hard_sharing in stage 1"),
    ("--mixup -1", "--mixup: expected a number from 0"),
    ("--jpeg 96", "--jpeg: expected a number from 0 to 95"),
    ("--samples 0", "--samples: expected a number from 1"),
    ("--ema 1", "--ema: expected a number from 0"),
    (
        "--stage 2 --branch end",
        "--branch end: expected one of input, conv1_2, conv2_2, conv3_3 with --network separation and --backbone vgg16 in stage 2",
    ),
    ("--stage 2 --fusion concat --init stage1", "--fusion concat --init stage1: concatenation doubles the input channels"),
    ("--stage 2 --fusion concat --init imagenet --width 1", "--fusion concat --init imagenet: concatenation doubles the input channels"),
    ("--head huge", "invalid choice 'huge' for argument '--head'"),
    ("--stage 4", "invalid choice '4' for argument '--stage'"),
    ("--preset huge", "invalid choice 'huge' for argument '--preset'"),
    ("--epochs many", "invalid literal"),
    ("--depth 5", "Unrecognized options: --depth"),
]


@pytest.mark.parametrize(("flags", "sentence"), REFUSED)
def test_bad_flags_end_with_code_2_and_what_was_expected(flags, sentence, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # so that the sentence stays on one line
    with pytest.raises(SystemExit) as end:
        fit.main(flags.split())
    assert end.value.code == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_auto_is_bfloat16_where_it_is_faster(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : fpu avx512_bf16\n")
    monkeypatch.setattr(backend, "Path", lambda name: tmp_path / "cpuinfo")
    small, tiny = preset("small", 1), preset("mobile_tiny", 1)
    depthwise = small.with_(network={"backbone": "mobilenet_v2", "width": 0.35})
    assert [backend.compute_dtype(config) for config in (small, tiny, depthwise)] == ["bfloat16", "float32", "float32"]
    assert backend.compute_dtype(tiny.with_(training={"dtype": "bfloat16"})) == "bfloat16"
    (tmp_path / "cpuinfo").write_text("flags : fpu\n")
    assert backend.compute_dtype(small) == "float32"

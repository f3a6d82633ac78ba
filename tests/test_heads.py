"""The heads' variants: both kinds of points, their scales, dropout, and gradients of one norm."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from smtn_keras import networks
from smtn_keras.config import Config, NetworkConfig
from smtn_keras.metrics import NME
from smtn_keras.networks.balance import UnitGradient
from smtn_keras.networks.weights import load_initial
from smtn_keras.tasks import Attributes, Label, Landmarks

POINTS = Landmarks(points=("left_eye", "right_eye", "nose"))
TASKS = (POINTS, Attributes(labels=(Label("Male"), Label("Pose", classes=("left", "frontal", "right")))))
HEADS = ("paper", "pooled", "softargmax", "both")
BALANCED = (("pooled", "end"), ("softargmax", "end"), ("both", "end"), ("softargmax", "conv3_3"), ("both", "conv1_2"))


@pytest.fixture(autouse=True)
def float32():
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


def config_of(stage=1, **network):
    return Config(stage=stage, network=NetworkConfig(**({"image_size": 32, "width": 0.05} | network)))


def build(stage=1, seed=0, **network):
    keras.utils.set_random_seed(seed)
    return networks.build(config_of(stage, **network), TASKS)


def images(count=4):
    return np.random.default_rng(0).uniform(0, 255, (count, 32, 32, 3)).astype("float32")


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def compiled(model):
    model.compile("sgd", loss={"landmarks": "mse", "attributes": "mse"}, jit_compile=False)
    return model


# -- shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stage", [1, 2])
def test_outputs_by_task_name(stage, head):
    for uncertainty, columns in ((False, 2), (True, 3)):
        model = build(stage, head=head, uncertainty=uncertainty, dropout=0.5)
        assert {name: output.shape for name, output in model.output.items()} == {"landmarks": (None, 3, columns), "attributes": (None, 5)}
        for task in TASKS:
            assert model.get_layer(task.name).output is model.output[task.name]


@pytest.mark.parametrize("head", HEADS)
def test_heads_stay_float32_under_mixed_bfloat16(head):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(head=head, uncertainty=True, dropout=0.5, gradient_balance=True)
    outputs = model(images(), training=True)
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs.values()} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers if layer.name.startswith("landmarks_") and layer.weights} == {"float32"}


# -- both -------------------------------------------------------------------------------------------


def test_both_are_the_mean_of_expected_and_regressed_points():
    model = build(head="both")
    parts = [model.get_layer(f"landmarks_{part}").output for part in ("expected", "regressed")]
    expected, regressed, both = map(numbers, keras.Model(model.input, [*parts, model.output["landmarks"]])(images()))
    assert np.abs(expected - regressed).max() > 0.01
    np.testing.assert_allclose(both, (expected + regressed) / 2, rtol=1e-5)


def test_both_are_the_two_other_heads():
    both, softargmax, pooled = (build(head=head, seed=seed) for seed, head in enumerate(("both", "softargmax", "pooled")))
    for part, alone in (("expected", softargmax), ("regressed", pooled)):
        for layer in alone.layers:
            layer.set_weights(both.get_layer(layer.name).get_weights() if layer.weights else [])
        ours = keras.Model(both.input, both.get_layer(f"landmarks_{part}").output)
        np.testing.assert_allclose(numbers(ours(images())), numbers(alone(images())["landmarks"]), rtol=1e-4, atol=1e-6)


# -- scales -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_log_scales_start_at_zero_beside_points_that_stay(head):
    model = build(head=head, uncertainty=True)
    points = keras.Model(model.input, model.get_layer("landmarks_points").output)(images())
    outputs = numbers(model(images())["landmarks"])
    np.testing.assert_array_equal(outputs[..., :2], numbers(points))
    assert (outputs[..., 2] == 0).all()


@pytest.mark.parametrize("head", HEADS)
def test_log_scales_learn_from_the_picture(head):
    model = compiled(build(head=head, uncertainty=True))
    truth = {"landmarks": np.random.default_rng(1).normal(size=(4, 3, 3)), "attributes": np.zeros((4, 5))}
    model.train_on_batch(images(), truth)
    scales = numbers(model(images())["landmarks"])[..., 2]
    assert np.abs(scales).min() > 0
    assert np.ptp(scales, axis=0).min() > 0  # no two pictures alike: it is not the bias alone


def test_metrics_leave_scales_out():
    truth, predicted = np.random.default_rng(0).uniform(size=(2, 4, 3, 2)).astype("float32")
    plain, scaled = NME((0, 1)), NME((0, 1))
    plain.update_state(truth, predicted)
    scaled.update_state(truth, np.concatenate([predicted, np.full((4, 3, 1), 9, "float32")], axis=-1))
    assert float(plain.result()) == float(scaled.result()) > 0


def test_stage_2_starts_with_the_whole_head_of_stage_1():
    kind = {"head": "both", "uncertainty": True, "dropout": 0.3}
    stage1, stage2 = build(1, seed=1, gradient_balance=True, **kind), build(2, seed=2, **kind)
    scales = stage1.get_layer("landmarks_log_scales")
    scales.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in scales.get_weights()])
    load_initial(stage2, config_of(2, init="stage1", **kind), TASKS, stage1)
    for name, before in stage1(images()).items():
        np.testing.assert_allclose(numbers(stage2(images())[name]), numbers(before), rtol=1e-4, atol=1e-4)


# -- dropout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["paper", "pooled", "both"])
def test_dropout_acts_in_training_only(head):
    model = build(head=head, dropout=0.5, batch_norm=False)
    for name, output in model(images(), training=False).items():
        np.testing.assert_array_equal(numbers(model(images(), training=False)[name]), numbers(output))
        first, second = (numbers(model(images(), training=True)[name]) for _ in range(2))
        assert np.abs(first - second).max() > 0


def test_dropout_leaves_out_its_share_of_the_fc_layer():
    model = build(width=0.5, dropout=0.25)
    layer = model.get_layer("attributes_dropout")
    assert layer.input is model.get_layer("attributes_fc").output
    kept = numbers(layer(np.ones((100, 256), "float32"), training=True))
    assert (kept == 0).mean() == pytest.approx(0.25, abs=0.02)


def test_without_dropout_there_is_no_such_layer():
    assert not [layer.name for layer in build(head="both").layers if "dropout" in layer.name]


# -- gradients of one norm --------------------------------------------------------------------------


def gradients(function, tensors):
    """Of a scalar by each tensor of a structure, as a list."""
    if keras.backend.backend() == "jax":
        import jax

        return keras.tree.flatten(jax.grad(function)(tensors))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        result = function(tensors)
    return keras.tree.flatten(tape.gradient(result, tensors))


def joint_norm(slopes: list) -> float:
    return float(np.sqrt(sum(np.square(numbers(ops.cast(slope, "float32"))).sum() for slope in slopes)))


def norms_at_the_shared_stack(policy="float32", variants=BALANCED) -> list[list[float]]:
    """Of each network both tasks' norms, their losses a thousand times apart, before and behind the layer that makes them equal."""
    keras.config.set_dtype_policy(policy)
    norms = []
    for head, branch in variants:
        model = build(head=head, branch=branch, gradient_balance=True, batch_norm=False)  # whose statistics jax.grad would not allow
        norms.append([])
        for task, weight in (("landmarks", 1000.0), ("attributes", 1.0)):
            layer = model.get_layer(f"{task}_gradient")
            maps = keras.Model(model.input, layer.output)(images())
            for start in (layer.input, layer.output):
                tail = keras.Model(start, model.output[task])
                slopes = gradients(lambda tensors, tail=tail, weight=weight: weight * ops.mean(tail(tensors, training=True) ** 2), maps)
                norms[-1].append(joint_norm(slopes))
    return norms


def check_norms(norms, tolerance=1e-4):
    assert len(norms) >= 3
    for landmarks, landmarks_plain, attributes, attributes_plain in norms:
        assert landmarks == pytest.approx(1, rel=tolerance)
        assert attributes == pytest.approx(1, rel=tolerance)
        assert landmarks_plain / attributes_plain > 3  # which is what there was to balance


def test_tasks_pull_the_shared_stack_with_the_same_norm():
    check_norms(norms_at_the_shared_stack())


def test_tasks_pull_the_shared_stack_with_the_same_norm_in_bfloat16():
    check_norms(norms_at_the_shared_stack("mixed_bfloat16", BALANCED[:3]), 1e-2)


@pytest.mark.slow
def test_tasks_pull_the_shared_stack_with_the_same_norm_on_jax():
    code = "import test_heads; print(test_heads.norms_at_the_shared_stack(variants=test_heads.BALANCED[:3]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"}
    )
    assert done.returncode == 0, done.stderr
    check_norms(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_the_norm_is_one_over_all_maps_and_keeps_their_direction():
    layer = UnitGradient()
    maps = {"a": ops.ones((1, 1)), "b": ops.ones((1, 1))}

    def slopes(scale, training):
        def loss(maps):
            maps = layer(maps, training=training)
            return scale * ops.sum(3 * maps["a"] + 4 * maps["b"])

        return [float(slope[0, 0]) for slope in gradients(loss, maps)]

    assert slopes(1, True) == pytest.approx([0.6, 0.8])
    assert slopes(1e-6, True) == pytest.approx([0.6, 0.8])
    assert slopes(0, True) == [0, 0]
    assert slopes(1, False) == pytest.approx([3, 4])


def test_balanced_gradients_change_no_output_and_reach_the_first_layer():
    model, plain = (build(head="both", gradient_balance=balance) for balance in (True, False))
    for name, output in model(images(), training=True).items():
        np.testing.assert_allclose(numbers(output), numbers(plain(images(), training=True)[name]), rtol=1e-5, atol=1e-6)
    before = model.get_layer("shared_conv1_1").get_weights()[0]
    compiled(model).train_on_batch(images(), {"landmarks": np.zeros((4, 3, 2)), "attributes": np.zeros((4, 5))})
    after = model.get_layer("shared_conv1_1").get_weights()[0]
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() > 0


def test_a_network_with_balanced_gradients_survives_saving(tmp_path):
    model = build(head="both", gradient_balance=True, uncertainty=True, dropout=0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name, output in model(images()).items():
        np.testing.assert_allclose(numbers(again(images())[name]), numbers(output), rtol=1e-5)

"""The systems beside hard sharing and separation: formulas by hand, wiring, and that each builds at several widths."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from smtn_keras import networks
from smtn_keras.config import Config, NetworkConfig
from smtn_keras.networks.cascade import AroundPoints
from smtn_keras.networks.cross_stitch import CrossStitch
from smtn_keras.networks.normalisation import BatchNormalization
from smtn_keras.networks.separation import Apart
from smtn_keras.networks.soft_sharing import distance, trace_norm
from smtn_keras.networks.tcdcn import Gate
from smtn_keras.networks.vgg import CReLU
from smtn_keras.networks.weights import load_initial
from smtn_keras.tasks import Attributes, Label, Landmarks

POINTS = Landmarks(points=("left_eye", "right_eye", "nose"))
POSED = (POINTS, Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right")))))
SYSTEMS = ("single_task", "hard_sharing", "separation", "soft_sharing", "cross_stitch", "nddr", "mtan", "cascade", "tcdcn")
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")


@pytest.fixture(autouse=True)
def float32():
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


def build(kind, stage=1, width=0.05, image_size=32, **network):
    config = Config(stage=stage, network=NetworkConfig(kind=kind, width=width, image_size=image_size, **network))
    return networks.build(config, POSED)


def gradient(function, x):
    """The gradient of a scalar function at an array."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(function)(x))
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


# -- all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["vgg16", "shallow", "mobilenet_v2"])
@pytest.mark.parametrize("kind", SYSTEMS)
def test_each_system_answers_for_each_task(kind, backbone):
    model = build(kind, backbone=backbone, width=0.35 if backbone == "mobilenet_v2" else 0.05)
    outputs = model(IMAGES)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"landmarks": (3, 3, 2), "attributes": (3, 2 * 2 + 3)}
    assert all(np.isfinite(ops.convert_to_numpy(output)).all() for output in outputs.values())
    assert model.name == kind


@pytest.mark.parametrize("kind", SYSTEMS)
def test_twice_the_width_has_about_four_times_the_weights(kind):
    narrow, wide = (build(kind, width=width).count_params() for width in (0.125, 0.25))
    assert 3 < wide / narrow < 4.1


@pytest.mark.parametrize("kind", ["single_task", "soft_sharing"])
def test_single_tasks_have_no_path_in_common(kind):
    model = build(kind)
    before = model(IMAGES)
    for layer in model.layers:
        if layer.name.startswith("attributes"):
            layer.set_weights([w + 1 for w in layer.get_weights()])
    after = model(IMAGES)
    np.testing.assert_array_equal(before["landmarks"], after["landmarks"])
    assert not np.allclose(before["attributes"], after["attributes"])


# -- CReLU ------------------------------------------------------------------------------------------


def test_crelu_is_relu_of_both_signs():
    np.testing.assert_array_equal(CReLU()(np.float32([[-2, 3]])), [[0, 3, 2, 0]])


def test_crelu_has_the_same_maps_of_half_the_filters():
    relu, crelu = (build("hard_sharing", width=0.25, activation=kind) for kind in ("relu", "crelu"))
    assert relu.get_layer("shared_conv3_1_relu").output.shape == crelu.get_layer("shared_conv3_1_relu").output.shape
    kernels = [m.get_layer("shared_conv3_1").kernel.shape for m in (relu, crelu)]
    assert kernels == [(3, 3, 32, 64), (3, 3, 32, 32)]


# -- soft sharing -----------------------------------------------------------------------------------


def test_distance_is_half_the_squared_distance_from_the_mean():
    # mean (2, 0): squares 1 + 4 and 1 + 4, half of 10
    assert float(distance(np.float32([[1, 2], [3, -2]]))) == pytest.approx(5)


def test_trace_norm_of_known_singular_values():
    # rows at right angles of length 3 and 4
    assert float(trace_norm(np.float32([[3, 0, 0], [0, 4, 0]]))) == pytest.approx(7, rel=1e-5)
    # parallel rows: one singular value, the length of the whole
    assert float(trace_norm(np.float32([[3, 0], [4, 0]]))) == pytest.approx(5, rel=1e-4)


def test_trace_norm_has_the_subgradient_of_its_svd():
    rows = np.random.default_rng(0).normal(size=(2, 7)).astype("float32")
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    assert float(trace_norm(rows)) == pytest.approx(s.sum(), rel=1e-5)
    np.testing.assert_allclose(gradient(trace_norm, rows), u @ vt, atol=1e-4)


def test_trace_norm_has_a_finite_gradient_where_rows_are_equal_or_zero():
    equal = gradient(trace_norm, np.float32([[1, 2], [1, 2]]))
    np.testing.assert_allclose(equal, np.float32([[1, 2], [1, 2]]) / np.sqrt(10), atol=1e-3)  # u v^T of the only singular value
    np.testing.assert_allclose(gradient(trace_norm, np.zeros((2, 3), np.float32)), 0)


@pytest.mark.parametrize("sharing", ["l2", "trace"])
def test_soft_sharing_penalises_each_conv_once(sharing):
    model = build("soft_sharing", sharing=sharing, sharing_weight=0.5)
    pairs = [
        [model.get_layer(f"{task}_conv{conv}").get_weights()[0].ravel() for task in ("landmarks", "attributes")]
        for conv in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3")
    ]
    expected = [
        np.linalg.svd(np.stack(pair), compute_uv=False).sum() if sharing == "trace" else ((pair[0] - pair[1]) ** 2).sum() / 4
        for pair in pairs
    ]
    assert float(sum(model.losses)) == pytest.approx(0.5 * sum(expected), rel=1e-4)


def test_soft_sharing_draws_the_stacks_together():
    model = build("soft_sharing", sharing="l2", sharing_weight=1.0)
    model.compile(keras.optimizers.SGD(0.1), loss={name: lambda y, p: 0 * ops.sum(p) for name in model.output})

    def apart():
        kernels = [model.get_layer(f"{task}_conv3_1").get_weights()[0] for task in ("landmarks", "attributes")]
        return float(np.abs(kernels[0] - kernels[1]).mean())

    before = apart()
    for _ in range(3):
        model.train_on_batch(IMAGES, {"landmarks": np.zeros((3, 3, 2)), "attributes": np.zeros((3, 3))})
    assert apart() < 0.9 * before


# -- cross-stitch, NDDR -----------------------------------------------------------------------------


def test_a_stitch_starts_at_nine_tenths_of_the_own_map():
    a, b = np.full((1, 2, 2, 3), 1.0, "float32"), np.full((1, 2, 2, 3), 11.0, "float32")
    out = CrossStitch(100)({"a": a, "b": b})
    np.testing.assert_allclose(out["a"], 0.9 * a + 0.1 * b, rtol=1e-6)
    np.testing.assert_allclose(out["b"], 0.1 * a + 0.9 * b, rtol=1e-6)


def test_a_stitch_mixes_each_channel_by_itself():
    layer = CrossStitch(factor=100)
    a, b = np.ones((1, 1, 1, 2), "float32"), np.full((1, 1, 1, 2), 5.0, "float32")
    layer({"a": a, "b": b})
    change = np.zeros((2, 2, 2), "float32")
    change[0, 1, 1] = 0.002  # of what a takes of b, in the second channel, a hundred times this
    layer.set_weights([change])
    np.testing.assert_allclose(layer({"a": a, "b": b})["a"][0, 0, 0], [0.9 + 0.5, 0.9 + (0.1 + 0.2) * 5], rtol=1e-6)


@pytest.mark.parametrize(("optimizer", "factor"), [(keras.optimizers.Adam(1e-3), 100), (keras.optimizers.SGD(1e-3), 10)])
def test_alpha_learns_a_hundred_times_as_fast(optimizer, factor):
    x = {name: keras.Input((1, 1, 1), name=name) for name in "ab"}
    model = keras.Model(x, CrossStitch(factor, name="stitch")(x)["a"])
    model.compile(optimizer, loss=lambda y, p: ops.sum(p))
    stitch = model.get_layer("stitch")
    before = ops.convert_to_numpy(stitch.alpha)
    model.train_on_batch({"a": np.ones((1, 1, 1, 1)), "b": np.ones((1, 1, 1, 1))}, np.zeros((1, 1)))
    step = before - ops.convert_to_numpy(stitch.alpha)
    np.testing.assert_allclose(step[0, :, 0], 0.1, rtol=1e-3)  # the gradient is 1, the rate 100 x 0.001
    np.testing.assert_allclose(step[1], 0)


@pytest.mark.parametrize("kind", ["cross_stitch", "nddr"])
def test_stage_2_starts_from_the_single_tasks(kind):
    single, model = build("single_task"), build(kind, stage=2)
    rng = np.random.default_rng(0)
    for layer in single.layers:
        layer.set_weights([rng.uniform(0.1, 1, w.shape) for w in layer.get_weights()])
    load_initial(model, Config(stage=2, network=NetworkConfig(kind=kind)).resolved(), POSED, single)
    for name in ("landmarks_conv1_1", "attributes_conv4_3", "attributes_conv2_1_bn", "landmarks_heatmaps", "attributes"):
        for ours, theirs in zip(model.get_layer(name).get_weights(), single.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_nddr_starts_at_nine_tenths_of_the_own_map():
    kernel = build("nddr").get_layer("landmarks_nddr2").get_weights()[0][0, 0]
    channels = kernel.shape[1]
    np.testing.assert_allclose(kernel[:channels], 0.9 * np.eye(channels))
    np.testing.assert_allclose(kernel[channels:], 0.1 * np.eye(channels))


# -- TCDCN ------------------------------------------------------------------------------------------


def test_a_closed_gate_lets_values_through_but_no_gradient():
    layer = Gate(units=[2, 1])
    layer.build((None, 3))
    layer.set_weights([np.float32([0, 1])])  # the first label is stopped

    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(layer(x, training=True), x)
    np.testing.assert_array_equal(gradient(lambda x: ops.sum(layer(x, training=True)), x), [[0, 0, 1]])


# -- cascade ----------------------------------------------------------------------------------------


def test_features_around_a_point_are_those_of_its_place():
    features = np.zeros((1, 8, 8, 2), "float32")
    features[0, 1, 6] = [5, -3]  # cell centre at x = 6.5 / 8, y = 1.5 / 8
    points = np.float32([[[6.5 / 8, 1.5 / 8], [1.5 / 8, 6.5 / 8]]])
    near, far = np.asarray(AroundPoints(sigma=0.02)([features, points])).reshape(2, 4)
    np.testing.assert_allclose(near, [5, -3, 6.5 / 8, 1.5 / 8], atol=1e-3)
    np.testing.assert_allclose(far, [0, 0, 1.5 / 8, 6.5 / 8], atol=1e-3)


def test_attributes_of_a_cascade_depend_on_the_points():
    model = build("cascade")
    attributes = keras.Model(model.input, model.output["attributes"])
    before = ops.convert_to_numpy(attributes(IMAGES))
    heatmaps = model.get_layer("landmarks_heatmaps")
    heatmaps.set_weights([w * 0 if w.ndim > 1 else w for w in heatmaps.get_weights()])
    assert not np.allclose(before, attributes(IMAGES))


# -- MTAN, end to end -------------------------------------------------------------------------------


def test_masks_of_mtan_lie_between_0_and_1_on_the_shared_map():
    model = build("mtan")
    inner = keras.Model(
        model.input,
        {name: model.get_layer(name).output for name in ("landmarks_mask2", "landmarks_mask2_out_sigmoid", "shared_conv2_2_relu")},
    )
    found = {name: ops.convert_to_numpy(value) for name, value in inner(IMAGES).items()}
    mask = found["landmarks_mask2_out_sigmoid"]
    assert 0 < mask.min() < mask.max() < 1
    np.testing.assert_allclose(found["landmarks_mask2"], mask * found["shared_conv2_2_relu"], rtol=1e-5)


def test_separation_trains_its_shared_stack_in_stage_1_and_not_in_stage_2():
    trained, frozen = build("separation", stage=1), build("separation", stage=2)
    assert any(weight.path.startswith("shared_") for weight in trained.trainable_weights)
    assert not any(weight.path.startswith("shared_") for weight in frozen.trainable_weights)


def test_the_penalty_of_maps_apart_is_the_mean_squared_correlation():
    a = np.float32([1, -1, 1, -1]).reshape(1, 2, 2, 1)
    same, other = Apart(2.0), Apart(2.0)
    same([a, np.concatenate([a, -3 * a + 1], -1)], training=True)  # correlations 1 and -1
    other([a, np.float32([1, 1, -1, -1]).reshape(1, 2, 2, 1)], training=True)
    assert float(same.losses[0]) == pytest.approx(2.0, rel=1e-3)
    assert float(other.losses[0]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(Apart(2.0)([a, -a]), a)  # what goes on is the first map itself


# -- backbones --------------------------------------------------------------------------------------


def test_frozen_blocks_of_an_application_keep_their_statistics():
    model = build("separation", stage=2, backbone="mobilenet_v2", width=0.35)
    block = model.get_layer("shared_block2")
    before = [ops.convert_to_numpy(w) for w in block.weights]
    model(IMAGES, training=True)
    for old, new in zip(before, block.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not block.trainable_weights


@pytest.mark.parametrize(("backbone", "width"), [("mobilenet_v2", 0.35), ("resnet50", 1)])
def test_blocks_of_an_application_normalise_as_the_other_stacks(backbone, width):
    model = build("hard_sharing", backbone=backbone, width=width)
    inner = [layer for number in range(1, 5) for layer in model.get_layer(f"shared_block{number}").layers]
    normalising = [layer for layer in inner if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalising) > 20 and all(isinstance(layer, BatchNormalization) for layer in normalising)
    assert {layer.momentum for layer in normalising} == {0.99}  # with MobileNetV2's own 0.999 a short training ends at chance


@pytest.mark.parametrize(("backbone", "width"), [("mobilenet_v2", 0.35), ("shallow", 0.1)])
def test_task_stacks_of_every_backbone_start_as_the_shared_one(backbone, width):
    network = {"backbone": backbone, "width": width}
    stage1, stage2 = build("hard_sharing", **network), build("separation", stage=2, init="stage1", **network)
    config = Config(stage=2, network=NetworkConfig(kind="separation", image_size=32, init="stage1", **network))
    load_initial(stage2, config, POSED, stage1)
    started = set()
    for layer in stage2.layers:
        stack, _, name = layer.name.partition("_")
        if name.startswith(("block", "conv")) and layer.weights:
            for ours, theirs in zip(layer.get_weights(), stage1.get_layer(f"shared_{name}").get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            started.add((stack, name[:6]))
    assert len(started) >= 11  # four blocks of each stack, but for the landmarks' last one, where their head takes nothing from it


def test_imagenet_weights_of_a_mobile_backbone_reach_every_block(tmp_path):
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35)
    rng = np.random.default_rng(0)
    source.set_weights([rng.uniform(0.1, 1, w.shape) for w in source.get_weights()])
    file = tmp_path / "mobile.weights.h5"
    source.save_weights(file)
    network = {"backbone": "mobilenet_v2", "width": 0.35, "init": "imagenet", "weights": str(file)}
    model = build("hard_sharing", **network)
    config = Config(network=NetworkConfig(kind="hard_sharing", image_size=32, **network)).resolved()
    load_initial(model, config, POSED, None)
    for block, name in ((1, "Conv1"), (4, "block_12_depthwise")):
        np.testing.assert_array_equal(
            model.get_layer(f"shared_block{block}").get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0]
        )


def test_a_residual_backbone_sees_what_its_weights_expect():
    model = build("hard_sharing", backbone="resnet50", width=1)
    pixels = keras.Model(model.input, model.get_layer("shared_pixels").output)
    np.testing.assert_allclose(
        pixels(IMAGES), IMAGES - np.float32([123.68, 116.779, 103.939]), atol=1e-3
    )  # RGB; conv1 is turned at loading
    assert isinstance(model.get_layer("shared_block1"), layers.Layer)

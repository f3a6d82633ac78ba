"""The networks against Table 1 and Figures 2, 3 and 5: names, sizes, wiring, starts."""

import contextlib
import itertools
import math

import keras
import numpy as np
import pytest

from smtn_keras import networks
from smtn_keras.config import Config, NetworkConfig
from smtn_keras.errors import UserError
from smtn_keras.networks.heads import SoftArgmax
from smtn_keras.networks.inputs import PIXEL_SCALE
from smtn_keras.networks.weights import NddrInitializer, copy_layers, load_imagenet, load_initial
from smtn_keras.presets import preset
from smtn_keras.tasks import Attributes, Label, Landmarks

POINTS = Landmarks(points=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"))
CELEBA = (POINTS, Attributes(labels=tuple(Label(f"label_{i}") for i in range(40))))
POSED = (POINTS, Attributes(labels=(Label("Male"), Label("Smiling"), Label("Pose", classes=("left", "frontal", "right")))))
ALL_CONVS = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]  # Table 1
NAMES = ("landmarks", "attributes")


@pytest.fixture(autouse=True)
def float32():
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@contextlib.contextmanager
def without_weights():
    """Builds layers and shapes, but allocates no weights: a network of 300 million parameters takes no time."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        keras.backend.clear_session(free_memory=False)  # forgets the weights that wait to be allocated; collecting garbage takes long


def tiny(stage=1, image_size=32, width=0.05, **network):
    return Config(stage=stage, network=NetworkConfig(image_size=image_size, width=width, **network))


def build(stage=1, tasks=POSED, seed=0, **network):
    keras.utils.set_random_seed(seed)
    return networks.build(tiny(stage, **network), tasks)


def names_of(model):
    return {layer.name for layer in model.layers}


def shapes(model):
    return {name: output.shape for name, output in model.output.items()}


def images(size=32, count=3):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def scatter_statistics(model):
    """Batch normalisations as after a training, so that forgetting to copy one shows."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])


# -- sizes and names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "fusion", "count"), [(1, "concat", 142_041_498), (2, "channelwise", 161_413_402), (2, "concat", 306_791_450)]
)
def test_parameters_at_the_papers_settings(stage, fusion, count):
    config = preset("paper", stage).with_(network={"fusion": fusion})
    with without_weights():
        assert networks.build(config, CELEBA).count_params() == count


def test_stack_and_heads_have_the_sizes_of_table_1():
    with without_weights():
        model = networks.build(preset("paper", 1), CELEBA)
        assert model.input_shape == (None, 128, 128, 3)
        assert [model.get_layer(f"shared_conv{conv}").filters for conv in ALL_CONVS] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
        assert model.get_layer("shared_pool4").output.shape == (None, 8, 8, 512)
        for task in NAMES:
            assert model.get_layer(f"{task}_fc").units == 2048
        assert model.get_layer("landmarks_output").units == 10
        assert model.get_layer("attributes").units == 80  # 40 two-way softmaxes


def test_hard_sharing_has_one_stack():
    with without_weights():
        found = {name for name in names_of(networks.build(tiny(), POSED)) if "_conv" in name and not name.endswith(("_relu", "_bn"))}
    assert found == {f"shared_conv{conv}" for conv in ALL_CONVS}


@pytest.mark.parametrize("fusion", ["channelwise", "concat"])
def test_separation_has_a_stack_for_each_task_fused_after_each_conv(fusion):
    with without_weights():
        found = names_of(networks.build(tiny(2, fusion=fusion), POSED))
    assert {f"{stack}_conv{conv}" for stack in ("shared", *NAMES) for conv in ALL_CONVS} <= found
    fuses = {name for name in found if "_fuse" in name}
    assert fuses == {f"{task}_fuse{conv}" for task in NAMES for conv in ALL_CONVS}


def test_fusing_at_blocks_fuses_after_each_blocks_last_conv():
    with without_weights():
        found = names_of(networks.build(tiny(2, fuse_at="block"), POSED))
    assert {name for name in found if "_fuse" in name} == {f"{task}_fuse{conv}" for task in NAMES for conv in ("1_2", "2_2", "3_3", "4_3")}


def test_fusion_keeps_or_doubles_the_layers_width():
    with without_weights():
        for fusion, factor in (("channelwise", 1), ("concat", 2)):
            model = networks.build(tiny(2, width=0.25, fusion=fusion), POSED)
            assert model.get_layer("landmarks_fuse2_1").output.shape == (None, 16, 16, factor * 32)  # 128 filters * 0.25
            assert model.get_layer("landmarks_conv2_2").output.shape == (None, 16, 16, 32)


def test_a_1x1_fusion_is_linear():
    with without_weights():
        model = networks.build(tiny(2), POSED)
        assert model.get_layer("attributes_fuse3_3").activation is keras.activations.linear
        assert model.get_layer("attributes_fuse3_3").kernel_size == (1, 1)


@pytest.mark.parametrize("branch", ["conv1_2", "conv2_2", "conv3_3", "end"])
def test_hard_sharing_branches_after_the_named_conv(branch):
    shared = ALL_CONVS if branch == "end" else ALL_CONVS[: ALL_CONVS.index(branch.removeprefix("conv")) + 1]
    with without_weights():
        model = networks.build(tiny(branch=branch), POSED)
        found = names_of(model)
    for conv in ALL_CONVS:
        assert (f"shared_conv{conv}" in found) == (conv in shared)
        for task in NAMES:
            assert (f"{task}_conv{conv}" in found) == (conv not in shared)


@pytest.mark.parametrize(
    ("branch", "first", "fed_by"),
    [
        ("input", "1_1", "normalisation"),
        ("conv1_2", "2_1", "shared_pool1"),
        ("conv2_2", "3_1", "shared_pool2"),
        ("conv3_3", "4_1", "shared_pool3"),
    ],
)
def test_separation_feeds_task_stacks_from_the_branch_point(branch, first, fed_by):
    with without_weights():
        model = networks.build(tiny(2, branch=branch), POSED)
        for task in NAMES:
            own = [conv for conv in ALL_CONVS if f"{task}_conv{conv}" in names_of(model)]
            assert own == ALL_CONVS[ALL_CONVS.index(first) :]
            assert model.get_layer(f"{task}_conv{first}").input is model.get_layer(fed_by).output
        assert {f"shared_conv{conv}" for conv in ALL_CONVS} <= names_of(model)


def test_branch_is_by_itself_end_in_stage_1_and_input_in_stage_2():
    with without_weights():
        assert "landmarks_conv4_3" not in names_of(networks.build(tiny(1), POSED))
        assert "landmarks_conv1_1" in names_of(networks.build(tiny(2), POSED))


@pytest.mark.parametrize("head", ["paper", "pooled", "softargmax"])
@pytest.mark.parametrize("stage", [1, 2])
def test_outputs_by_task_name(stage, head):
    settings = itertools.product((32, 48), (False, True), (("softmax", 2 * 2 + 3), ("logits", 2 + 3)))  # two binary labels, three poses
    with without_weights():
        for image_size, batch_norm, (attribute_output, units) in settings:
            config = tiny(stage, image_size, head=head, attribute_output=attribute_output, batch_norm=batch_norm)
            model = networks.build(config, POSED)
            assert shapes(model) == {"landmarks": (None, 5, 2), "attributes": (None, units)}
            assert ("shared_conv1_1_bn" in names_of(model)) == batch_norm
            assert (model.get_layer("shared_conv1_1").bias is None) == batch_norm


def test_one_task_alone_makes_a_network():
    with without_weights():
        for stage in (1, 2):
            assert shapes(networks.build(tiny(stage), POSED[:1])) == {"landmarks": (None, 5, 2)}


def test_softargmax_gives_points_inside_the_image():
    outputs = build()(images())
    assert outputs["landmarks"].shape == (3, 5, 2)
    assert np.all((np.asarray(outputs["landmarks"]) > 0) & (np.asarray(outputs["landmarks"]) < 1))


@pytest.mark.parametrize("head", ["paper", "pooled", "softargmax"])
def test_heads_stay_float32_under_mixed_bfloat16(head):
    keras.config.set_dtype_policy("mixed_bfloat16")
    with without_weights():
        model = networks.build(tiny(2, head=head), POSED)
        assert {str(output.dtype) for output in model.outputs} == {"float32"}
        assert model.get_layer("landmarks_conv4_3").compute_dtype == "bfloat16"
        assert model.get_layer("attributes_fc").compute_dtype == "float32"


# -- starts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "shared"), [(2, 2), (4, 4), (2, 3)])
def test_nddr_starts_at_9_10_of_the_own_and_1_10_of_the_shared_map(own, shared):
    kernel = np.asarray(NddrInitializer()((1, 1, own + shared, own), "float32"))[0, 0]
    np.testing.assert_allclose(kernel, np.concatenate([np.eye(own) * 0.9, np.eye(shared, own) * 0.1]), rtol=1e-6)


def test_fusions_start_as_configured():
    nddr, random = (build(2, fusion_init=start).get_layer("landmarks_fuse2_1").get_weights()[0] for start in ("nddr", "random"))
    assert math.isclose(nddr[0, 0, 0, 0], 0.9, rel_tol=1e-6)
    assert np.count_nonzero(random) == random.size


@pytest.mark.parametrize(
    ("head", "branch", "fuse_at", "batch_norm"),
    [
        ("softargmax", "input", "conv", True),
        ("softargmax", "conv2_2", "conv", False),
        ("softargmax", "input", "block", True),
        ("pooled", "conv1_2", "conv", True),
        ("paper", "input", "conv", False),
    ],
)
def test_nddr_from_stage1_equals_the_stage1_network_before_training(head, branch, fuse_at, batch_norm):
    stage1 = build(1, head=head, batch_norm=batch_norm, seed=1)
    scatter_statistics(stage1)
    config = tiny(2, head=head, branch=branch, fuse_at=fuse_at, batch_norm=batch_norm, init="stage1", fusion_init="nddr")
    keras.utils.set_random_seed(2)
    stage2 = networks.build(config, POSED)
    before = stage1(images())
    assert np.abs(np.asarray(before["attributes"] - stage2(images())["attributes"])).max() > 1e-3  # the two seeds do differ
    load_initial(stage2, config, POSED, stage1)
    # 0.9 x + 0.1 x = x in each fusion, and the heads are stage 1's
    for task in NAMES:
        np.testing.assert_allclose(np.asarray(stage2(images())[task]), np.asarray(before[task]), rtol=1e-4, atol=1e-4)


def test_init_scratch_takes_only_the_shared_stack_from_stage1():
    stage1 = build(1, seed=1)
    scatter_statistics(stage1)
    stage2 = build(2, seed=2)
    own = stage2.get_layer("landmarks_conv2_1").get_weights()[0]
    load_initial(stage2, tiny(2, init="scratch"), POSED, stage1)
    np.testing.assert_array_equal(stage2.get_layer("landmarks_conv2_1").get_weights()[0], own)
    for conv in ALL_CONVS:
        for layer in (f"shared_conv{conv}", f"shared_conv{conv}_bn"):
            for ours, theirs in zip(stage2.get_layer(layer).get_weights(), stage1.get_layer(layer).get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_no_weight_of_the_shared_stack_trains():
    model = build(2)
    shared = [layer for layer in model.layers if layer.name.startswith("shared_")]
    assert sum(len(layer.weights) for layer in shared) == 10 * (1 + 4)  # a kernel and four of batch normalisation for each conv
    assert [layer.name for layer in shared if layer.trainable_weights] == []
    trained = {weight.path.split("/")[0].split("_")[0] for weight in model.trainable_weights}
    assert trained == set(NAMES)


def test_a_training_step_keeps_the_shared_stacks_statistics_and_moves_those_of_the_tasks():
    model = build(2)
    shared, own = model.get_layer("shared_conv1_1_bn"), model.get_layer("landmarks_conv1_1_bn")
    before = [keras.ops.convert_to_numpy(layer.moving_mean).copy() for layer in (shared, own)]
    model(images(), training=True)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(shared.moving_mean), before[0])
    assert np.abs(keras.ops.convert_to_numpy(own.moving_mean) - before[1]).max() > 0


@pytest.mark.parametrize("init", ["stage1", "imagenet"])
def test_concat_refuses_pretrained_weights_with_the_papers_reason(init):
    with pytest.raises(UserError, match=r"doubles the input channels.*section 3\.3 of the paper.*--fusion channelwise"):
        Config(stage=2, network=NetworkConfig(width=1, fusion="concat", init=init))


def test_copying_refuses_another_width():
    narrow, wide = build(1, width=0.05), build(1, width=0.1)
    with pytest.raises(UserError, match=r"shared_conv1_1: expected weights .*3, 3, 3, 6.*got .*3, 3, 3, 3.*same width"):
        copy_layers(narrow, wide, {"shared_conv1_1": "shared_conv1_1"})


def test_copying_refuses_a_layer_that_is_not_there():
    branched, whole = build(1, branch="conv3_3"), build(1)
    with pytest.raises(UserError, match=r"shared_conv4_1: expected weights .* got none"):
        copy_layers(branched, whole, {"shared_conv4_1": "shared_conv4_1"})


# -- ImageNet ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """A VGG16 with weights of its own, and its file in the format in which Keras publishes them."""
    keras.utils.set_random_seed(5)
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(None, None, 3))
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 1.4, rng.normal(0, 0.5, bias.shape)])  # biases count, and signals do not fade
    file = tmp_path_factory.mktemp("vgg16") / "vgg16_notop.h5"
    theirs.save(file)
    truth = keras.Model(theirs.input, theirs.get_layer("block4_conv3").output)(keras.applications.vgg16.preprocess_input(images(count=2)))
    return file, np.asarray(truth), theirs.get_layer("block4_conv2").get_weights()


def test_imagenet_weights_equal_vgg16_behind_its_own_preprocessing(vgg16):
    file, truth, _ = vgg16
    model = build(1, width=1, batch_norm=False, head="pooled", init="imagenet", weights=str(file))
    load_initial(model, tiny(width=1, init="imagenet", weights=str(file), branch="end"), POSED, None)
    maps = np.asarray(keras.Model(model.input, model.get_layer("shared_conv4_3_relu").output)(images(count=2)))
    assert truth.std() > 1e-3
    # our pixels are smaller by a factor, which ReLUs pass on
    np.testing.assert_allclose(maps * PIXEL_SCALE, truth, rtol=1e-3, atol=1e-4 * truth.max())


def test_imagenet_weights_reach_the_task_stacks_behind_a_branch_point(vgg16):
    file, _, (kernel, bias) = vgg16
    model = build(1, image_size=16, width=1, batch_norm=True, head="pooled", branch="conv3_3")
    config = tiny(image_size=16, width=1, init="imagenet", weights=str(file), branch="conv3_3")
    load_initial(model, config, POSED, None)
    for task in NAMES:
        np.testing.assert_array_equal(model.get_layer(f"{task}_conv4_2").get_weights()[0], kernel)
    assert bias.any()  # which batch normalisation makes void, so the layers have none


@pytest.mark.parametrize("content", [None, b"<html>quota exceeded</html>"])
def test_imagenet_refuses_a_file_that_is_none(tmp_path, content):
    file = tmp_path / "vgg16.h5"
    if content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"notop\.h5.*vgg16\.h5"):
        load_imagenet(build(1), ["shared"], tiny(weights=str(file), width=1, init="imagenet").network)


# -- soft-argmax ------------------------------------------------------------------------------------


def test_softargmax_is_the_expectation_of_cell_centres():
    # one row of two cells, logits 0 and ln 3: weights 1/4 and 3/4 on centres x = 0.25 and 0.75: 0.0625 + 0.5625 = 0.625
    heatmaps = np.log(np.float32([[[[1.0], [3.0]]]]))
    np.testing.assert_allclose(np.asarray(SoftArgmax()(heatmaps)), [[[0.625, 0.5]]], rtol=1e-6)


def test_softargmax_of_one_hot_heatmaps_are_their_cells_centres():
    heatmaps = np.zeros((1, 2, 4, 2), "float32")  # 2 rows, 4 columns, 2 points
    heatmaps[0, 1, 2, 0] = 100  # x: (2 + 0.5) / 4, y: (1 + 0.5) / 2
    heatmaps[0, 0, 3, 1] = 100  # x: (3 + 0.5) / 4, y: (0 + 0.5) / 2
    np.testing.assert_allclose(np.asarray(SoftArgmax()(heatmaps)), [[[0.625, 0.75], [0.875, 0.25]]], rtol=1e-6)


def test_normalisation_takes_0_255_rgb_about_imagenets_mean():
    model = build(1)
    pixels = np.broadcast_to(np.float32([123.68 + 58, 116.779, 103.939 - 29]), (1, 32, 32, 3))
    normalised = np.asarray(keras.Model(model.input, model.get_layer("normalisation").output)(pixels))
    np.testing.assert_allclose(normalised[0, 0, 0], [1, 0, -0.5], atol=1e-5)  # (pixel - mean) / 58
    assert PIXEL_SCALE == 58

"""What the stacks of an SMTN see, on maps and kernels whose answers are known."""

import keras
import numpy as np
import pytest

from smtn_keras import features, networks, runs
from smtn_keras.config import Config, NetworkConfig
from smtn_keras.errors import UserError
from smtn_keras.tasks import Attributes, Label, Landmarks

TASKS = (Landmarks(points=("left_eye", "right_eye")), Attributes(labels=(Label("Smiling"),)))
NOISE = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("float32")


def run_of(stage=2, **network):
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    config = Config(stage=stage, network=NetworkConfig(**({"image_size": 32, "width": 0.05} | network)))
    return runs.Run("a run", config, TASKS, networks.build(config, TASKS))


def test_maps_are_those_after_the_relu_and_before_the_fusion():
    run = run_of()
    picture = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)  # of the network's own size
    maps = features.stack_maps(run, [picture], "conv2_1")
    assert {stack: of_stack.shape for stack, of_stack in maps.items()} == dict.fromkeys(
        ("shared", "landmarks", "attributes"), (1, 16, 16, 6)
    )
    relu = keras.Model(run.model.input, run.model.get_layer("landmarks_conv2_1_relu").output)
    np.testing.assert_allclose(maps["landmarks"], relu(picture[None].astype("float32")), atol=1e-5)
    assert maps["landmarks"].min() == 0


def test_maps_of_a_backbone_of_keras_applications_are_those_of_its_blocks():
    run = run_of(backbone="mobilenet_v2", width=0.35)
    run.model.get_layer("landmarks_block1").set_weights([w + 0.1 for w in run.model.get_layer("landmarks_block1").get_weights()])
    picture = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    maps = features.stack_maps(run, [picture])
    pixels = keras.Model(run.model.input, run.model.get_layer("landmarks_pixels").output)(picture[None].astype("float32"))
    np.testing.assert_allclose(maps["landmarks"], run.model.get_layer("landmarks_block1")(pixels), atol=1e-5)
    assert not np.allclose(maps["landmarks"], maps["attributes"])


def test_behind_a_branch_point_only_the_shared_stack_has_early_maps():
    picture = np.zeros((40, 30, 3), np.uint8)
    assert set(features.stack_maps(run_of(branch="conv2_2"), [picture])) == {"shared"}
    with pytest.raises(UserError, match="expected a network whose stacks have a layer 'conv9_9'"):
        features.stack_maps(run_of(), [picture], "conv9_9")


def test_the_liveliest_channels_vary_most():
    assert features.liveliest(NOISE * np.float32([1, 4, 2, 3]), 3).tolist() == [1, 3, 2]


def test_crops_lie_where_a_channel_is_highest():
    maps = np.zeros((3, 4, 4, 2), np.float32)
    maps[0, 0, 0, 1], maps[2, 2, 1, 1] = 1, 5
    pictures = [np.full((80, 80, 3), value, np.uint8) for value in (10, 20, 30)]
    pictures[2][50, 30] = 255  # the centre of cell (2, 1): 20 pixels a cell
    crops = features.strongest_crops(maps, pictures, channel=1, count=2, window=0.5)
    assert [crop.shape for crop in crops] == [(40, 40, 3)] * 2
    assert crops[0][20, 20].tolist() == [255] * 3
    assert np.unique(crops[1]).tolist() == [10, 128]  # grey beyond the upper left corner


def test_a_mix_of_the_shared_maps_adds_nothing():
    mix = NOISE @ np.random.default_rng(2).normal(size=(4, 3)) + 7
    assert features.added(mix, NOISE) < 1e-9


def test_what_is_unlike_the_shared_maps_is_all_added():
    # of two channels one is the shared one and one lies at right angles to it and to the constant
    shared = np.float32([1, -1, 1, -1]).reshape(1, 2, 2, 1)
    other = np.float32([1, 1, -1, -1]).reshape(1, 2, 2, 1)
    assert features.added(other, shared) == pytest.approx(1)
    assert features.added(np.concatenate([shared, other], -1), shared) == pytest.approx(0.5)


def test_a_fusion_at_its_start_gives_nine_tenths_to_its_own():
    shares = features.fusion_shares(run_of(fusion="channelwise", fusion_init="nddr"))
    assert next(iter(shares["landmarks"])) == "conv1_1" and len(shares["landmarks"]) == 10
    assert all(share == pytest.approx(0.9, abs=1e-6) for of_task in shares.values() for share in of_task.values())


def test_the_share_of_a_concatenation_is_in_the_conv_that_reads_it():
    run = run_of(fusion="concat", init="scratch")
    conv = run.model.get_layer("attributes_conv2_1")  # behind the pooling of conv1_2's concatenation
    kernel = np.ones_like(conv.get_weights()[0])
    kernel[:, :, : kernel.shape[2] // 2] = -3
    conv.set_weights([kernel, *conv.get_weights()[1:]])
    shares = features.fusion_shares(run)
    assert shares["attributes"]["conv1_2"] == pytest.approx(0.75)
    assert "conv4_3" not in shares["attributes"]  # heads read it, and others


def test_other_backbones_fuse_at_the_ends_of_blocks():
    shares = features.fusion_shares(run_of(backbone="shallow"))
    assert list(shares["landmarks"]) == ["conv1", "conv2", "conv3", "conv4"]


def test_shares_of_what_is_no_smtn_are_refused():
    with pytest.raises(UserError, match="expected a run of separation, got --network hard_sharing"):
        features.fusion_shares(run_of(stage=1))

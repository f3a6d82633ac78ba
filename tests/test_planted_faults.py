"""Wrong in silence: each fault is planted, and something must notice it before, or while, a network trains or is measured."""

import functools
import types

import cv2
import grain
import keras
import numpy as np
import pytest
import test_augment
import test_celeba
import test_pipeline
import tiny
from making import make_celeba, write_lines

from smtn_keras import evaluate, fit, inspect, losses, networks
from smtn_keras.config import Config, NetworkConfig
from smtn_keras.data import celeba, faults, pipeline, prepared, synthetic
from smtn_keras.errors import UserError
from smtn_keras.guards import Guards
from smtn_keras.networks import backbone
from smtn_keras.networks.normalisation import BatchNormalization
from smtn_keras.predictor import Predictor
from smtn_keras.tasks import Attributes, Label, Landmarks


def examples():
    """Those of tiny.py by split, each before a background of its own, as its bar and dots alone would make two pictures one."""
    rng = np.random.default_rng(0)
    return {split: [before_a_background(tiny.example(split, i), rng) for i in range(count)] for split, count in tiny.COUNTS.items()}


def before_a_background(example, rng):
    coarse = rng.uniform(-60, 60, (5, 4, 3)).astype(np.float32)
    return repainted(example, lambda image: image + cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def repainted(example, change, suffix=".png"):
    """An example whose picture, as OpenCV reads it, is changed and saved."""
    image = change(cv2.imdecode(np.frombuffer(example.image, np.uint8), cv2.IMREAD_COLOR))
    _, file = cv2.imencode(suffix, np.clip(image, 0, 255).astype(np.uint8))
    return example._replace(image=file.tobytes())


def prepare(folder, parts, tasks=tiny.TASKS):
    """Prepares examples by split as the data set `planted`."""

    class Planted(tiny.Tiny, skip_registration=True):
        """A data set with a fault."""

        name = "planted"

        def splits(self):
            return parts

    Planted.tasks = tasks
    Planted(data_dir=folder).prepare()
    return prepared.open_prepared("planted", folder)


def with_targets(example, **targets):
    return example._replace(targets=example.targets | targets)


def refusal(capsys, folder):
    """What `fit` says before it exits with code 2."""
    with pytest.raises(SystemExit) as end:
        fit.main(tiny.flags(folder, *tiny.NARROW, data="planted"))
    assert end.value.code == 2 and not (folder / "runs").exists()
    return capsys.readouterr().err


def findings(capsys, folder, code, *flags, data="planted"):
    """What `inspect` says is surely wrong."""
    argv = ["--data", data, "--data-dir", str(folder), "--out", str(folder / "sheets"), "--pictures", "2", *flags]
    if code:
        with pytest.raises(SystemExit) as end:
            inspect.main(argv)
        assert end.value.code == code
    else:
        inspect.main(argv)
    return capsys.readouterr().out.split("## Surely wrong")[1].split("## Worth a look")[0]


@pytest.fixture(scope="module")
def data(tiny_dir):
    return prepared.open_prepared("tiny", tiny_dir)


@pytest.fixture(scope="module")
def points():
    """Those of the training part, in [0, 1] of the picture."""
    return np.stack([example.targets["landmarks"] for example in examples()["train"]]) / np.float32(tiny.FRAME)


# -- points -----------------------------------------------------------------------------------------


def mirrored_by_half(points):
    points = points.copy()
    points[::2, :, 0] = 1 - points[::2, :, 0]
    return points


SWAPPED, UNSCALED = "the two are swapped, or x and y, or points of mirrored pictures", "scale points with the picture"
POINTS = {
    "eyes swapped": (
        lambda points: points[:, [1, 0, 2, 3, 4]],
        f"expected left_eye left of right_eye in the picture, got it so in 0 %.*{SWAPPED}",
    ),
    "x and y swapped": (lambda points: points[..., ::-1], f"expected left_eye left of right_eye.*{SWAPPED}"),
    "mirrored without swapping": (mirrored_by_half, f"expected left_eye left of right_eye.* got it so in [45]. %.*{SWAPPED}"),
    "upside down": (lambda points: points * [1, -1] + [0, 1], "expected left_eye above left_mouth"),
    "in the order of the alphabet": (lambda points: points[:, [0, 3, 2, 1, 4]], "to change places in a mirrored picture"),
    "of a larger frame": (lambda points: points * 3, f"got left_eye at .*{UNSCALED}"),
    "fractions taken for pixels": (lambda points: points / 100, f"expected left_eye and right_eye apart.*{UNSCALED}"),
}


def test_points_without_a_fault_pass(points):
    assert not faults.point_faults(tiny.POINTS, points)
    turned = points[:, ::-1, ::-1]  # nobody knows what these points are, so nothing is sure
    assert not faults.point_faults(Landmarks(points=tuple("abcde"), normaliser=("a", "b")), turned, mirrored=False)


@pytest.mark.parametrize("fault", POINTS)
def test_points_that_belie_their_names_or_the_flip_rule(fault, points):
    plant, says = POINTS[fault]
    found = faults.point_faults(tiny.POINTS, plant(points))
    assert found
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(" ".join(found))


def test_fit_refuses_swapped_eyes(tmp_path, capsys):
    parts = examples()
    for part in ("train", "test"):
        parts[part] = [with_targets(example, landmarks=example.targets["landmarks"][[1, 0, 2, 3, 4]]) for example in parts[part]]
    prepare(tmp_path, parts)
    said = refusal(capsys, tmp_path)
    assert "planted, train part: expected left_eye left of right_eye" in said and "python -m smtn_keras.inspect --data planted" in said
    wrong = findings(capsys, tmp_path, 1)
    assert "train part: expected left_eye" in wrong and "test part: expected left_eye" in wrong and "validation" not in wrong


def test_landmarks_that_are_not_scaled_with_the_image(data, monkeypatch):
    monkeypatch.setattr(pipeline, "resize", lambda image, size: np.ascontiguousarray(image[:size, :size]))
    with pytest.raises(AssertionError):
        test_pipeline.test_resizing_moves_x_and_y_apart(data)


def test_a_flip_without_point_swap(data, points, monkeypatch):
    without = Landmarks(points=tiny.POINTS.points)  # a data set that forgot its flip_pairs
    assert "expected left_eye and right_eye to change places" in faults.point_faults(without, points)[0]
    assert not faults.point_faults(without, points, mirrored=False)
    monkeypatch.setattr(Landmarks, "flip_order", property(lambda task: list(range(len(task.points)))))
    for test in (
        lambda: test_pipeline.test_a_mirrored_picture_has_its_points_and_labels_swapped(data),
        lambda: test_augment.test_points_move_onto_the_moved_dots({"flip": True, "shift": 0.05}),
    ):
        with pytest.raises(AssertionError):
            test()


# -- labels -----------------------------------------------------------------------------------------


def test_labels_shifted_by_one_row(tmp_path, capsys):
    parts = {
        split: [with_targets(one, attributes=other.targets["attributes"]) for one, other in zip(part, [*part[1:], part[0]], strict=True)]
        for split, part in examples().items()
    }
    prepare(tmp_path, parts)
    assert "train part: expected the attributes of each row to go with its picture best, got those of the row before" in findings(
        capsys, tmp_path, 1
    )


@pytest.mark.parametrize(("file", "head"), [("list_eval_partition.txt", 0), ("list_landmarks_align_celeba.txt", 2)])
def test_a_list_shifted_by_one_row(file, head, tmp_path):
    make_celeba(tmp_path / "celeba")
    lines = [line.split(" ", 1) for line in (tmp_path / "celeba" / file).read_text().splitlines()]
    names = [name for name, _ in lines[head:]]
    shifted = lines[:head] + [[name, rest] for name, (_, rest) in zip(names[1:] + names[:1], lines[head:], strict=True)]
    write_lines(tmp_path / "celeba" / file, [" ".join(line) for line in shifted])
    assert "got another order" in test_celeba.refusal(tmp_path / "celeba", tmp_path)


def test_attributes_in_dictionary_order(tmp_path, monkeypatch):
    labels = np.stack([synthetic.sample_attributes(np.random.default_rng(i)) for i in range(1500)])
    task = Attributes(labels=tuple(Label(name) for name in celeba.ATTRIBUTES))
    assert not faults.label_faults(task, labels)
    by_length = sorted(range(40), key=lambda i: len(celeba.ATTRIBUTES[i]))
    found = " ".join(faults.label_faults(task, labels[:, by_length]))
    assert "expected hardly a face with both" in found and "labels are in another order than their names" in found
    # TFDS hands dictionaries over in the order of the alphabet, which coordinates are not in
    monkeypatch.setattr(celeba, "_COORDINATES", sorted(celeba._COORDINATES))
    with pytest.raises(AssertionError):
        test_celeba.test_stacks_what_tfds_prepared_in_the_published_order("array_record", tmp_path)


def test_classes_that_change_sides_without_a_flip(data):
    bare = Attributes(labels=(Label("Bar", classes=("left", "none", "right")),))
    labels = data.targets("train")["attributes"][:, 2:]
    assert "expected a flip of label Bar, whose class left becomes right" in faults.label_faults(bare, labels)[0]
    assert not faults.label_faults(bare, labels, mirrored=False)
    assert not faults.label_faults(tiny.LABELS, data.targets("train")["attributes"])


# -- networks ---------------------------------------------------------------------------------------


def train(stage, **kwargs):
    """A step of a small network under guard, with what `fit` compiles."""
    config = Config(stage=stage, network=NetworkConfig(image_size=32, width=0.05, backbone="shallow", batch_norm=True))
    keras.config.set_dtype_policy("float32")
    model = networks.build(config, tiny.TASKS)
    model.compile(optimizer="sgd", loss=losses.task_losses(tiny.TASKS, config)[0], run_eagerly=True)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    truth = {"landmarks": np.full((4, 5, 2), 0.5, "float32"), "attributes": np.zeros((4, 3), "int8")}
    model.fit(images, truth, batch_size=4, verbose=0, callbacks=[Guards(config)], **kwargs)
    return model


@pytest.mark.parametrize("stage", [1, 2])
def test_a_network_without_a_fault_trains(stage):
    assert train(stage).trainable_weights


def test_a_shared_stack_that_is_not_frozen(monkeypatch):
    blocks = backbone.blocks
    monkeypatch.setattr(backbone, "blocks", lambda stack, config, trainable=True: blocks(stack, config))
    with pytest.raises(RuntimeError, match="expected a frozen shared stack in stage 2, got weights of shared_"):
        train(2)


def test_batch_statistics_that_drift_in_frozen_layers(monkeypatch):
    call = BatchNormalization.call

    def drifting(self, inputs, training=None, mask=None):
        if training:  # and not: and self.trainable
            self.moving_mean.assign(0.9 * self.moving_mean + 0.1 * keras.ops.mean(inputs, axis=(0, 1, 2)))
        return call(self, inputs, training=training, mask=mask)

    monkeypatch.setattr(BatchNormalization, "call", drifting)
    with pytest.raises(RuntimeError, match="expected frozen layers to stay as they were, got another moving_mean of shared_"):
        train(2)


def test_a_missing_loss_key(tiny_dir, tmp_path, monkeypatch):
    task_losses = losses.task_losses

    def without_attributes(*args):
        return tuple({name: value for name, value in part.items() if name != "attributes"} for part in task_losses(*args))

    monkeypatch.setattr(losses, "task_losses", without_attributes)
    with pytest.raises(RuntimeError, match="hard_sharing: expected a loss for each output, got none for attributes"):
        fit.main([*tiny.flags(tiny_dir, *tiny.NARROW, "--backbone", "shallow", "--epochs", "1"), "--run", str(tmp_path / "run")])
    assert not (tmp_path / "run" / "history.csv").exists()


# -- measuring --------------------------------------------------------------------------------------


def test_an_evaluation_that_drops_the_last_batch(data, monkeypatch):
    answers = {"landmarks": np.full((5, 2), 0.5, np.float32), "attributes": np.full(5, 0.5, np.float32)}
    model = types.SimpleNamespace(image_size=32, run=lambda images: {name: np.stack([a] * len(images)) for name, a in answers.items()})
    says = evaluate.of_predictor(model, batch_size=8)
    assert evaluate.measure(says, data.tasks, data, "test")["attributes"]["metrics"]["samples"] == 13
    monkeypatch.setattr(grain.MapDataset, "batch", functools.partialmethod(grain.MapDataset.batch, drop_remainder=True))
    with pytest.raises(RuntimeError, match=r"expected an answer for each of the 13 pictures of the test part, got \{'landmarks': 8"):
        evaluate.measure(says, data.tasks, data, "test")


def test_training_images_in_the_test_part(tmp_path, capsys, monkeypatch):
    parts = examples()
    parts["test"][3] = parts["train"][5]._replace(name="renamed")
    copied = prepare(tmp_path / "renamed", parts)
    sentence = "planted, test part: expected none of its 13 pictures in training, got 1, for one renamed"
    assert sentence in refusal(capsys, tmp_path / "renamed")
    monkeypatch.setattr(faults, "SOME", 0.1)  # a few are said and not refused
    faults.refuse((copied,), mirrored=True)
    assert f"note: {sentence}" in capsys.readouterr().out
    monkeypatch.undo()

    # saved anew, smaller and lighter: only its pixels tell
    anew = repainted(parts["train"][5], lambda image: cv2.resize(image, (56, 70), interpolation=cv2.INTER_AREA) * 1.1 + 5, ".jpg")
    parts["test"][3] = with_targets(anew, landmarks=anew.targets["landmarks"] * np.float32(0.7))._replace(name="anew", size=(56, 70))
    saved_anew = prepare(tmp_path / "anew", parts)
    faults.refuse((saved_anew,), mirrored=True)
    assert "planted, test part: training pictures in it: 1 of 13" in findings(capsys, tmp_path / "anew", 1)


# -- colours and range ------------------------------------------------------------------------------


def test_a_model_fed_bgr(data, monkeypatch, tmp_path, capsys):
    faces = synthetic.Synthetic(samples=30, data_dir=tmp_path).splits()
    parts = {split: [repainted(example, lambda image: image[..., ::-1], ".jpg") for example in part] for split, part in faces.items()}
    prepare(tmp_path, parts, celeba.TASKS)
    assert "train part: expected skin more red than blue" in findings(capsys, tmp_path, 1)
    monkeypatch.setattr(cv2, "cvtColor", lambda image, code: image)
    with pytest.raises(AssertionError):
        test_pipeline.test_colours_are_rgb(data)


def test_a_model_fed_0_to_1(tmp_path, capsys):
    predictor = Predictor(tiny.TASKS, 32, {}, lambda images: {"landmarks": images.mean((1, 2, 3))})
    picture = tiny.picture(tiny.MEAN_SHAPE * tiny.FRAME)
    assert predictor([picture])["landmarks"] > 1
    for wrong, got in ((picture / 255, "float64 of 0"), (np.float32(picture), "float32"), (picture[..., 0], r"\(100, 80\)")):
        with pytest.raises(UserError, match=f"pictures: expected uint8 RGB of 0..255, .*got .*{got}"):
            predictor([wrong])
    # and a data set whose builder wrote such pixels as bytes
    parts = {split: [repainted(example, lambda image: image / 255) for example in part] for split, part in examples().items()}
    prepare(tmp_path, parts)
    assert "train part: expected pictures of 0..255, got 100.0 % of them black" in findings(capsys, tmp_path, 1)

"""What stands behind the averages: who fails, what a change does, what more pictures bring; on runs made by hand."""

import json

import numpy as np
import pytest

from smtn_keras import runs
from smtn_keras.ablation import ablation, difference
from smtn_keras.analysis import analysis
from smtn_keras.config import Config
from smtn_keras.curve import Curve, learning_curve
from smtn_keras.errors import UserError
from smtn_keras.metrics import attribute_metrics, landmark_metrics, landmark_metrics_by
from smtn_keras.tasks import Attributes, Label, Landmarks, tasks_to_json

NAN = float("nan")
POINTS = Landmarks(points=("left_eye", "right_eye", "nose"))
POSE = Label("Pose", classes=("left", "frontal", "right"))
LABELS = Attributes(labels=(Label("Male"), Label("Hat"), POSE))


def cells(text, first):
    """The cells of the only table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# -- metrics ----------------------------------------------------------------------------------------

SIZES = np.int32([[100, 100]] * 4)
# eyes 40 px apart, their middle at (50, 40); the nose is off it by 2, 6, 12 and 20 px along the eye line: 0.05, 0.15, 0.3, 0.5
NOSES = [(52, 60), (44, 60), (62, 60), (70, 60)]
TRUTH_PX = np.float32([[(30, 40), (70, 40), nose] for nose in NOSES])


def predicted(*off_px):
    """All points off by so many pixels each in y, an image after the other; in [0, 1]."""
    return (TRUTH_PX + np.float32([[[0, off]] for off in off_px])) / 100


def test_the_worst_images_come_by_their_index_and_error():
    truth = TRUTH_PX.copy()
    truth[1, 0] = NAN  # without an eye it does not count, though its prediction is far off
    result = landmark_metrics(predicted(2, 30, 6, 4), truth, SIZES, POINTS)
    assert result["worst"] == [[2, 15.0], [3, 10.0], [0, 5.0]]  # of 40 px


def test_no_more_than_24_images_are_the_worst():
    off = np.arange(30) / 100
    truth = np.repeat(TRUTH_PX[:1], 30, axis=0)
    result = landmark_metrics(
        (truth + np.float32(100 * off)[:, None, None] * [0, 1]) / 100, truth, np.repeat(SIZES[:1], 30, axis=0), POINTS
    )
    assert [index for index, _ in result["worst"]] == list(range(29, 5, -1))


def test_a_prediction_that_is_no_number_is_the_worst():
    unit = predicted(2, 30, 6, 4)
    unit[3] = NAN
    assert [index for index, _ in landmark_metrics(unit, TRUTH_PX, SIZES, POINTS)["worst"]] == [3, 1, 2, 0]


def test_success_by_yaw_by_hand():
    unit = predicted(2, 8, 2, 2)
    unit[2, 2, 1] += 0.1  # the nose is off by 12 px
    result = landmark_metrics(unit, TRUTH_PX, SIZES, POINTS)["success_by_yaw"]
    assert result == {
        "below 0.1": {"samples": 1, "success_rate": 100.0, "nme": 5.0},
        "0.1 to 0.25": {"samples": 1, "success_rate": 0.0, "nme": 20.0},
        "0.25 to 0.4": {"samples": 1, "success_rate": pytest.approx(200 / 3, abs=1e-3), "nme": pytest.approx(16 / 3 / 0.4, abs=1e-3)},
        "above 0.4": {"samples": 1, "success_rate": 100.0, "nme": 5.0},
    }


def test_yaw_is_measured_along_the_eye_line_whatever_the_heads_roll():
    turn = np.float32([[0, 1], [-1, 0]])  # by a right angle
    rolled = (TRUTH_PX - 50) @ turn + 50
    bins = landmark_metrics(rolled / 100, rolled, SIZES, POINTS)["success_by_yaw"]
    assert [part["samples"] for part in bins.values()] == [1, 1, 1, 1]
    mirrored = TRUTH_PX * np.float32([-1, 1]) + np.float32([100, 0])  # to the other side it counts the same
    assert landmark_metrics(mirrored / 100, mirrored, SIZES, POINTS)["success_by_yaw"] == bins


def test_without_a_nose_an_image_has_no_yaw_and_a_task_no_bins():
    truth = TRUTH_PX.copy()
    truth[0, 2] = NAN
    result = landmark_metrics(predicted(2, 2, 2, 2), truth, SIZES, POINTS)
    assert result["samples"] == 4
    assert result["success_by_yaw"]["below 0.1"] == {"samples": 0, "success_rate": None, "nme": None}
    assert sum(part["samples"] for part in result["success_by_yaw"].values()) == 3
    eyes = Landmarks(points=("left_eye", "right_eye"))
    assert "success_by_yaw" not in landmark_metrics(predicted(2, 2, 2, 2)[:, :2], TRUTH_PX[:, :2], SIZES, eyes)


def test_success_by_the_classes_of_a_label():
    result = landmark_metrics_by(predicted(2, 8, 2, 40), TRUTH_PX, SIZES, POINTS, np.int8([1, 1, 2, -1]), POSE)
    assert result == {
        "left": {"samples": 0, "success_rate": None, "nme": None},
        "frontal": {"samples": 2, "success_rate": 50.0, "nme": 12.5},
        "right": {"samples": 1, "success_rate": 100.0, "nme": 5.0},
    }


def test_confusion_counts_rows_of_truth():
    truth = np.int8([[1, 0, 2], [1, 0, 1], [1, -1, 2], [0, -1, 0]])
    classes = np.int8([[1, 0, 2], [1, 1, 1], [0, 0, 0], [0, 0, 1]])
    assert attribute_metrics(classes, truth, LABELS)["confusion"] == {
        "Male": [[1, 0], [1, 2]],
        "Hat": [[1, 1], [0, 0]],
        "Pose": [[0, 1, 0], [0, 1, 0], [1, 0, 1]],
    }


# -- runs by hand -----------------------------------------------------------------------------------


def result(success, nme, accuracy):
    return {
        "landmarks": {"metrics": {"samples": 10, "success_rate_average": success, "nme": nme}},
        "attributes": {"metrics": {"samples": 10, "accuracy_mean": accuracy}},
    }


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: its name, its metrics, and parts of its configuration."""

    def write(name, metrics, stage=1, seconds=(60, 60), train=1000, tasks=(), **parts):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(Config(stage=stage).with_(**parts).resolved().to_json())
        (folder / "data.json").write_text(json.dumps({"counts": {"train": train}, "tasks": tasks_to_json(tasks)}))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        runs.write_history(folder, [{"epoch": i + 1, "seconds": s} for i, s in enumerate(seconds)])
        return str(folder)

    return write


# -- ablation ---------------------------------------------------------------------------------------


def test_a_change_is_labelled_by_its_flags_and_compared_with_the_base(make):
    base = make("a", {"celeba/validation": result(90, 5, 80)}, data={"data": "celeba"})
    wing = make(
        "b",
        {"celeba/validation": result(91.5, 4.25, 79), "celeba/test": result(1, 1, 1)},
        seconds=(200, 100),
        data={"data": "celeba"},
        training={"landmarks_loss": "wing", "landmark_scale": 64.0},
    )
    text = ablation((base, wing))
    assert cells(text, "base: hard sharing (stage 1, baseline)")[1:] == ["90.00", "5.00", "80.00", "1", "2"]
    assert cells(text, "`--landmarks-loss wing --landmark-scale 64`")[1:] == ["+1.50", "-0.75", "-1.00", "1", "5"]
    assert cells(text, "change")[1:] == ["celeba success", "celeba NME", "celeba accuracy", "seeds", "minutes"]


def test_seeds_share_a_row_with_their_mean_and_spread(make):
    base = [make(f"a{s}", {"celeba/validation": result(90 + s, 5, 80)}, training={"seed": s}) for s in (0, 1)]
    flip = [
        make(f"b{s}", {"celeba/validation": result(v, 5, 80)}, seconds=(t,), training={"seed": s}, data={"flip": False})
        for s, v, t in ((0, 92, 60), (1, 93.5, 120), (2, 97, 180))
    ]
    text = ablation((base[0], *flip, base[1]))
    row = cells(text, "`--no-flip`")
    assert row[1] == "+3.67 <sub>5.00</sub>"  # 94.17 less 90.5; 97 less 92
    assert row[2] == "+0.00 <sub>0.00</sub>"
    assert row[-2:] == ["3", "2"]
    assert cells(text, "base: hard sharing (stage 1, baseline)")[1] == "90.50 <sub>1.00</sub>"


def test_two_runs_of_one_row_and_seed_are_refused(make):
    base, again = (make(name, {"celeba/validation": result(90, 5, 80)}) for name in "ab")
    with pytest.raises(UserError, match=r"a and .*b: expected runs of the same settings .* to differ in --seed, got 0 twice"):
        ablation((base, again))


def test_rows_stand_in_groups_by_the_part_they_change(make):
    found = {"celeba/validation": result(90, 5, 80)}
    base = make("base", found)
    changes = [
        make("several", found, data={"shift": 0.1}, training={"ema": 0.99}),
        make("stage", found, stage=2, training={"epochs": 10}),
        make("training", found, training={"weight_decay": 1e-5}),
        make("network", found, network={"head": "both", "width": 0.5}),
        make("data", found, data={"data": "celeba+mtfl", "sampling": (1.0, 0.5), "data_dir": "elsewhere"}),
    ]
    lines = ablation((base, *changes)).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[5:]] == [
        "*data*",
        "`--data celeba+mtfl --sampling 1 0.5`",
        "*network*",
        "`--width 0.5 --head both`",
        "*training*",
        "`--weight-decay 1e-05`",
        "*stage*",
        "`--stage 2 --epochs 10`",
        "*several parts*",
        "`--shift 0.1 --ema 0.99`",
    ]
    assert len({line.count("|") for line in lines[2:]}) == 1  # one table


def test_ways_of_measuring_are_compared_with_the_same_run_without(make):
    base = make("a", {"celeba/validation": result(90, 5, 80), "celeba/validation+flip": result(91, 4.5, 80.5)})
    metrics = {"celeba/validation": result(94, 4, 82), "celeba/validation+flip+thresholds": result(94.25, 4, 83)}
    wing = make("b", metrics, training={"landmarks_loss": "wing"})
    text = ablation((base, wing))
    assert cells(text, "evaluated with `--flip`")[1:] == ["+1.00", "-0.50", "+0.50", "1", ""]
    assert cells(text, "`--landmarks-loss wing`, evaluated with `--flip --thresholds`")[1:4] == ["+0.25", "+0.00", "+1.00"]
    assert text.index("*test time*") > text.index("`--landmarks-loss wing` |")


def test_thresholds_chosen_on_the_part_itself_are_said_to_be_so(make):
    found = {f"celeba/{key}": result(90, 5, 80) for key in ("validation", "validation+thresholds", "test", "test+thresholds")}
    base = make("a", found)
    assert "chosen on this very part" in ablation((base,), "validation")
    assert "chosen on this very part" not in ablation((base,), "test")


def test_data_sets_stand_side_by_side_and_what_is_missing_is_a_dash(make):
    base = make("a", {"celeba/validation": result(90, 5, 80)})
    joined = make("b", {"mtfl/validation": result(70, 9, None)}, data={"data": "celeba+mtfl"})
    text = ablation((base, joined))
    assert cells(text, "change")[1:7] == [f"{data} {name}" for data in ("celeba", "mtfl") for name in ("success", "NME", "accuracy")]
    assert cells(text, "base: hard sharing (stage 1, baseline)")[4:7] == ["-", "-", "-"]
    assert cells(text, "`--data celeba+mtfl`")[1:7] == ["-", "-", "-", "70.00", "9.00", "-"]  # no base: no sign


def test_a_base_that_was_not_measured_is_named_with_the_command(make):
    base = make("a", {"celeba/test": result(90, 5, 80)})
    with pytest.raises(UserError, match=r"smtn_keras\.evaluate --run .*a --split validation$"):
        ablation((base,))


def test_what_the_stage_decides_is_no_difference():
    stage1, stage2 = Config(stage=1).resolved(), Config(stage=2).resolved()
    assert difference(stage2, stage1) == (("stage", "--stage 2"),)
    branched = Config(stage=2).with_(network={"branch": "conv2_2", "init": "scratch"})
    assert difference(branched, stage1) == (("stage", "--stage 2"), ("network", "--branch conv2_2"), ("network", "--init scratch"))
    assert difference(stage2, branched) == (("network", "--branch input"), ("network", "--init stage1"))
    assert difference(stage2.with_(training={"seed": 3}, run={"from_run": "runs/x"}, data={"data_dir": "y"}), stage2) == ()


# -- analysis ---------------------------------------------------------------------------------------


def parts(metrics, floor=None):
    return {"metrics": metrics, "floor": floor or metrics}


@pytest.fixture
def failing(make):
    """A run of which everything is known."""
    landmarks = {
        "samples": 3,
        "worst": [[17, 48.2], [3, 5.5]],
        "success_by_yaw": {
            "below 0.1": {"samples": 2, "success_rate": 90.0, "nme": 4.0},
            "above 0.4": {"samples": 0, "success_rate": None, "nme": None},
        },
        "success_by_class": {"Pose": {"left": {"samples": 1, "success_rate": 50.0, "nme": 12.0}}},
    }
    attributes = {
        "samples": 20,
        "accuracy": {"Male": 85.0, "Hat": None, "Pose": 60.0},
        "balanced_accuracy": {"Male": 70.0, "Hat": None, "Pose": 55.0},
        "confusion": {"Male": [[15, 1], [2, 2]], "Hat": [[0, 0], [0, 0]], "Pose": [[2, 1, 0], [3, 9, 1], [0, 3, 1]]},
    }
    floor = {"accuracy": {"Male": 80.0, "Hat": None, "Pose": 65.0}}
    metrics = {"mtfl/test": {"landmarks": parts(landmarks), "attributes": parts(attributes, floor)}}
    return make("run", metrics, tasks=(POINTS, LABELS))


def test_an_analysis_says_who_fails_and_how(failing):
    text = analysis(failing)
    assert "17 (48.20), 3 (5.50)" in text
    assert cells(text, "below 0.1") == ["below 0.1", "2", "90.00", "4.00"]
    assert cells(text, "above 0.4") == ["above 0.4", "0", "-", "-"]
    assert "| Pose | images | success | NME |" in text
    assert "| left | 1 | 50.00 | 12.00 |" in text


def test_an_analysis_counts_the_confusions_of_the_weakest_labels(failing):
    text = analysis(failing)
    head = ["label", "balanced", "true +", "false +", "true -", "false -", "recall", "precision"]
    assert cells(text, "label") == head
    assert cells(text, "Male") == ["Male", "70.00", "2", "1", "15", "2", "50.00", "66.67"]
    assert "| frontal | 3 | 9 | 1 | 69.23 |" in text
    assert cells(text, "precision")[1:4] == ["40.00", "69.23", "50.00"]
    assert "The 2 labels of the lowest balanced accuracy, of 2" in text
    assert "Hat" not in text


def test_labels_below_their_floor_are_named(failing):
    text = analysis(failing)
    assert "majority: Pose by 5.00 (" in text
    assert "Male by" not in text


def test_only_the_ten_weakest_labels_are_shown(make):
    names = [f"label{i:02d}" for i in range(12)]
    attributes = {
        "samples": 2,
        "accuracy": dict.fromkeys(names, 50.0),
        "balanced_accuracy": {name: 50.0 + i for i, name in enumerate(names)},
        "confusion": {name: [[1, 0], [1, 0]] for name in names},
    }
    run = make("run", {"celeba/test": {"attributes": parts(attributes)}}, tasks=(Attributes(labels=tuple(map(Label, names))),))
    text = analysis(run)
    assert "| label09 |" in text
    assert "| label10 |" not in text
    assert cells(text, "label00")[-2:] == ["0.00", "-"]  # nothing was said to be there
    assert "No label is less accurate" in text


def test_metrics_of_an_older_version_are_refused_with_the_command(make):
    run = make("run", {"celeba/test": {"landmarks": parts({"samples": 3, "nme": 4})}}, tasks=(POINTS,))
    with pytest.raises(UserError, match=r"expected 'worst' .* --data celeba --split test$"):
        analysis(run)
    with pytest.raises(UserError, match=r"expected metrics of the validation part, found none"):
        analysis(run, "validation")


# -- curve ------------------------------------------------------------------------------------------


@pytest.fixture
def halving(make):
    """Runs of 100, 400 and all 1600 pictures: NME halves with four times the pictures, attribute error by 2 ** 0.5."""

    def write(name, samples, nme, error, **more):
        found = {"celeba/validation": result(90, nme, 100 - error)}
        return make(name, found, train=1600, data={"data": "celeba", "samples": samples} | more.pop("data", {}), **more)

    return write


def test_a_curve_has_a_row_for_each_size_and_its_power_law(halving):
    folders = (
        halving("all", None, 5, 10),
        halving("a", 100, 20, 20, training={"epochs": 90}),  # as many steps
        halving("b", 400, 10, 200**0.5),
    )
    text, curves = learning_curve(folders)
    assert [line.split(" | ")[0].strip("| ") for line in text.splitlines()[4:7]] == ["100", "400", "1,600"]
    assert cells(text, "100")[2:] == ["90.00", "20.00", "80.00", "1"]
    nme, error = curves
    assert (nme.a, nme.b) == (pytest.approx(200), pytest.approx(0.5))  # 200 / 10 = 20
    assert error.b == pytest.approx(0.25)
    assert cells(text, "celeba NME") == ["celeba NME", "200 n^-0.500", "0.0", f"{200 / 162_770**0.5:.2f}"]
    assert cells(text, "celeba attribute error")[-1] == f"{10 * (1600 / 162_770) ** 0.25:.2f}"
    assert "extrapolation, not a measurement" in text
    assert "101.7 times the largest" in text


def test_a_fit_is_of_least_squares_in_the_logarithms():
    curve = Curve.fit("x", [1, np.e, np.e**2], np.exp([2.0, 1.0, 1.5]))  # slope -0.25, mean 1.5 at 1
    assert curve.b == pytest.approx(0.25)
    assert curve.a == pytest.approx(np.exp(1.75))


def test_sizes_of_several_seeds_are_means(halving):
    seeds = [halving(f"a{s}", 100, nme, 20, training={"seed": s}) for s, nme in ((0, 19), (1, 22))]
    text, _ = learning_curve((*seeds, halving("b", 400, 10, 15), halving("c", 5000, 5, 10)))
    assert cells(text, "100")[3:] == ["20.50", "80.00", "2"]
    assert cells(text, "1,600")[3] == "5.00"  # no more than there are


def test_joined_sets_bring_their_samples_each(halving):
    folders = [halving(str(n), n, 5, 10, data={"data": "celeba+mtfl"}) for n in (100, 200, 400)]
    text, _ = learning_curve(tuple(folders))
    assert "| 200 |" in text
    assert "| 800 |" in text
    assert "| 100 |" not in text


def test_runs_that_differ_otherwise_or_are_too_few_are_refused(halving):
    a, b = halving("a", 100, 20, 20), halving("b", 400, 10, 15)
    with pytest.raises(UserError, match=r"at least three sizes \(--samples\), got 100, 400"):
        learning_curve((a, b))
    wing = halving("c", None, 5, 10, training={"landmarks_loss": "wing"})
    with pytest.raises(UserError, match=r"in --samples \(and --epochs\) only, got --landmarks-loss wing"):
        learning_curve((a, b, wing))
    with pytest.raises(UserError, match=r"--split test$"):
        learning_curve((a, b, halving("d", None, 5, 10)), "test")

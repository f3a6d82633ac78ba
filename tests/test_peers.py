"""The comparison methods: features and windows against values by hand, parts by planted dots, and whole trainings on the tiny set."""

import dataclasses

import numpy as np
import pytest
import tiny

from smtn_keras import evaluate, export, fit, peers, presets
from smtn_keras.data.prepared import open_prepared
from smtn_keras.errors import UserError
from smtn_keras.peers import facetracer, lnets_anet, nets, panda, parts, svm
from smtn_keras.tasks import Attributes, Label, Landmarks

SHAPE = tiny.MEAN_SHAPE


@pytest.fixture(scope="module")
def data(tiny_dir):
    return open_prepared("tiny", tiny_dir)


@pytest.fixture(autouse=True)
def few_parts(monkeypatch):
    """Two parts of PANDA's seven, as a test's time is that of building their graph."""
    monkeypatch.setattr(panda, "PARTS", ("picture", "eyes"))


def config(epochs=4, **data):
    return presets.preset("small", 1).with_(
        data=tiny.NOTHING | data, network={"image_size": 32, "width": 0.1}, training={"epochs": epochs, "batch_size": 16}
    )


# -- SVMs and probabilities -------------------------------------------------------------------------


def test_a_categorical_label_becomes_one_problem_for_each_class():
    truth = np.int8([[1, 0, 2], [0, -1, -1], [1, 1, 0]])
    assert svm.binary_problems(truth, tiny.LABELS).tolist() == [[1, 0, 0, 0, 1], [0, -1, -1, -1, -1], [1, 1, 1, 0, 0]]


def test_an_svm_learns_only_from_samples_that_have_its_label():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2)).astype(np.float32)
    target = (rows[:, 0] > 0).astype(np.int8)
    with_lies = np.concatenate([rows, rows[:, ::-1]]), np.concatenate([target, np.full(200, -1, np.int8)])
    expected, got = svm.separate(rows, target, 0), svm.separate(*with_lies, 0)
    np.testing.assert_array_equal(expected[0], got[0])
    assert expected[1] == got[1]
    assert (((rows @ got[0] + got[1]) > 0) == target).mean() > 0.95


@pytest.mark.parametrize(("classes", "probability"), [([1, 1, -1], 1), ([0, -1, 0], 0), ([-1, -1, -1], 0.5)])
def test_a_label_of_one_class_gives_that_class(classes, probability):
    task = Attributes(labels=(Label("a"),))
    rows = np.float32([[1, 2], [3, 4], [5, 7]])
    svms = svm.fit(rows, np.int8(classes)[:, None], task, 0)
    answer = svm.probabilities(svm.decide(rows, svms), task)
    np.testing.assert_allclose(answer, probability, atol=1e-6)


def test_too_many_numbers_leave_a_part_of_the_samples_with_both_classes(monkeypatch):
    monkeypatch.setattr(svm, "MOST_NUMBERS", 40)
    rows = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    target = np.zeros(1000, np.int8)
    target[-1] = 1  # hardly ever drawn
    first, again = svm.separate(rows, target, 3), svm.separate(rows, target, 3)
    assert np.abs(first[0]).sum() > 0
    np.testing.assert_array_equal(first[0], again[0])
    monkeypatch.setattr(svm, "MOST_NUMBERS", 10**8)
    assert not np.array_equal(svm.separate(rows, target, 3)[0], first[0])


def test_probabilities_are_logistic_and_those_of_classes_sum_to_one():
    margins = np.array([[0.0, np.log(3), np.log(3), 0.0, -np.log(3)], [-1000, 1000, -1000, -1000, -1000]])
    answer = svm.probabilities(margins, tiny.LABELS)
    np.testing.assert_allclose(answer[0], [0.5, 0.75, 0.5, 1 / 3, 1 / 6], rtol=1e-6)
    np.testing.assert_allclose(answer[1], [0, 1, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)


def test_rows_have_a_mean_squared_length_of_one_and_constants_vanish():
    rows = np.random.default_rng(0).normal(5, 3, (500, 8)).astype(np.float32)
    rows[:, 2] = 7
    mean, scale = svm.standard(rows)
    scaled = (rows - mean) / scale
    assert (scaled[:, 2] == 0).all()
    assert np.square(scaled).sum(1).mean() == pytest.approx(7 / 8, rel=1e-4)


# -- parts ------------------------------------------------------------------------------------------


def test_boxes_are_counted_in_spans_of_the_points():
    boxes = parts.boxes(SHAPE)  # from 0.32 to 0.68 and from 0.38 to 0.74
    np.testing.assert_allclose(boxes["eyes"], [0.32 - 0.5 * 0.36, 0.38 - 0.3 * 0.36, 0.32 + 1.5 * 0.36, 0.38 + 0.3 * 0.36], atol=1e-6)
    assert boxes["picture"] == (0, 0, 1, 1)
    assert parts.boxes(np.zeros((0, 2)))["eyes"] == pytest.approx((0.2, 0.31, 0.8, 0.49))


def test_the_mean_shape_leaves_out_missing_points():
    points = np.full((2, 2, 2), np.nan, np.float32)
    points[0, 0] = 10, 20
    points[1, 0] = 30, 20
    shape = parts.mean_shape({"landmarks": points, "size": np.int32([[100, 100], [100, 200]])}, (Landmarks(("left_eye", "right_eye")),))
    np.testing.assert_allclose(shape, [[0.2, 0.15], [np.nan, np.nan]], rtol=1e-6)


def _turned_face(size=96):
    """A square picture as the pipeline hands it over of a frame that is not square, its dots, and the same upright."""
    shape = (SHAPE - 0.5) @ np.float32([[0.8, 0.15 / tiny.ASPECT], [-0.15 * tiny.ASPECT, 0.8]]) + (0.53, 0.46)
    return tiny.picture(shape * size, (size, size)), shape.astype(np.float32)


@pytest.mark.parametrize("missing", [(), (2,), (0, 3, 4)])
def test_upright_brings_the_points_to_the_mean_shape(missing):
    image, points = _turned_face()
    given = points.copy()
    given[list(missing)] = np.nan
    (upright,) = parts.upright(image[None], given[None], SHAPE, tiny.ASPECT)
    off = np.linalg.norm((tiny.find_dots(upright) - SHAPE) * 96, axis=1)
    assert off.max() < 0.5
    assert np.linalg.norm((tiny.find_dots(image) - SHAPE) * 96, axis=1).max() > 8


@pytest.mark.parametrize("missing", [range(5), range(1, 5)])
def test_a_picture_without_points_stays_as_it_is(missing):
    image, points = _turned_face()
    points[list(missing)] = np.nan
    np.testing.assert_array_equal(parts.upright(image[None], points[None], SHAPE, 1.0)[0], image)


def test_a_crop_of_all_is_the_image_and_one_of_twice_the_size_averages():
    image = np.random.default_rng(0).uniform(size=(1, 8, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(parts.crop(image, np.float32([[0, 0, 1, 1]]), 8, 6), image, atol=1e-6)
    half = np.array(parts.crop(image, np.float32([[0, 0, 1, 1]]), 8, 3))
    by_hand = (image[:, :, 1] * 0.25 + image[:, :, 2] * 0.75 + image[:, :, 3] * 0.75 + image[:, :, 4] * 0.25) / 2
    np.testing.assert_allclose(half[:, :, 1], by_hand, atol=1e-6)


def test_a_crop_is_where_its_box_is_in_each_image_and_the_border_goes_on():
    image = np.zeros((2, 20, 20, 1), np.float32)
    image[0, 7, 12] = image[1, 3, 4] = 1
    box = np.float32([[0.5, 0.25, 0.75, 0.5], [0, 0, 0.25, 0.25]])
    patches = np.array(parts.crop(image, box, 5, 5))
    assert [np.unravel_index(patch.argmax(), (5, 5)) for patch in patches[..., 0]] == [(2, 2), (3, 4)]
    np.testing.assert_allclose(patches.max(axis=(1, 2, 3)), 1, atol=1e-6)
    image[:, :, 0] = 3
    beyond = np.array(parts.crop(image, np.float32([[-0.2, 0, 0, 1]]), 20, 4))
    np.testing.assert_allclose(beyond, 3, atol=1e-6)


@pytest.mark.parametrize("name", ["panda_w", "panda_l"])
def test_pandas_parts_are_cut_where_the_points_are(name, data):
    image, points = _turned_face(128)
    model = panda.build(config().network.__class__(image_size=128, width=0.1), tiny.LABELS, SHAPE)
    turn = panda._turn(name, {"shape": SHAPE, "aspect": np.float32(tiny.ASPECT)}, data)
    pictures = turn(image[None], {"landmarks": points[None]})
    eyes = np.array(model.get_layer("eyes_crop")(pictures.astype(np.float32)))[0]
    left, top, right, bottom = parts.boxes(SHAPE)["eyes"]
    expected = (SHAPE[:2] - (left, top)) / (right - left, bottom - top)
    off = np.abs((tiny.find_dots(eyes.clip(0, 255).round().astype(np.uint8))[:2] - expected) * 32).max()
    assert off < 0.6 if name == "panda_l" else not off < 2


# -- FaceTracer -------------------------------------------------------------------------------------


def test_pixel_types_by_hand():
    patch = np.zeros((1, 3, 4, 3), np.uint8)
    patch[..., 0] = [0, 51, 102, 153]  # red grows to the right
    np.testing.assert_allclose(facetracer.pixel_values(patch, "rgb")[0, 1, :, 0], [0, 0.2, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(facetracer.pixel_values(patch, "hsv")[0, 1, 2], [0, 1, 0.4], atol=1e-6)
    grey = 0.2125 * np.array([0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(facetracer.pixel_values(patch, "intensity")[0, 1, :, 0], grey, atol=1e-6)
    np.testing.assert_allclose(facetracer.pixel_values(patch, "edge_magnitude"), 0.2125 * 0.2 / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(facetracer.pixel_values(patch, "edge_orientation") % 1, 0, atol=1e-6)
    down = patch.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(facetracer.pixel_values(down, "edge_orientation"), 0.5, atol=1e-6)


def test_normalisations_by_hand():
    values = np.float32([1, 2, 3, 6]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(facetracer.normalised(values, "none"), values)
    np.testing.assert_allclose(facetracer.normalised(values, "mean").ravel(), np.array([1, 2, 3, 6]) / 3, rtol=1e-6)
    np.testing.assert_allclose(facetracer.normalised(values, "energy").ravel(), np.array([-2, -1, 0, 3]) / np.sqrt(14 / 4), rtol=1e-6)
    assert np.isfinite(facetracer.normalised(np.zeros((1, 2, 2, 1), np.float32), "energy")).all()


def test_aggregations_by_hand():
    values = np.float32([[0.0, 0.1], [0.99, 5.0]]).reshape(1, 2, 2, 1)
    values = np.concatenate([values, 1 - values], axis=3)
    assert facetracer.aggregated(values, "none", 0, 1).shape == (1, 8)
    histogram = facetracer.aggregated(values, "histogram", 0, 1)[0].reshape(2, 8)
    assert histogram.tolist() == [[0.5, 0, 0, 0, 0, 0, 0, 0.5], [0.5, 0, 0, 0, 0, 0, 0, 0.5]]
    shifted = facetracer.aggregated(values + 0.3, "histogram", 0, 1)[0].reshape(2, 8)
    assert shifted[0].tolist() == [0, 0, 0.25, 0.25, 0, 0, 0, 0.5]
    two = np.concatenate([values, values * 0 + 0.5])
    assert facetracer.aggregated(two, "histogram", 0, 1)[1].reshape(2, 8).argmax(1).tolist() == [4, 4]
    statistics = facetracer.aggregated(np.float32([1, 2, 3, 6]).reshape(1, 2, 2, 1), "statistics", 0, 1)
    np.testing.assert_allclose(statistics, [[3, np.sqrt(14 / 4)]], rtol=1e-6)


def test_least_squares_svms_are_the_ridge_regression_and_know_no_missing_label():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    signs = np.sign(rng.normal(size=(30, 2)))
    signs[5, 1] = 0
    decisions, middle = facetracer.least_squares(own @ own.T, other @ own.T, signs)
    for column in range(2):
        mean = signs[:, column].sum() / (signs[:, column] != 0).sum()
        centred = np.where(signs[:, column] == 0, 0, signs[:, column] - mean)
        weights = np.linalg.solve(own.T @ own + facetracer.RIDGE * np.eye(4), own.T @ centred)
        np.testing.assert_allclose(decisions[:, column], other @ weights + mean, rtol=1e-6)
        fitted = own @ weights + mean
        by_hand = (fitted[signs[:, column] == 1].mean() + fitted[signs[:, column] == -1].mean()) / 2
        assert middle[column] == pytest.approx(by_hand)


def test_boosting_takes_first_the_best_and_then_what_mends_its_faults():
    truth = np.array([1, 1, 1, -1, -1, -1, 0])
    votes = np.array(
        [
            [1, 1, -1, -1, -1, 1, 1],  # wrong in the third and the sixth: weight 1/3
            [1, 1, 1, -1, -1, 1, -1],  # wrong in the sixth: 1/6
            [1, 1, -1, -1, -1, 1, 1],
            [1, -1, -1, -1, -1, -1, 1],  # wrong in the second and third, but knows the sixth
        ]
    )
    # after the first round the sixth weighs 1/2 and the others 1/10 each: the errors are 0.6, taken, 0.6 and 0.2
    assert facetracer.boost(votes, truth, 2) == [1, 3]
    assert facetracer.boost(votes[:2], truth, 9) == [1]  # no better than chance by then
    rare = np.array([1] + [-1] * 9)
    always_no, finds = -np.ones(10), np.where(np.arange(10) < 4, 1, -1)  # of the two the second errs more often
    assert facetracer.boost(np.array([always_no, finds]), rare, 1) == [1]


def test_the_features_that_tell_a_label_are_selected():
    rng = np.random.default_rng(0)
    patches = {"a": rng.integers(0, 256, (80, 4, 4, 3), dtype=np.uint8), "b": rng.integers(0, 256, (80, 4, 4, 3), dtype=np.uint8)}
    told = (np.arange(80) % 2).astype(np.int8)
    patches["b"][told == 1] //= 3  # dark
    problems = np.stack([told, np.where(np.arange(80) < 78, -1, told)], axis=1)
    selected = facetracer.select(patches, problems, facetracer.all_features(("a", "b")), 0)
    assert selected[0][0].region == "b"
    assert selected[0][0].normalisation == "none"  # the others take the brightness away
    assert selected[1] == [facetracer.FALLBACK]


def test_facetracers_patches_are_cut_where_the_points_are(data):
    placed = {"shape": SHAPE, "aspect": np.float32(tiny.ASPECT), "image_size": np.int32(128)}
    boxes = parts.boxes(SHAPE)
    patches = facetracer.cut(data, "validation", placed, "")
    assert set(patches) == set(boxes)
    assert len(patches["face"]) == tiny.COUNTS["validation"]
    height, width = facetracer.patch_sides(boxes["nose"], tiny.ASPECT)
    assert patches["nose"].shape[1:] == (height, width, 3)
    assert height / width == pytest.approx(0.95 * tiny.ASPECT, rel=0.15)
    left, top, right, bottom = boxes["nose"]
    expected = (SHAPE[2] - (left, top)) / (right - left, bottom - top) * (width, height)
    places = np.array([tiny.find_dots(patch)[2] for patch in patches["nose"]]) * (width, height)
    assert np.abs(places - expected).max() < 0.8


# -- LNets ------------------------------------------------------------------------------------------


def test_a_window_lies_around_the_highest_response():
    maps = np.zeros((2, 20, 20, 3), np.float32)
    maps[0, 8:14, 2:8] = 1
    maps[:, 0, 0] = 0.05  # below the mean
    maps[1, 8:14, 2:8] = 5, 0, 1
    boxes = np.array(lnets_anet.Window()(maps))
    half = lnets_anet.EXTENT * np.sqrt((6**2 - 1) / 12 / 400 + 1 / 4800)
    by_hand = [0.25 - half, 0.55 - half, 0.25 + half, 0.55 + half]
    np.testing.assert_allclose(boxes, [by_hand, by_hand], atol=2e-3)
    nested = np.array(lnets_anet.Window()(maps, np.float32([[0.5, 0, 1, 0.5]] * 2)))
    np.testing.assert_allclose(nested, np.tile(boxes / 2 + [[0.5, 0, 0.5, 0]], 1), atol=1e-6)


def test_an_even_map_gives_the_whole_picture_and_a_small_one_the_least_window():
    even = np.ones((1, 16, 16, 4), np.float32)
    np.testing.assert_allclose(lnets_anet.Window()(even), [[0, 0, 1, 1]], atol=1e-5)
    even[0, 8, 8] = 9
    left, _, right, _ = np.array(lnets_anet.Window()(even))[0]
    assert right - left == pytest.approx(lnets_anet.LEAST_SIDE, abs=0.02)
    assert (left + right) / 2 == pytest.approx(8.5 / 16, abs=0.01)


def _moving_faces(count, size=64):
    """Noise with a square of one of two stripes somewhere, its middle in [0, 1], and which it is."""
    rng = np.random.default_rng(1)
    images = rng.integers(90, 130, (count, size, size, 3), dtype=np.uint8)
    kind, corner = rng.integers(0, 2, count), rng.integers(0, size - 20, (count, 2))
    stripes = np.uint8(255) * (np.arange(20)[:, None] // 2 % 2 + np.zeros((1, 20))).astype(np.uint8)
    for image, k, (x, y) in zip(images, kind, corner, strict=True):
        image[y : y + 20, x : x + 20] = (stripes.T if k else stripes)[..., None]
    return images, (corner + 10) / size, kind[:, None].astype(np.int8)


def test_lnets_find_what_tells_the_label_without_being_told_where():
    import keras

    keras.utils.set_random_seed(0)
    task = Attributes(labels=(Label("stripes"),))
    images, middles, kind = _moving_faces(256)
    settings = config(epochs=8).with_(network={"image_size": 64})
    model = lnets_anet.build(settings.network, task)
    lnet_o = keras.Model(model.input, {"lnet_o": model.output["lnet_o"]})

    def batches():
        while True:
            for i in range(0, 256, 16):
                yield images[i : i + 16], {"lnet_o": kind[i : i + 16]}

    nets.train(lnet_o, task, batches(), 16, settings, "lnet_o")
    boxes = keras.Model(model.input, model.get_layer("head_window").output).predict(images, verbose=0)
    found = (boxes[:, :2] + boxes[:, 2:]) / 2
    off, off_of_the_middle = np.linalg.norm(found - middles, axis=1), np.linalg.norm(0.5 - middles, axis=1)
    assert np.median(off) < 0.1 < np.median(off_of_the_middle)


def test_persons_are_those_with_two_pictures(tmp_path):
    file = tmp_path / "identity.txt"
    file.write_text("a.jpg 7\nb.jpg 3\nc.jpg 7\nd.jpg 9\ne.jpg 3\nf.jpg 9\n")
    persons = lnets_anet.read_persons(file, np.array(["x.jpg", "f.jpg", "e.jpg", "b.jpg", "c.jpg", "a.jpg"]))
    assert persons.task.labels[0].classes == ("3", "7")
    assert persons.indices.tolist() == [2, 3, 4, 5]
    assert [persons.label({"name": name})["identity"].tolist() for name in (b"b.jpg", b"c.jpg")] == [[0], [1]]
    assert lnets_anet.read_persons(file, np.array(["a.jpg", "c.jpg", "d.jpg"])) is None
    with pytest.raises(UserError, match="names pictures of the data, got 6 others"):
        lnets_anet.read_persons(file, np.array(["x.jpg"]))
    with pytest.raises(UserError, match="expected a list of annotations"):
        lnets_anet.read_persons(tmp_path / "none.txt", np.array(["x.jpg"]))


# -- whole trainings --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    """A list of three persons on the tiny set's pictures."""
    file = tmp_path_factory.mktemp("lists") / "identity.txt"
    file.write_text("".join(f"train_{i:03d} {i % 3}\n" for i in range(tiny.COUNTS["train"])))
    return str(file)


@pytest.mark.parametrize("name", ["facetracer", "panda_w", pytest.param("panda_l", marks=pytest.mark.slow), "lnets_anet"])
def test_training_and_answering(name, data, tmp_path, identities):
    settings = config(epochs=8).with_(network={"kind": name}, data={"identities": identities if name == "lnets_anet" else None})
    peers.train(name, tmp_path / "a", data, settings)
    answer = peers.answer(name, tmp_path / "a", data, "validation")
    assert answer.shape == (tiny.COUNTS["validation"], 5)
    assert answer.min() >= 0
    assert answer.max() <= 1
    np.testing.assert_allclose(answer[:, 2:].sum(1), 1, rtol=1e-5)
    truth = data.targets("validation")["attributes"]
    right = (tiny.LABELS.classes_from(answer) == truth).mean(0)
    assert right[0] > 0.9, right  # bright or not is plain to see
    if name != "lnets_anet":  # whose window may leave out the bar at the picture's edge
        assert right[2] > 0.7, right
    assert {file.suffix for file in (tmp_path / "a").iterdir()} <= {".npz", ".keras"}
    np.testing.assert_array_equal(peers.answer(name, tmp_path / "a", data, "validation"), answer)


@pytest.mark.parametrize(("name", "seeds"), [("facetracer", (1, 1, 2)), pytest.param("panda_w", (1, 1), marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_answers(name, seeds, data, tmp_path, monkeypatch):
    monkeypatch.setattr(panda, "PARTS", ("eyes",))
    answers = []
    for run, seed in enumerate(seeds):
        settings = config(epochs=1, samples=32).with_(training={"seed": seed})
        peers.train(name, tmp_path / str(run), data, settings)
        answers.append(peers.answer(name, tmp_path / str(run), data, "validation"))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)
    assert np.ptp(answers[0], axis=0).max() > 0.01
    assert all(np.abs(answers[0] - other).max() > 0.01 for other in answers[2:])


def test_a_method_goes_through_the_same_commands(tiny_dir, tmp_path, capsys):
    run = str(tmp_path / "facetracer")
    flags = tiny.flags(tiny_dir, "--network", "facetracer", "--samples", "24", "--image-size", "32", "--run", run)
    fit.main(flags)
    result = evaluate.evaluate(evaluate.EvaluateConfig(run=run), quiet=True)["tiny/validation"]
    assert set(result) == {"attributes"}  # it knows of no points
    fit.main(["--resume", "--run", run])
    assert "the training is done" in capsys.readouterr().out
    for command, more in ((export, ["--out", str(tmp_path / "exported")]), (evaluate, ["--flip"])):
        with pytest.raises(SystemExit) as end:
            command.main(["--run", run, *more])
        assert end.value.code == 2 and "expected a run of a network, got --network facetracer" in capsys.readouterr().err


def test_training_takes_at_most_the_samples_asked_for(data):
    indices, part = nets.chosen(data, config(samples=10))
    assert len(indices) == len(part.source("train")) == 10
    names = data.targets("train")["name"][indices]
    assert [part.records[i]["name"].decode() for i in range(10)] == names.tolist()
    assert len(nets.chosen(data, config())[0]) == tiny.COUNTS["train"]
    assert len(nets.chosen(data, config(), most=7)[0]) == 7


# -- bad input --------------------------------------------------------------------------------------


def test_data_without_binary_labels_is_refused(data, tmp_path):
    landmarks_only = data.described_by((tiny.POINTS,))
    with pytest.raises(UserError, match="expected attributes to train SVMs on, got landmarks only"):
        peers.train("panda_w", tmp_path, landmarks_only, config())
    categorical = data.described_by((Attributes(labels=tiny.LABELS.labels[2:]),))
    with pytest.raises(UserError, match=r"at least one binary label, got categorical ones only \(Bar\)"):
        peers.train("facetracer", tmp_path, categorical, config())
    assert not list(tmp_path.iterdir())


def test_unknown_methods_and_missing_packages_are_named(data, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="expected one of facetracer, panda_w, panda_l, lnets_anet, got 'vgg'"):
        peers.train("vgg", tmp_path, data, config())
    monkeypatch.setattr(peers, "_EXTRA", {"no_such_module": "scikit-learn"})
    with pytest.raises(UserError, match=r"expected scikit-learn, found none; run: pip install 'smtn_keras\[peers\]'"):
        peers.train("facetracer", tmp_path, data, config())


@pytest.mark.parametrize(("name", "file"), [("facetracer", "facetracer.npz"), ("panda_w", "svm.npz"), ("lnets_anet", "svm.npz")])
def test_missing_damaged_and_strange_files_are_refused(name, file, data, tmp_path):
    with pytest.raises(UserError, match="found none; train it first"):
        peers.answer(name, tmp_path, data, "test")
    (tmp_path / file).write_bytes(b"PK damaged")
    with pytest.raises(UserError, match="got a damaged or other file"):
        peers.answer(name, tmp_path, data, "test")
    svm.write(tmp_path / file, {"names": np.array(["Strange"])})
    with pytest.raises(UserError, match="expected data with the labels it was trained on"):
        peers.answer(name, tmp_path, data, "test")


def test_missing_and_damaged_nets_are_refused(data, tmp_path):
    svm.write(tmp_path / "svm.npz", {"names": svm.names(tiny.LABELS)})
    with pytest.raises(UserError, match="found no such file; train it first"):
        peers.answer("panda_w", tmp_path, data, "test")
    (tmp_path / "panda.keras").write_bytes(b"no zip")
    with pytest.raises(UserError, match="expected a trained method's nets, got something else"):
        peers.answer("panda_w", tmp_path, data, "test")


def test_a_divergence_is_one_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setattr(panda, "PARTS", ("eyes",))
    settings = config(epochs=1).with_(training={"learning_rate": 1e30})
    with pytest.raises(UserError, match="training diverged: expected finite losses"):
        peers.train("panda_w", tmp_path, data, settings)
    assert not list(tmp_path.iterdir())


def test_a_set_without_points_is_taken_as_it_is(data, tmp_path):
    no_points = dataclasses.replace(data.described_by((tiny.LABELS,)))
    placed = {"shape": parts.mean_shape(no_points.targets("train"), no_points.tasks), "aspect": np.float32(1), "image_size": np.int32(64)}
    assert facetracer.cut(no_points, "validation", placed, "")["eyes"].shape[0] == tiny.COUNTS["validation"]
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert panda._turn("panda_l", placed, no_points)(images, {}) is images

"""The report's folder: the paper's tables from metrics made by hand, figures with planted content, a page that holds together."""

import csv
import html.parser
import io
import json
import shutil
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from smtn_keras import comparison, cost, figures, page, plots, report, runs
from smtn_keras import published_results as published
from smtn_keras.config import Config
from smtn_keras.data.celeba import ATTRIBUTES, TASKS
from smtn_keras.errors import UserError
from smtn_keras.metrics import THRESHOLDS
from smtn_keras.tables import describe
from smtn_keras.tasks import Landmarks, tasks_to_json

POINTS = TASKS[0].points

# -- tables -----------------------------------------------------------------------------------------


def landmarks(success, nme=5.0):
    metrics = {"samples": 9, "success_rate": dict(zip(POINTS, success, strict=True)), "success_rate_average": float(np.mean(success))}
    floor = {"samples": 9, "success_rate": dict.fromkeys(POINTS, 30.0), "success_rate_average": 30.0, "nme": 12.0, "failure_rate": 60.0}
    return {"landmarks": {"metrics": metrics | {"nme": nme, "failure_rate": 2.0}, "floor": floor}}


def attributes(accuracy):
    of_each = dict(zip(ATTRIBUTES, [accuracy] * 39 + [accuracy - 4], strict=True))
    metrics = {"samples": 9, "accuracy": of_each, "accuracy_mean": accuracy - 0.1, "balanced_accuracy_mean": 70.0}
    floor = {"samples": 9, "accuracy": dict.fromkeys(ATTRIBUTES, 55.0), "accuracy_mean": 55.0, "balanced_accuracy_mean": 50.0}
    return {"attributes": {"metrics": metrics, "floor": floor}}


@pytest.fixture
def make(tmp_path):
    """Writes the record of a run: its name, its metrics by data set, and parts of its configuration."""

    def write(name, metrics, stage=1, parameters=1_500_000, **parts):
        folder = tmp_path / name
        folder.mkdir()
        parts = {"data": {"data": next(iter(metrics))}} | parts
        (folder / "config.json").write_text(Config(stage=stage).with_(**parts).resolved().to_json())
        (folder / "data.json").write_text(json.dumps({"tasks": tasks_to_json(TASKS), "licence": "look, do not touch"}))
        (folder / "environment.json").write_text(json.dumps({"parameters": parameters}))
        (folder / "metrics.json").write_text(json.dumps({f"{data}/test": result for data, result in metrics.items()}))
        return str(folder)

    return write


def table(folders, name, data="celeba"):
    """A table as a dictionary: the name of a row to its cells by their heads, as Markdown has them."""
    rows = comparison.rows_of(tuple(folders), "test")
    (found,) = [t for t in comparison.tables(data, comparison.named(rows, data)) if t.name == f"{name}-{data}"]
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in found.markdown().splitlines())
    return {cells[0].strip(): dict(zip(head[1:], (c.strip(" |") for c in cells[1:]), strict=True)) for cells in lines}


def test_table_2_has_what_was_measured_the_floor_and_the_papers_own_figures(make):
    rows = table([make("a", {"celeba": landmarks([90, 91, 80, 85, 84], 4.5) | attributes(88)})], "table2")
    assert list(rows) == [
        "hard sharing (stage 1, baseline)",
        "*floor: mean shape of the training part*",
        "*published: hard sharing (baseline)*",
        "*published: SMTN concat*",
        "*published: SMTN channelwise*",
        "*published: SMTN channelwise, fine-tuned*",
    ]
    own, floor, baseline, concat, *_ = rows.values()
    cost_heads = ("parameters, M", "multiply-adds, M", "seconds an image", "seeds")
    assert {head: cell for head, cell in own.items() if head not in cost_heads} == {
        "left eye": "90.00",
        "right eye": "91.00",
        "nose": "80.00",
        "left mouth": "85.00",
        "right mouth": "84.00",
        "average": "86.00",
        "NME": "4.50",
        "failures": "2.00",
    }
    assert [own[head] for head in cost_heads] == ["1.50", "-", "-", "0"]
    assert (floor["nose"], floor["NME"]) == ("30.00", "12.00")
    assert (baseline["nose"], baseline["average"], baseline["NME"]) == ("54.0", "86.1", "-")
    assert (concat["left eye"], concat["right mouth"], concat["average"]) == ("97.7", "94.7", "94.6")


def test_seeds_share_a_row_with_their_mean_and_spread(make):
    folders = [make(f"a{s}", {"celeba": landmarks([90 + s] * 5)}, training={"seed": s}) for s in (0, 1, 5)]
    row = table(folders, "table2")["hard sharing (stage 1, baseline)"]
    assert row["average"] == "92.00 <sub>5.00</sub>"
    assert row["NME"] == "5.00 <sub>0.00</sub>"
    assert row["seeds"] == "0 1 5"
    with pytest.raises(UserError, match="got 0 twice"):
        table([folders[0], make("again", {"celeba": landmarks([90] * 5)})], "table2")


def test_table_3_has_forty_attributes_of_methods_that_are_no_network_too(make):
    network = make("a", {"celeba": landmarks([90] * 5) | attributes(88)})
    facetracer = make("b", {"celeba": attributes(82)}, parameters=None, network={"kind": "facetracer"})
    rows = table([network, facetracer], "table3")
    assert "FaceTracer" not in table([network, facetracer], "table2")
    assert list(rows["FaceTracer"])[2:-4] == [name.replace("_", " ") for name in ATTRIBUTES]
    assert (rows["FaceTracer"]["average"], rows["FaceTracer"]["Young"], rows["FaceTracer"]["parameters, M"]) == ("81.90", "78.00", "-")
    assert rows["*floor: majority label of the training part*"]["Bald"] == "55.00"
    told = rows["*published: FaceTracer*"]
    assert (told["5 o Clock Shadow"], told["Male"], told["Mouth Slightly Open"], told["Young"], told["average"]) == (
        "85",
        "91",
        "87",
        "80",
        "81",
    )
    assert [name for name in rows if "published" in name] == [f"*published: {name}*" for name in published.TABLE_3]


def test_a_method_without_points_may_come_first(make):
    from smtn_keras.tables import results

    facetracer = make("a", {"celeba": attributes(82)}, parameters=None, network={"kind": "facetracer"})
    text = results((facetracer, make("b", {"celeba": landmarks([90] * 5) | attributes(88)})))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    head, (told,) = lines[2], [line for line in lines if line[0] == "FaceTracer"]
    told = dict(zip(head, told, strict=True))
    assert (told["parameters"], told["nose"], told["NME"], told["accuracy"]) == ("-", "-", "-", "81.90")


def test_table_4_puts_branch_points_beside_the_papers(make):
    result = landmarks([90] * 5) | attributes(88)
    folders = [
        make("c", {"celeba": result}, stage=2, network={"branch": "conv2_2"}),
        make("b", {"celeba": result}, network={"branch": "conv2_2"}),
        make("a", {"celeba": result}),
    ]
    rows = comparison.rows_of(tuple(folders), "test")
    of_paper = comparison.tables("celeba", comparison.named(rows, "celeba"))[2]
    assert [(name, cells[0], cells[1]) for name, cells, _ in of_paper.rows] == [
        ("hard sharing (stage 1, baseline)", "end", (90.0,)),
        ("published: hard sharing (baseline)", "conv1_2", "92.9"),
        ("hard sharing, branch conv2_2", "conv2_2", (90.0,)),
        ("published: hard sharing (baseline)", "conv2_2", "95.5"),
        ("published: hard sharing (baseline)", "conv3_3", "95.2"),
        ("published: SMTN (changed)", "conv1_2", "80.4"),
        ("SMTN channelwise, from stage 1, branch conv2_2", "conv2_2", (90.0,)),
        ("published: SMTN (changed)", "conv2_2", "79.5"),
        ("published: SMTN (changed)", "conv3_3", "78.8"),
    ]


def test_only_data_sets_in_celebas_format_have_the_papers_figures_beside(make):
    folder = make("a", {"celeba": landmarks([90] * 5), "mtfl": landmarks([70] * 5)}, data={"data": "celeba+mtfl"})
    assert not any("published" in name for name in table([folder], "table2", "mtfl"))
    assert sum("published" in name for name in table([folder], "table2")) == 4
    names = [t.name for t in comparison.tables("mtfl", comparison.named(comparison.rows_of((folder,), "test"), "mtfl"))]
    assert names == ["table2-mtfl"]  # no labels; no branch points


def test_rows_of_one_name_are_told_apart_by_their_flags(make):
    result = {"celeba": landmarks([90] * 5)}
    rows = table([make("a", result), make("b", result, training={"learning_rate": 0.01})], "table2")
    assert list(rows)[:2] == ["hard sharing (stage 1, baseline)", "hard sharing (stage 1, baseline), --learning-rate 0.01"]


def test_a_csv_says_what_the_table_says(make):
    folders = [make(f"a{s}", {"celeba": landmarks([90 + s] * 5) | attributes(88 + s)}, training={"seed": s}) for s in (0, 1)]
    folders.append(make("b", {"celeba": landmarks([95] * 5) | attributes(89)}, stage=2))
    rows = comparison.rows_of(tuple(folders), "test")
    for of_paper in comparison.tables("celeba", comparison.named(rows, "celeba")):
        shown = [line.strip("| ").split(" | ") for line in of_paper.markdown().splitlines()]
        read = list(csv.DictReader(io.StringIO(of_paper.csv())))
        assert len(read) == len(shown) - 2 > 5
        for line, cells in zip(read, shown[2:], strict=True):
            for head, cell in zip(shown[0], cells, strict=True):
                spread = line.get(f"{head} spread")
                assert cell.strip("*") == line[head] + (f" <sub>{spread}</sub>" if spread else "")
        assert {line["average spread"] for line in read if "average spread" in line} <= {"1.00", ""}


def test_a_run_that_was_not_measured_is_named_with_the_command(make):
    with pytest.raises(UserError, match=r"smtn_keras\.evaluate --run .*a --split validation"):
        comparison.rows_of((make("a", {"celeba": landmarks([90] * 5)}),), "validation")


@pytest.mark.parametrize(
    ("stage", "network", "said"),
    [
        (1, {}, "hard sharing (stage 1, baseline)"),
        (1, {"branch": "conv1_2"}, "hard sharing, branch conv1_2"),
        (1, {"backbone": "resnet50", "width": 1.0, "init": "imagenet"}, "hard sharing (stage 1, baseline), from ImageNet, ResNet50"),
        (2, {"fusion": "concat", "activation": "crelu"}, "SMTN concat, from scratch, CReLU"),
        (3, {}, "SMTN channelwise, from stage 1, then end to end (stage 3)"),
        (1, {"kind": "separation", "branch": "conv1_2"}, "SMTN channelwise, from scratch, branch conv1_2, end to end"),
        (1, {"kind": "soft_sharing", "sharing": "trace"}, "soft sharing (trace)"),
        (1, {"kind": "nddr", "backbone": "mobilenet_v2", "width": 0.5}, "NDDR-CNN, MobileNetV2"),
        (1, {"kind": "lnets_anet"}, "LNets+ANet"),
        (1, {"kind": "newcomer"}, "newcomer"),
    ],
)
def test_each_kind_of_network_has_a_name(stage, network, said):
    assert describe(Config(stage=stage).with_(network=network)) == said


def test_the_papers_averages_are_those_of_its_numbers():
    assert all(len(row) == 41 for row in published.TABLE_3.values())
    for *values, average in published.TABLE_2.values():
        assert np.mean(values) == pytest.approx(average, abs=0.05 + 1e-6)
    for *values, average in published.TABLE_3.values():
        assert np.mean(values) == pytest.approx(average, abs=0.9)  # of rounded numbers; PANDA-w's 79.85 is given as 79


# -- costs ------------------------------------------------------------------------------------------


def test_multiply_adds_by_hand():
    image = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)  # 8 * 6 places, 3 * 3 * 3 * 4
    x = layers.BatchNormalization()(layers.ReLU()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 4 * 3 places, 3 * 3 * 4
    x = layers.Flatten()(x)
    model = keras.Model(image, layers.Dense(5)(x))  # 48 * 5
    assert cost.multiply_adds(model) == 48 * 108 + 12 * 36 + 240


def test_what_is_called_twice_and_what_lies_inside_counts():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, layers.Dense(4)(layers.Dense(10)(inner_input)))  # 40 + 40
    start, dense = keras.Input((4,)), layers.Dense(4)  # 16
    outer = keras.Model(start, layers.Add()([inner(dense(dense(start))), keras.Model(start, inner(start))(start)]))
    assert cost.multiply_adds(outer) == 16 + 16 + 80 + 80
    assert cost.multiply_adds(outer) == 192  # counting changes nothing


def test_two_networks_cost_twice_one_but_for_their_heads():
    from smtn_keras import networks

    config = Config().with_(network={"image_size": 32, "width": 0.05, "head": "pooled"})
    one = cost.multiply_adds(networks.build(config, TASKS[:1]))
    other = cost.multiply_adds(networks.build(config, TASKS[1:]))
    assert cost.multiply_adds(networks.build(config.with_(network={"kind": "single_task"}), TASKS)) == one + other
    assert one < cost.multiply_adds(networks.build(config, TASKS)) < one + other


def test_seconds_are_medians_of_turns(monkeypatch):
    calls, now = [], [0.0]

    def model(name, times):
        times = iter(times)

        def predict_on_batch(image):
            assert image.shape == (1, 4, 4, 3)
            calls.append(name)
            now[0] += next(times)

        return SimpleNamespace(input=SimpleNamespace(shape=(None, 4, 4, 3)), predict_on_batch=predict_on_batch)

    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    found = cost.seconds_an_image({"a": model("a", [9, 9, 9, 1, 2, 6]), "b": model("b", [9, 9, 9, 5, 5, 5])}, rounds=3)
    assert found == {"a": pytest.approx(2), "b": pytest.approx(5)}  # the first three warm up
    assert calls == ["a", "b"] * 6


# -- figures ----------------------------------------------------------------------------------------

PLAIN = (70, 90, 120)  # no colour of text or lines


def read(file):
    return cv2.imread(str(file))[..., ::-1].astype(int)


def where(image, colour, off=40):
    """Rows and columns of the pixels of a colour."""
    return np.argwhere((np.abs(image - colour) <= off).all(-1))


def longest(image, colour):
    """The row with the most pixels of a colour, and how many these are."""
    rows, counts = np.unique(where(image, colour, 2)[:, 0], return_counts=True)
    return rows[counts.argmax()], counts.max()


def test_figure_4_has_truth_in_red_and_predictions_in_green_at_their_places(tmp_path):
    picture = np.full((100, 80, 3), PLAIN, np.uint8)
    file = plots.contact_sheet(
        [picture] * 2, [[(20, 30)], [(20, 30)]], [[(60, 30)], [(60, 80)]], tmp_path / "sheet.png", columns=1, rows=("one", "two")
    )
    image = read(file)
    for row, prediction in ((0, (60, 30)), (1, (60, 80))):
        half = image[row * image.shape[0] * 45 // 100 : (row + 1) * image.shape[0] * 45 // 100]  # the legend lies below
        (top, left), (bottom, right) = where(half, PLAIN, 2).min(0), where(half, PLAIN, 2).max(0) + 1
        face = half[top:bottom, left:right]
        scale = np.array([80, 100]) / face.shape[1::-1]
        red, green = (where(face, colour).mean(0)[::-1] * scale for colour in ((255, 0, 0), (0, 255, 0)))
        assert red == pytest.approx((20, 30), abs=2)
        assert green == pytest.approx(prediction, abs=2)


def test_figure_6_shows_the_maps_that_vary_most(tmp_path):
    maps = np.full((10, 10, 3), 5.0)
    maps[4:6, 4:6, 1] = 9  # the only one that varies
    file = plots.draw_maps(np.full((10, 10, 3), PLAIN, np.uint8), {"shared": maps, "landmarks": maps}, tmp_path / "maps.png", columns=1)
    image = read(file)
    right = image[: image.shape[0] // 2, image.shape[1] // 2 :]
    black = where(right, (0, 0, 0), 2)
    (top, left), (bottom, right_end) = black.min(0), black.max(0) + 1
    drawn = right[top:bottom, left:right_end]
    white = where(drawn, (255, 255, 255), 2)
    assert white.mean(0) == pytest.approx(np.array(drawn.shape[:2]) / 2, abs=2)
    assert len(white) / drawn[..., 0].size == pytest.approx(4 / 100, abs=0.01)


def test_bars_are_as_long_as_their_numbers(tmp_path):
    image = read(plots.draw_bars(["Hat", "Male"], [60.0, 50.0], {"mine": [80.0, 70.0]}, tmp_path / "bars.png"))
    (blue_row, blue), (grey_row, grey) = longest(image, (31, 119, 180)), longest(image, (191, 191, 191))
    assert blue / grey == pytest.approx((80 - 45) / (60 - 45), rel=0.03)  # the axis begins at 45
    assert grey_row < blue_row  # the floor above


def test_lines_lie_where_their_numbers_are(tmp_path):
    lines = {"low": [([0, 30], [0, 0])], "high": [([0, 30], [80, 80]), ([0, 30], [100, 100])], "floor": [([0, 30], [40, 40])]}
    image = read(plots.draw_lines([plots.Panel("title", "x", "y", lines)], tmp_path / "lines.png"))

    def heights(colour):
        rows, counts = np.unique(where(image, colour, 3)[:, 0], return_counts=True)
        return rows[counts > image.shape[1] // 2]

    low, high = heights((31, 119, 180)), heights((255, 127, 14))
    assert low.min() > high.max()
    gap, whole = high.max() - high.min(), low.mean() - high.min()
    assert gap / whole == pytest.approx(0.2, abs=0.03)


def test_faces_are_the_first_and_the_most_turned(monkeypatch):
    task = Landmarks(points=("left_eye", "right_eye", "nose"))
    offsets = [0, 0, 20, 0, 25, 0, 30, 0, 12, 0]  # of eyes 40 px apart
    truth = np.float32([[(30, 40), (70, 40), (50 + offset, 60)] for offset in offsets])
    truth[0, 2] = np.nan  # no nose
    names = [str(i) for i in range(len(truth))]
    png = cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
    prepared = SimpleNamespace(
        source=lambda split: [{"image": png, "name": name.encode()} for name in names],
        described_by=lambda tasks: SimpleNamespace(targets=lambda split: {"landmarks": truth}),
    )
    monkeypatch.setattr("smtn_keras.data.prepared.open_prepared", lambda name, folder: prepared)
    row = SimpleNamespace(config=Config())
    pictures, points = figures._faces("celeba", {"a": row}, "test+flip", None, task)
    assert [point[2, 0] - 50 for point in points] == [0, 0, 0, 0, 20, 25, 30, 12]
    assert len(pictures) == 8


def test_points_that_no_picture_has_all_of_leave_those_with_the_most(monkeypatch):
    truth = np.full((12, 3, 2), 5, np.float32)
    truth[:, 2] = np.nan  # no mug has this
    truth[:4, 1] = np.nan
    png = cv2.imencode(".png", np.zeros((10, 10, 3), np.uint8))[1].tobytes()
    prepared = SimpleNamespace(
        source=lambda split: [{"image": png, "name": b"mug"}] * len(truth),
        described_by=lambda tasks: SimpleNamespace(targets=lambda split: {"landmarks": truth}),
    )
    monkeypatch.setattr("smtn_keras.data.prepared.open_prepared", lambda name, folder: prepared)
    task = Landmarks(points=("rim_left", "rim_right", "handle"), normaliser=("rim_left", "rim_right"))
    pictures, points = figures._faces("mugs", {"a": SimpleNamespace(config=Config())}, "test", None, task)
    assert len(pictures) == 8
    np.testing.assert_array_equal(points, truth[4:])


def test_a_sheet_without_predictions_shows_the_truth_alone(tmp_path):
    picture, truth = np.full((100, 80, 3), PLAIN, np.uint8), [[(20, 30), (np.nan, np.nan)]]
    image = read(plots.contact_sheet([picture], truth, None, tmp_path / "sheet.png"))
    assert len(where(image, (255, 0, 0))) > 20
    assert not len(where(image, (0, 255, 0)))


def test_a_pair_is_the_baseline_and_smtn(make):
    result = {"celeba": landmarks([90] * 5)}
    folders = [
        make("a", result, network={"kind": "mtan"}),
        make("b", result, stage=2),
        make("c", result, network={"branch": "conv1_2"}),
        make("d", result),
    ]
    rows = comparison.named(comparison.rows_of(tuple(folders), "test"), "celeba")
    assert list(figures._pair(rows)) == ["hard sharing (stage 1, baseline)", "SMTN channelwise, from stage 1"]
    del rows["SMTN channelwise, from stage 1"]
    assert list(figures._pair(rows)) == ["hard sharing (stage 1, baseline)", "MTAN"]


def test_a_curve_is_left_out_where_an_older_version_measured(make, tmp_path):
    curve = {"success_curve": [min(100.0, 300 * t) for t in THRESHOLDS]}
    newer = landmarks([90] * 5)
    newer["landmarks"]["metrics"] |= curve
    folders = make("old", {"celeba": landmarks([90] * 5)}), make("new", {"celeba": newer}, stage=2)
    rows = comparison.named(comparison.rows_of(folders, "test"), "celeba")
    some = figures._success("celeba", rows, "test", tmp_path)
    assert some.file.is_file()
    assert f"kept no curve: 1; run: `python -m smtn_keras.evaluate --run {folders[0]} --data celeba --split test`" in some.caption
    none = figures._success("celeba", {"old": rows["hard sharing (stage 1, baseline)"]}, "test", tmp_path)
    assert none.file is None


# -- the folder -------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """The links of a page, and whether its elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.tables = [], [], 0

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_starttag(self, tag, attributes):
        self.links += [value for key, value in attributes if key in ("href", "src")]
        self.tables += tag == "table"
        if tag == "table":
            assert self.open[-1] == "div"  # which scrolls
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory):
    """The report of two trained runs."""
    out = tmp_path_factory.mktemp("page") / "report"
    report.main([str(drawn / "stage1"), str(drawn / "stage2"), "--out", str(out)])
    return out


def test_a_page_has_all_tables_and_figures_and_its_links_lead_somewhere(made):
    reader = Reader()
    reader.feed((made / "report.html").read_text())
    assert reader.open == []
    assert reader.tables == 3
    figures_drawn = {f"{name}-synthetic.png" for name in ("success", "training", "attributes", "figure4", "figure6")}
    tables_written = {f"table{i}-synthetic.csv" for i in (2, 3, 4)}
    assert set(reader.links) == figures_drawn | tables_written
    assert {file.name for file in made.iterdir()} == {*reader.links, "report.html", "report.md"}
    for name in figures_drawn:
        assert read(made / name).std() > 5


def test_a_page_says_what_the_runs_say(made, drawn):
    text = (made / "report.md").read_text()
    rows = list(csv.DictReader((made / "table2-synthetic.csv").open()))
    for stage, row in ((1, rows[0]), (2, rows[1])):
        metrics = runs.read_metrics(drawn / f"stage{stage}")["synthetic/test"]["landmarks"]["metrics"]
        assert row["nose"] == f"{metrics['success_rate']['nose']:.2f}"
        assert row["parameters, M"] == f"{runs.read_environment(drawn / f'stage{stage}')['parameters'] / 1e6:.2f}"
        assert float(row["multiply-adds, M"]) == pytest.approx(
            cost.multiply_adds(runs.load(drawn / f"stage{stage}").model) / 1e6, abs=0.005
        )
        assert 0 < float(row["seconds an image"]) < 60
    assert "*published: SMTN channelwise, fine-tuned*" in text
    assert runs.read_data_card(drawn / "stage1")["licence"] in text


def test_figure_4_has_a_row_for_each_network_with_its_predictions_in_pixels(drawn, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(plots, "contact_sheet", lambda *args, **kwargs: seen.update(args=args, **kwargs) or tmp_path / "x.png")
    said = {"stage1": 0.25, "stage2": 0.5}  # of all points, in [0, 1] of the sides
    monkeypatch.setattr(
        figures, "load_predictor", lambda folder, flip: lambda pictures: {"landmarks": np.full((len(pictures), 5, 2), said[folder.name])}
    )
    rows = comparison.named(comparison.rows_of((str(drawn / "stage2"), str(drawn / "stage1")), "test"), "synthetic")
    figures._figure_4("synthetic", rows, "test", str(drawn / "data"), tmp_path)
    pictures, truth, predicted, _ = seen["args"]
    assert seen["rows"] == ["hard sharing", "SMTN channelwise"]
    assert len(pictures) == 2 * seen["columns"] == 16
    np.testing.assert_array_equal(predicted[:8], np.full((8, 5, 2), 0.25) * [178, 218])
    np.testing.assert_array_equal(predicted[8:], np.full((8, 5, 2), 0.5) * [178, 218])
    np.testing.assert_array_equal(truth[:8], truth[8:])


def test_records_without_weights_have_their_tables_and_a_line_for_each_missing_figure(made, drawn, tmp_path):
    out = shutil.copytree(made, tmp_path / "report")  # an earlier report may be written over
    record = shutil.copytree(drawn / "stage2", tmp_path / "record", ignore=shutil.ignore_patterns("*.keras"))
    text = page.write_page((str(record),), out).read_text()
    assert "Figure 4 is left out: no run has its weights" in text
    assert "Figure 6 is left out: no run of an SMTN" in text
    assert "One run" in text
    assert "success-synthetic.png" in text


def test_pictures_that_are_not_there_leave_figures_out(drawn, tmp_path):
    rows = comparison.named(comparison.rows_of((str(drawn / "stage2"),), "test"), "synthetic")
    for figure in (figures._figure_4, figures._figure_6):
        left_out = figure("synthetic", rows, "test", str(tmp_path / "nowhere"), tmp_path)
        assert left_out.file is None
        assert "expected a prepared data set, got none" in left_out.caption


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"report.md": "# my own report"}])
def test_a_folder_of_another_is_refused_and_kept(make, tmp_path, content, capsys):
    out = tmp_path / "other"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(SystemExit) as end:
        report.main([make("a", {"celeba": landmarks([90] * 5)}), "--out", str(out)])
    assert end.value.code == 2
    assert "expected a new or empty folder or one with an earlier report" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in out.iterdir()} == content


def test_a_report_that_fails_before_it_begins_leaves_nothing(make, tmp_path):
    with pytest.raises(UserError, match="expected metrics"):
        page.write_page((make("a", {"celeba": landmarks([90] * 5)}),), tmp_path / "out", "validation")
    assert not (tmp_path / "out").exists()

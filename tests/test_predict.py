"""From a photo to points in its pixels."""

import io
import json
import os
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tiny

from smtn_keras import faces, predict, predictor
from smtn_keras.data.synthetic import draw_face
from smtn_keras.errors import UserError
from smtn_keras.faces import find

# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def dots(monkeypatch, tmp_path):
    """The command line with a model that finds the dots of tiny.py, and a detector that finds what it is told."""
    detector = tiny.Detector()
    monkeypatch.setattr(predictor, "load_predictor", lambda path: tiny.Dots())
    monkeypatch.setattr(predictor, "shipped", lambda name: tmp_path)
    monkeypatch.setattr(predict, "mtcnn", lambda: detector)
    return detector


def ended(argv):
    """The exit code of a command line."""
    try:
        predict.main([str(word) for word in argv])
    except SystemExit as end:
        return end.code
    return 0


def errors(printed):
    return [line for line in printed.err.splitlines() if line.startswith("error:")]


def photo_of_dots(file, corner=(0, 0)):
    cv2.imwrite(str(file), tiny.picture(tiny.MEAN_SHAPE * tiny.FRAME + corner)[..., ::-1])
    return file


def video_of_dots(file, frames=20, step=4):
    """A face of dots that goes to the right, on 320 x 240 pixels at 25 frames a second."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for i in range(frames):
        writer.write(tiny.picture(shape_at(i, step), (320, 240))[..., ::-1])
    writer.release()
    return file


def shape_at(frame, step=4):
    return tiny.MEAN_SHAPE * tiny.FRAME + [40 + step * frame, 60]


def test_bad_files_are_named_and_the_others_done(dots, tmp_path, capsys):
    good, bad = photo_of_dots(tmp_path / "good.png"), tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    assert ended([bad, good, tmp_path / "none.png", "--no-detect", "--json"]) == 2
    printed = capsys.readouterr()
    line = json.loads(printed.out)
    assert line["image"] == str(good)
    assert line["landmarks"]["nose"] == pytest.approx([40, 56], abs=0.3)
    assert line["attributes"]["Bar=none"] == pytest.approx(line["attributes"]["Bright"] / 2, abs=1e-4)
    first, second = errors(printed)
    assert first.startswith(f"error: {bad}: expected an image")
    assert second.startswith(f"error: {tmp_path / 'none.png'}: expected an image file")


def test_a_line_for_people(dots, tmp_path, capsys):
    file = photo_of_dots(tmp_path / "face.png")
    assert ended([file, "--no-detect"]) == 0
    assert capsys.readouterr().out == f"{file}: face of 80 x 100 pixels at 0, 0: Big_Dots 92%, Bar=right 88%\n"


def seen(points_px, size=tiny.FRAME, error=None):
    """The warnings of a crop of that size with its dots there, by a model that finds them."""
    (face,) = find(tiny.picture(points_px, size), tiny.Dots(error))
    return face.get("warnings", [])


def shape(zoom=1.0, degrees=0.0, shift=(0, 0)):
    """The mean points in pixels of the frame, larger, turned and moved."""
    turn = np.radians(degrees)
    matrix = zoom * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = tiny.MEAN_SHAPE * tiny.FRAME
    return (points - points.mean(0)) @ matrix + points.mean(0) + shift


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (shape(), []),
        (shape(zoom=0.85, degrees=25, shift=(5, -5)), []),
        (shape(degrees=35), ["it is turned by 35 degrees"]),
        (shape(zoom=0.6), ["it is 0.6 times as large in its crop as training faces"]),
        (shape(zoom=0.85, shift=(0, -17)), []),
    ],
)
def test_faces_far_from_the_training_frame_are_warned_of(points, said):
    assert seen(points) == said


def test_a_crop_of_another_shape_or_of_few_pixels_is_warned_of():
    wide = tiny.MEAN_SHAPE * tiny.FRAME + [40, 0]
    said = seen(wide, (160, 100))  # its points are squeezed to half of their width, which no face has
    assert said[0] == "the crop is 160 x 100 pixels, and training crops have the shape of 80 x 100"
    assert seen(tiny.MEAN_SHAPE * [100, 100], (100, 100)) == []  # 1.25 times as wide for its height; up to 1.33 are let pass
    # the network takes 64 pixels a side: half of them are enough
    assert seen(tiny.MEAN_SHAPE * [36, 45], (36, 45)) == []
    assert seen(tiny.MEAN_SHAPE * [24, 30], (24, 30))[0] == "it has about 27 pixels a side, and the network takes 64"


def test_a_face_at_the_edge_of_its_crop_is_warned_of():
    crop = faces.Cut(np.zeros((100, 80, 3), np.uint8), np.eye(2, 3))
    for shift, said in ((43, []), (44, ["it lies 1.5 distances of the eyes from where training faces lie in their crops"])):  # of 28.8 px
        points = dict(zip(tiny.POINTS.points, shape(shift=(0, shift)), strict=True))
        assert faces.warnings(crop, points, None, tiny.Dots()) == said


def test_points_that_are_of_no_face_are_warned_of():
    points = shape()
    points[[2, 3]] = points[[3, 2]]  # the nose below the mouth
    nonsense = "its points do not look like those of a face"
    assert seen(points) == [nonsense]
    assert seen(np.repeat([[40, 50]], 5, axis=0))[-1] == nonsense
    # the mean distance of the eyes is 0.36 of the width: 8 % of it are 0.026 of a side of sqrt(80 * 100) pixels
    assert (seen(shape(), error=0.024), seen(shape(), error=0.027)) == ([], [nonsense])


def test_a_warning_is_a_note_and_a_key_of_the_json(dots, tmp_path, capsys):
    file = tmp_path / "turned.png"
    cv2.imwrite(str(file), tiny.picture(shape(degrees=40))[..., ::-1])
    assert ended([file, "--no-detect", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["warnings"] == ["it is turned by 40 degrees"]
    note = f"note: {file}: the face at 0, 0 is far from what the model was trained on: it is turned by 40 degrees"
    assert note in printed.err.splitlines()
    assert ended([photo_of_dots(tmp_path / "face.png"), "--no-detect", "--json"]) == 0
    printed = capsys.readouterr()
    assert "warnings" not in json.loads(printed.out) and "note:" not in printed.err


def test_a_face_that_a_detector_cut_is_small_by_its_pixels_in_the_photo(dots):
    photo = tiny.picture(tiny.MEAN_SHAPE * [24, 30] + 20, (100, 100))
    (face,) = find(photo, tiny.Dots(), tiny.Detector(tiny.MEAN_SHAPE * [24, 30] + 20))
    assert face["warnings"][0] == "it has about 27 pixels a side, and the network takes 64"


def test_a_huge_picture_is_refused_before_it_is_decoded(dots, tmp_path, capsys, monkeypatch):
    """200 megapixels of nothing, 25 KB as a PNG."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (20_000).to_bytes(4, "big") + (10_000).to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    data = zlib.compress(bytes(10_000 * (1 + 20_000 // 8)))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert ended([bomb, "--no-detect"]) == 2
    assert capsys.readouterr().err == f"error: {bomb}: expected an image of at most 100 megapixels, got a larger one; scale it down\n"


def test_a_folder_stands_for_its_photos_and_videos(dots, tmp_path, capsys):
    photo_of_dots(tmp_path / "b.png")
    video_of_dots(tmp_path / "a.avi", frames=2)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    dots.faces = [shape_at(0)]
    assert ended([tmp_path, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line.get("video", line.get("image"))).name for line in lines] == ["a.avi", "a.avi", "b.png"]
    assert ended([tmp_path / "empty", tmp_path / "b.png", "--no-detect", "--json"]) == 2
    printed = capsys.readouterr()
    assert errors(printed) == [f"error: {tmp_path / 'empty'}: expected photos or videos in the folder, found none; name another folder"]
    assert len(printed.out.splitlines()) == 1


def test_a_video_is_followed_drawn_and_told_frame_by_frame(dots, tmp_path, capsys, monkeypatch):
    file = video_of_dots(tmp_path / "clip.avi")

    class Finder(tiny.Detector):
        def detect_faces(self, picture):
            self.faces = [tiny.find_dots(picture) * [320, 240]]
            return super().detect_faces(picture)

    finder = Finder()
    monkeypatch.setattr(predict, "mtcnn", lambda: finder)
    assert ended([file, "--json", "--detect-every", "8", "--no-smooth", "--out", tmp_path / "out"]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [(line["video"], line["frame"], line["id"]) for line in lines] == [(str(file), i, 1) for i in range(20)]
    np.testing.assert_allclose([line["time"] for line in lines], np.arange(20) / 25, atol=0.002)
    assert len(finder.calls) == 3
    for i, line in enumerate(lines):
        np.testing.assert_allclose(list(line["landmarks"].values()), shape_at(i), atol=1)
    drawing = cv2.VideoCapture(str(tmp_path / "out" / "clip_faces.mp4"))
    assert (drawing.get(cv2.CAP_PROP_FRAME_COUNT), drawing.get(cv2.CAP_PROP_FPS)) == (20, 25)
    x, y = (round(v) for v in lines[0]["landmarks"]["nose"])
    blue, green, red = drawing.read()[1][y, x].astype(int)
    assert green > 150 and red < 100 and blue < 100, "the nose, green over its blue dot"
    assert f"drawn: {tmp_path / 'out' / 'clip_faces.mp4'}" in printed.err


def test_a_video_for_people_is_a_line_for_each_face(dots, tmp_path, capsys):
    file = video_of_dots(tmp_path / "clip.avi", step=0)
    dots.faces = [shape_at(0)]
    assert ended([file]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{file}: face 1 in 20 frames from 0.0 to 0.8 s: Big_Dots 9")
    assert ended([file, "--seconds", "0.4"]) == 0
    assert "face 1 in 10 frames from 0.0 to 0.4 s" in capsys.readouterr().out


def test_videos_without_frames_or_faces(dots, tmp_path, capsys):
    empty, blank = tmp_path / "empty.mp4", tmp_path / "blank.avi"
    empty.write_bytes(b"")
    writer = cv2.VideoWriter(str(blank), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    writer.write(np.zeros((240, 320, 3), np.uint8))
    writer.release()
    good = photo_of_dots(tmp_path / "good.png")
    assert ended([empty, blank, "--json", "--out", tmp_path / "out"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split("expected ")[1].split(";")[0] for line in errors(printed)] == [
        "a video, got a file without a frame that can be read",
        "a face, found none in 1 frame",
    ]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["blank_faces.mp4"]
    dots.faces = [tiny.MEAN_SHAPE * tiny.FRAME]
    assert ended([empty, good, "--json"]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 1, "the others are still done"


def test_a_cut_off_video_is_noted(dots, tmp_path, capsys):
    file = video_of_dots(tmp_path / "clip.avi", step=0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    dots.faces = [shape_at(0)]
    assert ended([file]) == 0
    (note,) = capsys.readouterr().err.splitlines()
    read = int(note.removeprefix(f"note: {file}: only ").removesuffix(" of 20 frames can be read"))
    assert 0 < read < 18


def camera(monkeypatch, pictures, then):
    """A camera 0 that gives pictures and then fails or raises."""

    class Camera:
        def __init__(self):
            self.pictures = iter(pictures)

        def isOpened(self):
            return True

        def read(self):
            try:
                return True, next(self.pictures)[..., ::-1].copy()
            except StopIteration:
                if then:
                    raise then from None
                return False, None

        def get(self, prop):
            return {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240}.get(prop, 0)

        def set(self, *_):
            return False

        def release(self):
            pass

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source, *more: Camera() if source == 0 else real(source, *more))


def test_ctrl_c_ends_a_camera_with_a_whole_file(dots, tmp_path, capsys, monkeypatch):
    dots.faces = [shape_at(0)]
    camera(monkeypatch, [tiny.picture(shape_at(0), (320, 240))] * 5, KeyboardInterrupt())
    assert ended(["--camera", "0", "--json", "--out", tmp_path / "out"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["camera"], line["frame"], line["id"]) for line in lines] == [(0, i, 1) for i in range(5)]
    assert cv2.VideoCapture(str(tmp_path / "out" / "camera0_faces.mp4")).read()[0]


def test_ctrl_c_ends_a_video_with_a_whole_file_and_all_others(dots, tmp_path, capsys, monkeypatch):
    file, found = video_of_dots(tmp_path / "clip.avi", step=0), []

    def interrupt(self, crops):
        found.append(1)
        if len(found) == 4:
            raise KeyboardInterrupt
        return real(self, crops)

    real = tiny.Dots.__call__
    monkeypatch.setattr(tiny.Dots, "__call__", interrupt)
    dots.faces = [shape_at(0)]
    assert ended([file, file, "--json", "--out", tmp_path / "out"]) == 130
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip_faces.mp4"]
    assert cv2.VideoCapture(str(tmp_path / "out" / "clip_faces.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_cameras_that_are_not_there_or_go_away(dots, tmp_path, capsys, monkeypatch):
    assert ended(["--camera", "97"]) == 2
    (line,) = errors(capsys.readouterr())
    assert line == "error: camera 97: expected a camera that gives pictures, found none; plug it in or name another --camera"
    dots.faces = [shape_at(0)]
    camera(monkeypatch, [tiny.picture(shape_at(0), (320, 240))] * 3, None)
    assert ended(["--camera", "0"]) == 2
    assert "expected pictures until Ctrl-C or --seconds, got the last one after 3;" in capsys.readouterr().err


def test_a_closed_pipe_ends_it_quietly(dots, tmp_path, monkeypatch, capsys):
    file = photo_of_dots(tmp_path / "face.png")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert ended([file, file, "--no-detect", "--json"]) == 141
        pipe.flush()  # as Python does at its end
    assert capsys.readouterr().err == ""


def test_lines_come_one_by_one(dots, tmp_path, monkeypatch):
    """Each is there before the next picture is read."""
    from smtn_keras.data import images

    out, lengths, real = io.TextIOWrapper(io.BytesIO()), [], images.read_image

    def read_image(name):
        lengths.append(len(out.buffer.getvalue().splitlines()))
        return real(name)

    monkeypatch.setattr(images, "read_image", read_image)
    monkeypatch.setattr(sys, "stdout", out)
    file = photo_of_dots(tmp_path / "face.png")
    predict.main([str(file)] * 3 + ["--no-detect", "--json"])
    assert lengths == [0, 1, 2]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "expected at least one FILE or --camera, got none"),
        (("a.mp4", "--detect-every", "0"), "--detect-every: expected a number of frames of at least 1, got 0"),
        (("--camera", "-1"), "--camera: expected a number from 0 to 99, got -1"),
        (("--camera", "0", "--seconds", "-1"), "--seconds: expected a time above 0, got -1.0"),
    ],
)
def test_bad_flags(flags, words, capsys):
    assert ended(flags) == 2
    assert words in capsys.readouterr().err


def test_drawings_write_over_neither_photos_nor_each_other(dots, tmp_path):
    photos = [tmp_path / "face.png", tmp_path / "more" / "face.png"]
    photos[1].parent.mkdir()
    for i, photo in enumerate(photos):
        photo_of_dots(photo, (10 * i, 0))
    before = photos[0].read_bytes()
    assert ended([*photos, "--no-detect", "--out", tmp_path]) == 0
    assert photos[0].read_bytes() == before
    first, second = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("face_faces.png", "face_faces-2.png"))
    assert first.shape[:2] == (5 * 100, 5 * 80), "enlarged, or nobody could read it"
    assert np.abs(first - second).mean() > 5, "two different faces"


def test_a_model_without_a_detectors_points_needs_crops(dots, tmp_path, capsys, monkeypatch):
    file = photo_of_dots(tmp_path / "face.png")
    video = video_of_dots(tmp_path / "clip.avi", frames=2)
    dots.faces = [tiny.MEAN_SHAPE * tiny.FRAME]
    monkeypatch.setattr(tiny.Dots, "tasks", tiny.TASKS[1:])
    assert ended([file, video]) == 2
    known = "left_eye, right_eye, nose, left_mouth, right_mouth"
    sentence = f"error: expected a model with points that a face detector knows ({known}), got none; add --no-detect"
    assert errors(capsys.readouterr()) == [sentence] * 2
    assert ended([file, video, "--no-detect", "--out", tmp_path / "out"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_folder_that_cannot_be_made(dots, tmp_path, capsys):
    file = photo_of_dots(tmp_path / "face.png")
    assert ended([file, "--no-detect", "--out", file / "in_a_file"]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: {file / 'in_a_file'}: expected a folder for drawn copies, got 'Not a directory'; name another --out\n"
    assert printed.out == "", "before any work is done"


def test_the_detector_needs_tensorflow(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UserError, match="expected tensorflow for the face detector, got jax; leave it out"):
        predict.mtcnn()


def test_research_only_is_said_once(dots, tmp_path, capsys, monkeypatch):
    file = photo_of_dots(tmp_path / "face.png")
    ended([file, "--no-detect"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(tiny.Dots, "card", tiny.Dots.card | {"licence": "CelebA: non-commercial research only."})
    ended([file, file, "--no-detect"])
    assert capsys.readouterr().err == "note: this model is for research only. CelebA: non-commercial research only.\n"


# -- with real models -------------------------------------------------------------------------------


def test_a_drawn_video_through_a_trained_network(drawn, tmp_path, capsys, monkeypatch):
    """A synthetic face that moves over a green wall, found by what is not green."""
    face, landmarks_px, _ = draw_face(seed=3, index=0)
    file, calls = tmp_path / "clip.mp4", []
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 25, (400, 300))
    for i in range(12):
        canvas = np.full((300, 400, 3), (0, 255, 0), np.uint8)
        canvas[40 : 40 + 218, 20 + 5 * i : 198 + 5 * i] = face
        writer.write(canvas[..., ::-1])
    writer.release()

    def detect_faces(picture):
        calls.append(1)
        columns = (np.abs(picture.astype(int) - [0, 255, 0]).sum(-1) > 120).mean(0) > 0.4
        return tiny.Detector(landmarks_px + np.array([columns.argmax(), 40])).detect_faces(picture)

    monkeypatch.setattr(predict, "mtcnn", lambda: SimpleNamespace(detect_faces=detect_faces))
    predict.main([str(file), "--model", str(drawn / "stage2"), "--json", "--detect-every", "4", "--no-smooth"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert all(len(line["attributes"]) == 40 and len(line["errors"]) == 5 for line in lines)
    # a network of one epoch is far from exact, and loses its way soon, but where the detector helps it says the same of the same face
    assert len(calls) >= 3
    noses = [line["landmarks"]["nose"][0] for line in lines]
    np.testing.assert_allclose([noses[4] - noses[0], noses[8] - noses[4]], 20, atol=2)


def test_a_real_photo(drawn, tmp_path, capsys):
    """The public-domain astronaut: one face, whose eyes are known to lie at about (204, 100) and (245, 102)."""
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("mtcnn")
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), data.astronaut()[..., ::-1])
    predict.main([str(photo), "--model", str(drawn / "stage2"), "--json"])
    line = json.loads(capsys.readouterr().out)
    x, y, w, h = line["box"]
    assert x < 204 < 245 < x + w
    assert y < 101 < y + h
    # a network of one epoch is far from exact, but its points lie in the frame cut around the face
    for px, py in line["landmarks"].values():
        assert x - w < px < x + 2 * w
        assert y - h < py < y + 2 * h


def test_a_picture_without_a_face(drawn, tmp_path, capsys):
    pytest.importorskip("mtcnn")
    photo = tmp_path / "blank.png"
    cv2.imwrite(str(photo), np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(SystemExit) as end:
        predict.main([str(photo), "--model", str(drawn / "stage2")])
    assert end.value.code == 2
    assert f"{photo}: expected a face, found none" in capsys.readouterr().err


# -- models -----------------------------------------------------------------------------------------


def test_the_model_is_named_by_path_or_by_name(dots, tmp_path, monkeypatch):
    asked, file = [], photo_of_dots(tmp_path / "face.png")
    monkeypatch.setattr(predictor, "load_predictor", lambda path: asked.append(str(path)) or tiny.Dots())
    monkeypatch.setattr(predictor, "shipped", lambda name: f"shipped {name}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobile").mkdir()
    for flags in ((), ("--model", "mobile"), ("--model", "mobile_tiny"), ("--model", "runs/a")):
        assert ended([file, "--no-detect", *flags]) == 0
    assert asked == ["shipped mobile", "mobile", "shipped mobile_tiny", "runs/a"]

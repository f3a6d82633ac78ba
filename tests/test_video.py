"""Videos read and written, frame by frame."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from smtn_keras import video
from smtn_keras.errors import UserError
from smtn_keras.video import Video, draw, writing

SIZE = (160, 120)  # width and height; the encoder takes even sides


def make(file, frames=12, fps=12.5, codec="MJPG"):
    """A video whose frame i is 10 i grey, with a red upper left corner."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*codec), fps, SIZE)
    assert writer.isOpened()
    for i in range(frames):
        picture = np.full((SIZE[1], SIZE[0], 3), 10 * i, np.uint8)
        picture[:40, :40] = (0, 0, 255)
        writer.write(picture)
    writer.release()
    return str(file)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".webm", "VP80")])
def test_frames_come_with_their_times(tmp_path, suffix, codec):
    with Video(make(tmp_path / f"clip{suffix}", codec=codec)) as clip:
        assert (clip.fps, clip.count, clip.live) == (12.5, 12, False)
        seconds, pictures = zip(*clip, strict=True)
    np.testing.assert_allclose(seconds, np.arange(12) * 0.08, atol=0.002)
    assert [picture.shape for picture in pictures] == [(120, 160, 3)] * 12
    np.testing.assert_allclose([picture[100, 100, 1] for picture in pictures], np.arange(12) * 10, atol=6)
    red, green, blue = pictures[5][20, 20].astype(int)
    assert red > 200 and green < 60 and blue < 60, "RGB"


BROKEN = {"empty": b"", "text": b"no video\n" * 100, "noise": np.random.default_rng(0).bytes(5000), "cut": None}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_without_frames_is_one_sentence(tmp_path, case, capfd):
    file = tmp_path / "clip.mp4"
    file.write_bytes(BROKEN[case] if case != "cut" else Path(make(tmp_path / "whole.mp4", codec="mp4v")).read_bytes()[:1500])
    with pytest.raises(
        UserError, match=r"clip\.mp4: expected a video, got a file without a frame that can be read; fetch or save it again$"
    ):
        Video(str(file))
    assert capfd.readouterr() == ("", ""), "nor does FFmpeg say anything"


def test_what_is_not_there(tmp_path, capfd):
    for name, came in ((tmp_path / "none.mp4", "nothing"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=f"expected a video file, got {came}; check the path"):
            Video(str(name))
    with pytest.raises(
        UserError, match=r"^camera 97: expected a camera that gives pictures, found none; plug it in or name another --camera$"
    ):
        Video(97)
    assert capfd.readouterr() == ("", "")


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    file = make(tmp_path / "clip.avi")
    monkeypatch.setattr(video, "MAX_PIXELS", 160 * 120 - 1)
    real = cv2.VideoCapture

    class Capture:
        def __init__(self, *source):
            self.get, self.set, self.release = (getattr(real(*source), name) for name in ("get", "set", "release"))

        def read(self):
            pytest.fail("decoded")

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with pytest.raises(UserError, match=r"clip\.avi: expected frames of at most 0 megapixels, got larger ones; scale it down"):
        Video(file)


def test_written_frames_come_back(tmp_path):
    file = tmp_path / "new" / "clip.mp4"
    with writing(file, 25.0) as write:
        for i in range(10):
            write(np.full((120, 160, 3), (20 * i, 0, 0), np.uint8), i / 25)
            assert not file.exists(), "only when it is whole"
    with Video(str(file)) as clip:
        assert (clip.fps, clip.count) == (25, 10)
        np.testing.assert_allclose([picture[60, 80, 0] for _, picture in clip], np.arange(10) * 20, atol=8)
    assert [path.name for path in file.parent.iterdir()] == ["clip.mp4"]


def test_live_frames_keep_time(tmp_path):
    """At 10 frames a second: the picture of 0.5 s fills the gap since 0.1 s, that of 0.51 s comes too soon."""
    file = tmp_path / "clip.mp4"
    with writing(file, 10.0, live=True) as write:
        for seconds, grey in ((0.0, 0), (0.1, 80), (0.5, 160), (0.51, 240)):
            write(np.full((120, 160, 3), grey, np.uint8), seconds)
    with Video(str(file)) as clip:
        np.testing.assert_allclose([picture[60, 80, 0] for _, picture in clip], [0, 80, 160, 160, 160, 160], atol=8)


def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), writing(file, 25.0) as write:
        write(np.zeros((120, 160, 3), np.uint8), 0)
        raise ZeroDivisionError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("clip.mp4", b"old")]


def test_a_file_that_could_not_be_written_is_said(tmp_path):
    """OpenCV's writer does not say so; a file that cannot be read is taken for one."""
    with pytest.raises(UserError, match="expected room and leave to write a video"), writing(tmp_path / "clip.mp4", 25.0) as write:
        write(np.zeros((120, 160, 3), np.uint8), 0)
        for part in tmp_path.iterdir():
            part.unlink()
    assert not list(tmp_path.iterdir())


def test_drawings_show_box_points_and_words():
    picture = np.full((240, 320, 3), 90, np.uint8)
    face = {"id": 3, "box": [50, 60, 80, 100], "landmarks": {"nose": [90.0, 110.0]}, "attributes": {"Smiling": 0.9, "Bald": 0.1}}
    drawn = draw(picture, [face]).astype(int)
    assert (picture == 90).all(), "a copy"
    assert drawn[110, 90, 1] > 200 > 100 > drawn[110, 90, 0], "a green point"
    assert drawn[60, 60:120].min() > 200, "a white box"
    assert (np.abs(drawn[60:100, 135:] - 90).max(-1) > 50).sum() > 50, "words beside it"
    assert not (np.abs(drawn[:, :45] - 90) > 0).any()

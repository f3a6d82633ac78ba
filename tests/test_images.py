"""Pictures of every kind are read upright as RGB; broken ones are refused in one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from making import encoded, picture
from PIL import Image

from smtn_keras.data import images
from smtn_keras.data.images import normalised_bytes, read_image
from smtn_keras.errors import UserError

UPRIGHT = picture(0, (40, 30))
PIXELS = np.array(UPRIGHT)


def mean_difference(a, b) -> float:
    a, b = np.array(a), np.array(b)
    assert a.shape == b.shape and a.dtype == np.uint8
    return np.abs(a.astype(int) - b.astype(int)).mean()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG of any bit depth, which Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep(values: np.ndarray, colour: int) -> bytes:
    """A 16-bit PNG of values `(h, w, channels)`."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, colour, rows)


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    """`UPRIGHT` as a camera stores it that held its sensor turned: other pixels, and a tag that says so."""
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose, inverse of the viewer's
    stored = UPRIGHT if back is None else UPRIGHT.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM"])
def test_reads_common_formats(kind, tmp_path):
    path = tmp_path / "face"
    path.write_bytes(encoded(UPRIGHT, kind))
    assert mean_difference(read_image(path), UPRIGHT) < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_by_the_exif_tag(orientation, kind):
    data = turned(orientation, kind)
    assert mean_difference(read_image(data), UPRIGHT) < 4
    out, size = normalised_bytes(data, "face.jpg")
    assert size == (40, 30)
    again = Image.open(io.BytesIO(out))
    assert again.getexif().get(0x0112, 1) == 1 and mean_difference(np.array(again), UPRIGHT) < 4
    assert (out == data) == (orientation == 1 and kind != "TIFF")


def test_annotated_pictures_keep_their_pixels_and_lose_the_tag():
    data = turned(6)
    stored = Image.open(io.BytesIO(data))
    out, size = normalised_bytes(data, "face.jpg", turn=False)
    again = Image.open(io.BytesIO(out))
    assert size == stored.size == (30, 40) and 0x0112 not in again.getexif()
    assert mean_difference(np.array(again), stored) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_plain_bytes_come_back_untouched(kind, options):
    data = encoded(UPRIGHT, kind, **options)
    assert normalised_bytes(data, "face") == (data, (40, 30))


def test_converts_grey_palette_and_bilevel():
    grey = UPRIGHT.convert("L")
    expected = np.repeat(np.array(grey)[..., None], 3, 2)
    assert mean_difference(read_image(encoded(grey, "PNG")), expected) == 0
    assert mean_difference(read_image(encoded(grey, "JPEG")), expected) < 4
    assert mean_difference(read_image(encoded(UPRIGHT.quantize(64), "PNG")), UPRIGHT) < 12
    assert set(np.unique(read_image(encoded(grey.convert("1"), "PNG")))) <= {0, 255}


def test_converts_cmyk():
    assert mean_difference(read_image(encoded(UPRIGHT.convert("CMYK"), "JPEG", quality=95)), UPRIGHT) < 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_lays_transparent_pixels_on_white(mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (90, 90, 90, 255))
    clear = clear.quantize() if mode == "PA" else clear.convert(mode)
    out = read_image(encoded(clear, "PNG"))
    assert out[0, 0].tolist() == [90, 90, 90] and out[2, 2].tolist() == [255, 255, 255]


def test_transparent_colour_of_a_png_is_white():
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    out, _ = normalised_bytes(encoded(image, "PNG", transparency=(10, 20, 30)), "face.png")
    assert read_image(out).min() == 255


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_scales_16_bits(colour, channels):
    values = np.zeros((2, 3, channels), int)
    values[..., : 3 if channels > 2 else 1] = np.array([0, 0x8080, 0xFFFF])[None, :, None]
    if colour in (4, 6):
        values[..., -1] = 0xFFFF
    data = deep(values, colour)
    for read in (read_image(data), read_image(normalised_bytes(data, "face.png")[0])):
        assert read[0, :, 0].tolist() == [0, 128, 255] and read.shape == (2, 3, 3)
    assert normalised_bytes(data, "face.png")[0][24] == 8


def test_scales_16_bit_and_float_tiff():
    deep_grey = Image.fromarray(np.array([[0, 0x8080, 0xFFFF]], np.uint16))
    assert read_image(encoded(deep_grey, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    floats = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    assert read_image(encoded(floats, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(UserError, match=r"f\.tiff: expected an image that converts to RGB"):
        read_image(encoded(Image.fromarray(np.array([[-1, 2]], np.float32)), "TIFF"), "f.tiff")


def test_takes_the_first_frame_of_an_animation():
    data = encoded(UPRIGHT, "GIF", save_all=True, append_images=[picture(1, (40, 30))])
    assert mean_difference(read_image(data), UPRIGHT) < 12


WHOLE = encoded(picture(5, (178, 218)))
CUT = {
    "cut off a little": WHOLE[:-40],
    "cut in the middle": WHOLE[: len(WHOLE) // 2],
    "cut in the header": WHOLE[:300],
    "padded with zeros": WHOLE[: len(WHOLE) // 2] + bytes(len(WHOLE) // 2),
    "PNG cut": encoded(UPRIGHT, "PNG")[:-300],
    "PNG damaged": encoded(UPRIGHT, "PNG").replace(b"IDAT", b"IDAT\x99", 1),
    "progressive cut": encoded(UPRIGHT, "JPEG", progressive=True)[:-200],
}
REFUSED = {
    "nothing": (b"", "an empty file"),
    "text": (b"not an image at all", "begins with b'not an i'"),
    "HTML": (b"  <!DOCTYPE html><html>sign in</html>", "an HTML page"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "begins with"),
    "no pixels": (png(0, 5, 8, 2, b""), "0x5|cut-off or damaged|begins with"),
    "bomb": (png(60_000, 60_000, 8, 2, b""), "at most 100 megapixels"),
    **{name: (data, "cut-off or damaged") for name, data in CUT.items()},
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_is_no_whole_image(case):
    data, came = REFUSED[case]
    for read in (read_image, normalised_bytes):
        with pytest.raises(UserError, match=rf"^face\.jpg: expected .*({came})[^\n]*; (fetch|scale|save)[^\n]*$"):
            read(data, "face.jpg")


def test_any_cut_of_a_jpeg_is_refused_or_whole():
    for cut in range(2, 400, 7):
        with pytest.raises(UserError):
            normalised_bytes(WHOLE[:-cut], "face.jpg")


def test_refuses_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.jpg: expected an image file, got 'No such file or directory'; check the path"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(UserError, match="got a folder; check the path"):
        read_image(tmp_path)


def test_damaged_exif_beside_whole_pixels_is_no_fault():
    data = turned(1).replace(b"Exif\0\0MM", b"Exif\0\0\x99\x99").replace(b"Exif\0\0II", b"Exif\0\0\x99\x99")
    assert mean_difference(read_image(data), UPRIGHT) < 4


def test_limit_is_of_pixels_not_bytes(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 30)
    assert read_image(encoded(UPRIGHT)).shape == (30, 40, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 30 - 1)
    with pytest.raises(UserError, match="larger one; scale it down"):
        read_image(encoded(UPRIGHT))

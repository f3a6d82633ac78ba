"""Pictures from the outside world: decoded to the last pixel, turned upright, as 8-bit RGB."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from .. import reading
from ..errors import UserError

MAX_PIXELS = 100_000_000  # more is a decompression bomb: 300 MB once decoded
MAX_BYTES = 250_000_000  # of a file
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # others, such as EPS, run programs

_STRIP = 1_000_000  # pixels that are converted at a time
_MAX_DECODED = 1_000_000_000  # pixels of a JPEG times its scans; more are made to be decoded for minutes
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {  # what makes pixels `(h, w, 3)` with this tag upright; with any other value they are
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def read_image(path_or_bytes: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """An upright RGB picture `(h, w, 3)` uint8 of a file, or of the bytes of one.

    Grey, palette, CMYK, 16-bit (scaled to 8) and transparent (laid on white) pictures are converted,
    EXIF-rotated ones turned. Of an animation the first frame is taken.

    Args:
        path_or_bytes: the file, or what it holds.
        name: how errors call it (default: the path).

    Raises:
        UserError: it is missing, not a picture, empty, cut off, damaged or larger than `MAX_PIXELS` or `MAX_BYTES`.
    """
    if isinstance(path_or_bytes, bytes):
        data, name = path_or_bytes, name or "the image"
    else:
        name = name or str(path_or_bytes)
        data = read_file(Path(path_or_bytes), name)
    picture = _open(data, name)
    return _rgb(picture, name, _orientation(picture))


def normalised_bytes(data: bytes, name: str, turn: bool = True) -> tuple[bytes, tuple[int, int]]:
    """A picture's bytes as a plain JPEG or PNG, and its width and height in pixels.

    Bytes that already are a plain upright RGB JPEG or PNG, and decode to the end, come back untouched;
    others are written anew (JPEG and WebP as JPEG of quality 95, the rest as PNG).

    Args:
        data: what the file holds.
        name: how errors call it.
        turn: whether to turn an EXIF-rotated picture upright. Annotated pictures set False: published
            points belong to the pixels as stored, so the tag is dropped and the pixels stay.

    Raises:
        UserError: as `read_image`.
    """
    picture = _open(data, name)
    plain = picture.format in ("JPEG", "PNG") and picture.mode == "RGB" and "transparency" not in picture.info
    if plain and not _is_deep_png(data) and _orientation(picture) not in _TURNS:
        return data, picture.size
    lossy = picture.format in ("JPEG", "MPO", "WEBP")
    picture = Image.fromarray(_rgb(picture, name, _orientation(picture) if turn else 1))
    stream = io.BytesIO()
    picture.save(stream, **({"format": "JPEG", "quality": 95, "subsampling": 0} if lossy else {"format": "PNG"}))
    return stream.getvalue(), picture.size


def read_file(path: Path, name: str) -> bytes:
    """What an image file holds, which is at most `MAX_BYTES`."""
    try:
        return reading.read_bytes(path, MAX_BYTES)
    except OSError as error:
        came = "a folder" if os.path.isdir(path) else f"'{error.strerror}'"
        raise UserError(f"{name}: expected an image file, got {came}; check the path") from None


def _open(data: bytes, name: str) -> Image.Image:
    """The picture, decoded to its last pixel (Pillow's own `open` reads the header only)."""
    if not data:
        raise UserError(f"{name}: expected an image, got an empty file; fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs and odd tags
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if picture.format in ("JPEG", "MPO") and picture.width * picture.height * data.count(b"\xff\xda") > _MAX_DECODED:
                raise OSError("too many scans")
            picture.load()
        if _is_padded(data, picture.format):
            raise OSError("its end is only zeros")
    except Image.DecompressionBombError:
        raise UserError(
            f"{name}: expected an image of at most {MAX_PIXELS // 1_000_000} megapixels, got a larger one; scale it down"
        ) from None
    except Image.UnidentifiedImageError:
        looks = "an HTML page" if data.lstrip()[:1] == b"<" else f"a file that begins with {data[:8]!r}"
        raise UserError(f"{name}: expected an image ({', '.join(FORMATS)}), got {looks}; fetch or save it again") from None
    except Exception as error:  # Pillow raises nearly every kind on a damaged file
        raise UserError(f"{name}: expected a whole image, got a cut-off or damaged one ({error}); fetch it again") from None
    return picture


def _is_padded(data: bytes, kind: str) -> bool:
    """Whether a JPEG was filled up with zeros after an unfinished download, which decoders take for grey."""
    kept = data.rstrip(b"\0")
    return kind in ("JPEG", "MPO") and len(data) - len(kept) >= 64 and not kept.endswith(b"\xff\xd9")


def _is_deep_png(data: bytes) -> bool:
    """Whether these are the bytes of a PNG with 16 bits a channel (which Pillow hides behind mode RGB)."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside whole pixels
        return 1


def _rgb(picture: Image.Image, name: str, orientation: int = 1) -> np.ndarray:
    """The pixels `(h, w, 3)` uint8, turned by an EXIF tag; converted in strips, as each step of it on a whole picture would be another copy."""
    try:
        brightest = _brightest(picture)
        width, height = picture.size
        pixels = np.empty((height, width, 3), np.uint8)
        rows = max(1, _STRIP // width)
        for top in range(0, height, rows):
            strip = picture.crop((0, top, width, min(top + rows, height)))
            pixels[top : top + rows] = _converted(strip, brightest)
    except ValueError as error:
        raise UserError(f"{name}: expected an image that converts to RGB, got mode {picture.mode} ({error}); save it as RGB") from None
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation in _TURNS else pixels


def _converted(picture: Image.Image, brightest: int | None) -> Image.Image:
    if brightest:
        values = np.asarray(picture)
        if not np.isfinite(values).all():
            raise ValueError("values that are no numbers")
        return Image.fromarray(np.rint(values * (255 / brightest)).astype(np.uint8)).convert("RGB")
    if "A" in picture.mode.upper().removeprefix("LAB") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _brightest(picture: Image.Image) -> int | None:
    """The value that is white in a grey picture of 16 bits, or of floats up to 1, 255 or 65535; None of one of 8 bits."""
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return None
    low, high = picture.getextrema()
    scales = (1, 255, 65535) if picture.mode == "F" else (65535,)
    brightest = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if brightest is None:
        raise ValueError("values beyond 0..65535")
    return brightest

"""Pictures from the outside world: decoded to the last pixel, turned upright, as 8-bit RGB."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError

MAX_PIXELS = 100_000_000  # more is a decompression bomb: 300 MB once decoded
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # others, such as EPS, run programs

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {  # what makes a picture with this tag upright; any other value is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow raises all of these on damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


def read_image(path_or_bytes: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """An upright RGB picture `(h, w, 3)` uint8 of a file, or of the bytes of one.

    Grey, palette, CMYK, 16-bit (scaled to 8) and transparent (laid on white) pictures are converted,
    EXIF-rotated ones turned. Of an animation the first frame is taken.

    Args:
        path_or_bytes: the file, or what it holds.
        name: how errors call it (default: the path).

    Raises:
        UserError: it is missing, not a picture, empty, cut off, damaged or larger than `MAX_PIXELS`.
    """
    if isinstance(path_or_bytes, bytes):
        data, name = path_or_bytes, name or "the image"
    else:
        name = name or str(path_or_bytes)
        data = read_file(Path(path_or_bytes), name)
    return np.array(_upright_rgb(_open(data, name), name))


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
    picture = _upright_rgb(picture, name, turn)
    stream = io.BytesIO()
    picture.info.clear()  # Pillow would copy the EXIF tag of a PNG
    picture.save(stream, **({"format": "JPEG", "quality": 95, "subsampling": 0} if lossy else {"format": "PNG"}))
    return stream.getvalue(), picture.size


def read_file(path: Path, name: str) -> bytes:
    """What an image file holds."""
    try:
        return path.read_bytes()
    except OSError as error:
        came = "a folder" if path.is_dir() else f"'{error.strerror}'"
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
    except _DECODER_ERRORS as error:
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
    except _DECODER_ERRORS:  # damaged EXIF beside whole pixels
        return 1


def _upright_rgb(picture: Image.Image, name: str, turn: bool = True) -> Image.Image:
    """The picture in mode RGB, turned by its EXIF tag unless `turn` is False."""
    orientation = _orientation(picture)
    try:
        if turn and orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
        if picture.mode == "F" or picture.mode.startswith("I"):
            return _eight_bits(picture).convert("RGB")
        if "A" in picture.mode.upper().removeprefix("LAB") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")
    except ValueError as error:
        raise UserError(f"{name}: expected an image that converts to RGB, got mode {picture.mode} ({error}); save it as RGB") from None


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 8 bits from one of 16 bits, or of floats up to 1, 255 or 65535."""
    values = np.asarray(picture).astype(np.float64)
    scales = (1, 255, 65535) if picture.mode == "F" else (65535,)
    top = next((scale for scale in scales if values.min() >= 0 and values.max() <= scale), None)
    if top is None:
        raise ValueError("values beyond 0..65535")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))

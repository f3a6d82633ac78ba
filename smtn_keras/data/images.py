"""Pictures from the outside world: decoded fully, turned upright, as 8-bit RGB."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import UserError

MAX_PIXELS = 100_000_000  # more is a decompression bomb: 300 MB once decoded
_ORIENTATION = 0x0112  # the EXIF tag; 1 (or none) is upright
_PLAIN = {("JPEG", "RGB"), ("PNG", "RGB")}  # what any decoder reads to the same upright pixels


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
        data = _file_bytes(Path(path_or_bytes), name)
    return np.asarray(_upright(_open(data, name)))


def normalised_bytes(data: bytes, name: str, turn: bool = True) -> tuple[bytes, tuple[int, int]]:
    """A picture's bytes as a plain JPEG or PNG, and its width and height in pixels.

    Bytes that already are a plain upright RGB JPEG or PNG, and decode to the end, come back untouched;
    others are written anew (lossy ones as JPEG of quality 95, the rest as PNG).

    Args:
        data: what the file holds.
        name: how errors call it.
        turn: whether to turn an EXIF-rotated picture upright. Annotated pictures set False: published
            points belong to the pixels as stored, so the tag is dropped and the pixels stay.

    Raises:
        UserError: as `read_image`.
    """
    picture = _open(data, name)
    tagged = picture.getexif().get(_ORIENTATION, 1) != 1
    if (picture.format, picture.mode) in _PLAIN and not tagged and not _deep_png(data) and "transparency" not in picture.info:
        return data, picture.size
    lossy = picture.format in ("JPEG", "MPO", "WEBP")
    if tagged and not turn:
        picture.getexif().pop(_ORIENTATION)
    picture = _upright(picture)
    stream = io.BytesIO()
    if lossy:
        picture.save(stream, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(stream, "PNG")
    return stream.getvalue(), picture.size


def _file_bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{name}: expected an image file, found none; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{name}: expected an image file, got a folder; name one file in it") from None
    except PermissionError:
        raise UserError(f"{name}: expected a readable image file, got no permission; change its access rights") from None


def _open(data: bytes, name: str) -> Image.Image:
    """The picture, decoded to its last pixel (opening alone reads the header only)."""
    if not data:
        raise UserError(f"{name}: expected an image, got an empty file; fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs; the limit below says it in our words
            picture = Image.open(io.BytesIO(data))
        width, height = picture.size
        if width < 1 or height < 1:
            raise UserError(f"{name}: expected an image, got one of {width}x{height} pixels; replace the file")
        if width * height > MAX_PIXELS:
            raise _too_large(name, f"{width}x{height}")
        picture.load()
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(name, "more") from None
    except Image.UnidentifiedImageError:
        looks = "an HTML page" if data.lstrip()[:1] == b"<" else f"a file that begins with {data[:8]!r}"
        raise UserError(f"{name}: expected an image (JPEG, PNG, ...), got {looks}; fetch or export it again") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError, OverflowError) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise UserError(f"{name}: expected a whole image, got a cut-off or damaged one ({error}); fetch it again") from None
    return picture


def _too_large(name: str, size: str) -> UserError:
    return UserError(f"{name}: expected an image of at most {MAX_PIXELS // 1_000_000} megapixels, got {size}; scale it down first")


def _deep_png(data: bytes) -> bool:
    """Whether these are the bytes of a PNG with 16 bits a channel (which Pillow hides behind mode RGB)."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16


def _upright(picture: Image.Image) -> Image.Image:
    """The loaded picture turned by its EXIF tag and converted to 8-bit RGB."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _to_eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 8 bits from one of 16 bits (0..65535), or of floats or 32 bits (scaled to its own range)."""
    values = np.asarray(picture).astype(np.float64)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and 0 <= values.min() and values.max() <= 65535):
        low, high = 0.0, 65535.0
    else:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = values.min(), values.max()
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))

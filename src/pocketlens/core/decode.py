"""Image bytes to upright 8-bit RGB pixels, in one way for the whole product.

Shape suffixes here and elsewhere: H height, W width, C channel, N sample, K class, B bootstrap.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from pocketlens.core.errors import ImageError

#: Pillow's names. MPO (several JPEGs in one file) is read by Pillow's JPEG reader.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")

#: File endings that are looked at in folders; the content decides how they are read.
SUFFIXES: Final = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .bmp .gif .tif .tiff .ppm .pgm .pnm .avif".split()
)

MAX_PIXELS: Final = 200_000_000

_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode bytes to an upright 8-bit RGB image.

    The format is told from the content, never from a name. EXIF orientation is applied. 16-bit
    samples keep their high byte, as Pillow does for 16-bit RGB. Transparent pixels are laid on
    white. Of an animation the first frame is read.

    Args:
        data: the file's bytes.
        max_pixels: images with more pixels are refused before they are decoded.

    Raises:
        ImageError: no image in a known format, damaged or cut off, too large, or with pixels
            that have no fixed scale (32-bit integers, floating point).
    """
    image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{width}x{height} pixels is above the limit of {max_pixels / 1e6:g} megapixels; "
            "make it smaller or raise the limit"
        )
    # On damaged bytes Pillow's readers raise whatever their libraries do (RuntimeError from AVIF,
    # DecompressionBombError from GIF, struct.error, ...); each means that this image is no good.
    try:
        image.load()
    except Exception as error:
        raise ImageError(f"damaged or cut off: {error}") from error
    return _to_rgb(_upright(image))


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the upright image, from the header alone.

    Raises:
        ImageError: no image in a known format.
    """
    image = _open(data)
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an RGB image as `image_HWC`, uint8."""
    return np.asarray(image, dtype=np.uint8)


def _open(data: bytes) -> ImageFile.ImageFile:
    # Image.open would refuse above its own global limit, which a library must not change for
    # the whole process; so the readers it would choose from are called directly.
    if not data:
        raise ImageError("the file is empty")
    Image.preinit()
    if not all(name in Image.OPEN for name in FORMATS):
        Image.init()
    prefix = data[:16]
    for name in FORMATS:
        if name not in Image.OPEN:  # AVIF needs a Pillow built with it
            continue
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(prefix) is not True:
            continue
        try:
            opened = factory(io.BytesIO(data), "")
        except Exception as error:
            raise ImageError(f"damaged {name} header: {error}") from error
        assert isinstance(opened, ImageFile.ImageFile)
        return opened
    hint = _hint(data[:512].lstrip())
    raise ImageError(f"not an image in a known format ({', '.join(FORMATS)}){hint}")


def _hint(start: bytes) -> str:
    if start[:5].lower() in (b"<?xml", b"<svg ", b"<svg>"):
        return "; it looks like SVG or XML, save it as PNG"
    if start[4:8] == b"ftyp":
        return "; it looks like HEIC or a video, save it as JPEG"
    return ""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError):
        return 1  # damaged EXIF: the pixels are still good, and nothing says they are turned


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        samples = np.asarray(image).astype(np.int64)
        return Image.fromarray((samples >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(
            "32-bit or floating-point pixels have no fixed scale; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    try:
        return image.convert("RGB")
    except (OSError, ValueError) as error:
        raise ImageError(f"pixels of kind {image.mode} can't be turned into RGB") from error

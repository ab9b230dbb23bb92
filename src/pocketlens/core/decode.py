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
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "bmp", "gif", "tif", "tiff"),
        *("ppm", "pgm", "pnm", "avif"),
    )
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


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, shrink: int = 1) -> Image.Image:
    """Decode bytes to an upright 8-bit RGB image.

    The format is told from the content, never from a name. EXIF orientation is applied. 16-bit
    samples keep their high byte, as Pillow does for 16-bit RGB. Transparent pixels are laid on
    white. Of an animation the first frame is read.

    Args:
        data: the file's bytes.
        max_pixels: images with more pixels are refused before they are decoded.
        shrink: 2, 4 or 8: a JPEG is decoded at that part of its width and height, which is much
            faster (each block of 8x8 pixels becomes 4x4, 2x2 or one); other formats stay whole.

    Raises:
        ImageError: no image in a known format, damaged or cut off, too large, or with pixels
            that have no fixed scale (32-bit integers, floating point).
    """
    image = _open(data, max_pixels)
    _check_size(image.size, max_pixels)
    if shrink > 1 and image.format in ("JPEG", "MPO"):
        # Pillow takes the largest part that leaves at least this size.
        image.draft(None, (image.width // shrink or 1, image.height // shrink or 1))
    try:
        image.load()
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    except Exception as error:  # readers raise whatever the damage leads them to
        raise ImageError(f"damaged or cut off: {error}", "damaged_image") from error


def decode_mask(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """A PNG mask as upright `mask_HW`, bool: True where it is neither black nor transparent.

    Whether it is drawn in white, in colours or with labels such as 1 makes no difference.

    Raises:
        ImageError: no PNG (others may blur black), damaged, or too large.
    """
    if not data.startswith(b"\x89PNG"):
        raise ImageError("it is no PNG file" if data else "the file is empty")
    image: Image.Image = _open(data, max_pixels)
    _check_size(image.size, max_pixels)
    try:
        image.load()
        image = _upright(image)
        if image.has_transparency_data or image.mode == "P":
            samples = np.asarray(image.convert("RGBA"))
            return np.asarray(samples[..., :3].any(axis=2) & (samples[..., 3] > 0))
        samples = np.asarray(image)  # 16-bit labels such as 1 would be lost in 8 bits
    except Exception as error:  # readers raise whatever the damage leads them to
        raise ImageError(f"damaged or cut off: {error}", "damaged_image") from error
    return np.asarray(samples.any(axis=2) if samples.ndim == 3 else samples != 0)


def image_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels of the upright image, without decoding more than needed.

    Raises:
        ImageError: no image in a known format, or one with more pixels.
    """
    image = _open(data, max_pixels)
    # Before asking how it lies: a PNG may say so behind its pixels, which are then decoded.
    _check_size(image.size, max_pixels)
    width, height = image.size
    # Pillow's TIFF reader tells the upright size itself.
    turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an RGB image as `image_HWC`, uint8."""
    return np.asarray(image, dtype=np.uint8)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{width}x{height} pixels is above the limit of {max_pixels / 1e6:g} megapixels; "
            "make it smaller or raise the limit",
            "too_many_pixels",
        )


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    # Image.open would refuse above its own global limit, which a library must not change for
    # the whole process; so the readers it would choose from are called directly.
    if not data:
        raise ImageError("the file is empty", "empty_image")
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
        if name == "WEBP":  # its reader makes room for the pixels before it tells their number
            _check_size(_webp_size(data), max_pixels)
        try:
            opened = factory(io.BytesIO(data), "")
        except Exception as error:
            raise ImageError(f"damaged {name} header: {error}", "damaged_image") from error
        assert isinstance(opened, ImageFile.ImageFile)
        return opened
    hint = _hint(data[:512].lstrip())
    code = "svg_image" if "SVG" in hint else "unknown_image_format"
    raise ImageError(f"not an image in a known format ({', '.join(FORMATS)}){hint}", code)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP header; 0, 0 where there is none to read."""

    def number(at: int, num_bytes: int) -> int:
        return int.from_bytes(data[at : at + num_bytes], "little")

    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + number(24, 3), 1 + number(27, 3)
    if kind == b"VP8L":
        return 1 + (number(21, 4) & 0x3FFF), 1 + (number(21, 4) >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF
    return 0, 0


def _hint(start: bytes) -> str:
    if start[:5].lower().startswith((b"<?xml", b"<svg")):
        return "; it looks like SVG or XML, save it as PNG"
    if start[4:8] == b"ftyp":
        return "; it looks like HEIC or a video, save it as JPEG"
    return ""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1  # damaged EXIF: the pixels are still good, and nothing says they are turned


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
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

"""Photos that strangers send: looked at before they are decoded, and stored as made anew."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from pocketlens.core.decode import decode_image, image_size, to_array

#: JPEG's own limit is 65,535 pixels a side.
_JPEG_SIDE: Final = 65_000
_JPEG_QUALITY: Final = 95


def inspect(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Whether a photo is worth decoding.

    Returns:
        Width and height in pixels, upright.

    Raises:
        ImageError: empty, no image, SVG, a damaged header, more than `max_pixels`; its `code` is
            for programs.
    """
    return image_size(data, max_pixels=max_pixels)


def reencode(data: bytes, max_pixels: int) -> tuple[bytes, str]:
    """A photo's pixels in a file of our making: upright RGB, no metadata, nothing behind its end.

    What came without loss becomes PNG with the same pixels; what came with loss (JPEG, lossy
    WebP, AVIF) becomes JPEG of quality 95 with whole colours. Of an animation the first frame is
    kept.

    Returns:
        The file's bytes and its suffix, `.jpg` or `.png`.

    Raises:
        ImageError: it can't be decoded as a whole.
    """
    # From the bare pixels: an image carries its profile and comments along into what it saves.
    image = Image.fromarray(
        np.ascontiguousarray(to_array(decode_image(data, max_pixels=max_pixels)))
    )
    out = io.BytesIO()
    if is_lossy(data) and max(image.size) <= _JPEG_SIDE:
        image.save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return out.getvalue(), ".jpg"
    image.save(out, "PNG", compress_level=4)
    return out.getvalue(), ".png"


def is_lossy(data: bytes) -> bool:
    """Whether a file's format has thrown pixels away already, told from its content."""
    if data.startswith(b"\xff\xd8"):
        return True
    if data[4:8] == b"ftyp":  # AVIF
        return True
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return not _is_lossless_webp(data)
    return False


def _is_lossless_webp(data: bytes) -> bool:
    """Whether the first frame is lossless."""
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        # A frame of an animation holds chunks of its own behind 16 bytes about its place.
        at += 8 + 16 if kind == b"ANMF" else 8 + size + size % 2
    return False

"""Photos that strangers send (FAULTS 1 to 9, as the service meets them)."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pocketlens.core.decode import decode_image, to_array
from pocketlens.core.errors import ImageError
from pocketlens.service.uploads import inspect, is_lossy, reencode

_LIMIT = 1_000_000
Encode = Callable[..., bytes]


def _pixels(width: int = 40, height: int = 30, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(height, width, channels), dtype=np.uint8)


def _stored(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(reencode(data, _LIMIT)[0]))


def test_what_is_no_photo_has_a_word_for_programs(encode: Encode) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    jpeg = encode(_pixels(), "JPEG")
    for data, code in (
        (b"", "empty_image"),
        (svg, "svg_image"),
        (b'<?xml version="1.0"?>' + svg, "svg_image"),
        (b"<html><script>alert(1)</script></html>", "unknown_image_format"),
        (b"just text", "unknown_image_format"),
        (b"%PDF-1.7", "unknown_image_format"),
        (encode(_pixels(1001, 1000), "PNG"), "too_many_pixels"),
        (encode(_pixels(1001, 1000), "WEBP", lossless=True), "too_many_pixels"),
        (jpeg[:4], "damaged_image"),
    ):
        with pytest.raises(ImageError) as raised:
            inspect(data, _LIMIT)
        assert raised.value.code == code, (data[:20], raised.value)
        with pytest.raises(ImageError):
            reencode(data, _LIMIT)
    assert inspect(jpeg, _LIMIT) == (40, 30)
    with pytest.raises(ImageError) as raised:  # a whole header, but half the pixels
        reencode(jpeg[: len(jpeg) // 2], _LIMIT)
    assert raised.value.code == "damaged_image"


def test_the_limit_holds_before_pixels_are_made(encode: Encode) -> None:
    bomb = encode(Image.new("L", (20_000, 20_000)), "PNG")  # 400 MB of pixels in 400 kB
    began = time.perf_counter()
    with pytest.raises(ImageError, match="megapixels"):
        inspect(bomb, 25_000_000)
    assert time.perf_counter() - began < 0.5


def test_of_a_gif_with_many_frames_one_is_read(encode: Encode) -> None:
    frame = Image.fromarray(_pixels()).convert("P")
    short = encode(frame, "GIF", save_all=True, append_images=[frame.rotate(90)])
    # The first frame's data ends before the trailer; what follows is repeated a million times.
    many = short[:-1] + b"!\xf9\x04\x00\x00\x00\x00\x00" * 1_000_000 + b";"
    began = time.perf_counter()
    data, suffix = reencode(many, _LIMIT)
    assert time.perf_counter() - began < 1
    assert suffix == ".png"
    assert np.array_equal(to_array(decode_image(data)), to_array(decode_image(short)))


def test_what_came_without_loss_keeps_its_pixels(encode: Encode) -> None:
    rgb = Image.fromarray(_pixels())
    cases = {
        "png": encode(rgb, "PNG"),
        "16-bit": encode(Image.fromarray(_pixels()[..., 0].astype(np.uint16) * 257), "PNG"),
        "palette": encode(rgb.quantize(64), "PNG", transparency=3),
        "alpha": encode(Image.fromarray(_pixels(channels=4), "RGBA"), "PNG"),
        "grey": encode(rgb.convert("L"), "PNG"),
        "bmp": encode(rgb, "BMP"),
        "cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "webp": encode(rgb, "WEBP", lossless=True),
        "ppm": encode(rgb, "PPM"),
    }
    for name, original in cases.items():
        data, suffix = reencode(original, _LIMIT)
        assert suffix == ".png", name
        assert data.startswith(b"\x89PNG"), name
        kept = to_array(decode_image(data))
        assert np.array_equal(kept, to_array(decode_image(original))), name


def test_what_came_with_loss_loses_little_more(encode: Encode) -> None:
    smooth = np.linspace(0, 255, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint8)
    for format in ("JPEG", "WEBP", "AVIF"):
        original = encode(smooth, format, quality=80)
        data, suffix = reencode(original, _LIMIT)
        assert suffix == ".jpg", format
        apart = np.abs(
            to_array(decode_image(data)).astype(int) - to_array(decode_image(original)).astype(int)
        )
        assert apart.mean() < 1.5, format
        with Image.open(io.BytesIO(data)) as stored:
            assert stored.layer[1][1:3] == (1, 1)  # colours at full size
    long = encode(Image.new("RGB", (65_500, 1)), "JPEG")
    assert reencode(long, _LIMIT)[1] == ".png"  # near JPEG's own limit


def test_it_is_stored_upright(encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(_pixels(), "JPEG", exif=exif)
    assert inspect(turned, _LIMIT) == (30, 40)
    stored = _stored(turned)
    assert stored.size == (30, 40)
    assert stored.getexif().get(0x0112, 1) == 1


def test_nothing_of_the_file_stays_but_its_pixels(encode: Encode) -> None:
    """FAULTS 4."""
    secret = b"<script>alert('secret-word')</script>"
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", secret.decode())
    for original in (
        encode(_pixels(), "JPEG", exif=exif, comment=secret, icc_profile=secret),
        encode(_pixels(), "PNG", exif=exif, pnginfo=text, icc_profile=secret, dpi=(72, 72)),
        encode(_pixels(), "WEBP", exif=exif, icc_profile=secret, xmp=secret),
        encode(_pixels(), "WEBP", lossless=True, exif=exif, icc_profile=secret, xmp=secret),
    ):
        data, _ = reencode(original + secret, _LIMIT)
        assert b"secret-word" not in data
        assert not Image.open(io.BytesIO(data)).getexif()
        assert set(Image.open(io.BytesIO(data)).info) <= {
            *("jfif", "jfif_version", "jfif_unit", "jfif_density")
        }


def test_content_tells_the_format_not_a_name(encode: Encode) -> None:
    still = Image.fromarray(_pixels())
    cases = {
        "JPEG": (encode(still, "JPEG"), True),
        "lossy WebP": (encode(still, "WEBP"), True),
        "lossless WebP": (encode(still, "WEBP", lossless=True), False),
        "lossless WebP with a profile": (
            encode(still, "WEBP", lossless=True, icc_profile=b"some profile"),
            False,
        ),
        "animated lossless WebP": (
            encode(still, "WEBP", lossless=True, save_all=True, append_images=[still.rotate(90)]),
            False,
        ),
        "animated lossy WebP": (
            encode(still, "WEBP", save_all=True, append_images=[still.rotate(90)]),
            True,
        ),
        "AVIF": (encode(still, "AVIF"), True),
        "PNG": (encode(still, "PNG"), False),
        "cut off": (b"RIFF\0\0\0\0WEBPVP8X", True),
    }
    assert {name: is_lossy(data) for name, (data, _) in cases.items()} == {
        name: lossy for name, (_, lossy) in cases.items()
    }

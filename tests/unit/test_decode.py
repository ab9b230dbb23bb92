"""Numbers in comments are lines of the list of bad input that must be met (Images)."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.decode import decode_image, image_size
from pocketlens.core.errors import ImageError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
BLOCKS = np.kron(RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def decoded(data: bytes) -> np.ndarray:
    image = decode_image(data)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: np.ndarray, color: int) -> bytes:
    """A 16-bit PNG; Pillow can't write all of its kinds."""
    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_empty_file():  # 1
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated(format, share):  # 2
    data = encoded(Image.fromarray(BLOCKS), format)
    decode_image(data)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data", [b"P", b"hello", b"BM", b"RIFF", b"GIF89a", b"\xff\xd8\xff", b"II*\0"]
)
def test_text_and_stubs(data):  # 3
    with pytest.raises(ImageError):
        decode_image(data)


def test_png_with_html_behind_it_is_the_png():  # 4
    plain = encoded(Image.fromarray(PIXELS), "PNG")
    assert np.array_equal(decoded(plain + b"<script>alert(1)</script>"), PIXELS)


@pytest.mark.parametrize("start", [b"<svg xmlns='x'/>", b"\n<?xml version='1.0'?><svg/>"])
def test_svg_says_what_to_do(start):  # 5
    with pytest.raises(ImageError, match="save it as PNG"):
        decode_image(start)


def test_a_script_language_is_no_image():  # 5: PostScript would start an interpreter
    with pytest.raises(ImageError, match="known format"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_pixel_limit_before_decoding():  # 6
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"not even pixels")
    with pytest.raises(ImageError, match="200 megapixels"):
        decode_image(bomb)
    small = encoded(Image.fromarray(PIXELS), "PNG")
    with pytest.raises(ImageError, match="limit"):
        decode_image(small, max_pixels=13 * 17 - 1)
    decode_image(small, max_pixels=13 * 17)


def test_above_pillows_own_limit():  # 6: Pillow refuses from 179 megapixels, we from 200
    huge = Image.new("1", (15_000, 12_500))
    assert decode_image(encoded(huge, "PNG")).size == huge.size


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("extended", [True, False])
def test_webp_limit_from_the_header(lossless, extended):  # 6: its reader makes room on opening
    options = {"exif": b"Exif\0\0"} if extended else {}
    data = encoded(Image.fromarray(PIXELS), "WEBP", lossless=lossless, **options)
    cut = data[:40]  # nothing could be decoded from this
    with pytest.raises(ImageError, match="17x13 pixels is above the limit"):
        decode_image(cut, max_pixels=100)


def test_gif_with_very_many_frames():  # 7
    frame = encoded(Image.fromarray(PIXELS[..., 0]), "GIF")
    start = frame.index(b"\x2c", 13 + 3 * 256)
    body = frame[start:-1]
    many = frame[:start] + body * (100_000_000 // len(body) // 2) + b";"
    assert len(many) > 40_000_000
    assert np.array_equal(decoded(many), decoded(frame))


def test_gif_frame_beyond_its_canvas():  # 6, 7
    data = bytearray(encoded(Image.fromarray(PIXELS[..., 0]), "GIF"))
    start = data.index(b"\x2c", 13 + 3 * 256)
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError):
        decode_image(bytes(data))


def test_cmyk_jpeg():  # 8
    data = encoded(Image.fromarray(BLOCKS).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(decoded(data) - BLOCKS).max() <= 2


def test_16_bit_rgb_and_grey_keep_the_high_byte():  # 8
    values = RNG.integers(0, 65536, (13, 17, 3))
    assert np.array_equal(decoded(png16(values, 2)), values >> 8)
    assert np.array_equal(decoded(png16(values[..., 0], 0)), np.stack([values[..., 0] >> 8] * 3, 2))
    for kind in ("<u2", ">u2"):
        tiff = encoded(Image.fromarray(values[..., 0].astype(kind)), "TIFF")
        assert np.array_equal(decoded(tiff)[..., 0], values[..., 0] >> 8)
    pgm = b"P5 17 13 65535\n" + values[..., 0].astype(">u2").tobytes()
    assert np.array_equal(decoded(pgm)[..., 0], values[..., 0] >> 8)


def test_16_bit_with_alpha():  # 8
    values = RNG.integers(0, 65536, (13, 17, 4))
    alpha = (values[..., 3:] >> 8) / 255
    expected = (values[..., :3] >> 8) * alpha + 255 * (1 - alpha)
    assert np.abs(decoded(png16(values, 6)) - expected).max() <= 1


def test_palette_with_alpha_is_laid_on_white():  # 8
    image = Image.fromarray(PIXELS).quantize(16)
    alphas = bytes(range(0, 256, 16))
    palette = np.array(image.getpalette()[:48]).reshape(16, 3)
    index = np.asarray(image)
    alpha = np.array(list(alphas))[index][..., None] / 255
    expected = palette[index] * alpha + 255 * (1 - alpha)
    data = encoded(image, "PNG", transparency=alphas)
    assert np.abs(decoded(data) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_modes_equal_plain_rgb(mode):  # 8
    image = Image.fromarray(PIXELS).convert(mode)
    plain = encoded(image.convert("RGB"), "PNG")
    assert np.array_equal(decoded(encoded(image, "PNG")), decoded(plain))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation(format, orientation):  # 8
    # Where EXIF says the upright picture's first row and column are in the stored one.
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    data = encoded(Image.fromarray(BLOCKS), format, exif=exif, **lossless.get(format, {}))
    expected = turn(BLOCKS)
    result = decoded(data)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= (3 if format == "JPEG" else 0)
    assert image_size(data) == expected.shape[1::-1]


def test_floating_point_pixels_are_refused():  # 8
    data = encoded(Image.fromarray(RNG.random((5, 5), dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match="no fixed scale"):
        decode_image(data)


def test_content_decides_not_the_name():  # 9: no name is ever given
    for format in ("WEBP", "PNG", "GIF", "BMP"):
        assert decode_image(encoded(Image.fromarray(PIXELS), format)).size == (17, 13)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF"])
def test_damage_is_always_an_image_error(format):  # 2
    rng = np.random.default_rng(1)
    whole = np.frombuffer(encoded(Image.fromarray(BLOCKS), format), dtype=np.uint8)
    for _ in range(300):
        data = whole.copy()
        places = rng.integers(0, min(len(data), rng.choice([64, 10**6])), rng.integers(1, 9))
        data[places] = rng.integers(0, 256, len(places))
        with suppress(ImageError):
            decode_image(data.tobytes(), max_pixels=1_000_000)


def test_the_size_of_too_many_pixels_is_refused_before_they_are_decoded() -> None:
    """A PNG may say how it lies behind its pixels, so asking would decode them."""
    bomb = encoded(Image.new("L", (20_000, 5_000)), "PNG")
    with pytest.raises(ImageError, match="megapixels") as raised:
        image_size(bomb, max_pixels=99_999_999)
    assert raised.value.code == "too_many_pixels"
    assert image_size(bomb, max_pixels=100_000_000) == (20_000, 5_000)

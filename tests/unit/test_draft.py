"""Drafts: large JPEGs decoded small, which must hardly change what the network sees."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.errors import ImageError
from pocketlens.core.preprocess import Preprocess

PLAIN = Preprocess(32, 32, resize="stretch")
DRAFT = replace(PLAIN, draft=True)


def photo(width: int, height: int, *, orientation: int = 1, format: str = "JPEG") -> bytes:
    """Smooth hills with an edge, as photos are and noise isn't."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    channels = [np.sin(9 * x + k) + np.cos(7 * y * (k + 1)) + (x > 0.6) for k in range(3)]
    pixels = (np.stack(channels, axis=-1) + 2) * 50
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, format, quality=90, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((127, 127), (127, 127)),
        ((128, 127), (128, 127)),
        ((128, 128), (64, 64)),
        ((129, 200), (65, 100)),
        ((256, 999), (64, 250)),
        ((600, 520), (75, 65)),
        ((4000, 3000), (500, 375)),
    ],
)
def test_twice_the_needed_size_is_left(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    height, width = DRAFT.decode(photo(*size)).shape[:2]
    assert (width, height) == decoded


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("number", range(12))
def test_the_input_hardly_changes(resize: str, number: int) -> None:
    width, height = np.random.default_rng(number).integers(600, 1000, 2)
    data = photo(int(width), int(height), orientation=1 + number % 8)
    whole = replace(PLAIN, resize=resize)  # type: ignore[arg-type]
    small = replace(whole, draft=True)
    assert small.decode(data).size < whole.decode(data).size / 3
    a, b = (p.fit(p.decode(data)).astype(float) for p in (whole, small))
    assert np.abs(a - b).mean() < 3
    assert np.abs(a - b).max() < 20


@pytest.mark.parametrize(
    ("box", "decoded"),
    [
        (Box(0, 0, 900, 700), (113, 88)),
        (Box(101, 99, 300, 299), (76, 75)),
        (Box(700, 500, 100, 100), (100, 100)),
    ],
)
def test_what_counts_is_the_box(box: Box, decoded: tuple[int, int]) -> None:
    data = photo(900, 700)
    height, width = DRAFT.decode(data, box).shape[:2]
    assert abs(width - decoded[0]) <= 1
    assert abs(height - decoded[1]) <= 1
    a, b = (p.fit(p.decode(data, box)).astype(float) for p in (PLAIN, DRAFT))
    assert np.abs(a - b).mean() < 3


def test_other_formats_stay_whole() -> None:
    assert DRAFT.decode(photo(400, 400, format="PNG")).shape == (400, 400, 3)


def test_damage_is_told_alike(encode: Callable[..., bytes]) -> None:
    data = photo(600, 600)
    for wrong in (b"", b"text", data[: len(data) // 2]):
        with pytest.raises(ImageError):
            DRAFT.decode(wrong)
    with pytest.raises(ImageError, match="megapixels"):
        DRAFT.decode(data, max_pixels=600 * 600 - 1)

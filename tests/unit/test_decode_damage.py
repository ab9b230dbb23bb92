"""Whatever the bytes, decoding gives pixels or an ImageError, and no other error."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from PIL import features

from pocketlens.core.decode import decode_image, image_size
from pocketlens.core.errors import ImageError

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"]


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_bytes(encode: Callable[..., bytes], format: str) -> None:
    if format == "AVIF":
        assert features.check("avif")
    rng, dice = np.random.default_rng(0), random.Random(0)
    whole = encode(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8), format)
    assert decode_image(whole).size == (30, 24)
    num_refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(600):
            data = bytearray(whole)
            if dice.random() < 0.3:
                del data[dice.randrange(1, len(data)) :]
            for _ in range(dice.choice((1, 2, 8))):
                limit = len(data) if dice.random() < 0.5 else min(len(data), 100)
                data[dice.randrange(limit)] = dice.randrange(256)
            for read in (image_size, lambda data: decode_image(data, max_pixels=1_000_000)):
                try:
                    read(bytes(data))
                except ImageError:
                    num_refused += 1
    assert num_refused > 50

"""The preprocessing value: boxes, refusals, and the way through a manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from pocketlens.core.dataset import Box
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.preprocess import Preprocess

PHOTO = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((5, 4, 10, 8), 0.0, (5, 4, 15, 12)),
        ((5, 4, 10, 8), 0.1, (4, 3, 16, 13)),  # floor and ceil: never less than asked for
        ((0, 0, 30, 20), 0.5, (0, 0, 30, 20)),
        ((25, 15, 10, 10), 0.0, (25, 15, 30, 20)),
        ((-3, -3, 5, 5), 0.0, (0, 0, 2, 2)),
        ((10.5, 10.2, 0.3, 0.3), 0.0, (10, 10, 11, 11)),
        ((28, 18, 2, 2), 1.0, (26, 16, 30, 20)),
    ],
)
def test_box_with_margin(
    encode: Callable[..., bytes], box: Any, margin: float, expected: tuple[int, ...]
) -> None:
    preprocess = Preprocess(8, 8, box_margin=margin)
    left, top, right, bottom = expected
    want = PHOTO[top:bottom, left:right]
    np.testing.assert_array_equal(preprocess.decode(encode(PHOTO), Box(*box)), want)
    np.testing.assert_array_equal(preprocess.crop(PHOTO, Box(*box)), want)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((5, 5, 0, 4), "no area"),
        ((5, 5, 4, -1), "no area"),
        ((30, 5, 4, 4), "outside"),
        ((-9, 5, 4, 4), "outside"),
        ((math.nan, 0, 4, 4), "not finite"),
        ((0, 0, math.inf, 4), "not finite"),
    ],
)
def test_useless_box(encode: Callable[..., bytes], box: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        Preprocess(8, 8)(encode(PHOTO), Box(*box))


def test_whole_way_is_its_steps(encode: Callable[..., bytes]) -> None:
    preprocess = Preprocess(9, 12, "pad", box_margin=0.2)
    data, box = encode(PHOTO), Box(3, 3, 10, 10)
    steps = preprocess.normalize(preprocess.fit(preprocess.decode(data, box)))
    out = preprocess(data, box)
    assert out.shape == (3, 9, 12)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, steps)


def test_a_crop_is_cut_before_it_is_scaled(encode: Callable[..., bytes]) -> None:
    preprocess = Preprocess(8, 8, "stretch")
    expected = preprocess(encode(np.ascontiguousarray(PHOTO[2:12, 5:25])))
    np.testing.assert_array_equal(preprocess(encode(PHOTO), Box(5, 2, 20, 10)), expected)


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(224, 224),
        Preprocess(32, 48, "pad", "lanczos", pad_color=(1, 2, 3), box_margin=0.25),
        Preprocess(32, 32, "stretch", antialias=False, mean=(0, 0, 0), std=(1, 1, 1)),
    ],
)
def test_round_trip(preprocess: Preprocess) -> None:
    again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())))
    assert again == preprocess
    assert hash(again) == hash(preprocess)
    np.testing.assert_array_equal(again(_png()), preprocess(_png()))


def _png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(PHOTO).save(out, "PNG")
    return out.getvalue()


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Preprocess(8, 8).height = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": 0}, "at least 1x1"),
        ({"width": -3}, "at least 1x1"),
        ({"height": 7.5}, "whole numbers"),
        ({"height": "8"}, "whole numbers"),
        ({"height": True}, "whole numbers"),
        ({"height": None}, "whole numbers"),
        ({"resize": "squash"}, "stretch, crop, pad"),
        ({"interpolation": "cubic"}, "bilinear"),
        ({"interpolation": ["cubic"]}, "bilinear"),
        ({"antialias": "no"}, "true or false"),
        ({"antialias": False, "interpolation": "lanczos"}, "only defined with antialias"),
        ({"antialias": False, "interpolation": "bicubic"}, "only defined with antialias"),
        ({"crop_pct": 0}, "crop_pct"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"crop_pct": math.nan}, "crop_pct"),
        ({"crop_pct": "1"}, "wrong kind"),
        ({"mean": [0.5, 0.5]}, "three numbers"),
        ({"mean": [0.5, 0.5, math.nan]}, "finite"),
        ({"mean": "abc"}, "wrong kind"),
        ({"mean": 0.5}, "wrong kind"),
        ({"std": [0.2, 0.2, 0]}, "above 0"),
        ({"std": [0.2, 0.2, math.inf]}, "finite"),
        ({"std": [0.2, 0.2, None]}, "wrong kind"),
        ({"box_margin": -0.1}, "box_margin"),
        ({"box_margin": math.inf}, "box_margin"),
        ({"pad_color": [0, 0, 256]}, "pad_color"),
        ({"pad_color": [0, 0]}, "pad_color"),
        ({"pad_color": 0}, "wrong kind"),
        ({"colour": "bgr"}, "unknown colour"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Preprocess.from_dict({"height": 8, "width": 8} | change)
    assert "\n" not in str(caught.value)


def test_missing_size() -> None:
    with pytest.raises(UserError, match="no height, width"):
        Preprocess.from_dict({"resize": "pad"})


def test_pixel_limit(encode: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError, match="limit"):
        Preprocess(8, 8)(encode(PHOTO), max_pixels=599)
    Preprocess(8, 8)(encode(PHOTO), max_pixels=600)

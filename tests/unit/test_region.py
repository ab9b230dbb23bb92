"""Regions as values: masks read, photos cut, files found by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.decode import decode_mask
from pocketlens.core.directory import expand
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.region import (
    NoRegionError,
    Region,
    RegionContext,
    around,
    cut,
    mask_region,
    summarize,
)
from pocketlens.regions import box as box_regions
from pocketlens.regions import mask as mask_regions

SPEC = Preprocess(8, 8, resize="stretch", mean=(0.5, 0.25, 1.0), std=(1.0,) * 3)
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(1, 200, (20, 30, 3)).astype(np.uint8)
DISC = np.zeros((20, 30), dtype=bool)
DISC[4:10, 5:17] = True
DISC[4, 5] = False


def test_keep() -> None:
    region = mask_region(DISC)
    assert region.box == Box(5, 4, 12, 6)
    masked = cut(PHOTO, region, "mask", "mean", SPEC)
    assert (masked[DISC] == PHOTO[DISC]).all()
    assert (masked[~DISC] == (128, 64, 255)).all()
    assert (cut(PHOTO, region, "mask", "black", SPEC)[~DISC] == 0).all()
    np.testing.assert_array_equal(cut(PHOTO, region, "crop", "mean", SPEC), PHOTO[4:10, 5:17])
    both = cut(PHOTO, region, "mask-crop", "black", SPEC)
    assert both.shape == (6, 12, 3)
    assert (both[0, 0] == 0).all()
    np.testing.assert_array_equal(both[1:], PHOTO[5:10, 5:17])


def test_a_box_without_a_mask() -> None:
    region = Region(Box(5, 4, 12, 6))
    expected = PHOTO[4:10, 5:17]
    for keep in ("crop", "mask-crop"):
        np.testing.assert_array_equal(cut(PHOTO, region, keep, "mean", SPEC), expected)
    masked = cut(PHOTO, region, "mask", "black", SPEC)
    np.testing.assert_array_equal(masked[4:10, 5:17], expected)
    assert masked.sum() == expected.sum()
    with pytest.raises(ImageError, match="outside"):
        cut(PHOTO, Region(Box(50, 4, 12, 6)), "mask", "black", SPEC)


def test_a_box_grows_by_the_margin_the_network_was_trained_with() -> None:
    spec = Preprocess(8, 8, box_margin=0.5)
    for keep in ("crop", "mask-crop"):
        assert cut(PHOTO, Region(Box(10, 8, 6, 4)), keep, "mean", spec).shape == (8, 12, 3)


def test_what_is_kept_of_a_row_is_small() -> None:
    photo = np.zeros((3000, 4000, 3), np.uint8)
    found = summarize(photo, Region(Box(0, 0, 2000, 3000)), SPEC, PHOTO)
    assert found.share == pytest.approx(50)
    assert found.shown_HW.shape == (480, 640)
    assert found.shown_HW.mean() == pytest.approx(0.5, abs=0.01)


def test_around() -> None:
    assert around([Box(5, 6, 10, 10), Box(1, 8, 2, 20)]) == Box(1, 6, 14, 22)


@pytest.mark.parametrize("mode", ["1", "L", "labels", "P", "RGB", "RGBA", "I;16", "LA"])
def test_masks_of_any_kind_mean_the_same(mode: str, encode: Callable[..., bytes]) -> None:
    white = Image.fromarray(np.where(DISC, 255, 0).astype(np.uint8))
    if mode == "labels":
        image = Image.fromarray(DISC.astype(np.uint8))
    elif mode == "I;16":
        image = Image.fromarray(DISC.astype(np.uint16))
    elif mode == "P":
        image = Image.fromarray(np.where(DISC, 3, 0).astype(np.uint8))
        image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 128, 0, 0])
    elif mode in ("RGBA", "LA"):  # a cut-out: white, or transparent white
        image = Image.new(mode, white.size, (200,) * len(mode))
        image.putalpha(white)
    else:
        image = white.convert(mode)
    np.testing.assert_array_equal(decode_mask(encode(image)), DISC)


def test_masks_that_are_none(encode: Callable[..., bytes]) -> None:
    whole = encode(Image.fromarray(np.where(DISC, 255, 0).astype(np.uint8)))
    damaged = ((b"", "empty"), (b"\xff\xd8", "no PNG"), (whole[:40], "damaged"))
    for data, reason in (*damaged, (encode(PHOTO, "JPEG"), "no PNG")):
        with pytest.raises(ImageError, match=reason):
            decode_mask(data)
    with pytest.raises(ImageError, match="limit"):
        decode_mask(whole, max_pixels=100)


def _mask(path: Path, mask_HW: np.ndarray = DISC) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask_HW, 255, 0).astype(np.uint8)).save(path)


def _finder(folder: Path, *names: str) -> Callable[..., Region]:
    context = RegionContext(lambda: list(names), lambda path: {}, 1)
    return mask_regions.open(mask_regions.Config(str(folder)), context).find


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    other = np.roll(DISC, 3, axis=1)
    _mask(masks / "a.png")
    _mask(masks / "b.jpg.png")
    _mask(masks / "light" / "c.png", other)
    _mask(masks / "c.png")
    names = [str(tmp_path / "photos" / n) for n in ("a.jpg", "b.jpg", "light/c.jpg", "d.jpg")]
    find = _finder(masks, *names)
    for name, expected in zip(names, (DISC, DISC, other), strict=False):
        np.testing.assert_array_equal(find(PHOTO, name).mask_HW, expected)
    with pytest.raises(NoRegionError, match=r"no mask is given .*d\.png"):
        find(PHOTO, names[3])


def test_two_photos_of_one_name_need_folders(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    _mask(masks / "a.png")
    names = [str(tmp_path / "photos" / folder / "a.jpg") for folder in ("x", "y")]
    find = _finder(masks, *names)
    with pytest.raises(ImageError, match="several photos are called a"):
        find(PHOTO, names[0])
    _mask(masks / "y" / "a.png")
    assert find(PHOTO, names[1]).box == Box(5, 4, 12, 6)


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    _mask(tmp_path / "turned.png", DISC.T)
    _mask(tmp_path / "empty.png", DISC & False)
    (tmp_path / "text.png").write_text("<html>")
    find = _finder(tmp_path)
    with pytest.raises(ImageError, match="its mask has 20x30 pixels, the upright photo 30x20"):
        find(PHOTO, "turned.jpg")
    with pytest.raises(NoRegionError, match="empty"):
        find(PHOTO, "empty.jpg")
    with pytest.raises(ImageError, match="no PNG"):
        find(PHOTO, "text.jpg")
    with pytest.raises(UserError, match="no folder"):
        _finder(tmp_path / "gone")


def test_a_photo_is_not_its_own_mask(tmp_path: Path) -> None:
    _mask(tmp_path / "a.png")
    find = _finder(tmp_path)
    with pytest.raises(NoRegionError):
        find(PHOTO, str(tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "x" * 300, "a\0b", "CON", ""])
def test_names_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    masks = tmp_path / "in" / "masks"
    masks.mkdir(parents=True)
    _mask(tmp_path / "passwd.png")
    _mask(tmp_path / "in" / "passwd.png")
    with pytest.raises(NoRegionError):
        _finder(masks)(PHOTO, name)


def test_boxes() -> None:
    given = {"a": [Box(1, 1, 4, 4), Box(10, 5, 10, 10)], "b": []}
    context = RegionContext(list, lambda path: given, 1)
    find = box_regions.open(box_regions.Config("x.json"), context).find
    assert find(PHOTO, "a") == Region(Box(1, 1, 19, 14), None, "2 boxes")
    with pytest.raises(NoRegionError, match="no box"):
        find(PHOTO, "b")
    largest = box_regions.open(box_regions.Config("x.json", "largest"), context).find
    assert largest(PHOTO, "a").box == Box(10, 5, 10, 10)


def test_a_home_that_is_none_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="nosuchuser"):
        expand("~nosuchuser/masks")

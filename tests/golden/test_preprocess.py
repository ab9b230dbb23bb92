"""Preprocessing is Pillow's, torchvision's and timm's, bit for bit."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pocketlens.core.preprocess import Preprocess

PHOTOS = sorted((Path(__file__).parent / "photos").iterdir())
SIZES = [(1, 1), (1, 9), (7, 5), (31, 32), (64, 64), (65, 41), (257, 100), (300, 500), (33, 700)]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def uint8(preprocess: Preprocess, data: bytes) -> np.ndarray:
    return preprocess.fit(preprocess.decode(data))


def made_up() -> list[tuple[bytes, Image.Image]]:
    pictures = [(png(noise(*size)), noise(*size)) for size in SIZES]
    for path in PHOTOS:
        with Image.open(path) as image:
            pictures.append((path.read_bytes(), ImageOps.exif_transpose(image).convert("RGB")))
    return pictures


@pytest.fixture(scope="module")
def real(data_dir: Path) -> list[tuple[bytes, Image.Image]]:
    folders = ("imagenet_200", "neu_steel", "coco_mini", "skin_lesions", "pill_aihub")
    paths: list[Path] = []
    for folder in folders:
        found = sorted(
            p for p in (data_dir / folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg")
        )
        paths += found[:: max(1, len(found) // 6)][:6]
    pictures = []
    for path in paths:
        with Image.open(path) as image:
            pictures.append((path.read_bytes(), ImageOps.exif_transpose(image).convert("RGB")))
    assert len(pictures) == 30
    return pictures


def timm_transform(preprocess: Preprocess, crop_mode: str) -> Callable[[Image.Image], Any]:
    from timm.data import create_transform

    return create_transform(
        (3, preprocess.height, preprocess.width),
        interpolation=preprocess.interpolation,
        crop_pct=preprocess.crop_pct,
        crop_mode=crop_mode,
        mean=preprocess.mean,
        std=preprocess.std,
    )


def check_against_timm(
    preprocess: Preprocess, crop_mode: str, pictures: list[tuple[bytes, Image.Image]]
) -> None:
    from torchvision.transforms import Compose

    whole = timm_transform(preprocess, crop_mode)
    geometric = Compose(whole.transforms[:-2])  # without to-tensor and normalise
    for data, image in pictures:
        np.testing.assert_array_equal(uint8(preprocess, data), np.asarray(geometric(image)))
        np.testing.assert_allclose(preprocess(data), whole(image).numpy(), rtol=0, atol=1e-6)


CROPS = [
    Preprocess(224, 224, "crop", "bicubic", crop_pct=0.875),
    Preprocess(224, 224, "crop", "bilinear", crop_pct=0.875),
    Preprocess(64, 64, "crop", "bilinear", crop_pct=1.0),
    Preprocess(75, 75, "crop", "bicubic", crop_pct=0.9, mean=(0.5,) * 3, std=(0.5,) * 3),
    Preprocess(48, 80, "crop", "bicubic", crop_pct=0.875),
    Preprocess(81, 50, "crop", "bilinear", crop_pct=1.0),
]
ids = [f"{p.width}x{p.height}-{p.interpolation}-{p.crop_pct}" for p in CROPS]


@pytest.mark.parametrize("preprocess", CROPS, ids=ids)
def test_crop_is_timms(preprocess: Preprocess) -> None:
    check_against_timm(preprocess, "center", made_up())


@pytest.mark.real
@pytest.mark.parametrize("preprocess", CROPS, ids=ids)
def test_crop_is_timms_on_real_photos(
    preprocess: Preprocess, real: list[tuple[bytes, Image.Image]]
) -> None:
    check_against_timm(preprocess, "center", real)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
def test_crop_is_torchvisions(interpolation: Any, crop_pct: float) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    preprocess = Preprocess(56, 56, "crop", interpolation, crop_pct=crop_pct)
    reference = Compose(
        [Resize(int(56 / crop_pct), InterpolationMode(interpolation)), CenterCrop(56)]
    )
    for data, image in made_up():
        np.testing.assert_array_equal(uint8(preprocess, data), np.asarray(reference(image)))


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_stretch_is_timms_squash(interpolation: Any, size: tuple[int, int]) -> None:
    check_against_timm(Preprocess(*size, "stretch", interpolation), "squash", made_up())


@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
)
def test_stretch_is_pillows(interpolation: Any) -> None:
    preprocess = Preprocess(50, 70, "stretch", interpolation)
    for data, image in made_up():
        expected = image.resize((70, 50), Image.Resampling[interpolation.upper()])
        np.testing.assert_array_equal(uint8(preprocess, data), np.asarray(expected))


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
def test_pad_is_timms_border(size: tuple[int, int]) -> None:
    grey = tuple(round(255 * value) for value in IMAGENET["mean"])
    preprocess = Preprocess(*size, "pad", "bicubic", pad_color=grey)
    # timm lets a photo of 33x700 shrink to a side of no pixels; ours keeps one.
    pictures = [(data, image) for data, image in made_up() if max(image.size) / min(image.size) < 8]
    check_against_timm(preprocess, "border", pictures)


def test_pad_keeps_every_photo_visible() -> None:
    preprocess = Preprocess(32, 32, "pad", pad_color=(255, 0, 255))
    out = uint8(preprocess, png(Image.new("RGB", (3000, 10), (0, 255, 0))))
    assert (out == (0, 255, 0)).all(axis=-1).sum() == 32


@pytest.mark.parametrize("size", [(32, 32), (50, 17), (120, 90), (300, 300)])
def test_without_antialias_it_is_plain_bilinear_sampling(size: tuple[int, int]) -> None:
    import torch
    from torch.nn.functional import interpolate

    preprocess = Preprocess(*size, "stretch", "bilinear", antialias=False)
    for data, image in made_up():
        image_NCHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        expected = interpolate(image_NCHW, size, mode="bilinear", antialias=False)[0]
        difference = uint8(preprocess, data) - expected.permute(1, 2, 0).numpy()
        assert np.abs(difference).max() <= 0.51  # rounded, not cut off


@pytest.mark.real
def test_without_antialias_on_real_photos(real: list[tuple[bytes, Image.Image]]) -> None:
    import torch
    from torch.nn.functional import interpolate

    preprocess = Preprocess(224, 224, "stretch", "bilinear", antialias=False)
    for data, image in real:
        image_NCHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        expected = interpolate(image_NCHW, (224, 224), mode="bilinear", antialias=False)[0]
        difference = uint8(preprocess, data) - expected.permute(1, 2, 0).numpy()
        assert np.abs(difference).max() <= 0.51  # rounded, not cut off


def test_normalize_is_the_formula() -> None:
    preprocess = Preprocess(16, 16)
    image_HWC = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    wide = (image_HWC / 255.0 - np.array(preprocess.mean)) / np.array(preprocess.std)
    out = preprocess.normalize(image_HWC)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, wide.transpose(2, 0, 1), rtol=0, atol=1e-6)


GOLDEN = {
    "crop-bicubic": Preprocess(32, 32, "crop", "bicubic", crop_pct=0.875),
    "crop-bilinear-wide": Preprocess(24, 40, "crop", "bilinear"),
    "stretch": Preprocess(32, 48, "stretch", "bilinear"),
    "stretch-plain": Preprocess(32, 48, "stretch", "bilinear", antialias=False),
    "stretch-nearest": Preprocess(20, 20, "stretch", "nearest"),
    "pad": Preprocess(40, 40, "pad", "lanczos", pad_color=(124, 116, 104)),
}


def test_golden(golden: Callable[[str, Any], None]) -> None:
    """A change here moves what every shipped model sees: raise the bundle's schema."""
    found: dict[str, Any] = {}
    for name, preprocess in GOLDEN.items():
        for path in PHOTOS:
            data = path.read_bytes()
            digests = [uint8(preprocess, data), preprocess(data)]
            found[f"{name} {path.name}"] = [
                hashlib.sha256(np.ascontiguousarray(values)).hexdigest()[:16] for values in digests
            ]
    golden("preprocess", found)

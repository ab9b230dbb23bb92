"""Regions of real photos of pills, from their own annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import pocketlens as pl
from pocketlens.core.dataset import Box
from pocketlens.core.region import around
from pocketlens.workflows.boxes import match_boxes, read_boxes
from support.fake import fake_imported

pytestmark = pytest.mark.real


def test_boxes_and_masks_of_pills(data_dir: Path, tmp_path: Path) -> None:
    """A mask drawn from the boxes finds the very region that the boxes are, cut out alike."""
    photos = sorted((data_dir / "pill_aihub" / "test_images").iterdir())
    annotations = data_dir / "pill_aihub" / "test_annotations"
    bundle = fake_imported(tmp_path / "bundle", ("dark", "light"))
    given = match_boxes(list(map(str, photos)), read_boxes(annotations))
    (tmp_path / "masks").mkdir()
    for photo, boxes in zip(photos, given, strict=True):
        image = ImageOps.exif_transpose(Image.open(photo))
        mask = np.zeros((image.height, image.width), np.uint8)
        for x, y, width, height in boxes:
            x0, y0 = int(np.floor(max(0, x))), int(np.floor(max(0, y)))
            mask[y0 : int(np.ceil(y + height)), x0 : int(np.ceil(x + width))] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{photo.stem}.png")
    done = pl.predict(
        bundle, photos, out=tmp_path / "box", region="box", overlays=2,
        region_options={"boxes": annotations},
    )  # fmt: skip
    assert (done.num_images, done.num_errors) == (len(photos), 0)
    pl.predict(
        bundle, photos, out=tmp_path / "mask", region="mask", region_keep="crop", overlays=0,
        region_options={"masks": tmp_path / "masks"},
    )  # fmt: skip
    by_box, by_mask = (
        json.loads((tmp_path / kind / "predictions.json").read_text("utf-8"))
        for kind in ("box", "mask")
    )
    for boxes, one, other in zip(given, by_box, by_mask, strict=True):
        assert Box(*one["region"]["box"]) == around(boxes)
        assert 0 < other["region"]["share"] <= one["region"]["share"] < 100
        np.testing.assert_allclose(other["region"]["box"], around(boxes), atol=1.001)
        assert other["confidence"] == pytest.approx(one["confidence"], abs=1e-6)

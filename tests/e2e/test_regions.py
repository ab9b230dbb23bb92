"""`predict --region` from what a user names to the files they open."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle, write_bundle
from support.fake import fake_imported, mean_network
from support.page import Page
from support.videos import write_video

#: Of a photo of 60 x 40 pixels, the part that is light.
LIGHT = (10, 5, 20, 30)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Says `light` where the mean of the pixels is above 1/2: logits 0 and mean - 1/2, times 20."""

    made = fake_imported(tmp_path / "plain", ("dark", "light"))
    network = mean_network(2)
    weight = np.array([[0, 20 / 3]] * 3, np.float32)
    del network.graph.initializer[:]
    network.graph.initializer.extend(
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([0, -10], np.float32), "bias"),
        ]
    )
    content = {"model.onnx": network.SerializeToString()}
    return write_bundle(tmp_path / "bundle", replace(made.manifest, files={}), content)


def _photo(path: Path, inside: int = 235, outside: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((40, 60, 3), outside, np.uint8)
    x, y, width, height = LIGHT
    pixels[y : y + height, x : x + width] = inside
    Image.fromarray(pixels).save(path)
    return path


def _mask(
    path: Path, size: tuple[int, int] = (60, 40), box: tuple[int, ...] | None = LIGHT
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), np.uint8)
    if box is not None:
        mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = 255
    Image.fromarray(mask).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`light/0..2` have a light part on a dark ground, `light/3` is light all over."""
    for i in range(3):
        _photo(tmp_path / "photos" / "light" / f"{i}.png")
    _photo(tmp_path / "photos" / "light" / "3.png", 240, 240)
    _photo(tmp_path / "photos" / "dark" / "d.png", 10, 10)
    return tmp_path / "photos"


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    given = {f"{i}.png": [list(LIGHT)] for i in range(4)}
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(given | {"d.png": [[0, 0, 30, 30]]}), encoding="utf-8")
    return path


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_name(out: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((out / "predictions.json").read_text("utf-8"))
    return {Path(value["filename"]).name: value for value in found}


def test_boxes_beside_the_whole(bundle: Bundle, photos: Path, boxes: Path, tmp_path: Path) -> None:
    options = {"boxes": str(boxes)}
    done = pl.predict(
        bundle, photos, out=tmp_path / "p", truth=photos, region="box", region_options=options
    )
    assert (done.num_images, done.num_errors, done.num_right, done.num_known) == (5, 0, 5, 5)
    assert done.regions is not None
    told = done.regions.to_dict()
    assert told == {
        "num_missing": 0, "num_both": 5, "num_changed": 3, "num_known": 5, "num_gained": 3,
        "num_lost": 0,
    }  # fmt: skip
    header = ["filename", "predicted_class", "predicted_label", "confidence"]
    found = rows(tmp_path / "p")
    assert list(found[0]) == [*header, "prob_dark", "prob_light", "box", "error"]
    assert {row["box"] for row in found} == {"10,5,20,30", "0,0,30,30"}
    values = by_name(tmp_path / "p")["0.png"]
    assert values["label"] == "light"
    region = values["region"]
    assert (region["kind"], region["box"], region["changed"]) == ("box", [10, 5, 20, 30], True)
    assert region["share"] == pytest.approx(25)
    assert region["plain"]["label"] == "dark"
    assert by_name(tmp_path / "p")["3.png"]["region"]["changed"] is False
    page = Page((tmp_path / "p" / "report.html").read_text("utf-8"))
    assert "60.0 % of 5 answers are other ones" in page.text
    assert "100.0 % are right by the region, 40.0 % by the whole photo" in page.text
    alts = [str(image["alt"]) for image in page.all("img")]
    assert any("whole photo dark, region light" in alt for alt in alts)
    assert all(alts)
    assert str(tmp_path) not in page.text
    assert len(list((tmp_path / "p" / "overlays").iterdir())) == 5


def test_the_plain_answer_is_that_without_a_region(
    bundle: Bundle, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """To the bit, and many photos at a time as few; so are the regions those of `--boxes`."""
    photos = make_photos(tmp_path / "many", per_class=24)
    names = sorted(str(path) for path in photos.rglob("*.*"))
    given = {name: [[3, 4, 20, 21]] for name in names}
    (tmp_path / "b.json").write_text(json.dumps(given), encoding="utf-8")
    options = {"boxes": str(tmp_path / "b.json")}
    pl.predict(bundle, photos, out=tmp_path / "r", region="box", region_options=options, overlays=0)
    pl.predict(bundle, photos, out=tmp_path / "whole", overlays=0)
    pl.predict(bundle, photos, out=tmp_path / "boxes", boxes=tmp_path / "b.json", overlays=0)
    assert rows(tmp_path / "r") == rows(tmp_path / "boxes")
    assert len(rows(tmp_path / "r")) == 72
    found = json.loads((tmp_path / "r" / "predictions.json").read_text("utf-8"))
    plain = json.loads((tmp_path / "whole" / "predictions.json").read_text("utf-8"))
    assert [f["region"]["plain"]["confidence"] for f in found] == [p["confidence"] for p in plain]


def test_masks(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    """Missing, empty, of another size, a photo that can't be read: each a row that says so."""
    masks = tmp_path / "masks"
    _mask(masks / "0.png")
    _mask(masks / "1.png", box=None)
    _mask(masks / "2.png", size=(40, 60))
    (photos / "text.jpg").write_text("no photo")
    done = pl.predict(
        bundle, photos, out=tmp_path / "p", region="mask", region_options={"masks": str(masks)},
        region_fill="black",
    )  # fmt: skip
    assert (done.num_images, done.num_errors) == (6, 5)
    assert done.regions is not None
    # A mask of the wrong size isn't "no region": what is on the photo can't be said.
    assert done.regions.num_missing == 3
    found = by_name(tmp_path / "p")
    assert found["0.png"]["label"] == "dark", "a light quarter on black"
    assert "empty" in found["1.png"]["error"]
    assert "40x60" in found["2.png"]["error"]
    assert "no mask is given" in found["3.png"]["error"]
    assert found["3.png"]["region"]["plain"]["label"] == "light"
    assert "not an image" in found["text.jpg"]["error"]
    assert "error" in found["text.jpg"]["region"]["plain"]
    # Photos without a region are drawn, those that can't be read are not.
    assert len(list((tmp_path / "p" / "overlays").iterdir())) == 5
    assert "On 3 no region was found" in (tmp_path / "p" / "report.html").read_text("utf-8")


def test_crop_and_fill(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    _mask(tmp_path / "masks" / "0.png")
    photo = photos / "light" / "0.png"
    seen = {}
    for keep in ("mask", "crop", "mask-crop"):
        out = tmp_path / keep
        options = {"masks": str(tmp_path / "masks")}
        pl.predict(bundle, photo, out=out, region="mask", region_keep=keep, region_options=options)
        (row,) = rows(out)
        seen[keep] = (row["predicted_label"], row["box"])
    assert seen == {
        "mask": ("dark", ""), "crop": ("light", "10,5,20,30"), "mask-crop": ("light", "10,5,20,30"),
    }  # fmt: skip


def test_maps_are_of_the_region(bundle: Bundle, photos: Path, boxes: Path, tmp_path: Path) -> None:
    photo = photos / "light" / "0.png"
    pl.predict(
        bundle, photo, out=tmp_path / "p", region="box", region_options={"boxes": str(boxes)},
        maps="occlusion",
    )  # fmt: skip
    told = json.loads((tmp_path / "p" / "maps" / "maps.json").read_text("utf-8"))
    (row,) = told["rows"]
    assert row["maps"][0]["label"] == "light"
    picture = np.asarray(Image.open(tmp_path / "p" / "maps" / row["picture"]).convert("L"))
    assert picture[100:200, 50:200].min() > 200, "the light part fills what the network sees"


def test_names_that_are_hostile(bundle: Bundle, tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "=cmd()", "타이레놀 💊", "x..", "CON", "a'b\"c"]
    names = [name.replace("/", "") for name in names]
    for name in names:
        _photo(tmp_path / "photos" / f"{name}.png")
        _mask(tmp_path / "masks" / f"{name}.png")
    done = pl.predict(
        bundle, tmp_path / "photos", out=tmp_path / "p", region="mask", region_keep="crop",
        region_options={"masks": str(tmp_path / "masks")},
    )  # fmt: skip
    assert (done.num_images, done.num_errors) == (6, 0)
    page = Page((tmp_path / "p" / "report.html").read_text("utf-8"))
    assert not page.all("script") or "alert(1)" not in str(page.all("script"))
    assert "<script>alert" in page.text


def test_the_command_line(
    bundle: Bundle,
    photos: Path,
    boxes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["predict", str(bundle.path), str(photos)]
    given = ["--region", "box", "--region-boxes", str(boxes)]
    assert run([*words, "--out", str(tmp_path / "p"), *given]) == 0
    said = capsys.readouterr()
    assert "3 of 5 answers differ from the whole photo's" in said.out
    assert "may have been trained on whole photos" in said.err
    assert run([*words, "--out", str(tmp_path / "j"), *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regions"]["num_changed"] == 3
    write_video(tmp_path / "film.avi", [(200, 0, 0)])
    refused = {
        ("--region-boxes", "x"): "--region-… needs --region",
        ("--region", "skin"): "choose from",
        ("--region", "box"): "name a file or folder by --region-boxes",
        ("--region", "box", "--region-mask", "x"): "--region-mask is no option here",
        ("--region", "mask", "--region-masks", "gone"): "is no folder",
        (*given, "--boxes", str(boxes)): "rows have boxes already",
        (*given, "--region-several", "all"): "must be one of around, largest",
        (*given, str(tmp_path / "film.avi")): "leave out videos",
        ("--top-kk", "3"): "--top-kk is no option of predict",
    }
    for more, reason in refused.items():
        assert run([*words, "--out", str(tmp_path / "q"), *more]) == 2, more
        error = capsys.readouterr().err
        assert reason in error, more
        assert error.splitlines()[-1].startswith("pocketlens: ")
    assert not (tmp_path / "q").exists()

"""`explain` and `predict --gradcam`: files, figures and words a user finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bootstrap import mean_interval
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.explained import Explanations, Look, Moved, Row, Source
from pocketlens.core.preprocess import Preprocess
from pocketlens.explain import heat
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import wrapped
from pocketlens.explain.moved import aligned, correlation, overlap, quartiles, share_within
from pocketlens.reports import _maps
from pocketlens.runtimes import torch as torch_runtime
from support import halves
from support.page import Page


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Bundle]:
    """A float torch bundle and an INT8 file of the same network."""
    monkeypatch.setattr(torch_runtime, "restore", lambda _: halves.network())
    float_bundle = halves.torch_bundle(tmp_path / "float")
    return float_bundle, halves.onnx_bundle(tmp_path / "int8", quantized=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    halves.photo(tmp_path / "photos" / "a.png")
    halves.photo(tmp_path / "photos" / "b<1>.png", size=(80, 40))
    return tmp_path / "photos"


def test_float_and_int8_side_by_side(
    pair: tuple[Bundle, Bundle], folder: Path, tmp_path: Path
) -> None:
    (folder / "bad.png").write_bytes(b"nothing")
    result = pl.explain_photos(pair, folder, out=tmp_path / "out")
    found = result.explanations
    assert (found.asked, found.method) == ("auto", "eigencam")
    assert "first that all of these bundles can do" in found.notes[0]
    assert [s.layer for s in found.sources] == ["mask", "seen_q"]
    (moved,) = found.moved
    assert (moved.num_compared, moved.num_same_answer) == (2, 2)
    assert moved.correlation is not None
    assert moved.correlation[1] > 0.99
    assert len(found.rows) == 3
    bad = next(row for row in found.rows if row.filename.endswith("bad.png"))
    assert bad.picture is None
    assert bad.looks[0].error
    written = json.loads((tmp_path / "out" / "maps.json").read_text())
    assert written["method"] == "eigencam"
    for row in found.rows:
        if row.picture:
            assert Image.open(tmp_path / "out" / row.picture).width > 3 * 320
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "EigenCAM" in page.text
    assert "b<1>.png" in page.text
    assert len(page.all("img")) == 6
    with pytest.raises(UserError, match="exists already"):
        pl.explain_photos(pair, folder, out=tmp_path / "out")
    again = {"method": "occlusion", "overwrite": True, "maps": 1}
    pl.explain_photos(pair, folder, out=tmp_path / "out", **again)  # type: ignore[arg-type]


def test_one_bundle_and_another_class(
    pair: tuple[Bundle, Bundle], folder: Path, tmp_path: Path
) -> None:
    found = pl.explain_photos(pair[0], folder, out=tmp_path / "out", label="dark").explanations
    assert found.method == "gradcam"
    assert {look.label for row in found.rows for look in row.looks} == {"dark"}
    assert all(look.flat and look.answer == ("bright",) for r in found.rows for look in r.looks)
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    assert "nothing on the photo speaks for it" in text
    with pytest.raises(UserError, match="no class 'grey'; it has dark, bright"):
        pl.explain_photos(pair[0], folder, out=tmp_path / "b", label="grey")
    with pytest.raises(UserError, match="gradients that onnx"):
        pl.explain_photos(pair, folder, out=tmp_path / "b", method="gradcam")
    with pytest.raises(UserError, match="--maps must be at least 1"):
        pl.explain_photos(pair[0], folder, out=tmp_path / "b", maps=0)
    assert not (tmp_path / "b").exists()


def test_boxes_are_cut_out(pair: tuple[Bundle, Bundle], folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [[0, 0, 20, 20], [30, 30, 30, 20]]}))
    found = pl.explain_photos(pair, folder, out=tmp_path / "out", boxes=boxes).explanations
    assert "1 image without a box: left out." in found.notes
    assert [row.box for row in found.rows] == [(0, 0, 20, 20), (30, 30, 30, 20)]
    assert found.moved[0].num_compared == 2


def test_predict_draws_maps(
    pair: tuple[Bundle, Bundle], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.png").write_bytes(b"nothing")
    words = ["predict", str(pair[0].path), str(folder), "--out", str(tmp_path / "out")]
    assert run([*words, "--gradcam", "--map-method", "gradcam++", "--maps", "2"]) == 0
    assert "Grad-CAM++ at mask, 4x4 cells" in capsys.readouterr().err
    maps = json.loads((tmp_path / "out" / "maps" / "maps.json").read_text())
    assert (maps["method"], maps["layer"], maps["num_photos"]) == ("gradcam++", "mask", 2)
    assert maps["rows"][0]["maps"][0]["label"] == "bright"
    for row in maps["rows"]:
        Image.open(tmp_path / "out" / "maps" / row["picture"]).load()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["maps"]["method"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 photos with their maps lie" in page
    for row in maps["rows"]:
        assert f'href="maps/{row["picture"]}"' in page
    assert "4x4 cells only" in page
    assert run([*words, "--overwrite", "--maps", "2"]) == 2
    assert "add --gradcam" in capsys.readouterr().err
    int8 = ["predict", str(pair[1].path), str(folder), "--out", str(tmp_path / "b"), "--gradcam"]
    assert run([*int8, "--map-method", "gradcam"]) == 2
    assert "eigencam or occlusion" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert run(int8) == 0
    told = capsys.readouterr().err
    assert "EigenCAM at seen_q" in told
    assert "warning: Maps of int8 have 4x4 cells only" in told


def test_explain_on_the_command_line(
    pair: tuple[Bundle, Bundle], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", *(str(b.path) for b in pair), "--images", str(folder)]
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "int8: correlation 1.00, overlap of the strongest fifth" in told.out
    assert "Maps of int8 have 4x4 cells only" in told.err
    notes = json.loads((tmp_path / "out" / "maps.json").read_text())["notes"]
    assert any("Maps of int8 have 4x4 cells only" in note for note in notes)
    assert run([*words, "--out", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_measures() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((40, 50)).astype(np.float32)
    assert correlation(a, a) == pytest.approx(1)
    assert correlation(a, 1 - a) == pytest.approx(-1)
    assert correlation(a, np.zeros_like(a)) is None
    assert overlap(a, 2 * a) == 1
    assert overlap(a, 1 - a) == 0
    assert overlap(a, np.ones_like(a)) is None
    assert heat.strong(a).mean() == pytest.approx(0.2, abs=0.001)
    b = rng.random((400, 500)).astype(np.float32)
    c = rng.random((400, 500)).astype(np.float32)
    assert overlap(b, c) == pytest.approx(0.04 / 0.36, abs=0.01), "what the page calls chance"
    part = np.zeros((40, 50), bool)
    part[:, :25] = True
    assert share_within(np.ones_like(a), part) == pytest.approx(0.5)
    assert share_within(np.zeros_like(a), part) is None
    assert quartiles([]) is None
    assert quartiles([0, 1, 2, 3, 4]) == (1, 2, 3)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(120, 80), (60, 90), (64, 64)])
def test_maps_of_networks_that_see_another_part_are_laid_over_each_other(
    resize: str, size: tuple[int, int]
) -> None:
    """A blob on the photo, seen by two networks, is the same blob again where both see it."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((x - width * 0.45) ** 2 + (y - height * 0.55) ** 2) / 200)
    photo = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
    a, b = (
        Preprocess(48, 48, "crop", crop_pct=0.875),
        Preprocess(64, 64, resize, crop_pct=0.95 if resize == "crop" else 1.0),  # type: ignore[arg-type]
    )
    first, second = (s.fit(photo)[..., 0].astype(np.float32) for s in (a, b))
    pair = aligned(first, second, a.visible(*size), b.visible(*size))
    assert pair is not None
    assert correlation(*pair) == pytest.approx(1, abs=0.01)
    assert np.abs(pair[0] - pair[1]).max() < 25


def test_an_overlay_is_brighter_where_the_map_is() -> None:
    map_HW = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    drawn = np.asarray(heat.overlay(np.full((32, 32, 3), 128, np.uint8), map_HW, 64).convert("L"))
    assert drawn.shape == (64, 64)
    columns = drawn[20].astype(float)
    assert (np.diff(columns[:48:8]) > 0).all(), "brightness rises with the map, so grey print reads"
    assert (drawn[:, 51:] >= 230).any(), "the outline of the strongest fifth"
    grey = heat.coloured(map_HW)[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) >= 0).all()


def test_names_of_any_script_are_cut_to_their_panel() -> None:
    image = Image.new("RGB", (64, 64))
    warned: list[str] = []
    for title in ("x" * 300, "균열" * 60, "", "\U0001f4f7" * 50):
        made = heat.side_by_side(
            [heat.Panel(image, title, title), heat.Panel(image, "b")], Fonts(warned.append)
        )
        pixels = np.asarray(made)
        assert made.width == 2 * 64 + 3 * 10
        assert (pixels[80:, 74:84] == pixels[-1, -1]).all(), "nothing is written into the gap"


def test_a_long_truth_takes_two_lines() -> None:
    fonts = Fonts([].append)
    text = "true: K-000013 a name of some length"
    first, second = wrapped(fonts, text, 13, 176)
    assert f"{first.text} {second.text}" == text
    assert max(first.width, second.width) <= 176
    assert [line.text for line in wrapped(fonts, "true: a", 13, 176)] == ["true: a"]
    unbroken = wrapped(fonts, "x" * 300, 13, 176)
    assert len(unbroken) == 2
    assert all(line.width <= 176 for line in unbroken)


def test_an_interval_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    values = list(rng.normal(3, 1, 400))
    found = mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * 1 / 20, rel=0.15)
    twice = mean_interval([v for v in values for _ in range(2)], units=[i // 2 for i in range(800)])
    assert twice.high - twice.low == pytest.approx(found.high - found.low, rel=0.1)


def test_the_page_says_what_can_not_be_compared() -> None:
    sources = [Source(n, n, "net", "torch", "float32", "bn2", "Grad-CAM at bn2") for n in "ab"]
    look = Look(("cat",), "cat", "cat", 0.9)
    other = Look(("n1",), "n1", "window", 0.2)
    row = Row("x<b>.png", None, (look, other), "maps/x.png")
    moved = Moved(0, None, None, None)
    found = Explanations("auto", "gradcam", 0.2, sources, [row], [moved], ["<note>"])
    page = Page(_maps.render(found, [["aaaa", "bbbb", "cccc"]]))
    assert "seen by several networks" in page.text
    assert "other classes" in page.text
    assert "window" in page.text
    assert "<note>" in page.text
    assert _maps.two(-0.001) == "0.00"

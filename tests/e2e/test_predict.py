"""`predict` from what a user names to the files they open."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pocketlens as pl
from pocketlens import plugins
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.dataset import Box
from pocketlens.core.errors import MissingExtraError, UserError
from pocketlens.core.tally import Tally
from pocketlens.reports._predictions import tiles
from support.fake import fake_imported, mean_network
from support.page import Page
from support.videos import write_video

#: Names as in FAULTS 12, the likely answers first: the network says the last for light photos.
HOSTILE = (
    "..", "CON", "x" * 300, "case", "Case", "<script>alert(1)</script>", "타이레놀정 💊",
    "=cmd()|x",
)  # fmt: skip
GREY = {"dark": 20, "light": 235}


def photo(path: Path, grey: int, size: tuple[int, int] = (60, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Dark and light photos: `logits = (k + 1) * mean - 1.4 k` by a bias for two classes."""
    made = fake_imported(tmp_path / "plain", ("dark", "light"))
    network = mean_network(2)
    weight, bias = np.zeros((3, 2), np.float32), np.array([4.0, -4.0], np.float32)
    weight[:, 0], weight[:, 1] = -8 / 3, 8 / 3
    from onnx import numpy_helper

    del network.graph.initializer[:]
    network.graph.initializer.extend(
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    )
    manifest = made.manifest
    content = {"model.onnx": network.SerializeToString()}
    return write_bundle(tmp_path / "bundle", replace(manifest, files={}), content)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes; `light/wrong.png` is dark, `dark/grey.png` lies between."""
    root = tmp_path / "photos"
    for name, grey in GREY.items():
        for i in range(3):
            photo(root / name / f"{i}.png", grey)
    photo(root / "light" / "wrong.png", 10)
    photo(root / "dark" / "grey.png", 126)
    return root


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def objects(out: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((out / "predictions.json").read_text("utf-8"))
    return found


def test_with_truth(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    done = pl.predict(bundle, photos, out=tmp_path / "p", truth=photos, unsure_below=0.6)
    assert (done.num_images, done.num_unsure, done.num_known, done.num_right) == (8, 1, 8, 7)
    header = ["filename", "predicted_class", "predicted_label", "confidence"]
    assert list(rows(tmp_path / "p")[0]) == [*header, "prob_dark", "prob_light", "box", "error"]
    by_name = {Path(str(o["filename"])).name: o for o in objects(tmp_path / "p")}
    assert by_name["wrong.png"]["right"] is False
    assert by_name["wrong.png"]["truth"] == ["light"]
    assert by_name["grey.png"]["unsure"] is True
    sheets = {path.name for path in (tmp_path / "p" / "sheets").iterdir()}
    assert sheets == {"right.png", "wrong.png", "unsure.png"}
    assert len(list((tmp_path / "p" / "overlays").iterdir())) == done.num_overlays == 8
    page = Page((tmp_path / "p" / "report.html").read_text("utf-8"))
    assert "87.5 % of 8 answers are right" in page.text
    assert str(tmp_path) not in page.text, "a page is passed on"
    assert all(image["alt"] for image in page.all("img"))


def test_truth_that_has_none_of_the_images_says_how_they_are_matched(
    bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    copy = photo(tmp_path / "few" / "copy.png", 20)
    with pytest.raises(UserError, match="matched by their paths") as caught:
        pl.predict(bundle, tmp_path / "few", out=tmp_path / "p", truth=photos)
    assert f"such as {copy}:" in str(caught.value)
    assert str(photos / "dark") in str(caught.value)


def test_the_card_of_mistakes_says_how_many_lie_under_unsure() -> None:
    tally = Tally("single_label", 9, 9, 2, states={"wrong": 1, "unsure": 6, "right": 2})
    wrong = next(tile for tile in tiles(tally) if tile.label == "Wrong")
    assert (wrong.figure, wrong.detail) == (
        "7", "of 9 whose truth is known; 6 of them unsure, and shown there"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "drawn", "told"),
    [("2", 2, "2 overlays drawn (--overlays all"), ("100", 8, "8 overlays drawn\n")],
)
def test_all_is_offered_where_some_were_drawn(
    number: str, drawn: int, told: str, bundle: Bundle, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["predict", str(bundle.path), str(photos), "--out", str(tmp_path / "p")]
    assert run([*words, "--overlays", number]) == 0
    assert told in capsys.readouterr().out
    assert len(list((tmp_path / "p" / "overlays").iterdir())) == drawn


def test_truth_alone_predicts_its_photos(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    done = pl.predict(bundle, out=tmp_path / "p", truth=photos, split="all", overlays=0)
    assert (done.num_images, done.num_overlays) == (8, 0)
    assert not (tmp_path / "p" / "overlays").exists()


def test_without_truth_nothing_is_called_right(
    bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    pl.predict(bundle, photos, out=tmp_path / "p", unsure_below=0.9, overlays=2)
    assert {p.name for p in (tmp_path / "p" / "sheets").iterdir()} == {"sure.png", "unsure.png"}
    assert len(list((tmp_path / "p" / "overlays").iterdir())) == 2
    assert "right" not in objects(tmp_path / "p")[0]


def test_a_table(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    lines = ["file,label,box", "dark/0.png,dark,", 'light/1.png,light,"5,5,20,20"']
    lines += ["gone.png,dark,", 'light/2.png,light,"5,5"', "dark/1.png,light,", ","]
    (photos / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    done = pl.predict(bundle, photos / "list.csv", out=tmp_path / "p")
    found = rows(tmp_path / "p")
    assert [row["predicted_label"] for row in found] == ["dark", "light", "", "", "dark", ""]
    assert [row["box"] for row in found][1] == "5,5,20,20"
    assert "isn't there" in found[2]["error"]
    assert "x,y,width,height" in found[3]["error"]
    assert (done.num_known, done.num_right, done.num_errors) == (3, 2, 3)
    # What it wrote can be read again, and its answers are no truth.
    again = pl.predict(bundle, tmp_path / "p" / "predictions.csv", out=tmp_path / "q")
    assert again.num_known == 0
    assert [row["predicted_label"] for row in rows(tmp_path / "q")][:2] == ["dark", "light"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("a,b\n1,2", "has none of the columns"), ("image\n", "has no row"), ("\0\0", "")],
)
def test_a_table_that_is_none(
    content: str, reason: str, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    words = ["predict", str(bundle.path), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p")]
    assert run(words) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_bad_images_are_rows_everywhere(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    # FAULTS 1-3, 5
    whole = photo(tmp_path / "whole.jpg", 99).read_bytes()
    for name, content in (
        ("empty", b""), ("cut", whole[:300]), ("text", b"hello"), ("svg", b"<svg onload=x>"),
    ):  # fmt: skip
        (photos / f"{name}.jpg").write_bytes(content)
    done = pl.predict(bundle, photos, out=tmp_path / "p")
    assert (done.num_images, done.num_errors, done.num_overlays) == (12, 4, 8)
    page = Page((tmp_path / "p" / "report.html").read_text("utf-8"))
    assert "the file is empty" in page.text
    assert "Could not be used" in page.text


def test_hostile_names(tmp_path: Path) -> None:
    # FAULTS 12: text on every page and sheet, harmless in CSV and as file names.
    made = fake_imported(tmp_path / "bundle", HOSTILE)
    root = tmp_path / "in"
    for name in ("=cmd().png", "<img src=x onerror=alert(1)>.png", "\u202egnp.png", "사진 💊.png"):
        photo(root / name, 250)
    done = pl.predict(made, root, out=tmp_path / "p")
    assert done.num_overlays == 4
    overlays = sorted(path.name for path in (tmp_path / "p" / "overlays").iterdir())
    assert all(set("<>=\u202e/\\\"'&").isdisjoint(name) for name in overlays)
    text = (tmp_path / "p" / "report.html").read_text("utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert {row["predicted_label"] for row in rows(tmp_path / "p")} == {"'=cmd()|x"}
    for cell in [cell for row in rows(tmp_path / "p") for cell in row.values()]:
        assert not cell.startswith(("=", "+", "@"))


def test_a_video(bundle: Bundle, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.avi", [(20,) * 3, (235,) * 3, (20,) * 3])
    done = pl.predict(bundle, video, out=tmp_path / "p", every=0.5)
    found = rows(tmp_path / "p")
    assert [row["predicted_label"] for row in found] == ["dark"] * 2 + ["light"] * 2 + ["dark"] * 2
    times = [row["filename"].removeprefix(str(video)) for row in found]
    assert times == [f"#t={t:g}" for t in (0, 0.5, 1, 1.5, 2, 2.5)]
    assert done.num_overlays == 6
    again = pl.predict(bundle, video, out=tmp_path / "q", max_frames=2)
    assert again.num_images == 2


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_an_unreadable_video(content: bytes, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(pl.UserError, match="no video that OpenCV can read"):
        pl.predict(bundle, tmp_path / "film.mp4", out=tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_no_opencv(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(pl.UserError, match=r"pip install 'pocketlens\[video\]'"):
        pl.predict(bundle, tmp_path / "film.mp4", out=tmp_path / "p")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--overlays", "some"], "a number, all or none"),
        (["--unsure-below", "1.5"], "unsure-below"),
        (["--every", "0"], "--every"),
        (["--split", "test"], "--split chooses from the photos of --truth"),
    ],
)
def test_bad_flags(
    words: list[str],
    message: str,
    bundle: Bundle,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["predict", str(bundle.path), str(photos), "--out", str(tmp_path / "p"), *words]
    assert run(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_many_photos_answer_as_few_do(bundle: Bundle, tmp_path: Path) -> None:
    """Each core takes batches of its own; rows keep their order, and errors their place."""
    rng = np.random.default_rng(0)
    for i in range(150):
        if i % 17 == 3:
            (tmp_path / "in").mkdir(exist_ok=True)
            (tmp_path / "in" / f"{i:03d}.png").write_bytes(b"damaged")
        else:
            photo(tmp_path / "in" / f"{i:03d}.png", int(rng.integers(0, 256)))
    pl.predict(bundle, tmp_path / "in", out=tmp_path / "many", overlays=0)
    pl.predict(bundle, tmp_path / "in", out=tmp_path / "one", overlays=0, threads=1)
    many, one = ((tmp_path / n / "predictions.csv").read_bytes() for n in ("many", "one"))
    assert many == one
    assert [Path(row["filename"]).stem for row in rows(tmp_path / "many")] == [
        f"{i:03d}" for i in range(150)
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "=a", "@b", "'c", "d,e\nf"])
def test_its_table_can_be_read_again(name: str, bundle: Bundle, tmp_path: Path) -> None:
    photo(tmp_path / "photos" / f"{name}.png", 20)
    photo(tmp_path / "photos" / "plain.png", 235)
    first = pl.predict(bundle, tmp_path / "photos", out=tmp_path / "one")
    assert (first.num_images, first.num_errors) == (2, 0)
    with (tmp_path / "one" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    again = pl.predict(bundle, tmp_path / "one" / "predictions.csv", out=tmp_path / "two")
    assert (again.num_images, again.errors) == (2, {})


def test_classes_with_line_breaks_keep_the_columns(tmp_path: Path) -> None:
    made = fake_imported(tmp_path / "b", ("good\nrow", "bad\rrow"))
    photo(tmp_path / "photos" / "a.png", 20)
    pl.predict(made, tmp_path / "photos", out=tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        header, row = list(csv.reader(file))
    assert len(header) == len(row) == 8


def test_maps_that_can_not_be_had_are_told_before_the_work(
    bundle: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocketlens.workflows import maps

    def missing(*_: object, **__: object) -> None:
        raise MissingExtraError("this needs onnx")

    monkeypatch.setattr(plugins.load("maps", "eigencam"), "open", missing)
    started: list[object] = []
    monkeypatch.setattr(maps.Predictor, "stream", lambda *_, **__: started.append(1))
    with pytest.raises(UserError, match="this needs onnx"):
        pl.predict(bundle, photos, out=tmp_path / "out", maps="eigencam")
    assert started == []
    monkeypatch.undo()
    monkeypatch.setattr(plugins.load("maps", "eigencam"), "open", missing)
    pl.predict(bundle, photos, out=tmp_path / "out", maps="auto")
    assert json.loads((tmp_path / "out" / "maps" / "maps.json").read_text())["method"] == (
        "occlusion"
    ), "the next that can be had"


def test_boxes_beyond_what_is_drawn_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocketlens.core.judged import Judged
    from pocketlens.core.predictor import Prediction
    from pocketlens.explain.fonts import Fonts
    from pocketlens.workflows import _predict_pictures as pictures

    file = photo(tmp_path / "a.png", 200, (400, 300))
    asked: list[int] = []
    drawn = pictures.Overlays(tmp_path, None, Fonts(asked.append), {}, 10**9)
    for i in range(pictures._MOST_ROWS + 20):
        box = Box(i % 40 * 10, i // 40 * 10, 8, 8)
        found = Prediction(str(file), ("a",), "a", 0.9, probabilities_K=np.ones(1), box=box)
        drawn.take(Judged(found, str(file), None))
    seen = []
    real = pictures.draw_overlay

    def draw(*given: Any, **named: Any) -> Image.Image:
        seen.append(named["left_out"])
        return real(*given, **named)

    monkeypatch.setattr(pictures, "draw_overlay", draw)
    drawn.close()
    assert seen == [20]
    assert drawn.num_written == 1

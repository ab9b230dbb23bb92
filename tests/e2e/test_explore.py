"""`explore` and the choice of calibration photos, as a user types them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Box, Sample, make_dataset
from pocketlens.core.exploration import Exploration
from pocketlens.reports._explore import Pictures, render
from pocketlens.workflows import _features
from support.page import Page

NASTY = ("<script>alert(1)</script>", "=cmd()", "불량 셀 🔥 균열", "x" * 200, 'q" onload="alert(2)')


def check_page(text: str) -> None:
    """Well formed, self-contained, nothing runs but its own script, every picture has words."""
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert tags.count("script") == 1
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.elements:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        for key in ("src", "href"):
            assert (attrs.get(key) or "#").startswith(("data:image/", "#")), attrs
        if tag == "img":
            assert attrs.get("alt")
        if attrs.get("role") == "img":
            assert attrs.get("aria-labelledby")
    for link in (attrs.get("href") or "" for tag, attrs in page.elements if tag == "a"):
        assert link[1:] in ids
    assert "None" not in re.sub(r"<(style|script)>.*?</\1>|data:[^\"]*", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def explored(photos: Path, tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "shapes"
    shutil.copytree(photos, data)
    # two wrong labels, a copy, and a file that is no photo
    (data / "disc" / "000.jpg").rename(data / "square" / "wrong.jpg")
    shutil.copy(data / "bars" / "001.jpg", data / "bars" / "copy.jpg")
    (data / "bars" / "bad.jpg").write_bytes(b"\xff\xd8 cut")
    out = data.parent / "looked"
    assert run(["explore", str(data), "--out", str(out), "--bundle", str(tiny.path)]) == 0
    return out


def test_it_leaves_a_page_an_object_and_pictures(explored: Path) -> None:
    files = {p.relative_to(explored).as_posix() for p in explored.rglob("*") if p.is_file()}
    assert {"report.html", "explore.json", "mean.png", "plane.png"} <= files
    assert {"mean/disc.png", "samples/disc.png"} <= files
    text = (explored / "report.html").read_text("utf-8")
    assert len(text) < 3_000_000
    check_page(text)
    assert str(explored.parent) not in text, "no path of this machine"
    assert str(explored.parent) not in (explored / "explore.json").read_text("utf-8")


def test_it_says_what_is_there(explored: Path) -> None:
    found = json.loads((explored / "explore.json").read_text("utf-8"))
    assert found["schema"] == 1
    assert found["class_counts"] == {"bars": 22, "disc": 19, "square": 21}
    assert found["imbalance"] == pytest.approx(22 / 19)
    assert found["data"]["num_looked_at"] == len(found["samples"]) == 61
    assert [item["filename"] for item in found["unreadable"]] == ["bars/bad.jpg"]
    assert found["duplicates"]["groups"] == [
        {"files": ["bars/001.jpg", "bars/copy.jpg"], "labels": ["bars"], "conflict": False}
    ]
    assert found["neighbours"]["balanced_accuracy"] > 85
    assert found["clusters"]["adjusted_rand_index"] > 0.3
    assert set(found["clusters"]["silhouettes"]) >= {"2", "3", "4"}
    suspect = found["suspects"][0]
    assert found["samples"][suspect["sample"]]["filename"] == "square/wrong.jpg"
    assert suspect["suggested"] == "disc"
    assert found["features"]["network"] == "test_byobnet"
    assert all(s["x"] is not None and s["cluster"] is not None for s in found["samples"])


def test_same_seed_same_bytes(
    photos: Path, tiny: Bundle, tmp_path: Path, torch_threads: None
) -> None:
    for name in ("a", "b"):
        pl.explore(photos, out=tmp_path / name, bundle=tiny, max_photos=30, seed=3, threads=1)
    for file in ("report.html", "explore.json", "plane.png", "samples/disc.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    found = json.loads((tmp_path / "a" / "explore.json").read_text("utf-8"))
    labels = [s["labels"][0] for s in found["samples"]]
    assert {labels.count(name) for name in ("bars", "disc", "square")} == {10}
    assert found["class_counts"]["disc"] == 20, "counts are of all"
    assert any("--max-photos 30" in note for note in found["notes"])


def test_onnx_and_torch_bundles_give_the_same_features(
    photos: Path, tiny: Bundle, tiny_onnx: Bundle, tmp_path: Path
) -> None:
    by_torch = pl.explore(photos, out=tmp_path / "a", bundle=tiny).exploration
    by_onnx = pl.explore(photos, out=tmp_path / "b", bundle=tiny_onnx).exploration
    assert by_onnx.features["num_features"] == by_torch.features["num_features"] > 3  # type: ignore[index]
    assert by_onnx.neighbours == by_torch.neighbours


def test_without_weights_the_part_is_left_out_and_said(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def none(*_: Any, **__: Any) -> None:
        raise pl.UserError("no trained weights for x could be had. Ways out: --weights none")

    monkeypatch.setattr(_features, "import_model", none)
    assert run(["explore", str(photos), "--out", str(tmp_path / "x")]) == 0
    assert "no trained weights" in capsys.readouterr().err
    found = json.loads((tmp_path / "x" / "explore.json").read_text("utf-8"))
    assert found["features"] is None
    assert found["clusters"] is None
    assert found["suspects"] is None
    assert "--bundle" in found["notes"][0]
    assert "--weights none" not in found["notes"][0]
    assert (tmp_path / "x" / "mean.png").exists()
    check_page((tmp_path / "x" / "report.html").read_text("utf-8"))


def test_mistakes(
    photos: Path, tiny: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x")
    for words, said in (
        (["--max-photos", "0"], "--max-photos must be at least 1"),
        (["--model", "no_such_net"], "no network is called"),
        (["--bundle", str(photos)], "no manifest.json"),
    ):
        assert run(["explore", str(photos), "--out", out, *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").touch()
    assert run(["explore", str(photos), "--out", out, "--overwrite"]) == 2


def test_multi_label(photos: Path, tiny: Bundle, tmp_path: Path) -> None:
    files = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.jpg"))
    several = [("a",), ("a", "b"), ("b", "c"), ()]
    samples = [Sample(file, several[i % 4]) for i, file in enumerate(files)]
    data = make_dataset(photos, "csv", samples, task="multi_label")
    result = pl.explore(data, out=tmp_path / "x", bundle=tiny)
    found = result.exploration
    assert found.neighbours is None
    assert found.suspects is None
    assert found.clusters is not None
    assert found.clusters.adjusted_rand_index is None
    assert {(t.a, t.b) for t in found.co_occurrence or ()} == {("a", "b"), ("b", "c")}
    text = (tmp_path / "x" / "report.html").read_text("utf-8")
    check_page(text)
    assert "Labels that come together" in text
    assert "Doubtful labels" not in text


def test_boxes_groups_and_names_that_mean_harm(photos: Path, tiny: Bundle, tmp_path: Path) -> None:
    files = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.*"))
    samples = [
        Sample(file, (NASTY[(i + j) % len(NASTY)],), Box(j * 18, 0, 18, 30), f"g{i % 7}")
        for i, file in enumerate(files)
        for j in range(2)
    ]
    samples.append(Sample(files[0], (NASTY[0],), Box(500, 0, 5, 5)))
    data = make_dataset(photos, "csv", samples)
    found = pl.explore(data, out=tmp_path / "x", bundle=tiny).exploration
    assert found.box_sizes is not None
    assert found.box_sizes.num == len(samples) - 1
    assert "outside the photo" in found.unreadable[0]["reason"]
    units = [(s.filename, f"g{files.index(s.filename) % 7}") for s in found.samples]
    for suspect in found.suspects or ():
        for j in suspect.neighbours:
            assert units[j][1] != units[suspect.sample][1], "never of the same group"
    text = (tmp_path / "x" / "report.html").read_text("utf-8")
    check_page(text)
    assert "<script>alert" not in text
    assert all(p.resolve().is_relative_to(tmp_path) for p in (tmp_path / "x").rglob("*"))


@pytest.mark.parametrize("per_class", [1, 2])
def test_hardly_any_photos(
    per_class: int, make_photos: Callable[..., Path], tiny: Bundle, tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", per_class=per_class)
    for name in ("bars", "disc") if per_class == 1 else ():
        shutil.rmtree(data / name)
    pl.explore(data, out=tmp_path / "x", bundle=tiny)
    check_page((tmp_path / "x" / "report.html").read_text("utf-8"))


def test_an_empty_exploration_has_a_page() -> None:
    data = {"name": "", "task": "single_label", "num_samples": 0, "num_classes": 0,
            "num_looked_at": 0, "num_unlabelled": 0, "num_groups": 0}  # fmt: skip
    check_page(render(Exploration(data, {}, None, ()), Pictures({}, {}, [], {})))


@pytest.mark.parametrize("choice", ["clusters", "k-centre"])
def test_calibration_choice(
    choice: str, tiny_onnx: Bundle, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["compress", str(tiny_onnx.path), "--method", "onnx-static", "--num-images", "10"]
    words += ["--data", str(photos), "--out", str(tmp_path / "int8"), "--calibration-choice"]
    assert run([*words, choice]) == 0, capsys.readouterr().err
    config = json.loads((tmp_path / "int8" / "manifest.json").read_text())["lineage"]["config"]
    assert config["calibration_choice"] == choice
    assert config["num_calibrated"] == 10
    assert run([*words, "best", "--overwrite"]) == 2


def test_calibration_choices_differ_and_repeat(tiny_onnx: Bundle, photos: Path) -> None:
    from pocketlens.core.predictor import Request
    from pocketlens.workflows._calibration_choice import CHOICES, choose

    files = sorted(map(str, photos.rglob("*.*")))
    requests, labels = [Request(f) for f in files], [Path(f).parent.name for f in files]
    chosen = {c: choose(tiny_onnx, requests, labels, 9, 0, c) for c in CHOICES}
    assert len({tuple(sorted(some)) for some in chosen.values()}) == 3
    for choice, some in chosen.items():
        assert len(set(some)) == 9
        assert choose(tiny_onnx, requests, labels, 9, 0, choice) == some
        everything = choose(tiny_onnx, requests, labels, 100, 0, choice)
        assert sorted(everything) == list(range(len(files)))

"""What `compare` counts drops from, and keeps of what it was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.measures.latency import Timing
from pocketlens.runtimes import onnx
from pocketlens.workflows import _table
from pocketlens.workflows.compare import find_reference


def child(parent: Bundle, out: Path, method: str, precision: str, *, bias: bytes = b"") -> Bundle:
    """A made-up descendant: other bytes, so another id."""
    content = (
        parent.file("model.onnx").read_bytes() if "model.onnx" in parent.manifest.files else b""
    )
    manifest = replace(
        parent.manifest,
        runtime="onnx",
        precision=precision,
        lineage=parent.child_lineage(method, {}, {}),
    )
    return write_bundle(out, manifest, {"model.onnx": content + method.encode() + bias})


def test_the_reference_is_what_all_were_made_from(tiny: Bundle, tmp_path: Path) -> None:
    exported = child(tiny, tmp_path / "onnx", "export", "float32")
    small = child(exported, tmp_path / "int8", "onnx-static", "int8")
    assert find_reference([small, exported, tiny]).id == tiny.id
    assert find_reference([small, exported]).id == exported.id
    assert find_reference([tiny]).id == tiny.id


def test_a_float_model_of_another_family_is_no_silent_reference(
    tiny: Bundle, tiny_onnx: Bundle, tmp_path: Path
) -> None:
    other = write_bundle(
        tmp_path / "other",
        replace(tiny.manifest, thresholds={"disc": 0.4}),
        {"model.safetensors": tiny.file("model.safetensors")},
    )
    small = child(tiny_onnx, tmp_path / "int8", "onnx-static", "int8")
    for given in ([small, other], [tiny, other], [other, small, tiny]):
        with pytest.raises(UserError, match="--reference"):
            find_reference(given)


def test_no_float_model(tiny_onnx: Bundle, tmp_path: Path) -> None:
    small = child(tiny_onnx, tmp_path / "int8", "onnx-static", "int8")
    with pytest.raises(UserError, match="name one by --reference"):
        find_reference([small])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "BUNDLE", "--out", "OUT"], "name the images"),
        (["compare", "--data", "PHOTOS", "--out", "OUT"], "name the bundles"),
        (["predict", "BUNDLE", "PHOTOS", "--out", "OUT", "--top-k", "0"], "--top-k"),
        (["predict", "BUNDLE", "PHOTOS", "--out", "OUT", "--max-megapixels", "0"], "megapixels"),
        (["export", "FLOAT", "--runtime", "onnx", "--out", "OUT", "--opset", "5"], "--opset"),
    ],
)
def test_values_without_meaning_are_refused(
    words: list[str],
    told: str,
    tiny: Bundle,
    tiny_onnx: Bundle,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"BUNDLE": tiny_onnx.path, "FLOAT": tiny.path, "PHOTOS": photos, "OUT": tmp_path / "o"}
    assert run([str(places.get(word, word)) for word in words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_settings_stand_beside_the_predictions(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    words = ["predict", str(tiny_onnx.path), str(photos), "--out", str(tmp_path / "o")]
    assert run([*words, "--top-k", "2", "--threads", "1"]) == 0
    settings = json.loads((tmp_path / "o" / "config.json").read_text())
    assert (settings["top_k"], settings["threads"], settings["bundle_id"]) == (2, 1, tiny_onnx.id)


def test_photos_that_cannot_be_read_are_not_counted_as_calibrated_on(
    tiny_onnx: Bundle, tmp_path: Path, photos: Path
) -> None:
    mixed = tmp_path / "mixed"
    for number, file in enumerate(sorted(photos.rglob("*.jpg"))[:6]):
        target = mixed / "disc" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes() + b"another file" if number < 4 else b"no photo")
    words = ["compress", str(tiny_onnx.path), "--method", "onnx-static", "--calibration"]
    assert run([*words, str(mixed), "--out", str(tmp_path / "q")]) == 0
    lineage = json.loads((tmp_path / "q" / "manifest.json").read_text())["lineage"]
    assert lineage["config"]["num_calibrated"] == 4
    for file in (mixed / "disc").iterdir():
        file.write_bytes(f"no photo {file.name}".encode())
    assert run([*words, str(mixed), "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def test_an_export_that_answers_otherwise_on_photos_is_a_mismatch(
    tiny: Bundle,
    tiny_onnx: Bundle,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def untimed(bundles: dict[str, Path], *_: object, **__: object) -> dict[str, Timing]:
        return dict.fromkeys(bundles, Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,)))

    monkeypatch.setattr(_table, "measure_latency", untimed)
    table = pl.compare([tiny, tiny_onnx], photos, out=tmp_path / "same")
    assert table.comparison.row("onnx").verdict == "best"
    assert table.comparison.row("onnx").proven
    assert table.comparison.config["reference"] == "float"
    assert table.comparison.row("onnx").drop_unseen == 0
    real = onnx.open

    def otherwise(*given: Any) -> Any:
        run = real(*given)
        return lambda input_NCHW: run(input_NCHW) * np.float32(1.05)

    monkeypatch.setattr(onnx, "open", otherwise)
    table = pl.compare([tiny, tiny_onnx], photos, out=tmp_path / "other")
    row = table.comparison.row("onnx")
    assert (row.verdict, row.agreement) == ("mismatch", 100)
    assert "differ by" in row.reason
    best = table.comparison.best
    assert best is not None
    assert best.name == "float"


def test_one_compressed_file_that_two_runtimes_answer_differently_is_rejected(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = pl.compress(tiny_onnx, method="onnx-static", data=photos, out=tmp_path / "i")
    other = pl.export(int8, runtime="openvino", out=tmp_path / "o")
    from pocketlens.runtimes import openvino

    real = openvino.open

    def wrong(*given: Any) -> Any:
        session = real(*given)
        return lambda batch: np.roll(session(batch), 1, axis=1)

    monkeypatch.setattr(openvino, "open", wrong)
    table = pl.compare(
        [tiny_onnx, int8, other], photos, out=tmp_path / "c", max_drop=100.0, metric="accuracy"
    )
    row = next(row for row in table.rows if row.runtime == "openvino")
    assert row.verdict == "mismatch"
    assert "which is the same file in another runtime" in row.reason
    assert next(row for row in table.rows if row.name == "i").verdict in ("best", "ok", "slower")


def test_photos_are_decoded_once(
    tiny: Bundle,
    tiny_onnx: Bundle,
    make_photos: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))
    real, decoded = Preprocess.decode, [0]

    def decode(self: Preprocess, *args: Any, **options: Any) -> Any:
        decoded[0] += 1
        return real(self, *args, **options)

    monkeypatch.setattr(Preprocess, "decode", decode)
    monkeypatch.setattr(_table, "measure_latency", lambda bundles, *_, **__: {
        name: Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,)) for name in bundles
    })  # fmt: skip
    root = make_photos(tmp_path / "more", per_class=8, seed=5)
    table = pl.compare([tiny, tiny_onnx], root, out=tmp_path / "table", reference=tiny)
    scored = table.comparison.data
    assert decoded[0] == scored["num_test"] + (scored.get("num_val") or 0)

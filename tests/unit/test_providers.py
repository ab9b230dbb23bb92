"""A bundle for hardware that isn't here is refused, never run on the processor in its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.runtimes import openvino
from pocketlens.runtimes._providers import PROVIDERS, check_taken, wanted


@pytest.mark.parametrize("backend", sorted(PROVIDERS))
def test_a_provider_that_is_missing_says_what_it_needs(
    backend: str, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    made = pl.export(tiny, runtime="onnx", out=tmp_path / "x", backend=backend, batch=1)
    assert made.manifest.backend == backend
    with pytest.raises(BundleError, match=f"made for {backend}.*it needs"):
        pl.load(made)


def test_a_provider_that_does_not_start_is_no_provider() -> None:
    class Session:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    with pytest.raises(BundleError, match="couldn't start it"):
        check_taken(Session(), "cuda", "runs/a")
    check_taken(Session(), None, "runs/a")


def test_the_best_provider_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)
    assert wanted("cuda", "x") == there
    assert wanted(None, "x") == ["CPUExecutionProvider"]
    with pytest.raises(BundleError, match="doesn't know"):
        wanted("abacus", "x")


def test_nnapi_takes_a_fixed_batch(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batch 1"):
        pl.export(tiny, runtime="onnx", out=tmp_path / "x", backend="nnapi")


def test_what_is_compressed_is_for_the_processor(
    tiny: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ort.get_available_providers()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*real, "CoreMLExecutionProvider"])
    other = pl.export(tiny, runtime="onnx", out=tmp_path / "x", backend="coreml")
    small = pl.compress(other, method="onnx-dynamic", out=tmp_path / "small")
    assert small.manifest.backend is None


def test_bfloat16_is_a_precision_of_its_own(
    tiny: Bundle, tiny_onnx: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_require_bfloat16", lambda *_: None)  # wherever this runs
    made = pl.export(tiny_onnx, runtime="openvino", out=tmp_path / "b", precision="bfloat16")
    assert made.manifest.precision == "bfloat16"
    assert made.network_id == made.id != tiny.network_id
    same = pl.export(tiny_onnx, runtime="openvino", out=tmp_path / "f")
    assert same.network_id == tiny.network_id
    with pytest.raises(UserError, match="is for float32 models"):
        pl.export(made, runtime="openvino", out=tmp_path / "c", precision="bfloat16")
    small = pl.compress(tiny_onnx, method="onnx-dynamic", out=tmp_path / "q")
    with pytest.raises(UserError, match="is for float32 models"):
        pl.export(small, runtime="openvino", out=tmp_path / "c", precision="bfloat16")


def test_a_processor_without_bfloat16_is_said() -> None:
    class Core:
        def get_property(self, *_: Any) -> list[str]:
            return ["FP32", "INT8"]

    with pytest.raises(BundleError, match="this processor hasn't got"):
        openvino._require_bfloat16(Core(), Path("runs/a"))

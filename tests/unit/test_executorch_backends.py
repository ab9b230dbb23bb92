"""What computes a .pte file: which backends there are, what they need, and where they can run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.runtimes import executorch
from support.fake import fake_imported
from support.small import network, pte_bundle, quantized, small_bundle

if importlib.util.find_spec("executorch") is None:
    pytest.skip("executorch is not installed", allow_module_level=True)

#: Core ML's tools come with executorch, but not on each system.
OF_OTHER_MACHINES = ["vulkan", *(["coreml"] if importlib.util.find_spec("coremltools") else [])]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(executorch, "restore", lambda _: network())
    return small_bundle(tmp_path / "float")


def test_nnapi_is_told_what_there_is(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        pl.export(small, runtime="executorch", out=tmp_path / "x", backend="nnapi")
    advice = str(caught.value)
    for part in (
        "no NNAPI backend",
        "Android 15 deprecates NNAPI",
        "xnnpack (CPU), vulkan (GPU)",
        "pocketlens compress BUNDLE --method onnx-static",
        "pocketlens export INT8 --runtime onnx --batch 1",
        "onnxruntime.tools.check_onnx_model_mobile_usability",
    ):
        assert part in advice
    assert "\n" not in advice
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ("qualcomm", r"QNN_SDK_ROOT.*https://www\.qualcomm\.com"),
        ("samsung", r"AI LiteCore SDK.*https://soc-developer"),
        ("mediatek", r"mtk_converter is missing.*NeuroPilot Express SDK.*https://neuropilot"),
    ],
)
def test_a_missing_sdk_is_named(
    backend: str, named: str, small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    with pytest.raises(UserError, match=named):
        pl.export(small, runtime="executorch", out=tmp_path / "x", backend=backend)
    assert not (tmp_path / "x").exists()


def test_a_vendor_wants_to_know_the_chip(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=r"--soc, one of .*SM8650.*not 'abacus'"):
        pl.export(small, runtime="executorch", out=tmp_path / "x", backend="qualcomm", soc="abacus")


@pytest.mark.parametrize("backend", OF_OTHER_MACHINES)
def test_what_only_a_device_can_run(
    backend: str, small: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if executorch._runs_here(backend):
        pytest.skip(f"this machine has {backend}")
    made = pl.export(small, runtime="executorch", out=tmp_path / "x", backend=backend)
    assert f"no {backend}, so the file's answers are unchecked" in capsys.readouterr().err
    assert made.manifest.backend == backend
    with pytest.raises(BundleError, match=rf"{backend}.*only be scored on the device"):
        pl.load(made)
    content = (made.path / "model.pte").read_bytes()
    with pytest.raises(BundleError, match="is not registered"):
        pl.load(pte_bundle(made, tmp_path / "y", content, backend="xnnpack"))


@pytest.mark.parametrize("backend", [None, "abacus"])
def test_an_unknown_backend_in_the_manifest(
    backend: str | None, small: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="as ExecuTorch's backend"):
        pl.load(pte_bundle(small, tmp_path / "x", b"", backend=backend))


@pytest.mark.parametrize(
    ("described", "backend", "named"),
    [
        ({"flow": "pt2e", "quantizer": "x86"}, "xnnpack", "rules of x86.*--quantizer xnnpack"),
        ({"flow": "eager", "engine": "x86"}, "xnnpack", "rules of eager.*--quantizer xnnpack"),
        ({"flow": "pt2e", "quantizer": "xnnpack"}, "vulkan", "vulkan has its own.*float bundle"),
    ],
)
def test_int8_by_other_rules(
    described: dict[str, Any], backend: str, named: str, small: Bundle, tmp_path: Path
) -> None:
    bundle = quantized(tmp_path / "int8", **described)
    with pytest.raises(UserError, match=named):
        pl.export(bundle, runtime="executorch", out=tmp_path / "x", backend=backend)


def test_an_onnx_bundle_names_what_to_export(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "onnx", ["a", "b"])
    with pytest.raises(
        UserError,
        match=r"only torch or torch-int8 bundles.*made from.*"
        r"compress BUNDLE --method pt2e-static --quantizer xnnpack",
    ):
        pl.export(bundle, runtime="executorch", out=tmp_path / "x")


def test_a_backend_that_takes_nothing_is_no_backend(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    class Sums(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:, :, 0, 0].cumsum(1)

    monkeypatch.setattr(executorch, "restore", lambda _: Sums())
    with pytest.raises(UserError, match=r"takes none of the network's operations.*cumsum"):
        pl.export(small, runtime="executorch", out=tmp_path / "x")

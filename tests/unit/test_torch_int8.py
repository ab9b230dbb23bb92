"""PyTorch's INT8: what is stored is data, small, and opens to the very answers it had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens import plugins
from pocketlens.compression import _int8
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.core.session import SessionOptions

FLOWS = ["eager", "pt2e"]


@pytest.fixture(scope="module")
def compact(tiny_as: Callable[[str], Bundle]) -> Bundle:
    return tiny_as("compact/resnet18")


@pytest.fixture(scope="module")
def made(
    compact: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("int8")
    return {
        flow: pl.compress(
            compact, method=f"{flow}-static", out=folder / flow, data=photos, num_images=24
        )
        for flow in FLOWS
    }


def altered(bundle: Bundle, out: Path, **changes: Any) -> Bundle:
    """A bundle whose manifest describes the quantization otherwise."""
    quantization = {**bundle.manifest.model["quantization"], **changes}
    model = {**bundle.manifest.model, "quantization": quantization}
    files = {name: bundle.path / name for name in bundle.manifest.files}
    return write_bundle(out, replace(bundle.manifest, model=model), files)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_fresh_process_answers_alike(flow: str, made: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = made[flow]
    session = plugins.load("runtimes", "torch-int8").open(bundle, SessionOptions(threads=1))
    inputs = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    code = f"""
import numpy as np
from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.session import SessionOptions
session = plugins.load("runtimes", "torch-int8").open(
    read_bundle({str(bundle.path)!r}), SessionOptions(threads=1))
np.save({str(tmp_path / "found.npy")!r}, session(np.load({str(tmp_path / "inputs.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), session(inputs))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_small_file_of_data(flow: str, made: dict[str, Bundle], compact: Bundle) -> None:
    from safetensors.numpy import load_file

    assert sorted(made[flow].manifest.files) == ["model.safetensors", "split.json"]
    tensors = load_file(made[flow].path / "model.safetensors")
    assert max(tensors.values(), key=np.size).dtype == np.int8
    assert made[flow].size_bytes <= 0.35 * compact.size_bytes


@pytest.mark.parametrize("flow", FLOWS)
def test_it_still_knows_what_it_learnt(
    flow: str, made: dict[str, Bundle], compact: Bundle, photos: Path
) -> None:
    expected = pl.evaluate(compact, photos, split="all").score
    assert pl.evaluate(made[flow], photos, split="all").score >= expected - 5


@pytest.mark.parametrize(
    ("flow", "changes"),
    [
        ("eager", {"flow": "magic"}),
        ("eager", {"flow": None}),
        ("eager", {"flow": "pt2e", "quantizer": "x86", "training": False}),
        ("pt2e", {"flow": "eager"}),
        ("pt2e", {"quantizer": "nnapi"}),
        ("pt2e", {"training": "yes"}),
    ],
)
def test_a_description_that_does_not_fit(
    flow: str, changes: dict[str, Any], made: dict[str, Bundle], tmp_path: Path
) -> None:
    bundle = altered(made[flow], tmp_path / "x", **changes)
    with pytest.raises(BundleError, match="manifest"):
        pl.load(bundle)


def test_without_torchao_it_names_the_command(
    made: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlens\[torchao\]'"):
        pl.load(made["pt2e"])
    with pl.load(made["eager"]) as predictor:
        assert predictor.predict(np.zeros((40, 40, 3), np.uint8))[0].error is None


def test_without_executorch_it_names_the_command(
    tiny: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlens\[executorch\]'"):
        pl.compress(
            tiny, method="pt2e-static", quantizer="xnnpack", data=photos, out=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("method", ["eager-static", "eager-qat"])
def test_eager_mode_names_what_it_is_for(
    method: str, tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"compact/\*.*test_byobnet has not; use onnx-static"):
        pl.compress(tiny, method=method, data=photos, out=tmp_path / "x")


@pytest.mark.parametrize(
    ("machine", "flags", "reduced"),
    [
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), False),
        ("x86_64", ("avx2", "avx512f"), True),
        ("x86_64", ("avx2", "avx_vnni"), True),  # torch's kernels look for that of AVX-512
        ("AMD64", (), True),  # Windows doesn't tell
        ("aarch64", ("asimd", "asimddp"), False),
        ("arm64", (), False),
    ],
)
def test_range_is_reduced_where_sums_overflow(
    machine: str, flags: tuple[str, ...], reduced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_int8.platform, "machine", lambda: machine)
    assert _int8.needs_reduced_range(flags) is reduced


@pytest.mark.parametrize("train", [False, True])
def test_a_reduced_range_reaches_the_observers(train: bool, compact: Bundle) -> None:
    way = plugins.load("runtimes", "torch-int8").flow("eager")
    module = plugins.load("runtimes", "torch").restore(compact)
    prepared = way.prepare(module, compact.manifest.model, reduce_range=True, train=train)
    observer = prepared.get_submodule("quant.activation_post_process")
    assert (observer.quant_min, observer.quant_max) == (0, 127)


def test_xnnpack(tiny: Bundle, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    result = pl.compress(
        tiny,
        method="pt2e-static",
        quantizer="xnnpack",
        data=photos,
        out=tmp_path / "x",
        num_images=24,
    )
    expected = pl.evaluate(tiny, photos, split="all").score
    assert pl.evaluate(result, photos, split="all").score >= expected - 5
    assert result.manifest.model["quantization"]["quantizer"] == "xnnpack"

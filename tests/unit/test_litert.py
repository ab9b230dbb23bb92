"""A .tflite file answers as what it was made from, in float and INT8, and says what it can't."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle, write_bundle
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input, SessionOptions
from pocketlens.runtimes import litert
from support.small import MANIFEST, SIDE, network, noise, restoring, small_bundle

needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is None, reason="needs LiteRT, an extra of its own"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("small") / "float")


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle `small`, of no family, is the small network."""
    monkeypatch.setattr(litert, "restore", restoring(litert.restore))


@pytest.fixture(scope="module")
def tflite(small: Bundle) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "restore", lambda _: network())
        return pl.export(small, runtime="litert", out=small.path.with_name("tflite"))


def answers(bundle: Bundle, inputs: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    found = litert.open(bundle, SessionOptions(threads))(inputs)
    assert found.dtype == np.float32
    return found


def reference(module: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        found: NDArray[np.float32] = module(torch.from_numpy(inputs)).numpy()
    return found


# --- where it isn't installed


def test_without_the_converter_it_names_the_command(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    for name in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, name, None)
    told = r"pip install 'pocketlens\[litert\]'"
    with pytest.raises(MissingExtraError, match=told):
        pl.export(small, runtime="litert", out=tmp_path / "x")
    with pytest.raises(MissingExtraError, match=told):
        pl.compress(small, method="litert-static", calibration=photos, out=tmp_path / "x")
    manifest = replace(MANIFEST, runtime="litert")
    with pytest.raises(MissingExtraError, match=told):
        pl.load(write_bundle(tmp_path / "file", manifest, {"model.tflite": b"x"}))
    assert not (tmp_path / "x").exists()


def test_only_float_torch_bundles_become_files(tiny_onnx: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compress BUNDLE --method litert-static"):
        pl.export(tiny_onnx, runtime="litert", out=tmp_path / "x")


def test_a_batch_of_none(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batch must be at least 1"):
        pl.export(small, runtime="litert", out=tmp_path / "none", batch=0)
    with pytest.raises(UserError, match="--layout must be one of NCHW, NHWC"):
        pl.export(small, runtime="litert", out=tmp_path / "none", layout="HWC")


# --- the float file


@needs_litert
def test_float_answers_as_torch(tflite: Bundle) -> None:
    expected, found = reference(network(), noise(64)), answers(tflite, noise(64))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(answers(tflite, noise(64), threads=2), expected, atol=1e-4)


@needs_litert
def test_one_file_that_tells_nothing_of_this_machine(
    small: Bundle, tflite: Bundle, tmp_path: Path
) -> None:
    assert sorted(tflite.manifest.files) == ["model.tflite"]
    content = (tflite.path / "model.tflite").read_bytes()
    assert content[4:8] == b"TFL3"
    words = b"site-packages", b"/src/", str(Path.cwd()).encode()
    assert not [word for word in words if word in content]
    again = pl.export(small, runtime="litert", out=tmp_path / "again")
    assert again.manifest.files == tflite.manifest.files


@needs_litert
def test_android_gives_the_channels_last(small: Bundle, tflite: Bundle, tmp_path: Path) -> None:
    made = pl.export(small, runtime="litert", out=tmp_path / "nhwc", layout="NHWC", batch=2)
    assert read_bundle(made.path).manifest.input == Input("float32", "NHWC")
    inputs = noise(5)
    found = answers(made, inputs.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, answers(tflite, inputs), atol=1e-5)


@needs_litert
@pytest.mark.parametrize(
    "damage", ["nothing", "garbage", "half", "another network's", "another size's", "a layout's"]
)
def test_a_damaged_file(damage: str, tflite: Bundle, tmp_path: Path) -> None:
    content = (tflite.path / "model.tflite").read_bytes()
    changes: dict[str, Any] = {
        "another network's": {"classes": ("a", "b")},
        "another size's": {"preprocess": Preprocess(8, 8)},
        "a layout's": {"input": Input("float32", "NHWC")},
    }.get(damage, {})
    broken = {
        "nothing": b"",
        "garbage": b"what is this? " * 100,
        "half": content[: len(content) // 2],
    }.get(damage, content)
    named = {
        "nothing": "it is empty",
        "garbage": "not a valid Flatbuffer",
        "half": "not a valid Flatbuffer",
        "another network's": r"gives \(\(1, 3\)",
    }.get(damage, r"takes \(\(1, 3, 16, 16\)")
    bundle = write_bundle(
        tmp_path / "x", replace(tflite.manifest, **changes), {"model.tflite": broken}
    )
    with pytest.raises(BundleError, match=rf"model\.tflite.*{named}.*export it again") as caught:
        pl.load(bundle)
    assert "\n" not in str(caught.value)


@needs_litert
def test_other_answers_are_found(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = litert._converted

    def other(bundle: Any, library: Any, module: Any, example: Any) -> Any:
        return real(bundle, library, network(seed=1), example)

    monkeypatch.setattr(litert, "_converted", other)
    with pytest.raises(BundleError, match="answers differently"):
        pl.export(small, runtime="litert", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@needs_litert
def test_what_cannot_be_converted(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    class Choice(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    monkeypatch.setattr(litert, "restore", lambda _: Choice())
    with pytest.raises(BundleError, match="LiteRT can't convert this network") as caught:
        pl.export(small, runtime="litert", out=tmp_path / "x")
    assert "\n" not in str(caught.value)


@needs_litert
def test_opening_says_nothing_and_loads_no_torch(tflite: Bundle) -> None:
    code = f"""
import numpy as np, sys
from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.session import SessionOptions
session = plugins.load("runtimes", "litert").open(
    read_bundle({str(tflite.path)!r}), SessionOptions(threads=1))
print(session(np.zeros((2, 3, {SIDE}, {SIDE}), np.float32)).shape, "torch" in sys.modules)
print("afterwards stderr is as before", file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "(2, 3) False\n"
    assert run.stderr == "afterwards stderr is as before\n"


@needs_litert
@pytest.mark.slow
def test_exporting_says_nothing_of_its_own(tiny: Bundle, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pocketlens", "export", str(tiny.path)]
    command += ["--runtime", "litert", "--out", str(tmp_path / "a")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    said = run.stdout + run.stderr
    assert "LiteRT-Torch" not in said
    assert "oneDNN" not in said
    assert "XNNPACK" not in said


# --- INT8


@needs_litert
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_int8_keeps_what_was_learnt(
    layout: str, tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    options = {"data": photos, "num_images": 24, "layout": layout}
    made = pl.compress(tiny, method="litert-static", out=tmp_path / "a", **options)
    assert made.manifest.input == Input("float32", layout)
    assert made.manifest.lineage.config["num_calibrated"] == 24
    assert made.size_bytes < 0.45 * tiny.size_bytes
    assert pl.evaluate(made, photos, split="all").score >= (
        pl.evaluate(tiny, photos, split="all").score - 10
    )
    from ai_edge_litert.interpreter import Interpreter

    file = Interpreter(str(made.path / "model.tflite"))
    assert file.get_input_details()[0]["dtype"] == np.float32
    weights = [
        found["quantization_parameters"]["scales"]
        for found in file.get_tensor_details()
        if found["dtype"] == np.int8 and len(found["shape"]) == 4
    ]
    assert max(map(len, weights)) > 1, "weights have a scale for each channel"


@needs_litert
def test_a_dead_channel_keeps_its_bias(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_photos: Callable[..., Path]
) -> None:
    """Weights next to nothing have tiny steps, in which a bias would not fit into 32 bits."""
    import torch

    module = network()
    with torch.no_grad():
        module[0].weight[0] = 1e-9
        module[0].bias[0] = 3.0
    monkeypatch.setattr(litert, "restore", lambda _: module)
    made = pl.compress(
        small,
        method="litert-static",
        out=tmp_path / "int8",
        calibration=make_photos(tmp_path / "photos", per_class=6),
    )
    assert made.manifest.lineage.config["widened_channels"] == 1
    inputs = 0.5 * noise(50)
    expected, found = reference(module, inputs), answers(made, inputs)
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


@needs_litert
def test_ranges_are_all_that_was_seen_or_an_average(
    tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    options = {"data": photos, "num_images": 24}
    files = [
        pl.compress(
            tiny, method="litert-static", out=tmp_path / ranges, ranges=ranges, **options
        ).manifest.files["model.tflite"]
        for ranges in ("minmax", "average")
    ]
    assert files[0] != files[1]


@needs_litert
def test_a_network_without_sense_is_refused(
    small: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    module = network()
    with torch.no_grad():
        module[0].bias[0] = float("nan")
    monkeypatch.setattr(litert, "restore", lambda _: module)
    with pytest.raises(UserError) as caught:
        pl.compress(small, method="litert-static", calibration=photos, out=tmp_path / "x")
    assert "answers differently" in str(caught.value), "NaN is no answer that could agree"
    assert not (tmp_path / "x").exists()

"""Our own small ResNets: their size, their way to INT8 and to ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.measures.operations import count_operations
from pocketlens.models import compact
from support.tiny import CONFIG

NAMES = compact.similar("compact/")


def lively(name: str, width: float = 1.0) -> torch.nn.Module:
    """A network as if it had been trained: no block is the identity, batch norm has seen data."""
    torch.manual_seed(0)
    module = compact.build(name, 5, compact.Config(width=width))
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.0)
    torch.nn.init.normal_(module.get_submodule("head").weight, std=0.05)  # type: ignore[arg-type]
    with torch.no_grad():
        for _ in range(6):
            module.train()(torch.randn(8, 3, 32, 32))
    return module.eval()


@pytest.mark.parametrize(
    ("name", "width", "params"),
    [
        ("compact/resnet18", 1.0, 2_802_869),
        ("compact/resnet34", 1.0, 5_331_765),
        ("compact/resnet50", 1.0, 5_900_469),
        ("compact/resnet50", 0.75, 3_327_045),
        ("compact/resnet50", 0.5, 1_483_165),
        ("compact/resnet50", 2.0, 23_537_509),
    ],
)
def test_parameters(name: str, width: float, params: int) -> None:
    module = compact.build(name, 5, compact.Config(width=width))
    assert count_operations(module, 64, 64).params == params
    convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(conv.out_channels % 8 == 0 for conv in convolutions)
    assert [conv.kernel_size for conv in convolutions[:3]] == [(3, 3)] * 3


@pytest.mark.parametrize("name", NAMES)
def test_blocks_start_as_the_identity(name: str) -> None:
    module = compact.build(name, 5, compact.Config())
    last = [block.path[-1].weight for block in module.modules() if hasattr(block, "path")]
    assert len(last) == {"18": 8, "34": 16, "50": 16}[name[-2:]]
    assert not any(weight.any() for weight in last)


@pytest.mark.parametrize("name", NAMES)
def test_everything_fuses(name: str) -> None:
    module = lively(name, 0.5)
    images = torch.randn(2, 3, 75, 61)  # odd sides too
    fused = compact.fuse(module)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in fused.modules())
    with torch.inference_mode():
        torch.testing.assert_close(fused(images), module(images), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_int8() -> None:
    from torch.ao.quantization import convert, get_default_qconfig, prepare

    module = lively("compact/resnet50", 0.5)
    images = torch.randn(16, 3, 32, 32)
    fused = compact.fuse(module)
    fused.qconfig = get_default_qconfig(torch.backends.quantized.engine)  # type: ignore[assignment]
    prepared = prepare(fused)
    with torch.inference_mode():
        for _ in range(4):
            prepared(torch.randn(16, 3, 32, 32))
        quantized = convert(prepared)
        expected, found = module(images), quantized(images)
    kinds = {type(layer).__module__ for layer in quantized.modules()}
    assert not any(kind == "torch.nn.modules.conv" for kind in kinds), "nothing stays float"
    assert quantized.head.weight().dtype == torch.qint8
    assert (found - expected).abs().max() < 0.2 * expected.std()
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.99


def test_a_bundle_of_it(photos: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, model="compact/resnet18", epochs=1, width=0.5, layer_decay=0.9)
    bundle = pl.train(photos, out=tmp_path / "a", config=config)
    assert bundle.manifest.model["family"] == "compact"
    assert bundle.manifest.model["config"] == {"width": 0.5}
    exported = pl.export(bundle, runtime="onnx", out=tmp_path / "onnx")
    files = sorted(photos.rglob("*.jpg"))[:6]
    with pl.load(bundle) as one, pl.load(exported) as other:
        expected, found = ([a.logits_K for a in p.answers((f, None) for f in files)]
                           for p in (one, other))  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_there_are_no_weights(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(photos), "--out", "x", "--model", "compact/resnet50"]) == 2
    assert "--weights none" in capsys.readouterr().err
    assert run(["import", "compact/resnet50", "--out", "x"]) == 2
    assert "--weights none" in capsys.readouterr().err
    assert run(["train", str(photos), "--out", "x", "--model", "compact/resnet5"]) == 2
    assert "did you mean compact/resnet18" in capsys.readouterr().err

"""Pruning: what goes, what is kept as data, and what can't be pruned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pocketlens as pl
from pocketlens import plugins
from pocketlens.compression._pruning import (
    Rules,
    check_prunable,
    prune_by,
    set_gradients,
    widths_of,
)
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import UserError
from pocketlens.measures.operations import count_operations
from pocketlens.workflows._network import build_network

#: One of each kind that torch-pruning has to follow: depthwise with SAME padding, squeeze-excite,
#: quantization stubs and `FloatFunctional`, concatenation, convolutions in groups, plain residuals.
NETWORKS = (
    "tf_efficientnet_lite0",
    "mobilenetv3_small_100",
    "compact/resnet18",
    pytest.param("densenet121", marks=pytest.mark.slow),
    pytest.param("resnext26ts", marks=pytest.mark.slow),
    "torchvision/resnet18",
)


def rules(module: torch.nn.Module, **other: Any) -> Rules:
    given = {"importance": "magnitude", "round_to": 8, "max_layer_ratio": 0.8, "whole": True}
    return Rules(**{**given, "first": widths_of(module), **other})


def restore(bundle: Bundle) -> torch.nn.Module:
    module: torch.nn.Module = plugins.load("runtimes", "torch").restore(bundle)
    return module


@pytest.fixture(scope="module")
def pruned(tiny: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("pruned") / "a"
    return pl.compress(tiny, method="prune", out=out, data=photos, ratio=0.5, epochs=1)


@pytest.mark.parametrize("name", NETWORKS)
def test_takes_what_is_asked_in_multiples_of_eight(name: str) -> None:
    torch.manual_seed(0)
    module = build_network(name, 5).module.eval()
    before, macs = widths_of(module), count_operations(module, 64, 64).macs
    example_NCHW = torch.zeros(2, 3, 64, 64)
    left = prune_by(module, example_NCHW, rules(module), by="operations", limit=0.6 * macs)
    after = count_operations(module, 64, 64).macs
    assert after == left, "what was planned is what became of it"
    assert 0.5 * macs < after <= 0.6 * macs
    widths = widths_of(module)
    for layer, numbers in widths.items():
        for old, new in zip(before[layer][:2], numbers[:2], strict=True):
            assert new == old or new % 8 == 0, layer
            assert new >= 0.2 * old - 1, layer
    with torch.inference_mode():
        assert module(example_NCHW).shape == (2, 5)
    other = build_network(name, 5)
    changes = [{"kind": "widths", "layers": {k: v for k, v in widths.items() if v != before[k]}}]
    again = other.family.build(
        name, 5, plugins.configure(other.family, {**other.options, "changes": changes})
    )
    again.load_state_dict(module.state_dict())
    input_NCHW = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again.eval()(input_NCHW), module(input_NCHW))


def test_by_parameters_and_each_layer_alike() -> None:
    module = build_network("compact/resnet18", 5).module.eval()
    before, params = widths_of(module), count_operations(module, 64, 64).params
    chosen = rules(module, whole=False)
    prune_by(module, torch.zeros(2, 3, 64, 64), chosen, by="parameters", limit=0.5 * params)
    assert count_operations(module, 64, 64).params <= 0.5 * params
    after = widths_of(module)
    shares = {after[k][1] / before[k][1] for k in before if len(before[k]) == 3}
    assert max(shares) - min(shares) < 0.3


def test_too_much_says_how_much_can_go() -> None:
    module = build_network("compact/resnet18", 5).module.eval()
    with pytest.raises(UserError, match=r"at most \d+ % of the operations can go with --max-layer"):
        prune_by(module, torch.zeros(2, 3, 32, 32), rules(module), by="operations", limit=1.0)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_taylor_keeps_the_channels_that_matter(task: str) -> None:
    """A channel that nothing reads has no effect on the loss, however large its weights are."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 4),
    )
    with torch.no_grad():
        module[4].weight[:, :8] = 0
        module[0].weight[:8] *= 100
    batches = [np.random.default_rng(0).random((16, 3, 8, 8), np.float32)]
    kept = module[0].weight[8:].clone()
    set_gradients(module, iter(batches), task, seed=0)
    chosen = rules(module, importance="taylor")
    prune_by(module, torch.zeros(2, 3, 8, 8), chosen, by="parameters", limit=300)
    assert torch.equal(module[0].weight, kept)


def test_what_hides_sizes_is_refused() -> None:
    for name in ("vit_tiny_patch16_224", "convnext_atto"):
        with pytest.raises(UserError, match=f"{name} can't be pruned: its .* hides sizes"):
            check_prunable(build_network(name, 5).module, name)


def test_reloads_in_another_process_with_equal_answers(pruned: Bundle, tmp_path: Path) -> None:
    input_NCHW = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    np.save(tmp_path / "in.npy", input_NCHW)
    code = (
        "import sys, numpy as np, torch\n"
        "from pocketlens import plugins\n"
        "from pocketlens.core.bundle import read_bundle\n"
        "torch.set_num_threads(1)\n"
        "bundle = read_bundle(sys.argv[1])\n"
        "module = plugins.load('runtimes', 'torch').restore(bundle)\n"
        "with torch.inference_mode():\n"
        "    np.save(sys.argv[3], module(torch.from_numpy(np.load(sys.argv[2]))).numpy())\n"
    )
    files = [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", code, str(pruned.path), *files], check=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        expected = restore(pruned)(torch.from_numpy(input_NCHW)).numpy()
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(np.load(files[1]), expected)
    assert sorted(f.name for f in pruned.path.iterdir()) == [
        "README.md",
        "manifest.json",
        "model.safetensors",
        "split.json",
    ]


def test_manifest_tells_the_widths(pruned: Bundle, tiny: Bundle) -> None:
    model = json.loads((pruned.path / "manifest.json").read_text())["model"]
    (change,) = model["config"]["changes"]
    assert change["kind"] == "widths"
    built = widths_of(restore(tiny))
    assert all(built[name] != numbers for name, numbers in change["layers"].items())
    assert model["macs"] <= 0.5 * tiny.manifest.model["macs"]
    assert model["params"] < tiny.manifest.model["params"]
    assert pruned.manifest.lineage.config["before"]["macs"] == tiny.manifest.model["macs"]


def test_a_pruned_network_is_pruned_again_in_steps_and_exported(
    pruned: Bundle, photos: Path, tmp_path: Path
) -> None:
    twice = pl.compress(
        pruned,
        method="prune",
        out=tmp_path / "b",
        data=photos,
        ratio=0.3,
        steps=2,
        epochs=1,
        importance="taylor",
        num_images=16,
    )
    model = read_bundle(twice.path).manifest.model
    assert model["macs"] <= 0.7 * pruned.manifest.model["macs"]
    assert [change["kind"] for change in model["config"]["changes"]] == ["widths", "widths"]
    exported = pl.export(twice, runtime="onnx", out=tmp_path / "onnx")
    once = pl.export(pruned, runtime="onnx", out=tmp_path / "once")
    assert exported.size_bytes < once.size_bytes
    with pytest.raises(UserError, match="was pruned"):
        pl.compress(pruned, method="width", out=tmp_path / "c", data=photos, epochs=1)


def test_by_latency_tries_until_it_is_fast_enough(
    tiny: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times that follow the file's size stand in for the clock."""
    from pocketlens.workflows import compress

    def latency(bundles: Any, photos: object, threads: object) -> dict[str, float]:
        return {k: (path / "model.onnx").stat().st_size / 1e5 for k, path in bundles.items()}

    monkeypatch.setattr(compress, "_latency", latency)
    made = pl.compress(
        tiny, method="prune", out=tmp_path / "a", data=photos, ratio=0.3, by="latency", epochs=1
    )
    before = pl.export(tiny, runtime="onnx", out=tmp_path / "b").size_bytes
    assert pl.export(made, runtime="onnx", out=tmp_path / "c").size_bytes <= 0.72 * before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, "--ratio must be above 0 and below 1"),
        ({"max_layer_ratio": 0.0}, "--max-layer-ratio must be"),
        ({"steps": 0}, "must be at least 1"),
        ({"by": "watts"}, "--by must be one of operations, parameters, latency"),
    ],
)
def test_options_that_are_none(
    options: dict[str, Any], message: str, tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        pl.compress(tiny, method="prune", out=tmp_path / "x", data=photos, **options)

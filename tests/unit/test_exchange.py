"""Exchanged activations, other widths, students."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import pocketlens as pl
from pocketlens import plugins
from pocketlens.compression.activation_exchange import _keep_mean_factors
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.workflows._network import build_network


def kinds(module: nn.Module) -> set[str]:
    return {type(layer).__name__ for layer in module.modules()}


def exchanged(name: str, to: str, se: str) -> nn.Module:
    network = build_network(name, 4)
    changes = [{"kind": "activations", "to": to, "se": se}]
    config = plugins.configure(network.family, {"changes": changes})
    module: nn.Module = network.family.build(name, 4, config)
    return module.eval()


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_small_100", "resnext26ts"])
def test_squeeze_excite_is_kept_simplified_or_removed(name: str) -> None:
    smooth = {"SiLU", "Hardswish"}
    kept, simple, removed = (exchanged(name, "relu6", se) for se in ("keep", "simplify", "remove"))
    if name == "efficientnet_b0":
        assert {"SiLU", "Sigmoid", "ReLU6"} <= kinds(kept), "squeeze-excite stays as it is"
        assert {"Hardsigmoid", "ReLU"} <= kinds(simple)
    assert not smooth & kinds(simple)
    assert not kinds(simple) & {"Sigmoid"}
    assert not (smooth | {"SqueezeExcite", "Hardsigmoid"}) & kinds(removed)
    for module in (kept, simple, removed):
        with torch.inference_mode():
            assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    names = build_network(name, 4).module.state_dict().keys()
    assert set(kept.state_dict()) == set(names)
    assert set(removed.state_dict()) < set(names) or name == "resnext26ts"


def test_unknown_activation_in_a_manifest_is_refused() -> None:
    with pytest.raises(BundleError, match="doesn't fit its network"):
        exchanged("efficientnet_b0", "swish", "keep")


@pytest.mark.parametrize("name", ["test_efficientnet", "seresnet33ts"])
def test_mean_factors_stay_when_squeeze_excite_goes(name: str) -> None:
    """Blocks that give constant factors can be removed without a change of the answers."""
    torch.manual_seed(0)
    module = build_network(name, 4).module.eval()
    blocks = [path for path, layer in module.named_modules() if hasattr(layer, "gate")]
    assert blocks
    for path in blocks:
        block = module.get_submodule(path)
        last = block.conv_expand if hasattr(block, "conv_expand") else block.fc2
        with torch.no_grad():
            last.weight.zero_()
            last.bias.uniform_(-2, 2)
    input_NCHW = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = module(input_NCHW)
    _keep_mean_factors(module, blocks, iter([input_NCHW.numpy()]))
    for path in blocks:
        parent, _, child = path.rpartition(".")
        setattr(module.get_submodule(parent), child, nn.Identity())
    with torch.inference_mode():
        found = module(input_NCHW)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_exchanged_bundle_reloads_and_exports(
    tiny_efficientnet: Bundle, photos: Path, tmp_path: Path
) -> None:
    made = pl.compress(
        tiny_efficientnet,
        method="activation-exchange",
        out=tmp_path / "a",
        data=photos,
        epochs=1,
        num_images=16,
    )
    model = read_bundle(made.path).manifest.model
    assert model["config"]["changes"] == [{"kind": "activations", "to": "relu6", "se": "remove"}]
    assert model["params"] < tiny_efficientnet.manifest.model["params"]
    onnx = pl.export(made, runtime="onnx", out=tmp_path / "onnx")
    assert onnx.size_bytes < tiny_efficientnet.size_bytes
    with pytest.raises(UserError, match="has nothing to exchange"):
        pl.compress(made, method="activation-exchange", out=tmp_path / "b", data=photos, epochs=1)


def test_nothing_to_exchange_names_what_else_there_is(
    tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="nothing to exchange; --se simplify or --se remove"):
        pl.compress(tiny, method="activation-exchange", out=tmp_path / "a", data=photos, se="keep")


def test_width_multiplies_the_present_one(
    tiny_efficientnet: Bundle, photos: Path, tmp_path: Path
) -> None:
    half = pl.compress(
        tiny_efficientnet, method="width", out=tmp_path / "a", data=photos, factor=0.5, epochs=1
    )
    assert half.manifest.model["config"]["width"] == 0.5
    assert half.manifest.model["macs"] < tiny_efficientnet.manifest.model["macs"]
    less = pl.compress(half, method="width", out=tmp_path / "b", data=photos, factor=0.8, epochs=1)
    assert less.manifest.model["config"]["width"] == 0.4
    with pytest.raises(UserError, match="--factor must be"):
        pl.compress(half, method="width", out=tmp_path / "c", data=photos, factor=1.5)


def test_an_average_of_weights_is_what_is_kept(
    tiny_efficientnet: Bundle, photos: Path, tmp_path: Path
) -> None:
    made = {}
    for ema in (None, 0.9):
        bundle = pl.compress(
            tiny_efficientnet,
            method="width",
            out=tmp_path / str(ema),
            data=photos,
            factor=0.5,
            epochs=2,
            ema=ema,
        )
        assert bundle.manifest.lineage.config["ema"] == ema
        made[ema] = load_file(bundle.file("model.safetensors"))
    apart = {k: np.abs(made[0.9][k] - made[None][k]).max() for k in made[None]}
    assert max(apart.values()) > 0
    with pytest.raises(UserError, match="--ema must be between 0 and 1"):
        pl.compress(tiny_efficientnet, method="width", out=tmp_path / "a", data=photos, ema=1.0)


def test_a_student_is_another_network(tiny: Bundle, photos: Path, tmp_path: Path) -> None:
    made = pl.compress(
        tiny,
        method="distill",
        out=tmp_path / "a",
        data=photos,
        student="compact/resnet18",
        weights="none",
        epochs=1,
    )
    model = made.manifest.model
    assert (model["family"], model["name"], model["config"]) == ("compact", "compact/resnet18", {})
    assert made.manifest.preprocess == tiny.manifest.preprocess


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "resnett18"}, "no network is called 'resnett18'; did you mean resnet18"),
        ({"student": "compact/resnet18"}, "no trained weights .* --weights none"),
        ({"student": "vit_tiny_patch16_224", "weights": "none"}, "takes no images of 32x32"),
        ({"weights": "none"}, "name it with --student"),
    ],
)
def test_students_that_can_not_be(
    options: dict[str, str], message: str, tiny: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        pl.compress(tiny, method="distill", out=tmp_path / "a", data=photos, **options)

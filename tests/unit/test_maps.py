"""Maps lie where a network looks, in every runtime, by the method that was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Request
from pocketlens.maps.eigencam import first_component
from pocketlens.maps.occlusion import log_odds
from pocketlens.runtimes import torch as torch_runtime
from pocketlens.runtimes._spatial import axes, find_target
from pocketlens.workflows.maps import METHODS, Mapped, Maps, choose, possible
from pocketlens.workflows.open import load
from support import halves

LEFT = np.s_[:, : halves.SIDE // 2]


@pytest.fixture
def _half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_runtime, "restore", lambda _: halves.network())


def mapped(bundle: Bundle, method: str, *photos: Any, **options: Any) -> tuple[list[Mapped], Maps]:
    with load(bundle) as predictor:
        maps = Maps(bundle, predictor, method, threads=1)
        return list(maps.of([Request(str(p)) for p in photos], **options)), maps


def on_the_left(found: list[Mapped]) -> None:
    for one in found:
        assert one.maps
        for each in one.maps:
            map_HW = each.map_HW
            assert map_HW.shape == (halves.SIDE, halves.SIDE)
            assert map_HW.dtype == np.float32
            assert (map_HW.min(), map_HW.max()) == pytest.approx((0, 1), abs=1e-5)
            # Cells are 8 wide, and enlarged between their centres, over the border by half of one.
            assert map_HW[LEFT].sum() / map_HW.sum() > 0.85


@pytest.mark.usefixtures("_half")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_torch_network_that_looks_left(method: str, task: str, tmp_path: Path) -> None:
    bundle = halves.torch_bundle(tmp_path / "bundle", task)
    photo = halves.photo(tmp_path / "a.png")
    found, maps = mapped(bundle, method, photo, photo)
    on_the_left(found)
    assert [one.maps[0].label for one in found] == ["bright"] * 2
    assert maps.method == method
    assert maps.layer == ("" if method == "occlusion" else "mask")
    assert maps.of_class == (method != "eigencam")


@pytest.mark.parametrize("method", ["eigencam", "occlusion"])
@pytest.mark.parametrize(
    ("runtime", "kind", "layer"),
    [
        ("onnx", {}, "seen"),
        ("onnx", {"quantized": True}, "seen_q"),
        ("onnx", {"qdq": True}, "seen_f"),
        ("openvino", {}, ""),
        ("openvino", {"qdq": True}, ""),
    ],
)
def test_a_file_that_looks_left(
    runtime: str, kind: dict[str, bool], layer: str, method: str, tmp_path: Path
) -> None:
    bundle = halves.onnx_bundle(tmp_path / "bundle", runtime, **kind)
    found, maps = mapped(bundle, method, halves.photo(tmp_path / "a.png"))
    on_the_left(found)
    if method == "eigencam":
        assert maps.layer == layer or (runtime == "openvino" and maps.layer)


def test_integers_are_given_as_the_floats_they_stand_for(tmp_path: Path) -> None:
    from pocketlens.core.session import SessionOptions

    runtime = plugins.load("runtimes", "onnx")
    rng = np.random.default_rng(0)
    inputs = rng.uniform(0, 1, (2, 3, halves.SIDE, halves.SIDE)).astype(np.float32)
    given = [
        runtime.activations(
            halves.onnx_bundle(tmp_path / str(q), quantized=q), SessionOptions(1)
        ).run(inputs)
        for q in (False, True)
    ]
    assert given[0].shape == (2, 2, 4, 4)
    np.testing.assert_allclose(given[1], given[0], atol=0.0101)


def test_a_file_with_tokens_has_no_map(tmp_path: Path) -> None:
    bundle = halves.onnx_bundle(tmp_path / "bundle", tokens=True)
    with pytest.raises(UserError, match="take the method occlusion"):
        mapped(bundle, "eigencam", halves.photo(tmp_path / "a.png"))
    on_the_left(mapped(bundle, "occlusion", tmp_path / "a.png")[0])


@pytest.mark.usefixtures("_half")
def test_what_cannot_be_had_is_refused_with_what_can(tmp_path: Path) -> None:
    torch_bundle = halves.torch_bundle(tmp_path / "torch")
    onnx_bundle = halves.onnx_bundle(tmp_path / "onnx")
    assert possible(torch_bundle) == list(METHODS)
    assert possible(onnx_bundle) == ["eigencam", "occlusion"]
    assert choose("auto", [torch_bundle]) == "gradcam"
    assert choose("auto", [torch_bundle, onnx_bundle]) == "eigencam"
    with pytest.raises(UserError, match=r"eigencam or occlusion, or name the float torch bundle"):
        choose("gradcam", [torch_bundle, onnx_bundle])
    with pytest.raises(UserError, match="no map method is called 'lime'"):
        choose("lime", [onnx_bundle])


@pytest.mark.usefixtures("_half")
def test_a_class_against_which_everything_speaks_has_a_flat_map(tmp_path: Path) -> None:
    photo = halves.photo(tmp_path / "a.png")
    bundle = halves.torch_bundle(tmp_path / "torch")
    (one,), _ = mapped(bundle, "gradcam", photo, classes=[halves.CLASSES.index("dark")])
    assert one.maps[0].label == "dark"
    assert not one.maps[0].map_HW.any()


@pytest.mark.usefixtures("_half")
def test_an_unreadable_photo_has_its_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    bundle = halves.torch_bundle(tmp_path / "torch")
    bad, good = mapped(bundle, "gradcam", tmp_path / "bad.png", halves.photo(tmp_path / "a.png"))[0]
    assert bad.prediction.error
    assert bad.maps == ()
    on_the_left([good])


def test_eigencam_is_the_librarys_but_for_mean_and_sign() -> None:
    rng = np.random.default_rng(1)
    activations = rng.random((6, 4, 5)).astype(np.float32)
    centred = activations - activations.mean(axis=(1, 2), keepdims=True)
    found = first_component(centred)
    theirs = get_2d_projection_with_sign_correction(activations[None])[0]
    ours = found / found.max()
    either = [np.maximum(sign * theirs, 0) / (sign * theirs).max() for sign in (1, -1)]
    assert any(np.allclose(ours, one, atol=1e-4) for one in either)
    assert (first_component(activations) > 0).all(), "of positive activations nothing is cut off"


def test_log_odds() -> None:
    logits_NK = np.array([[1.0, 2.0, -1.0]])
    p = np.exp(2.0) / np.exp(logits_NK).sum()
    assert log_odds(logits_NK, 1, multi=False)[0] == pytest.approx(np.log(p / (1 - p)))
    assert log_odds(logits_NK, 1, multi=True)[0] == 2.0


COMPACT = ["compact/resnet18", "compact/resnet34", "compact/resnet50"]


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [
        ("tf_efficientnet_lite0", "bn2", (2, 2)),
        ("resnet18", "layer4", (2, 2)),
        ("vit_tiny_patch16_224.augreg_in21k", "blocks.11.norm1", (14, 14)),
        ("test_vit2", "blocks.", (10, 10)),
        ("swin_tiny_patch4_window7_224", "norm", (7, 7)),
        *((name, "stages", (2, 2)) for name in COMPACT),
    ],
)
def test_the_layer_is_found(name: str, layer: str, cells: tuple[int, int]) -> None:
    family_name, family = plugins.find_family(name)
    network = family.build(name, 3, plugins.configure(family, {})).eval()
    side = {"vit_tiny_patch16_224.augreg_in21k": 224, "test_vit2": 160}.get(name, 64)
    side = 224 if name.startswith("swin") else side
    target = find_target(network, side, side, name)
    assert (target.height, target.width) == cells, (target.name, family_name)
    assert target.name.startswith(layer)
    kept: list[Any] = []
    target.layer.register_forward_hook(lambda _, given, output: kept.append(output))
    network(torch.zeros(2, 3, side, side))
    assert target.to_NCHW(kept[0]).shape[2:] == cells
    assert len(target.to_NCHW(kept[0])) == 2


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 1280, 7, 7), (224, 224), (2, 3)),
        ((1, 7, 7, 768), (224, 224), (1, 2)),
        ((1, 2, 1, 1), (32, 32), None),
        ((1, 4, 1, 1), (32, 32), None),
        ((1, 512, 1, 1), (32, 32), None),
        ((1, 3, 197, 64), (224, 224), None),
        ((1, 64, 2, 7), (50, 224), (2, 3)),
        ((1, 64, 10, 14), (150, 224), (2, 3)),
        ((1, 64, 7, 2), (224, 50), (2, 3)),
        ((1, 49, 64), (224, 224), None),
    ],
)
def test_which_sides_are_the_photos(
    shape: tuple[int, ...], size: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    assert axes(shape, size) == expected


def test_a_network_without_places(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
    with pytest.raises(UserError, match="take the method occlusion"):
        find_target(network, 8, 8, "it")


def test_no_torch_for_the_maps_of_a_file(tmp_path: Path, project: Path) -> None:
    bundle = halves.onnx_bundle(tmp_path / "bundle")
    photo = halves.photo(tmp_path / "a.png")
    code = (
        "import sys, pocketlens as pl\n"
        f"pl.explain_photos({str(bundle.path)!r}, {str(photo)!r}, out={str(tmp_path / 'out')!r})\n"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    loaded = {module.split(".")[0] for module in run.stdout.split()}
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "pytorch_grad_cam", "cv2", "matplotlib", "sklearn"}

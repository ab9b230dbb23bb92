"""Ranges, equalisation, rounding, bias correction, sensitivity: what each is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import pocketlens as pl
from pocketlens.compression import _static, equalize
from pocketlens.compression._sensitivity import load_sensitivity
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError


def test_the_mse_range_cuts_off_a_lone_extreme() -> None:
    values = np.append(np.random.default_rng(0).normal(size=100_000), 60.0).astype(np.float32)
    counts, edges = np.histogram(values, 2048)
    low, high = _static.mse_range((counts, edges.astype(np.float32)), 16)
    assert -4 < low < -1
    assert 4 < high < 20, "the extreme is cut off"
    whole = _static.mse_range((counts, edges.astype(np.float32)), 65536)
    assert whole[1] > 55, "with many levels nothing is worth cutting"


def test_the_mse_range_holds_zero() -> None:
    counts, edges = np.histogram(np.linspace(2, 3, 100), 64)
    low, high = _static.mse_range((counts, edges.astype(np.float32)), 256)
    assert low == 0.0
    assert high == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("flags", "option", "reduced"),
    [
        (("avx2",), "auto", True),
        (("avx2", "avx512_vnni"), "auto", False),
        (("avx2", "avx512_vnni"), "yes", True),
        (("avx2",), "no", False),
    ],
)
def test_weights_have_7_bits_where_sums_saturate(
    flags: tuple[str, ...],
    option: str,
    reduced: bool,
    tiny_onnx: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_static.platform, "machine", lambda: "x86_64")
    source = tiny_onnx.path / "model.onnx"
    tensors = [name for node in onnx.load(source).graph.node for name in node.output]
    ranges = _static.Ranges({"input": (-2.0, 2.0), **dict.fromkeys(tensors, (-4.0, 4.0))}, {}, 1)
    config = _static.StaticConfig(reduce_range=option)  # type: ignore[arg-type]
    model = _static.quantize(source, ranges, config, tmp_path, cpu_flags=flags)
    weights = [
        numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
    assert largest == (64 if reduced else 127)


def test_named_layers_stay_in_float(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    names = _static.layer_names(onnx.load(tiny_onnx.path / "model.onnx"))
    made = pl.compress(
        tiny_onnx,
        method="onnx-static",
        data=photos,
        out=tmp_path / "a",
        num_images=8,
        float_layers=f"{names[3]},{names[-1]}",
    )
    floats = {
        t.name
        for t in onnx.load(made.path / "model.onnx").graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1
    }
    assert floats == {f"{name}.weight" for name in (names[0], names[3], names[-1])}
    with pytest.raises(UserError, match="there is no layer 'nonsense'"):
        pl.compress(
            tiny_onnx,
            method="onnx-static",
            data=photos,
            out=tmp_path / "b",
            num_images=8,
            float_layers="nonsense",
        )


def test_the_answers_stay_in_float(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    for option, last in (("true", "Gemm"), ("false", "DequantizeLinear")):
        made = pl.compress(
            tiny_onnx,
            method="onnx-static",
            data=photos,
            out=tmp_path / option,
            num_images=8,
            float_logits=option,
        )
        graph = onnx.load(made.path / "model.onnx").graph
        by_output = {name: node for node in graph.node for name in node.output}
        assert by_output[graph.output[0].name].op_type == last


def two_layers(activation: str | None) -> onnx.ModelProto:
    """Two convolutions whose channels differ 1,000 times in size."""
    rng = np.random.default_rng(0)
    scale = np.geomspace(0.03, 30, 8).astype(np.float32)
    first = rng.normal(size=(8, 3, 3, 3)).astype(np.float32) * scale[:, None, None, None]
    second = rng.normal(size=(4, 8, 1, 1)).astype(np.float32) / scale[None, :, None, None]
    helper = onnx.helper
    nodes = [helper.make_node("Conv", ["input", "a", "bias"], ["x"], "first")]
    if activation:
        nodes.append(helper.make_node(activation, ["x"], ["y"]))
    nodes.append(helper.make_node("Conv", ["y" if activation else "x", "b"], ["logits"], "second"))
    tensors = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, None, None, None])
        for n in ("input", "logits")
    ]
    initializers = [
        numpy_helper.from_array(value, name)
        for name, value in (("a", first), ("b", second), ("bias", np.ones(8, np.float32)))
    ]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("activation", [None, "Relu", "Sigmoid"])
def test_only_pairs_with_a_relu_or_nothing_between_are_equalised(activation: str | None) -> None:
    pairs = equalize.find_pairs(two_layers(activation))
    assert len(pairs) == (0 if activation == "Sigmoid" else 1)


def test_equalised_channels_are_of_one_size_and_the_answers_stay() -> None:
    model = two_layers("Relu")
    (pair,) = equalize.find_pairs(model)
    values = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    before = np.einsum("oi,i...->o...", values["b"][:, :, 0, 0], np.abs(values["a"]))
    equalize._equalize(values, pair)
    first, second = equalize._ranges(values, pair)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    after = np.einsum("oi,i...->o...", values["b"][:, :, 0, 0], np.abs(values["a"]))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["bias-correction", "adaround"])
def test_improved_static_int8_is_nearer_to_float(
    method: str, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    files = sorted(photos.rglob("*.*"))

    def error(made: Bundle) -> float:
        with pl.load(tiny_onnx) as a, pl.load(made) as b:
            pairs = zip(
                a.answers((str(f), None) for f in files),  # type: ignore[misc]
                b.answers((str(f), None) for f in files),  # type: ignore[misc]
                strict=True,
            )
            return float(np.mean([np.square(x.logits_K - y.logits_K).mean() for x, y in pairs]))

    # Weights for the whole tensor leave much to be improved.
    common = {"data": photos, "num_images": 48, "per_channel": "false", "keep_float": "none"}
    plain = pl.compress(tiny_onnx, method="onnx-static", out=tmp_path / "p", **common)
    better = pl.compress(tiny_onnx, method=method, out=tmp_path / "b", **common)
    assert error(better) < error(plain)


def test_mixed_leaves_as_few_layers_in_float_as_the_limit_allows(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    options = {"num_images": 16, "sensitivity_images": 16, "time_layers": "false"}
    made = pl.compress(
        tiny_onnx, method="mixed", data=photos, out=tmp_path / "m", max_drop=100.0, **options
    )
    assert made.manifest.lineage.config["left_in_float"] == []
    (kept,) = (tmp_path / "m.run").rglob("sensitivity.json")
    found = load_sensitivity(kept, _key(kept))
    assert found is not None
    assert kept.with_suffix(".png").stat().st_size > 5000
    assert len(kept.with_suffix(".csv").read_text().splitlines()) == 1 + len(found.only)
    assert found.whole.divergence > 0
    assert min(change.divergence for change in found.only.values()) < found.whole.divergence
    best = found.worst_first()[0]
    assert found.without[best].divergence <= found.whole.divergence


def _key(path: Path) -> str:
    import json

    key: str = json.loads(path.read_text())["key"]
    return key

"""The quantized file run in torch: same answers, gradients, and what is written back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

import pocketlens as pl
from pocketlens.compression import lsq
from pocketlens.compression._graph import Graph
from pocketlens.compression._graph_file import integers, to_model
from pocketlens.compression._quantizer import Quantizer
from pocketlens.compression._step import Context, Tuned
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError

TYPES = onnx.TensorProto


@pytest.fixture(scope="module")
def quantized(tiny_onnx: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("graph") / "int8"
    return pl.compress(
        tiny_onnx, method="onnx-static", data=photos, out=out, keep_float="none", num_images=24
    )


def graph_of(bundle: Bundle, parent: Bundle | None = None) -> Graph:
    floats = {}
    if parent is not None:
        model = onnx.load(parent.path / "model.onnx")
        floats = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return Graph(onnx.load(bundle.path / "model.onnx"), floats).eval()


def run(model: Any, batch: np.ndarray) -> np.ndarray:
    content = model.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 3, 32, 32)).astype(np.float32)


def test_a_float_graph_answers_as_onnx_runtime(tiny_onnx: Bundle, batch: np.ndarray) -> None:
    graph = graph_of(tiny_onnx)
    with torch.inference_mode():
        found = graph(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(found, run(graph.model, batch), atol=1e-4)


def test_a_quantized_graph_answers_as_onnx_runtime(
    quantized: Bundle, tiny_onnx: Bundle, batch: np.ndarray
) -> None:
    graph = graph_of(quantized, tiny_onnx)
    with torch.inference_mode():
        found = graph(torch.from_numpy(batch)).numpy()
    expected = run(graph.model, batch)
    # Sums of integers and of floats round to another level here and there.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_written_back_untrained_it_is_the_file_it_was(quantized: Bundle, tiny_onnx: Bundle) -> None:
    graph = graph_of(quantized, tiny_onnx)
    before = {t.name: numpy_helper.to_array(t) for t in graph.model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in to_model(graph).graph.initializer}
    assert before.keys() == after.keys()
    assert len(to_model(graph).SerializeToString()) <= 1.01 * quantized.size_bytes
    for name, values in before.items():
        assert after[name].dtype == values.dtype
        if name.endswith("_quantized") and values.dtype == np.int8:
            assert np.mean(after[name] != values) < 0.001, "ties may round otherwise"
        elif values.dtype == np.float32:
            np.testing.assert_allclose(after[name], values, rtol=1e-5)


def test_what_was_learnt_reaches_the_file(
    quantized: Bundle, tiny_onnx: Bundle, batch: np.ndarray
) -> None:
    graph = graph_of(quantized, tiny_onnx)
    graph.train()
    optimizer = torch.optim.Adam(graph.parameters(), lr=3e-3)
    target = torch.arange(16) % 3
    first = graph(torch.from_numpy(batch)).detach()
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(graph(torch.from_numpy(batch)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        trained = graph.eval()(torch.from_numpy(batch))
    assert float((trained - first).abs().max()) > 0.5, "it learnt something"
    found = run(to_model(graph), batch)
    assert (found.argmax(1) == trained.numpy().argmax(1)).all()
    assert np.abs(found - trained.numpy()).max() < 0.05 * np.abs(found).max()


def test_every_weight_and_step_gets_a_gradient(
    quantized: Bundle, tiny_onnx: Bundle, batch: np.ndarray
) -> None:
    graph = graph_of(quantized, tiny_onnx).train()
    graph(torch.from_numpy(batch)).square().sum().backward()
    assert all(p.grad is not None for p in graph.parameters())
    steps = [graph.value(quantizer.step) for quantizer in graph.weights.values()]
    assert all(bool(step.grad.abs().sum() > 0) for step in steps if step.grad is not None)


def test_the_gradient_of_a_step_is_the_papers() -> None:
    """Esser et al. 2020, equations 2 to 4, by hand for a few values."""
    values = torch.tensor([[-3.0, 0.26, 0.9, 40.0]], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    quantizer = Quantizer("s", 0, 15, 0)
    quantizer(values, step).sum().backward()
    inside = [round(v / 0.5) - v / 0.5 for v in (0.26, 0.9)]
    factor = 1 / np.sqrt(4 * 15)
    assert float(step.grad) == pytest.approx((0 + sum(inside) + 15) * factor, rel=1e-5)
    assert values.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]], "nothing passes beyond the range"


def test_steps_stay_positive(quantized: Bundle, tiny_onnx: Bundle, batch: np.ndarray) -> None:
    graph = graph_of(quantized, tiny_onnx).train()
    optimizer = torch.optim.SGD(graph.parameters(), lr=1e4)
    graph(torch.from_numpy(batch)).sum().backward()
    optimizer.step()
    assert all(bool((step > 0).all()) for step in graph.steps().values())
    assert all(bool(np.isfinite(step).all()) for step in graph.steps().values())
    quantizer = next(iter(graph.activations.values()))
    graph.set_step(quantizer, torch.tensor(-1.0))
    assert graph.step(quantizer).item() > 0


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_fewer_bits_are_packed_and_answer_as_trained(
    bits: int, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    options = {"bits": bits, "epochs": 1, "num_images": 24, "batch_size": 16}
    made = pl.compress(tiny_onnx, method="lsq", data=photos, out=tmp_path / "low", **options)
    assert made.manifest.precision == f"int{bits}"
    assert made.manifest.lineage.config["agreement_with_trained"] >= 95
    assert "simulated" in made.manifest.lineage.config
    graph = onnx.load(made.path / "model.onnx").graph
    kinds = [t.data_type for t in graph.initializer if t.name.endswith("_quantized")]
    assert kinds.count(TYPES.INT4) > kinds.count(TYPES.INT8) > 0, "first and last layer keep 8 bits"
    assert made.size_bytes < 0.35 * tiny_onnx.size_bytes


def test_levels_stay_within_their_bits(quantized: Bundle, tiny_onnx: Bundle) -> None:
    graph = graph_of(quantized, tiny_onnx)
    name, quantizer = next(iter(graph.weights.items()))
    quantizer.low, quantizer.high = -4, 3
    assert set(np.unique(integers(graph, name))) <= set(range(-4, 4))


def test_an_operation_that_can_not_be_trained_is_named() -> None:
    helper = onnx.helper
    node = helper.make_node("Det", ["input"], ["logits"])
    tensors = [helper.make_tensor_value_info(n, TYPES.FLOAT, None) for n in ("input", "logits")]
    model = helper.make_model(helper.make_graph([node], "g", tensors[:1], tensors[1:]))
    with pytest.raises(UserError, match="operation Det, which can't be trained"):
        Graph(model, {})


def test_lsq_is_never_below_its_start(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    """Steps that are far too large spoil the training, and then the start stays."""
    made = pl.compress(
        tiny_onnx,
        method="lsq",
        data=photos,
        out=tmp_path / "q",
        epochs=1,
        batch_size=16,
        num_images=24,
        lr=5.0,
    )
    assert made.size_bytes < 0.45 * tiny_onnx.size_bytes
    trained = made.manifest.lineage.config["trained"]
    assert trained["kept"] == "start"
    assert trained["best"] <= trained["start"]
    score = pl.evaluate(made, photos, split="val").score
    assert score == pytest.approx(trained["start"], abs=3.0)


@pytest.mark.parametrize(("before", "after"), [(90.0, 10.0), (10.0, 90.0)])
def test_the_better_file_stays(
    before: float,
    after: float,
    tiny_onnx: Bundle,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = lsq.apply
    files: list[float] = []

    def train(module: Graph, *_: object, **__: object) -> Tuned:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.05)
        return Tuned({}, 50.0, 60.0, kept_start=False)

    def apply(bundle: Bundle, config: lsq.Config, context: Context) -> Bundle:
        scores = iter((before, after))
        replaced = replace(context, train=train, score=lambda _: next(scores))
        start, _ = lsq.start_graph(bundle, config, context, context.calibration(24, 0), tmp_path)
        files.append(float(next(iter(start.steps().values())).ravel()[0]))
        made = real(bundle, config, replaced)
        files.append(float(next(iter(graph_of(made, tiny_onnx).steps().values())).ravel()[0]))
        return made

    monkeypatch.setattr(lsq, "apply", apply)
    made = pl.compress(tiny_onnx, method="lsq", data=photos, out=tmp_path / "q", num_images=24)
    told = made.manifest.lineage.config
    assert (told["start_of_file"], told["file"]) == (before, after)
    assert (files[1] == pytest.approx(files[0], rel=1e-5)) == (before > after)

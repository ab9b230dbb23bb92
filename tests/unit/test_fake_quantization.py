"""Training with fake quantization: modes mean what they say, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pocketlens as pl
from pocketlens import plugins
from pocketlens.compression import _int8
from pocketlens.compression._step import Tuned
from pocketlens.core.bundle import Bundle

SIZE = (16, 16)
runtime = plugins.load("runtimes", "torch-int8")


def unusual() -> nn.Module:
    """A network whose batch norm has another epsilon and momentum than torch's own."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8, eps=1e-2, momentum=0.5),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8, eps=1e-3, momentum=0.01),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


class Photos:
    """Stands in for calibration photos."""

    num_images = 16

    def batches(self) -> Iterator[np.ndarray[Any, Any]]:
        rng = np.random.default_rng(0)
        for _ in range(2):
            yield rng.normal(size=(8, 3, *SIZE)).astype(np.float32)


def prepared_by(flow: str, compact: Bundle | None = None) -> tuple[Any, Any, nn.Module]:
    way = runtime.flow(flow)
    if flow == "eager":
        assert compact is not None
        module = plugins.load("runtimes", "torch").restore(compact)
        prepared = way.prepare(module, compact.manifest.model, train=True)
    else:
        module = unusual()
        prepared = way.prepare(module, SIZE, train=True)
    return way, prepared, module


def fakes(network: nn.Module) -> list[Any]:
    return [part for part in network.modules() if hasattr(part, "fake_quant_enabled")]


@pytest.fixture(params=["eager", "pt2e"])
def case(request: Any, tiny_as: Callable[[str], Bundle]) -> tuple[Any, Any, nn.Module]:
    compact = tiny_as("compact/resnet18") if request.param == "eager" else None
    return prepared_by(request.param, compact)


def test_without_rounding_it_is_the_float_network(case: tuple[Any, Any, nn.Module]) -> None:
    _, prepared, module = case
    for fake in fakes(prepared):
        fake.disable_fake_quant()
        fake.disable_observer()
    images = torch.randn(6, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(prepared(images), module(images), atol=1e-4, rtol=1e-4)


def test_integers_answer_as_fake_quantization_does(case: tuple[Any, Any, nn.Module]) -> None:
    way, prepared, _ = case
    assert _int8.calibrate_for_training(prepared, Photos(), way.moving_average) == 16  # type: ignore[arg-type]
    learner = _int8.student(prepared, way)
    images = torch.from_numpy(next(Photos().batches()))
    with torch.no_grad():
        expected = learner(images)
        found = way.convert(prepared)(images)
    # Rounding half a step this way or that differs between the two.
    assert (found - expected).abs().max() <= 0.05 * expected.abs().max()


def test_validating_moves_nothing(case: tuple[Any, Any, nn.Module]) -> None:
    way, prepared, _ = case
    _int8.calibrate_for_training(prepared, Photos(), way.moving_average)  # type: ignore[arg-type]
    learner = _int8.student(prepared, way)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    assert all(bool(torch.isfinite(v).all()) for v in before.values())
    with torch.no_grad():
        learner(100 * torch.randn(4, 3, *SIZE))
    after = learner.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    learner.train()
    with torch.no_grad():
        learner(100 * torch.randn(4, 3, *SIZE))
    assert any(not torch.equal(before[k], after[k]) for k in before), "training does"
    learner.freeze(ranges=True, statistics=True)  # type: ignore[operator]
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    with torch.no_grad():
        learner(1000 * torch.randn(4, 3, *SIZE))
    after = learner.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before), "what is frozen stays"


def test_batch_norm_trains_as_in_the_float_network() -> None:
    """torchao alone would give each batch norm an epsilon of 1e-5 and a momentum of 0.1."""
    way, prepared, module = prepared_by("pt2e")
    learner = _int8.student(prepared, way)
    for fake in fakes(prepared):
        fake.disable_fake_quant()
    learner.train()
    module.train()
    images = torch.randn(32, 3, *SIZE)
    dropouts = [n for n in prepared.graph.nodes if "dropout" in str(n.target)]
    assert [n.args[1:] for n in dropouts] == [(0.25, True)]
    with torch.no_grad():
        learner(images)
        module(images)
    state = module.state_dict()
    own = {k.removeprefix("network."): v for k, v in learner.state_dict().items()}
    names = [name for name in state if "running" in name]
    assert len(names) == 4
    for name in names:
        torch.testing.assert_close(own[name], state[name], atol=1e-5, rtol=1e-3)
    learner.freeze(ranges=False, statistics=True)  # type: ignore[operator]
    norms = [n for n in prepared.graph.nodes if "batch_norm" in str(n.target)]
    assert [n.args[5:8] for n in norms] == [(False, 0.5, 1e-2), (False, 0.01, 1e-3)]
    assert [n.args[2] for n in dropouts] == [True]


def test_a_channel_that_batch_norm_turned_off() -> None:
    """The convolution is divided by its scale: that must not be zero."""
    module = unusual()
    module[1].weight.data[3] = 0  # type: ignore[operator, union-attr, index]
    way = runtime.flow("pt2e")
    prepared = way.prepare(module, SIZE, train=True)
    _int8.calibrate_for_training(prepared, Photos(), way.moving_average)  # type: ignore[arg-type]
    assert torch.isfinite(_int8.student(prepared, way)(torch.randn(2, 3, *SIZE))).all()


@pytest.mark.parametrize(("trained", "kept"), [(70.0, "start"), (80.0, "trained"), (90, "trained")])
def test_what_is_kept_is_not_worse_in_integers(
    trained: float, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way, prepared, _ = prepared_by("pt2e")
    _int8.calibrate_for_training(prepared, Photos(), way.moving_average)  # type: ignore[arg-type]
    images = next(Photos().batches())
    start = runtime.session_of(way.convert(prepared))(images)
    scores = iter([80.0, trained])

    def train(module: nn.Module, tuning: Any, *, before_epoch: Any) -> Tuned:
        for epoch in range(tuning.epochs):
            module.train()
            before_epoch(module, epoch)
            with torch.no_grad():
                for value in module.parameters():
                    value += 0.05
        module.eval()
        return Tuned(dict(module.state_dict()), 80.0, 85.0, False, {})

    context = SimpleNamespace(train=train, score=lambda session: next(scores))
    config = _int8.QuantizedTuning(epochs=3)
    converted, facts = _int8.train_quantized(prepared, config, context, way)  # type: ignore[arg-type]
    assert facts["kept"] == kept
    assert (facts["int8_start"], facts["int8_trained"]) == (80.0, trained)
    assert np.array_equal(runtime.session_of(converted)(images), start) is (kept == "start")
    assert ("the start stays" in capsys.readouterr().err) is (kept == "start")


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["eager", "pt2e"])
def test_training_is_never_below_its_start(
    flow: str, tiny_as: Callable[[str], Bundle], photos: Path, tmp_path: Path
) -> None:
    compact = tiny_as("compact/resnet18")
    options = {"data": photos, "num_images": 24}
    static = pl.compress(compact, method=f"{flow}-static", out=tmp_path / "static", **options)
    # A rate that ruins it.
    trained = pl.compress(
        compact, method=f"{flow}-qat", out=tmp_path / "qat", epochs=1, lr=0.5, batch_size=8,
        **options,
    )  # fmt: skip
    before, after = (pl.evaluate(b, photos, split="val").score for b in (static, trained))
    assert after >= before
    assert trained.manifest.lineage.config["kept"] == "start"

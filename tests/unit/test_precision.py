"""How steps compute: the fastest that trains, and the plain one where nothing is gained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.core.errors import UserError
from pocketlens.training import epoch, loop, precision
from pocketlens.training.precision import CANDIDATES, Precision, choose
from support.tiny import CONFIG

TINY = replace(CONFIG, epochs=1)
CPU = torch.device("cpu")


def chosen_with(monkeypatch: pytest.MonkeyPatch, seconds: dict[Precision, float]) -> Precision:
    monkeypatch.setattr(precision, "_seconds", lambda net, loss, how, device: seconds[how])
    return choose(torch.nn.Linear(1, 1), lambda net, how: net.weight.sum(), CPU)


def test_slower_bfloat16_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, first, half = CANDIDATES
    assert chosen_with(monkeypatch, {plain: 1.0, first: 1.3, half: 1.8}) == plain
    assert chosen_with(monkeypatch, {plain: 1.0, first: 0.95, half: 0.93}) == plain
    assert chosen_with(monkeypatch, {plain: 1.0, first: 0.8, half: 0.5}) == half
    assert chosen_with(monkeypatch, {plain: 1.0, first: 0.8, half: 2.0}) == first


@pytest.mark.parametrize(
    ("num_steps", "compiled", "expected"),
    [(10, 0.1, False), (10_000, 0.95, False), (10_000, 0.5, True), (10_000, math.inf, False)],
)
def test_compiling_is_tried_in_long_runs(
    num_steps: int, compiled: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def seconds(net: object, loss: object, how: Precision, device: object) -> float:
        tried.append(how)
        return compiled if how.compiled else 1.0

    monkeypatch.setattr(precision, "_seconds", seconds)
    found = choose(torch.nn.Linear(1, 1), lambda net, how: net.weight.sum(), CPU, num_steps)
    assert found == Precision(compiled=expected)
    assert any(how.compiled for how in tried) == (num_steps > 10)


@pytest.mark.slow
def test_a_compiled_network_trains(photos: Path, tmp_path: Path) -> None:
    """The program that torch.compile makes learns as the network does; needs a C++ compiler."""
    plain = pl.train(photos, out=tmp_path / "plain", config=TINY)
    real = Precision.ready
    calls = []

    def compiled(how: Precision, module: torch.nn.Module) -> torch.nn.Module:
        calls.append(how)
        return real(replace(how, compiled=True), module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Precision, "ready", compiled)
        other = pl.train(photos, out=tmp_path / "compiled", config=TINY)
    assert calls
    losses = [bundle.manifest.metrics["val"]["loss"] for bundle in (plain, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert "module" not in next(iter(load_file(other.path / "model.safetensors")))


def test_float16_needs_a_card(photos: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a graphics card")
    with pytest.raises(UserError, match="needs a CUDA graphics card; use bfloat16 or auto"):
        pl.train(photos, out=tmp_path / "a", config=replace(TINY, precision="float16"))
    assert not (tmp_path / "a").exists()


def test_one_that_does_not_train_is_not_taken() -> None:
    def loss(net: torch.nn.Module, how: Precision) -> torch.Tensor:
        value = sum(p.sum() for p in net.parameters())
        assert isinstance(value, torch.Tensor)
        return value * float("nan") if how.dtype == "bfloat16" else value

    assert precision._seconds(torch.nn.Linear(2, 2), loss, Precision("bfloat16"), CPU) == float(
        "inf"
    )
    assert precision._seconds(torch.nn.Linear(2, 2), loss, Precision(), CPU) < 10


@pytest.mark.parametrize("wanted", ["bfloat16", "auto"])
def test_it_trains_and_is_recorded(photos: Path, tmp_path: Path, wanted: str) -> None:
    config = replace(TINY, precision=wanted)  # type: ignore[arg-type]
    bundle = pl.train(photos, out=tmp_path / "a", config=config)
    recorded = bundle.manifest.lineage.config["chosen_precision"]
    assert recorded["dtype"] in ("bfloat16", "float32")
    if wanted == "bfloat16":
        assert recorded == {"dtype": "bfloat16", "channels_last": True, "compiled": False}
    assert pl.train(photos, out=tmp_path / "a", config=config, resume=True).id == bundle.id


def test_what_was_chosen_is_kept_on_resume(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, epochs=2, precision="auto", checkpoint_minutes=0)
    monkeypatch.setattr(loop, "choose", lambda *_: Precision("float32", channels_last=False))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(epoch, "_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "a", config=config)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "choose", interrupted)
    bundle = pl.train(photos, out=tmp_path / "a", config=config, resume=True)
    recorded = bundle.manifest.lineage.config["chosen_precision"]
    assert recorded == {"dtype": "float32", "channels_last": False, "compiled": False}

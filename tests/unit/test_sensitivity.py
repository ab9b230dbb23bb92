"""Which layers go back to float, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.compression import mixed
from pocketlens.compression._sensitivity import Change, Sensitivity
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError

WHOLE = Change(1.0, 80.0, 10.0)


def sensitivity(**without: tuple[float, float | None]) -> Sensitivity:
    """Layers with the divergence and the time that are left without them."""
    changes = {name: Change(left, 90.0, took) for name, (left, took) in without.items()}
    whole = WHOLE if all(c.latency_ms is not None for c in changes.values()) else None
    return Sensitivity(
        whole or replace(WHOLE, latency_ms=None), Change(0.0, 100.0, 20.0), {}, changes
    )


def test_without_times_the_answers_decide() -> None:
    found = sensitivity(a=(0.9, None), b=(0.2, None), c=(1.3, None), d=(0.5, None))
    assert found.worst_first() == ["b", "d", "a", "c"]


def test_a_layer_is_worth_what_it_gains_a_millisecond() -> None:
    # b gains most, but costs ten times what d does; c gains nothing and is last.
    found = sensitivity(a=(0.9, 10.2), b=(0.2, 15.0), c=(1.3, 9.0), d=(0.5, 10.5))
    assert found.worst_first() == ["d", "a", "b", "c"]


def test_a_layer_that_seems_to_cost_nothing_does_not_beat_all() -> None:
    found = sensitivity(noisy=(0.99, 9.9), good=(0.2, 10.2))
    assert found.worst_first() == ["good", "noisy"]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What validation photos say, one after another: of the float file, then of each trial."""
    given: list[float] = []
    real = mixed.apply

    def apply(bundle: Bundle, config: mixed.Config, context: object) -> Bundle:
        return real(bundle, config, replace(context, score=lambda _: given.pop(0)))

    monkeypatch.setattr(mixed, "apply", apply)
    yield given
    assert given == [], "all were asked for"


OPTIONS = {"num_images": 16, "sensitivity_images": 16, "time_layers": "false", "max_drop": 0.5}


def test_layers_go_back_until_the_limit_is_kept_to(
    scores: list[float], tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    scores += [90.0, 80.0, 85.0, 89.5]
    made = pl.compress(tiny_onnx, method="mixed", data=photos, out=tmp_path / "m", **OPTIONS)
    left = made.manifest.lineage.config["left_in_float"]
    assert len(left) == len(set(left)) == 2


def test_a_limit_that_can_not_be_kept_to_is_told(
    scores: list[float], tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    scores += [90.0, 80.0]
    with pytest.raises(UserError, match=r"with 0 of \d+ layers in float 80.00 .* 89.50 are wanted"):
        pl.compress(
            tiny_onnx, method="mixed", data=photos, out=tmp_path / "m", max_float=0.0, **OPTIONS
        )
    assert not (tmp_path / "m").exists()


def test_times_are_measured_and_decide(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def times(_: Bundle, __: object, models: dict[str, Path]) -> dict[str, float]:
        asked.extend(models)
        return {name: 10.0 + len(asked) for name in models}

    monkeypatch.setattr(mixed, "_times", times)
    options = OPTIONS | {"time_layers": "true", "max_drop": 100.0}
    pl.compress(tiny_onnx, method="mixed", data=photos, out=tmp_path / "m", **options)
    assert {"none", "whole"} < set(asked)
    assert any(name.startswith("without ") for name in asked)

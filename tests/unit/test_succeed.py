"""Whether a new model may take the current one's place: the photos, the rule and the words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.core.bundle import Bundle
from pocketlens.core.split import Split, make_split
from pocketlens.measures.latency import Timing
from pocketlens.workflows.data import Hashed, as_hashed
from pocketlens.workflows.succeed import succeed
from support.fake import COLOURS, colour_bundle
from support.several import make_several

SHAPES = tuple(COLOURS)


def timing(latency_ms: float) -> Timing:
    blocks = (latency_ms,) * 7
    return Timing(latency_ms, latency_ms, 1.0, latency_ms, 100.0, 16, blocks)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Timing]:
    """What the latency measurement finds; tests may change it."""
    found = {"current": timing(2.0), "new": timing(2.0)}
    monkeypatch.setattr(
        "pocketlens.workflows.succeed.measure_latency", lambda *_a, **_k: dict(found)
    )
    return found


@pytest.fixture(scope="module")
def photos(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 photos, of which 14 test."""
    return make_photos(tmp_path_factory.mktemp("photos"), per_class=30)


@pytest.fixture(scope="module")
def hashed(photos: Path) -> Hashed:
    return as_hashed(photos)


@pytest.fixture(scope="module")
def split(hashed: Hashed) -> Split:
    return make_split(hashed.dataset.samples, hashed.identities, seed=0)


@pytest.fixture
def make(tmp_path: Path, split: Split) -> Callable[..., Bundle]:
    def make(name: str, classes: Any = SHAPES, **options: Any) -> Bundle:
        return colour_bundle(tmp_path / name, classes, **({"split": split} | options))

    return make


def test_as_good_is_offered(
    make: Callable[..., Bundle], hashed: Hashed, split: Split, timed: Any
) -> None:
    found = succeed(make("a"), make("b"), hashed, max_drop=0.5)
    assert found.offered
    assert found.num_test == len(split.test)
    assert found.comparison is not None
    assert [(row.name, row.verdict) for row in found.comparison.rows] == [
        ("current", "reference"),
        ("new", "best"),
    ]
    assert f"on the same {len(split.test)} test photos" in found.reason
    assert "can't exclude a loss of up to" in found.reason, "few photos prove nothing"
    assert not found.to_dict()["proven"]
    told = {one["code"]: one["values"] for one in found.to_dict()["reasons"]}
    assert list(told) == ["scores", "loss_not_excluded"]
    assert told["scores"]["num_test"] == len(split.test)
    assert told["scores"]["metric"] == found.to_dict()["metric"]
    json.loads(found.comparison.to_json())


def test_worse_is_rejected(make: Callable[..., Bundle], hashed: Hashed, timed: Any) -> None:
    found = succeed(make("a"), make("b", blind=["bars"]), hashed)
    assert not found.offered
    assert found.reason.startswith("loses ")
    assert "limit 0.5" in found.reason
    codes = ["loses_on_validation", "validation_scores", "scores"]
    assert [one.code for one in found.reasons] == codes
    loss, decided = (one.values for one in found.reasons[:2])
    assert decided["score_current"] - decided["score"] == pytest.approx(loss["points"], abs=0.11)
    assert f"on validation photos accuracy {decided['score']:.1f} %, the current" in found.reason
    assert found.reasons[0].values["limit"] == 0.5
    assert f"{found.reasons[0].values['points']:.2f} points" in found.reason
    assert found.comparison is not None
    assert {row.name: row.verdict for row in found.comparison.rows} == {
        "current": "best",
        "new": "less_accurate",
    }
    figures = found.to_dict()
    assert figures["drop"] == pytest.approx(figures["score_current"] - figures["score"])
    assert figures["drop_low"] > 0


def test_better_is_offered_and_a_loss_may_be_allowed(
    make: Callable[..., Bundle], hashed: Hashed, timed: Any
) -> None:
    good, bad = make("a"), make("b", blind=["bars"])
    assert succeed(bad, good, hashed).offered
    assert succeed(good, bad, hashed, max_drop=60).offered


def test_slower_by_a_clear_lead(
    make: Callable[..., Bundle], hashed: Hashed, timed: dict[str, Timing]
) -> None:
    timed["new"] = timing(3.0)
    found = succeed(make("a"), make("b"), hashed)
    assert not found.offered
    assert "takes 1.50 times as long as the current model" in found.reason
    assert succeed(make("c"), make("d"), hashed, max_latency_ms=3.5).offered
    assert not succeed(make("e"), make("f"), hashed, max_latency_ms=2.5).offered
    timed["new"] = timing(2.04)
    assert succeed(make("g"), make("h"), hashed).offered, "a whim"
    timed["new"] = replace(timing(3.0), others_percent=90.0)
    assert succeed(make("i"), make("j"), hashed).offered, "a noisy machine says nothing"
    timed["new"] = Timing(failed="no memory")
    found = succeed(make("k"), make("l"), hashed)
    assert "can't be timed: no memory" in found.reason
    assert "no memory" in found.reasons[0].values["detail"]


def test_more_classes_are_matched_by_name(
    make: Callable[..., Bundle], hashed: Hashed, tmp_path: Path, timed: Any, photos: Path
) -> None:
    more = tmp_path / "more"
    shutil.copytree(photos, more)
    shutil.copytree(more / "disc", more / "coin")
    for file in (more / "coin").iterdir():
        file.write_bytes(file.read_bytes() + b"another photo")
    wide = as_hashed(more)
    kept = make_split(wide.dataset.samples, wide.identities, keep=make("x").split)
    new = make("new", ("square", "coin", "disc", "bars"), split=kept)
    found = succeed(make("a"), new, wide)
    assert found.offered, found.reason
    assert found.new_classes == ("coin",)
    assert "it knows 1 class more" in found.reason
    assert found.num_test == len(make("y").split.test), "coins can't test the current model"


def test_what_forgets_classes_is_rejected(
    make: Callable[..., Bundle], hashed: Hashed, timed: Any
) -> None:
    found = succeed(make("a", (*SHAPES, "ring", "star")), make("b"), hashed)
    assert not found.offered
    assert found.comparison is None
    assert "it doesn't know 2 of the 5 classes" in found.reason
    values = {"num": 2, "of": 5, "classes": ["ring", "star"]}
    assert found.to_dict()["reasons"] == [{"code": "classes_missing", "values": values}]
    assert "ring, star" in found.reason


def test_photos_that_the_current_one_learnt_from_do_not_test(
    make: Callable[..., Bundle], hashed: Hashed, split: Split, timed: Any
) -> None:
    moved = split.train[:4]
    other = Split(
        train=tuple(sorted({*split.train[4:], *split.test[:1]})),
        val=split.val,
        test=tuple(sorted({*split.test[1:], *moved})),
    )
    found = succeed(make("a"), make("b", split=other), hashed)
    assert found.num_test == len(split.test) - 1
    assert found.notes == (
        "4 photos left out, since the current model was made with them",
        "1 photo that tested the current model trained the new one",
    )


def test_too_few_photos_to_tell(make: Callable[..., Bundle], hashed: Hashed, split: Split) -> None:
    few = Split(train=split.train + split.test[5:], val=split.val, test=split.test[:5])
    found = succeed(make("a", split=few), make("b", split=few), hashed)
    assert not found.offered
    assert "only 5 photos can test both models" in found.reason
    assert found.reasons[0].values == {"num": 5, "needed": 10}


def test_a_model_without_a_split_is_tested_too(
    make: Callable[..., Bundle], hashed: Hashed, timed: Any
) -> None:
    assert succeed(make("a", split=None), make("b"), hashed).offered


def test_several_labels(tmp_path: Path, timed: Any) -> None:
    data = as_hashed(make_several(tmp_path / "data"))
    split = make_split(data.dataset.samples, data.identities)
    classes = data.dataset.classes
    options = {"split": split, "task": "multi_label"}
    few = colour_bundle(tmp_path / "few", classes[:-1], **options)  # type: ignore[arg-type]
    many = colour_bundle(tmp_path / "many", classes[::-1], **options)  # type: ignore[arg-type]
    found = succeed(few, many, data, max_drop=0.0)
    assert found.offered, found.reason
    figures = found.to_dict()
    assert figures["score"] == pytest.approx(figures["score_current"])
    assert found.new_classes == (classes[-1],)
    assert "single-label" in succeed(few, colour_bundle(tmp_path / "s"), data).reason


def test_timed_for_real(make: Callable[..., Bundle], hashed: Hashed) -> None:
    found = succeed(make("a"), make("b"), hashed, threads=1)
    assert found.offered, found.reason
    figures = found.to_dict()
    assert 0 < figures["latency_ms"] < 100
    assert np.isfinite(figures["latency_ms_current"])

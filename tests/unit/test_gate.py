"""Never ship worse: every verdict, and exactly one best."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pocketlens.core.comparison import Row
from pocketlens.core.gate import Limits, choose, fastest_float, judge

FLOAT = Row(
    "float", "torch", "float32", "train", "macro_f1", score=90.0, drop=0.0, drop_low=0.0,
    drop_high=0.0, val_drop=0.0, size_bytes=13_000_000, latency_ms=20.0, speedup_float=0.5,
)  # fmt: skip
ONNX = replace(FLOAT, name="onnx", runtime="onnx", method="export", latency_ms=10, speedup_float=1)
INT8 = replace(
    ONNX, name="int8", precision="int8", method="onnx-static", drop=0.2, drop_low=-0.3,
    drop_high=0.45, val_drop=0.1, size_bytes=3_500_000, latency_ms=5, speedup_float=2,
)  # fmt: skip


def verdict(row: Row, **limits: Any) -> str:
    judged = judge(row, Limits(**limits))
    assert judged.reason or judged.verdict == "ok"
    return judged.verdict


@pytest.mark.parametrize(
    ("change", "limits", "expected", "reason"),
    [
        ({}, {}, "ok", ""),
        # validation decides, at the limit exactly still passes
        ({"val_drop": 0.5}, {}, "ok", ""),
        ({"val_drop": 0.51}, {}, "less_accurate", "0.51 points on validation"),
        ({"val_drop": -2.0, "drop": 3.0, "drop_low": 0.4}, {}, "ok", ""),
        # test images, used once, reject when even the lower end is beyond the limit
        ({"drop": 3.0, "drop_low": 0.6}, {}, "less_accurate", "at least 0.60 points on test"),
        # without validation images the test images decide
        ({"val_drop": None, "drop": 0.6}, {}, "less_accurate", "0.60 points"),
        ({"val_drop": None}, {}, "ok", ""),
        ({"drop": None}, {}, "failed", "not scored"),
        ({"drop": math.nan}, {}, "failed", "nan"),
        ({"val_drop": math.nan}, {}, "failed", "nan"),
        ({"drop_low": math.nan}, {}, "failed", "nan"),
        ({"latency_ms": math.inf}, {}, "failed", "inf"),
        ({}, {"max_drop": 0.05}, "less_accurate", "limit 0.05"),
        ({}, {"max_size_mb": 3.5}, "ok", ""),
        ({}, {"max_size_mb": 3.4}, "too_large", "3.50 MB, limit 3.4 MB"),
        ({"size_bytes": None}, {"max_size_mb": 3}, "failed", "size was not measured"),
        ({}, {"max_latency_ms": 5}, "ok", ""),
        ({}, {"max_latency_ms": 4.9}, "slower", "5.00 ms, limit 4.9 ms"),
        ({"latency_ms": None}, {"max_latency_ms": 4}, "failed", "latency was not measured"),
        ({"speedup_float": 0.8}, {}, "slower", "1.25 times as long"),
        ({"speedup_float": 1.0}, {}, "ok", ""),
    ],
)
def test_verdicts(
    change: dict[str, Any], limits: dict[str, Any], expected: str, reason: str
) -> None:
    judged = judge(replace(INT8, **change), Limits(**limits))
    assert judged.verdict == expected
    assert reason in judged.reason
    assert bool(judged.reason) == (expected != "ok")


@pytest.mark.parametrize("kind", ["failed", "skipped", "mismatch"])
def test_what_could_not_be_judged_stays(kind: Any) -> None:
    row = replace(INT8, verdict=kind, reason="it says why")
    assert judge(row, Limits()) == row
    rows = choose([FLOAT, ONNX, row], Limits(), reference="float")
    assert rows[2] == row


@pytest.mark.parametrize(
    ("drop_high", "proven"), [(0.5, True), (0.51, False), (None, False), (math.nan, False)]
)
def test_proven(drop_high: float | None, proven: bool) -> None:
    assert judge(replace(INT8, drop_high=drop_high), Limits()).proven is proven


def best_of(rows: list[Row], **limits: Any) -> Row:
    judged = choose(rows, Limits(**limits), reference="float")
    assert len(judged) == len(rows)
    best = [row for row in judged if row.verdict == "best"]
    assert len(best) == 1
    assert best[0].reason
    assert sum(row.verdict == "reference" for row in judged) <= (best[0].name != "float")
    return best[0]


def test_the_fastest_that_passes() -> None:
    slow = replace(INT8, name="slow", latency_ms=6, size_bytes=1_000)
    wrong = replace(INT8, name="wrong", latency_ms=1, val_drop=9.0)
    best = best_of([FLOAT, ONNX, slow, INT8, wrong])
    assert best.name == "int8"
    assert best.reason == "the fastest that passes"
    best = best_of([FLOAT, ONNX, slow, INT8, wrong], goal="size")
    assert best.name == "slow"
    assert best.reason == "the smallest that passes"


def test_ties() -> None:
    large = replace(INT8, name="large", size_bytes=4_000_000)
    assert best_of([FLOAT, ONNX, large, INT8]).name == "int8"
    late = replace(INT8, name="late", latency_ms=9)
    assert best_of([FLOAT, ONNX, late, INT8], goal="size").name == "int8"
    assert best_of([FLOAT, ONNX, INT8, replace(INT8, name="twin")]).name == "int8"
    assert best_of([FLOAT, ONNX, INT8, INT8]).name == "int8"  # one name twice: still one best


def test_nothing_passes() -> None:
    bad = replace(INT8, val_drop=5.0)
    slow = replace(INT8, name="slow", speedup_float=0.9, latency_ms=11)
    assert best_of([FLOAT, ONNX, bad, slow]).name == "onnx"
    # Even where the float model keeps to no limit, it is what there is, and the reason says so.
    best = best_of([FLOAT, ONNX, bad], max_size_mb=1)
    assert best.name == "onnx"
    assert "nothing passes" in best.reason
    assert "limit 1 MB" in best.reason
    assert best_of([FLOAT, bad]).name == "float"


def test_the_reference_may_be_the_best() -> None:
    reference = replace(FLOAT, latency_ms=8, speedup_float=1)
    assert best_of([reference, replace(ONNX, speedup_float=0.8)]).name == "float"
    assert best_of([reference, replace(ONNX, speedup_float=0.8), INT8]).name == "int8"


@pytest.mark.parametrize("kind", ["mismatch", "failed", "skipped"])
def test_an_unjudged_float_is_no_way_out(kind: Any) -> None:
    broken = replace(ONNX, verdict=kind, reason="its logits differ")
    assert best_of([FLOAT, broken, replace(INT8, val_drop=5)]).name == "float"


def test_a_pruned_float_that_loses_is_no_way_out() -> None:
    pruned = replace(ONNX, name="pruned", method="prune", val_drop=7.0, drop=7.0, latency_ms=2)
    assert best_of([FLOAT, ONNX, pruned]).name == "onnx"


def test_nan_is_never_the_best() -> None:
    assert best_of([FLOAT, ONNX, replace(INT8, drop=math.nan)]).name == "onnx"


def test_unmeasured_latency_says_so() -> None:
    rows = [replace(r, latency_ms=None, speedup_float=None) for r in (FLOAT, ONNX, INT8)]
    best = best_of(rows)
    assert best.name == "int8"
    assert "latency was not measured" in best.reason


def test_noise_is_said() -> None:
    assert "noisy" in best_of([FLOAT, ONNX, replace(INT8, noisy=True)]).reason


def test_what_cannot_be_told_apart_is_not_rejected_as_slower() -> None:
    slow = replace(INT8, speedup_float=0.8, latency_ms=12, noisy=True, size_bytes=1_000)

    def judged(row: Row, onnx: Row = ONNX, **limits: Any) -> Row:
        rows = choose([FLOAT, onnx, row], Limits(**limits), reference="float")
        assert [r.name for r in rows if r.verdict == "best"] == ["onnx"], "it is no choice either"
        return rows[2]

    told = judged(replace(slow, ties=("onnx",)), goal="size")
    assert (told.verdict, told.reason) == (
        "ok",
        "takes 1.25 times as long as the float model in its fastest runtime, within the scatter of "
        "the measurement",
    )
    calm = replace(slow, ties=("onnx",), noisy=False)
    assert judged(calm).verdict == "ok", "nor is a lead that two rounds don't agree on"
    assert judged(replace(calm, ties=())).verdict == "slower"
    told = judged(slow)  # surely slower, however noisy
    assert told.verdict == "slower"
    assert told.reason.endswith(", beyond the scatter")
    assert judged(replace(slow, ties=("onnx",), val_drop=9.0)).verdict == "less_accurate"


def test_the_scores_that_decided_are_told() -> None:
    worse = replace(INT8, val_drop=32.21, val_score=43.5, val_score_reference=75.71)
    assert judge(worse, Limits()).reason == (
        "loses 32.21 points on validation images, limit 0.5: macro F1 43.50 % there, "
        "the reference 75.71 %"
    )
    on_test = replace(worse, val_drop=0.0, drop=3.0, drop_low=0.6)
    assert "there" not in judge(on_test, Limits()).reason, "the table has those of test images"


def test_all_failed() -> None:
    rows = [replace(r, verdict="failed", reason="why") for r in (FLOAT, INT8)]
    assert choose(rows, Limits(), reference="float") == tuple(rows)


def test_fastest_float() -> None:
    assert fastest_float([FLOAT, ONNX, INT8]) == ONNX
    assert fastest_float([replace(FLOAT, latency_ms=None), INT8]) is None


def test_nothing_passes_unmeasured_against_the_float_model() -> None:
    broken = replace(FLOAT, verdict="failed", reason="it died", latency_ms=None)
    small = replace(INT8, speedup_float=None)
    judged = judge(small, Limits())
    assert (judged.verdict, judged.proven) == ("failed", False)
    assert "could not be timed" in judged.reason
    rows = choose([broken, small], Limits(), reference="float")
    assert all(row.verdict == "failed" for row in rows)


def test_too_few_photos_prove_nothing() -> None:
    few = replace(INT8, drop=0.0, drop_low=0.0, drop_high=0.0)
    assert judge(replace(few, drop_unseen=0.5), Limits(max_drop=0.5)).proven
    judged = judge(replace(few, drop_unseen=75.0), Limits(max_drop=0.5))
    assert (judged.proven, judged.verdict) == (False, "ok")


def test_what_cannot_be_told_from_the_fastest_is_as_fast() -> None:
    small = replace(INT8, name="small", latency_ms=5.1, size_bytes=2_000_000)
    fast = replace(INT8, ties=("small",))
    slow = replace(small, name="tiny", latency_ms=6.0, size_bytes=1_000_000)
    judged = choose([FLOAT, ONNX, fast, small, slow], Limits(), reference="float")
    assert [row.name for row in judged if row.verdict == "best"] == ["small"]
    judged = choose([FLOAT, ONNX, INT8, small, slow], Limits(), reference="float")
    assert [row.name for row in judged if row.verdict == "best"] == ["int8"]
    for noisy in ([replace(fast, noisy=True), small], [fast, replace(small, noisy=True)]):
        judged = choose([FLOAT, ONNX, *noisy], Limits(), reference="float")
        assert [row.name for row in judged if row.verdict == "best"] == ["int8"]

"""The one sentence all reports end or begin with: which model to ship, and why."""

from __future__ import annotations

from dataclasses import dataclass

from pocketlens.core.comparison import Comparison, Row
from pocketlens.reports._format import (
    factor,
    is_float,
    megabytes,
    metric,
    number,
    one_line,
    reference,
    runtime,
    significant,
)


@dataclass(frozen=True)
class Headline:
    """What to do in three words, and the sentence that gives the reasons."""

    title: str
    sentence: str


def headline(comparison: Comparison) -> Headline:
    """Which model to ship."""
    best = comparison.best
    if best is None:
        return Headline("Nothing to ship", _nothing(comparison))
    name = one_line(best.name, 60)
    float_row = reference(comparison)
    if is_float(best, float_row):
        return Headline(f"Ship the float model, {name}", _float(comparison, best))
    return Headline(f"Ship {name}", _compressed(comparison, best, float_row))


def _nothing(comparison: Comparison) -> str:
    total = len(comparison.rows)
    if not total:
        return "Nothing to ship: no model was compared."
    broken = sum(row.verdict in ("failed", "skipped") for row in comparison.rows)
    if broken == total:
        few = "the only model" if total == 1 else f"none of the {total} models"
        verb = "could not be measured" if total == 1 else "could be measured"
        return f"Nothing to ship: {few} {verb}; the table says why."
    passed = sum(row.verdict in ("ok", "reference") for row in comparison.rows)
    if passed:
        return f"No model was chosen: {passed} of {total} may be shipped; the table shows them."
    return f"Nothing to ship: none of the {total} models passed; the table says why."


def _float(comparison: Comparison, best: Row) -> str:
    where = f"{one_line(best.name, 60)}, the float model in {runtime(best)}"
    others = [row for row in comparison.rows if not is_float(row, reference(comparison))]
    passed = sum(row.verdict == "ok" for row in others)
    skipped = sum(row.verdict == "skipped" for row in others)
    better = "smaller" if comparison.limits.get("goal") == "size" else "faster"
    if len(comparison.rows) == 1:
        why = "nothing else was compared"
    elif not others:
        why = "only float models were compared"
    elif skipped == len(others):
        why = "no compressed model was tried; the table says why"
    elif not passed:
        few = "the one compressed model did not pass"
        why = few if len(others) == 1 else f"none of the {len(others)} compressed models passed"
    elif passed == 1:
        why = f"the one compressed model that passed is not {better}"
    else:
        why = f"none of the {passed} compressed models that passed is {better}"
    parts = [
        _size(best, None),
        _time(best),
        _speed(comparison, best, compressed=False),
        _score(best),
    ]
    tail = ", ".join(part for part in parts if part)
    return f"Ship {where}{f' ({tail})' if tail else ''}: {why}."


def _compressed(comparison: Comparison, best: Row, float_row: Row | None) -> str:
    kind = " in ".join(part for part in (one_line(best.precision), runtime(best)) if part)
    parts = [_size(best, float_row), _speed(comparison, best, compressed=True) or _time(best)]
    told = ", ".join(part for part in parts if part)
    loses = _loses(comparison, best)
    tail = f"{told}, and it {loses}" if told and loses else told or loses
    return f"Ship {one_line(best.name, 60)}, {kind}" + (f": {tail}." if tail else ".")


def _size(row: Row, float_row: Row | None) -> str:
    if row.size_bytes is None:
        return ""
    if float_row is None or float_row.size_bytes is None:
        return megabytes(row.size_bytes)
    return f"{megabytes(row.size_bytes)} instead of {megabytes(float_row.size_bytes)}"


def _time(row: Row) -> str:
    if row.latency_ms is None:
        return ""
    return f"{significant(row.latency_ms, noisy=row.noisy)} ms an image"


def _score(row: Row) -> str:
    return "" if row.score is None else f"{metric(row.metric)} {number(row.score)} %"


def _speed(comparison: Comparison, row: Row, *, compressed: bool) -> str:
    told = ""
    # A ratio is as noisy as the noisier of its two.
    noisy = row.noisy or any(r.noisy for r in comparison.rows if r.precision == "float32")
    if compressed and row.speedup_float is not None:
        told = f"{_times(row.speedup_float, noisy)} the float model in its fastest runtime"
    if row.speedup is not None and told:
        told += f" ({_times(row.speedup, noisy)} in PyTorch)"
    elif row.speedup is not None and (compressed or row.runtime != "torch"):
        told = f"{_times(row.speedup, noisy)} {'the float model ' if compressed else ''}in PyTorch"
    return f"{told}, roughly, for the machine was noisy" if told and noisy else told


def _times(value: float, noisy: bool) -> str:
    return f"{factor(value, noisy=noisy)} times as fast as"


def _loses(comparison: Comparison, row: Row) -> str:
    if row.drop is None:
        return ""
    points = number(abs(row.drop))
    if points == "0.00":
        told = f"loses no {metric(row.metric)}"
    else:
        told = f"{'loses' if row.drop > 0 else 'gains'} {points} points of {metric(row.metric)}"
    limit = comparison.limits.get("max_drop")
    bound = "" if limit is None else _within(row, float(limit))
    if row.drop_low is None or row.drop_high is None:
        return told + (f" ({bound})" if bound else "")
    ends = f"95 % interval of the loss {number(row.drop_low)} to {number(row.drop_high)}"
    return f"{told} ({ends}{': ' + bound if bound else ''})"


def _within(row: Row, limit: float) -> str:
    assert row.drop is not None
    if row.proven:
        return f"proven to stay within the limit of {limit:g}"
    if row.drop_unseen is not None and row.drop_unseen > limit:
        return (
            f"within the limit of {limit:g}, but not proven: no test image got worse, yet so few "
            f"images can hide a loss of {number(row.drop_unseen)} points"
        )
    if row.drop <= limit:
        return f"within the limit of {limit:g}, but not proven"
    # Chosen on validation images; the test images neither confirm it nor can refute it.
    return f"beyond the limit of {limit:g} here, but too few test images to tell for sure"

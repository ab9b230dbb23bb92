"""Never ship worse: the rule by which a variant passes, and which one is best.

The drop on validation images must be at most the limit. Test images, used once, reject when even
the lower end of the drop's interval exceeds it. A variant is proven when the upper end is within
it, and there are enough test images for a loss beyond it to be seen. It may not be slower than
the float model in its fastest runtime; where the measurement can't tell them apart, what looked
slower is not rejected for it, and not the best either.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from pocketlens.core.comparison import Row, Verdict
from pocketlens.core.errors import UserError

Goal = Literal["latency", "size"]


@dataclass(frozen=True)
class Limits:
    """What a variant must keep to.

    Attributes:
        max_drop: points of the metric.
        max_size_mb: megabytes (10^6 bytes) of the shipped files.
        max_latency_ms: median at batch 1.
        goal: what `best` means among those that pass.
    """

    max_drop: float = 0.5
    max_size_mb: float | None = None
    max_latency_ms: float | None = None
    goal: Goal = "latency"

    def __post_init__(self) -> None:
        # Turned round, so that NaN, which compares as within every limit, is refused too.
        if not self.max_drop >= 0:
            raise UserError("--max-drop must be a number that is not negative")
        for name in ("max_size_mb", "max_latency_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0")


#: Verdicts that say the row could not be judged; nothing ranks it.
UNJUDGED: Final = ("failed", "skipped", "mismatch")


class Reason(NamedTuple):
    """Why something passes or doesn't, for programs and for people.

    Attributes:
        code: a word for programs.
        values: numbers, names and texts that the sentence speaks of.
        text: the sentence, in English.
    """

    code: str
    values: Mapping[str, Any]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """What programs need to say it in another language."""
        return {"code": self.code, "values": dict(self.values)}


def judge(row: Row, limits: Limits, *, hidden: bool = False) -> Row:
    """The row with its verdict and the reason for it; `failed` and `skipped` rows stay.

    Args:
        hidden: its latency can't be told from that of the float model in its fastest runtime;
            then it is not rejected as slower.
    """
    if row.verdict in UNJUDGED:
        return row
    verdict, reason = _verdict(row, limits)
    if reason is not None and reason.code == "slower_than_float" and (hidden or row.noisy):
        if hidden:
            verdict = "ok"
        told = "within the scatter of the measurement" if hidden else "beyond the scatter"
        reason = reason._replace(text=f"{reason.text}, {told}")
    bounds = (row.drop_high, row.drop_unseen or 0.0)
    proven = verdict != "failed" and all(b is not None and b <= limits.max_drop for b in bounds)
    told = "" if reason is None else reason.text + _decided_by(row, reason)
    return replace(row, verdict=verdict, reason=told, proven=proven)


def metric_words(name: str) -> str:
    """A metric as sentences have it."""
    return name.replace("_", " ").replace("macro f1", "macro F1").replace("map", "mAP")


def _decided_by(row: Row, reason: Reason) -> str:
    """The scores that decided, where they aren't those of the table, which are of test images."""
    if reason.code != "loses_on_validation" or None in (row.val_score, row.val_score_reference):
        return ""
    name = metric_words(row.metric)
    return f": {name} {row.val_score:.2f} % there, the reference {row.val_score_reference:.2f} %"


def objection(row: Row, limits: Limits) -> Reason | None:
    """What speaks against a row, as `judge` sees it; None: nothing does."""
    if row.verdict in UNJUDGED:
        return _failed(row.reason)[1]
    return _verdict(row, limits)[1]


def _verdict(row: Row, limits: Limits) -> tuple[Verdict, Reason | None]:
    if row.drop is None:
        return _failed("it was not scored")
    for name in ("score", "drop", "drop_low", "drop_high", "val_drop", "latency_ms"):
        value = getattr(row, name)
        if value is not None and not math.isfinite(value):  # compares as within every limit
            return _failed(f"its {name} is {value}")
    if row.val_drop is not None and row.val_drop > limits.max_drop:
        return _loses("on_validation", row.val_drop, limits, "{} points on validation images")
    if row.val_drop is None and row.drop > limits.max_drop:
        return _loses("points", row.drop, limits, "{} points")
    if row.drop_low is not None and row.drop_low > limits.max_drop:
        words = "at least {} points on test images (95 %)"
        return _loses("at_least", row.drop_low, limits, words)
    if limits.max_size_mb is not None:
        if row.size_bytes is None:
            return _failed("its size was not measured, and there is a limit for it")
        size_mb, most = row.size_bytes / 1e6, limits.max_size_mb
        if size_mb > most:
            text = f"{size_mb:.2f} MB, limit {most:g} MB"
            values = {"size_mb": round(size_mb, 2), "limit_mb": most}
            return "too_large", Reason("too_large", values, text)
    if limits.max_latency_ms is not None:
        if row.latency_ms is None:
            return _failed("its latency was not measured, and there is a limit for it")
        most = limits.max_latency_ms
        if row.latency_ms > most:
            text = f"{row.latency_ms:.2f} ms, limit {most:g} ms"
            values = {"latency_ms": round(row.latency_ms, 2), "limit_ms": most}
            return "slower", Reason("slower_than_limit", values, text)
    if row.latency_ms is not None and row.speedup_float is None:
        return _failed("the float model could not be timed, so it may be the faster one")
    if row.speedup_float is not None and row.speedup_float < 1:
        times = 1 / row.speedup_float
        text = f"takes {times:.2f} times as long as the float model in its fastest runtime"
        return "slower", Reason("slower_than_float", {"times": round(times, 2)}, text)
    return "ok", None


def _failed(text: str) -> tuple[Verdict, Reason]:
    return "failed", Reason("not_judged", {"detail": text}, text)


def _loses(how: str, points: float, limits: Limits, words: str) -> tuple[Verdict, Reason]:
    text = f"loses {words.format(f'{points:.2f}')}, limit {limits.max_drop:g}"
    values = {"points": round(points, 2), "limit": limits.max_drop}
    return "less_accurate", Reason(f"loses_{how}", values, text)


def choose(
    rows: Iterable[Row],
    limits: Limits,
    *,
    reference: str,
    floats: Collection[str] | None = None,
) -> tuple[Row, ...]:
    """Judge all rows and name exactly one `best`.

    If no compressed variant passes, the float model in its fastest runtime is the best, even
    where it keeps to no other limit: then the reason says so.

    Args:
        reference: name of the float row that drops are counted from.
        floats: names of the rows that are the float model, in whatever runtime; by default all
            in float32. A pruned network may be in float32 and is not the float model.
    """
    rows = tuple(rows)
    fastest = fastest_float(
        [
            row
            for row in rows
            if row.verdict != "mismatch" and (floats is None or row.name in floats)
        ]
    )

    def hidden(row: Row) -> bool:
        return fastest is not None and fastest.name in row.ties

    judged = [judge(row, limits, hidden=hidden(row)) for row in rows]
    judged = [
        replace(row, verdict="reference", reason="the float model that others are compared with")
        if row.name == reference and row.verdict in ("ok", "slower")
        else row
        for row in judged
    ]
    # A passing row with a reason looked slower, if within the scatter: it isn't chosen by that.
    passing = [
        row
        for row in judged
        if (row.verdict == "ok" and not row.reason) or _is_fit_reference(row, limits)
    ]
    if passing:
        best = min(passing, key=lambda row: _rank(row, limits.goal))
        if limits.goal == "latency":
            # What can't be told from the fastest is as fast; then the smallest is the best. A noisy
            # row can't be told from any, which makes it no faster than it was.
            calm = [row for row in passing if not row.noisy and not best.noisy]
            alike = [row for row in calm if row.name in best.ties]
            best = min([best, *alike], key=lambda row: _rank(row, "size"))
        reason = "the smallest that passes" if limits.goal == "size" else "the fastest that passes"
        if limits.goal == "latency" and best.latency_ms is None:
            reason = "the smallest that passes; latency was not measured"
    else:
        left = [
            row
            for row in judged
            if (row.name in floats if floats is not None else row.precision == "float32")
            and row.verdict not in (*UNJUDGED, "less_accurate")
        ]
        if not left:
            return tuple(judged)
        best = min(left, key=lambda row: _rank(row, "latency"))
        reason = "nothing passes, so the float model in its fastest runtime stays"
        if best.reason and best.name != reference:
            reason += f" ({best.reason})"
    if best.noisy:
        reason += "; the machine was too noisy to rank it surely"
    return tuple(
        replace(row, verdict="best", reason=reason) if row is best else row for row in judged
    )


def _is_fit_reference(row: Row, limits: Limits) -> bool:
    """The reference itself may be the best, if it is the fastest float and within the limits."""
    if row.verdict != "reference" or (row.speedup_float is not None and row.speedup_float < 1):
        return False
    return _verdict(row, limits)[0] == "ok"


def _rank(row: Row, goal: Goal) -> tuple[float, float]:
    latency = row.latency_ms if row.latency_ms is not None else float("inf")
    size = float(row.size_bytes if row.size_bytes is not None else "inf")
    return (size, latency) if goal == "size" else (latency, size)


def fastest_float(rows: Sequence[Row]) -> Row | None:
    """The float32 row with the lowest median latency."""
    timed = [r for r in rows if r.precision == "float32" and r.latency_ms is not None]
    return min(timed, key=lambda row: row.latency_ms or 0.0, default=None)

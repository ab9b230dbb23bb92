"""Numbers and words as every report writes them, so that all reports say the same."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pocketlens.core.comparison import Comparison, Row, Verdict
from pocketlens.core.names import RUNTIMES

#: Stands where nothing was measured.
NONE: Final = "–"

METRICS: Final = {
    "macro_f1": "macro F1",
    "f1": "F1",
    "map": "mAP",
    "average_precision": "average precision",
}
#: The verdict in words; a rejected row's reason stands behind it.
VERDICTS: Final[Mapping[Verdict, str]] = {
    "best": "best",
    "ok": "ok",
    "reference": "reference",
    "slower": "rejected: slower",
    "less_accurate": "rejected: less accurate",
    "too_large": "rejected: too large",
    "mismatch": "rejected: mismatch",
    "failed": "failed",
    "skipped": "skipped",
}
_PLACES: Final[Mapping[Verdict, int]] = {"best": 0, "ok": 1, "reference": 1, "failed": 3}


def one_line(text: str, limit: int | None = None) -> str:
    """Text of a user on one line: no control characters, no half characters, not endless.

    Control characters would move a terminal's cursor, and a file name that isn't UTF-8 comes
    with surrogates that no report could be written with.
    """
    spaced = "".join(" " if char.isspace() else char for char in text)
    clean = "".join("�" if unicodedata.category(char) in ("Cc", "Cs") else char for char in spaced)
    clean = " ".join(clean.split())
    return clean if limit is None or len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def number(value: float | None, digits: int = 2, *, noisy: bool = False) -> str:
    """A figure with a fixed number of decimals; a noisy one behind a tilde."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:,.{digits}f}"
    if text.startswith("-"):
        # A rounded nothing has no sign.
        text = "−" + text[1:] if any(c in "123456789" for c in text) else text[1:]
    return "~" + text if noisy else text


def significant(value: float | None, *, noisy: bool = False) -> str:
    """A figure with three digits that count, never in powers of ten."""
    if value is None or not math.isfinite(value) or value == 0:
        return number(value, 0, noisy=noisy)
    return number(value, max(0, 2 - math.floor(math.log10(abs(value)))), noisy=noisy)


def factor(value: float | None, *, noisy: bool = False) -> str:
    """How many times; hundredths matter around 1, where fast and slow part."""
    if value is None or not 0 <= value < 10:
        return significant(value, noisy=noisy)
    return number(value, noisy=noisy)


def megabytes(size_bytes: float | None) -> str:
    """A size in MB of 10^6 bytes, the unit that limits are given in."""
    return NONE if size_bytes is None else f"{significant(size_bytes / 1e6)} MB"


def count(value: float | None) -> str:
    """A large count, in thousands, millions or thousand millions."""
    if value is None:
        return NONE
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return significant(value / unit) + name
    return number(value, 0)


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval in brackets; nothing where there is none.

    The reference differs from itself by nothing: its interval is a point.
    """
    if low is None or high is None or low == high:
        return ""
    return f"[{number(low)}, {number(high)}]"


def drop(row: Row) -> str:
    """The drop with its interval."""
    return f"{number(row.drop)} {interval(row.drop_low, row.drop_high)}".rstrip()


def proven(row: Row) -> str:
    """Whether the drop is proven to be within the limit."""
    return NONE if row.drop_high is None else ("yes" if row.proven else "no")


def runtime(row: Row) -> str:
    """A row's runtime by its own name, with what computes it where there are several."""
    name = RUNTIMES.get(row.runtime, one_line(row.runtime, 40))
    return name if row.backend is None else f"{name} ({one_line(row.backend, 40)})"


def metric(name: str) -> str:
    """A metric in words."""
    return METRICS.get(name, one_line(name, 40).replace("_", " "))


def verdict(row: Row) -> str:
    """The verdict in words with its reason."""
    words = VERDICTS[row.verdict]
    return f"{words} ({one_line(row.reason, 300)})" if row.reason else words


def is_rejected(row: Row) -> bool:
    """Whether it was measured and may not be shipped."""
    return row.verdict in ("slower", "less_accurate", "too_large", "mismatch")


def ordered(rows: Sequence[Row]) -> list[Row]:
    """The best first, what may be shipped by latency, what was rejected, what didn't run."""

    def place(row: Row) -> tuple[int, float]:
        latency = row.latency_ms
        return (
            4 if row.verdict == "skipped" else _PLACES.get(row.verdict, 2),
            latency if latency is not None and math.isfinite(latency) else math.inf,
        )

    return sorted(rows, key=place)


def reference(comparison: Comparison) -> Row | None:
    """The float row that drops are counted from."""
    rows = comparison.rows
    named = [row for row in rows if row.name == comparison.reference]
    marked = [row for row in rows if row.verdict == "reference"]
    floats = [row for row in rows if row.precision == "float32" and row.score is not None]
    return next(iter([*named, *marked, *floats]), None)


def is_float(row: Row, reference: Row | None) -> bool:
    """Whether it is the float model itself, in whatever runtime; a pruned one has fewer weights."""
    if row.precision != "float32":
        return False
    return (
        reference is None
        or row.name == reference.name
        or None in (row.params, reference.params)
        or row.params == reference.params
    )


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A mapping of settings as lines of label and text."""
    lines = []
    for key, value in values.items():
        label = one_line(str(key), 80).replace("_", " ")
        label = f"number of {label[4:]}" if label.startswith("num ") else label
        lines.append((label, _fact(value)))
    return lines


def _fact(value: Any) -> str:
    if value is None or value in ("", (), [], {}):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{label} {text}" for label, text in facts(value))
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_fact(item) for item in value)
    if isinstance(value, int):
        return f"{value:,}"
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), 400)

"""The table as CSV, a line a row, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Final

from pocketlens.core.comparison import Comparison
from pocketlens.core.text import csv_cell
from pocketlens.reports._format import one_line

EXTRA = ""

#: The contract's, in its order.
COLUMNS: Final = (
    "name", "runtime", "precision", "method", "metric", "score", "drop", "drop_low", "drop_high",
    "drop_unseen",
    "proven", "loss", "size_bytes", "params", "macs", "latency_ms", "latency_ms_p95",
    "e2e_latency_ms", "throughput", "batch", "speedup", "speedup_float", "noisy", "rank_best",
    "rank_worst", "cold_start_ms", "memory_bytes", "roofline_percent", "agreement",
    "verdict", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """CSV has no options."""


def render(comparison: Comparison, config: Config | None = None) -> str:
    """The text of `compare.csv`; what was not measured is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in comparison.rows:
        writer.writerow([_cell(getattr(row, column)) for column in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(round(value, 6))
    return csv_cell(one_line(value)) if isinstance(value, str) else str(value)

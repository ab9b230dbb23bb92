"""The columns of the table, with what each means in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pocketlens.core.comparison import Row
from pocketlens.reports._format import (
    NONE,
    VERDICTS,
    count,
    drop,
    factor,
    megabytes,
    metric,
    number,
    one_line,
    ordered,
    proven,
    runtime,
    significant,
    verdict,
)


@dataclass(frozen=True)
class Column:
    """One column: its heading, a cell's text, what it is sorted by, what it means."""

    key: str
    title: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | str | None]
    meaning: str
    numeric: bool = True

    def sort_key(self, row: Row) -> str:
        """What a cell is sorted by, as text; empty where nothing was measured."""
        value = self.value(row)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return f"{value:.9g}" if isinstance(value, float) else str(value)


def _throughput(row: Row) -> str:
    if row.throughput is None:
        return "–"
    text = significant(row.throughput, noisy=row.noisy)
    return text if row.batch is None else f"{text} @ {row.batch}"


def _place(row: Row) -> str:
    if row.rank_best is None or row.rank_worst is None:
        return NONE
    same = row.rank_best == row.rank_worst
    return f"{row.rank_best}" if same else f"{row.rank_best}–{row.rank_worst}"


COLUMNS: Final = (
    Column(
        "name", "model", lambda r: one_line(r.name, 80), lambda r: one_line(r.name, 80).lower(),
        "The variant: the float model in some runtime, or the float model after one or more "
        "steps of compression.", numeric=False,
    ),
    Column(
        "runtime", "runtime", runtime, lambda r: r.runtime,
        "The program that runs the network.", numeric=False,
    ),
    Column(
        "score", "score %", lambda r: number(r.score), lambda r: r.score,
        "How well it recognises the test images, in percent; higher is better. Macro F1 is the "
        "mean over classes of F1, so that rare classes count as much as common ones; accuracy is "
        "the share of right answers; mAP the mean of average precision over classes.",
    ),
    Column(
        "drop", "drop [95 %]", drop, lambda r: r.drop,
        "Points of the score lost against the float model; below zero it gained. In brackets the "
        "95 % interval, from resampling the same test images for both models.",
    ),
    Column(
        "proven", "proven", proven, proven,
        "Yes if even the upper end of the drop's interval is within the limit. No does not mean "
        "that it is worse: there may be too few test images to tell.", numeric=False,
    ),
    Column(
        "size", "size", lambda r: megabytes(r.size_bytes), lambda r: r.size_bytes,
        "The network's own files (model.*); a MB is 1,000,000 bytes.",
    ),
    Column(
        "latency", "latency ms", lambda r: significant(r.latency_ms, noisy=r.noisy),
        lambda r: r.latency_ms,
        "Milliseconds for one image through the network alone: the median of many runs, all "
        "models in turns. A tilde (~) says that the machine was too noisy to rank by it.",
    ),
    Column(
        "speedup_float", "× float", lambda r: factor(r.speedup_float, noisy=r.noisy),
        lambda r: r.speedup_float,
        "How many times as fast as the float model in the runtime that runs it fastest. Below 1 "
        "it is slower, and compressing it was no use.",
    ),
    Column(
        "verdict", "verdict", verdict, lambda r: str(list(VERDICTS).index(r.verdict)),
        "Best: the one to ship. Ok: passes too. Rejected: measured and found too inaccurate, too "
        "slow or too large, or its answers do not match the model it was made from. Failed: could "
        "not be made or run. Skipped: not tried.", numeric=False,
    ),
    Column(
        "speedup", "× PyTorch", lambda r: factor(r.speedup, noisy=r.noisy),
        lambda r: r.speedup,
        "How many times as fast as the float model in PyTorch, where it was trained.",
    ),
    Column(
        "latency_p95", "p95 ms", lambda r: significant(r.latency_ms_p95, noisy=r.noisy),
        lambda r: r.latency_ms_p95,
        "19 of 20 runs took at most this long.",
    ),
    Column(
        "spread", "spread ms", lambda r: significant(r.latency_ms_spread),
        lambda r: r.latency_ms_spread,
        "The slowest minus the fastest round's median: how far to trust the latency.",
    ),
    Column(
        "rank", "place", _place, lambda r: r.rank_best,
        "Place by latency, 1 the fastest; a range where models can't be told apart on this "
        "machine. Only ranges that don't overlap say which is the faster.",
    ),
    Column(
        "e2e", "from file ms", lambda r: significant(r.e2e_latency_ms, noisy=r.noisy),
        lambda r: r.e2e_latency_ms,
        "Milliseconds from the photo's file to the answer: decoding, resizing and the network.",
    ),
    Column(
        "throughput", "images/s @ batch", _throughput, lambda r: r.throughput,
        "Images a second when so many are given at once.",
    ),
    Column(
        "roofline", "% of peak", lambda r: number(r.roofline_percent, 0),
        lambda r: r.roofline_percent,
        "Share of the machine's own limit: multiply-adds of one image per second, against large "
        "matrix products in the same precision. What is left goes to memory, to other work than "
        "multiplying, and to starting each layer.",
    ),
    Column(
        "cold_start", "cold start ms", lambda r: significant(r.cold_start_ms),
        lambda r: r.cold_start_ms,
        "Milliseconds from starting a Python process to its first answer.",
    ),
    Column(
        "memory", "memory", lambda r: megabytes(r.memory_bytes), lambda r: r.memory_bytes,
        "The most that such a process held, Python and the runtime included.",
    ),
    Column(
        "agreement", "agreement %", lambda r: number(r.agreement, 1), lambda r: r.agreement,
        "Share of test images that get the float model's answer, right or wrong; of several labels "
        "all must be the same.",
    ),
    Column(
        "loss", "loss", lambda r: number(r.loss, 3), lambda r: r.loss,
        "Cross-entropy on the test images: lower is better; confident mistakes cost most.",
    ),
    Column(
        "params", "parameters", lambda r: count(r.params), lambda r: r.params,
        "Numbers that training has set; 4-byte ones in a float model.",
    ),
    Column(
        "macs", "MACs", lambda r: count(r.macs), lambda r: r.macs,
        "Multiplications (each with an addition) for one image.",
    ),
)  # fmt: skip

#: Stands beside a table that has ratios: they are not the quotient of the latencies next to them.
_RATIOS: Final = (
    "Ratios of speed are of times measured in turns in the same rounds, so that a busy machine "
    "disturbs both alike; they can differ from the quotient of two medians."
)

#: What fits a terminal and a README.
COMPACT: Final = ("name", "runtime", "score", "drop", "size", "latency", "speedup_float", "verdict")


def columns(*keys: str) -> list[Column]:
    """The columns of these keys, in this order."""
    known = {column.key: column for column in COLUMNS}
    return [known[key] for key in keys]


def ratios_note(rows: Sequence[Row]) -> str:
    """What ratios of speed are of; empty where none is shown."""
    ratios = [r for row in rows for r in (row.speedup, row.speedup_float)]
    return _RATIOS if any(r not in (None, 1.0) for r in ratios) else ""


def score_title(rows: Sequence[Row]) -> str:
    """Heading of the score: the metric, if all rows share one."""
    metrics = {row.metric for row in rows}
    return f"{metric(metrics.pop())} %" if len(metrics) == 1 else "score %"


def compact_table(rows: Sequence[Row]) -> tuple[list[Column], list[str], list[Row]]:
    """Columns, their headings and the rows in the order they are shown."""
    chosen = columns(*COMPACT)
    title = score_title(rows)
    headings = [title if column.key == "score" else column.title for column in chosen]
    return chosen, headings, ordered(rows)

"""From timings to the columns that tell of speed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pocketlens.core.comparison import Row
from pocketlens.core.gate import fastest_float
from pocketlens.measures.latency import Timing, is_faster, speedup
from pocketlens.measures.peak import Peak
from pocketlens.measures.start import Start


def with_latency(row: Row, timing: Timing) -> Row:
    """The row with its times, or `failed` where it couldn't be timed."""
    if timing.failed is not None:
        return replace(row, verdict="failed", reason=f"can't be timed: {timing.failed}")
    return replace(
        row,
        latency_ms=timing.latency_ms,
        latency_ms_p95=timing.p95_ms,
        latency_ms_spread=max(timing.blocks_ms) - min(timing.blocks_ms),
        e2e_latency_ms=timing.e2e_latency_ms,
        throughput=timing.throughput,
        batch=timing.batch,
        noisy=timing.noisy,
    )


def with_timing(row: Row, timing: Timing, start: Start, peak: Peak | None) -> Row:
    """The row with its times, memory and share of the machine's limit."""
    timed = with_latency(row, timing)
    if timing.failed is not None:
        return timed
    return replace(
        timed,
        cold_start_ms=start.cold_start_ms,
        memory_bytes=start.memory_bytes,
        roofline_percent=None if peak is None else _share(row, timing.latency_ms, peak),
    )


def _share(row: Row, latency_ms: float, peak: Peak) -> float | None:
    """Percent of the matrix-multiply peak in the row's precision that its operations reach."""
    if not row.macs:
        return None
    limit = peak.int8 if row.precision == "int8" else peak.float32
    return 100 * 2 * row.macs / (latency_ms / 1000) / limit


def with_ranks(rows: Sequence[Row], timings: Mapping[str, Timing]) -> list[Row]:
    """The rows with whom each can't be told apart from, and between which ranks it lies."""
    timed = [row for row in rows if row.latency_ms is not None]
    ranked = {}
    for row in timed:
        own = timings[row.name]
        others = [other.name for other in timed if other is not row]
        ahead = [name for name in others if is_faster(timings[name], own)]
        behind = [name for name in others if is_faster(own, timings[name])]
        ranked[row.name] = replace(
            row,
            ties=tuple(name for name in others if name not in (*ahead, *behind)),
            rank_best=1 + len(ahead),
            rank_worst=len(timed) - len(behind),
        )
    return [ranked.get(row.name, row) for row in rows]


def with_speedups(
    rows: Sequence[Row], timings: Mapping[str, Timing], floats: Collection[str]
) -> list[Row]:
    """The rows with how much faster they are than the float model.

    Args:
        floats: names of the float model's rows, in whatever runtime.
    """
    fastest = fastest_float([r for r in rows if r.name in floats and r.verdict != "mismatch"])

    def against(name: str | None, row: Row) -> float | None:
        if name is None or row.latency_ms is None or timings[name].failed is not None:
            return None
        return speedup(timings[name], timings[row.name])

    # `speedup` is against PyTorch where the float model runs there.
    eager = next((r.name for r in rows if r.runtime == "torch" and r.name in floats), None)
    return [
        replace(
            row,
            speedup=against(eager, row),
            speedup_float=against(None if fastest is None else fastest.name, row),
        )
        for row in rows
    ]

"""When `shrink` stops: something keeps to all limits, or the budget of minutes is spent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Comparison
from pocketlens.core.examples import Examples
from pocketlens.measures.latency import Timing, measure_latency
from pocketlens.progress import say
from pocketlens.workflows._ladder import Candidate
from pocketlens.workflows._table import Scores, Variant, disagreement

if TYPE_CHECKING:
    from pocketlens.workflows.shrink import ShrinkConfig

#: Name of the float model that all else is made from.
FLOAT: Final = "float-torch"
_SHORT_ROUNDS: Final = 3
#: How much faster than any float runtime a variant must be in each of these rounds: the whole
#: measurement may turn a narrower lead.
_LEAD: Final = 1.05


def beyond(candidate: Candidate, seconds_left: float) -> str:
    """Why there is no time left for a candidate; empty where there is."""
    if seconds_left <= 0:
        return "the budget of minutes was spent"
    if candidate.seconds > seconds_left:
        return (
            f"it takes about {candidate.seconds / 60:.0f} minutes, and {seconds_left / 60:.0f} are "
            "left of the budget"
        )
    return ""


@dataclass
class Progress:
    """Whether anything that was made so far keeps to all limits, by a short measurement.

    Attributes:
        scores: what each answered.
        accurate: names of those that keep to the limit of the drop.
    """

    config: ShrinkConfig
    threads: int
    photos: Examples
    scores: Mapping[str, Scores]
    accurate: set[str] = field(default_factory=set)
    _judged: dict[str, bool] = field(default_factory=dict)

    def is_met(self, variants: Sequence[Variant]) -> str:
        """Name of one that is accurate, small and fast enough, or nothing."""
        found = {v.name: v.bundle for v in variants if v.bundle is not None}
        floats = {n: b for n, b in found.items() if b.network_id == found[FLOAT].network_id}
        new = [n for n in found if n in self.accurate and n not in {*floats, *self._judged}]
        new = [n for n in new if self._is_small(found[n])]
        doubted = {v.name for v in variants if v.name in new and self._is_doubted(v, variants)}
        new = [n for n in new if n not in doubted]
        if new:
            paths = {n: found[n].path for n in (*floats, *new)}
            requests = [self.photos.request(i) for i in range(min(8, len(self.photos)))]
            say(f"timing {', '.join(new)} against the float model")
            timings = measure_latency(
                paths, requests, threads=self.threads, batch=1, rounds=_SHORT_ROUNDS
            )
            rivals = [timings[n] for n in floats if timings[n].failed is None]
            for name in new:
                timing = timings[name]
                # By a clear lead: the whole measurement may turn a narrow one.
                self._judged[name] = (
                    timing.failed is None
                    and all(_leads(timing, rival) for rival in rivals)
                    and timing.latency_ms <= (self.config.max_latency_ms or math.inf)
                )
        return next((name for name, met in self._judged.items() if met), "")

    def _is_doubted(self, variant: Variant, variants: Sequence[Variant]) -> bool:
        """Whether validation photos show already what the gate will see on those of the test."""
        answers = {name: s.val.scored for name, s in self.scores.items() if s.val is not None}
        return variant.name in answers and bool(disagreement(variant, variants, answers))

    def _is_small(self, bundle: Bundle) -> bool:
        limit = self.config.max_size_mb
        return limit is None or bundle.size_bytes <= limit * 1e6


def _leads(timing: Timing, rival: Timing) -> bool:
    return bool(np.divide(rival.blocks_ms, timing.blocks_ms).min() > _LEAD)


def with_untried(comparison: Comparison, met: str, untried: Sequence[Candidate]) -> Comparison:
    """Say why longer steps weren't tried, and whether the reason held to the end."""
    if not untried:
        return comparison
    named = ", ".join(c.name for c in untried[:4]) + (" and more" if len(untried) > 4 else "")
    note = (
        f"{met} kept to all limits in a short measurement, so longer steps ({named}) weren't tried"
    )
    passing = [r for r in comparison.rows if r.verdict in ("best", "ok")]
    # An `ok` with a reason looked slower than the float model: it is no reason to have stopped.
    if not any(r.precision != "float32" and (r.verdict == "best" or not r.reason) for r in passing):
        note += (
            "; in the whole measurement nothing compressed passes, so they are worth their time: "
            "--effort exhaustive"
        )
    return replace(comparison, notes=(*comparison.notes, note))

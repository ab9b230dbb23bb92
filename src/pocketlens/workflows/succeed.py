"""`succeed`: may a newly trained model take the place of the one that answers now?

Both are scored on the same photos, which neither has learnt from, and timed in turns. The rule is
that of every comparison (`core/gate.py`): the drop on validation photos must be within the limit,
test photos reject where even the lower end of the drop's interval exceeds it. Beside it: no class
is forgotten, and the new one isn't clearly slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pocketlens.core import metrics
from pocketlens.core.bootstrap import paired_drops
from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Comparison, Row
from pocketlens.core.examples import Examples, make_examples
from pocketlens.core.gate import Limits, Reason, judge, objection
from pocketlens.core.metrics import Metric
from pocketlens.core.predictor import available_cores
from pocketlens.core.text import count_of
from pocketlens.measures.latency import Timing, is_faster, measure_latency, speedup
from pocketlens.measures.machine import describe_machine
from pocketlens.measures.score import Outcome
from pocketlens.workflows import _details as details
from pocketlens.workflows._gate_words import judged, sentence, slower, too_few, unfit
from pocketlens.workflows._paired import Pair, pair
from pocketlens.workflows._timings import with_latency
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, describe_data
from pocketlens.workflows.evaluate import metric_of, run_bundle
from pocketlens.workflows.open import BundleLike, as_bundle

#: Names of the two rows.
CURRENT: Final = "current"
NEW: Final = "new"

#: With fewer test photos than this, a model that loses a tenth of its answers looks the same.
MIN_TEST: Final = 10

_TIMED_PHOTOS: Final = 16


@dataclass(frozen=True)
class Succession:
    """Whether the new model may answer from now on, and why.

    Attributes:
        offered: it passed.
        reason: in plain words, whichever way it went.
        num_test: photos that both were scored on.
        comparison: both rows, `current` being the reference; None where nothing was scored.
        new_classes: what the new model knows and the current one doesn't.
        notes: what was left out, and why.
        reasons: what `reason` is made of, for programs.
    """

    offered: bool
    reason: str
    num_test: int = 0
    comparison: Comparison | None = None
    new_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Figures in percent and milliseconds, None where they were not measured."""
        rows = {} if self.comparison is None else {row.name: row for row in self.comparison.rows}
        new, current = rows.get(NEW), rows.get(CURRENT)
        return {
            "offered": self.offered,
            "reason": self.reason,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "metric": None if new is None else new.metric,
            "score": None if new is None else new.score,
            "score_current": None if current is None else current.score,
            "drop": None if new is None else new.drop,
            "drop_low": None if new is None else new.drop_low,
            "drop_high": None if new is None else new.drop_high,
            "proven": new is not None and new.proven,
            "latency_ms": None if new is None else new.latency_ms,
            "latency_ms_current": None if current is None else current.latency_ms,
            "num_test": self.num_test,
            "new_classes": list(self.new_classes),
            "notes": list(self.notes),
        }


def succeed(
    current: BundleLike,
    new: BundleLike,
    data: DataLike | Hashed,
    *,
    max_drop: float = 0.5,
    max_latency_ms: float | None = None,
    metric: str | None = None,
    threads: int | None = None,
) -> Succession:
    """Judge a new model against the one whose place it is to take.

    Classes are matched by name. The photos are the new model's test and validation parts, without
    those that the current one was trained or calibrated on; photos of classes that only the new
    one knows don't count, since the current one can't answer them.

    Args:
        data: what the new model was trained on.
        max_drop: points of the metric that may be lost.
        max_latency_ms: if given, the new model may be slower than the current one, up to this.
        threads: processor threads to score and time with; all cores by default.

    Raises:
        UserError: the data doesn't fit the new model, or a network can't be scored.
    """
    old, made = as_bundle(current), as_bundle(new)
    limits = Limits(max_drop, max_latency_ms=max_latency_ms)
    if why := unfit(old, made.manifest.task, made.manifest.classes):
        return Succession(False, why.text, reasons=(why,))
    added = tuple(c for c in made.manifest.classes if c not in set(old.manifest.classes))
    hashed = as_hashed(data)
    test_keys, val_keys, notes = _fair(old, made, hashed)
    test = _common(made, hashed, test_keys, added)
    if len(test) < MIN_TEST:
        why = too_few(len(test), MIN_TEST)
        return Succession(False, why.text, len(test), None, added, notes, (why,))
    threads = threads or available_cores()
    tested = _both(old, made, hashed, test_keys, added, threads)
    val = None
    if len(_common(made, hashed, val_keys, added)):
        val = _both(old, made, hashed, val_keys, added, threads)
    chosen = metric_of(made, metric)
    requests = [test.request(i) for i in range(min(_TIMED_PHOTOS, len(test)))]
    paths = {CURRENT: old.path, NEW: made.path}
    timings = measure_latency(paths, requests, threads=threads)
    rows = [
        with_latency(_row(CURRENT, old, tested.current, tested.current, chosen), timings[CURRENT]),
        with_latency(_row(NEW, made, tested.current, tested.new, chosen), timings[NEW]),
    ]
    if val is not None:
        before, after = (
            float(metrics.score(chosen, one.scored)[0]) for one in (val.current, val.new)
        )
        rows[1] = replace(
            rows[1], val_drop=before - after, val_score=after, val_score_reference=before
        )
    rows[1], against = _judged(rows[1], timings, limits)
    offered = rows[1].verdict == "ok"
    reasons = judged(rows[0], rows[1], against, len(tested.new.scored), len(added), limits)
    reason = sentence(reasons, offered=offered)
    rows = [
        replace(
            rows[0],
            verdict="reference" if offered else "best",
            reason="answers now",
            proven=True,
        ),
        replace(rows[1], verdict="best" if offered else rows[1].verdict, reason=reason),
    ]
    comparison = Comparison(
        rows=tuple(rows),
        reference=CURRENT,
        machine=describe_machine(threads),
        data=describe_data(hashed) | _counts(tested, val),
        limits=vars(limits),
        classes=tested.current.examples.classes,
        confusion=details.confusions({CURRENT: tested.current, NEW: tested.new}),
        damage=tuple(details.damage(chosen, tested.current, {NEW: tested.new})),
        flips=tuple(details.flips(tested.current, {NEW: tested.new})),
        num_flips={NEW: details.num_flips(tested.current.scored, tested.new.scored)},
        notes=(*notes, "drop and speed are counted from the model that answers now"),
        config={**asdict(limits), "metric": chosen, "threads": threads},
    )
    return Succession(offered, reason, len(tested.new.scored), comparison, added, notes, reasons)


def _fair(
    old: Bundle, made: Bundle, hashed: Hashed
) -> tuple[frozenset[str], frozenset[str], tuple[str, ...]]:
    """Identities of test and of validation photos that neither has learnt from, and notes."""
    before = old.split.parts_of(hashed.identities)
    after = made.split.parts_of(hashed.identities)
    test, val, seen, moved = (set[str]() for _ in range(4))
    for key, was, part in zip(hashed.identities, before, after, strict=True):
        if was == "test" and part in ("train", "val"):
            moved.add(key)
        if part not in ("test", "val"):
            continue
        if was in ("train", "calibration") or (part == "test" and was == "val"):
            seen.add(key)
        else:
            (test if part == "test" else val).add(key)
    notes = []
    if seen:
        left = count_of(len(seen), "photo")
        notes.append(f"{left} left out, since the current model was made with them")
    if moved:
        tested = count_of(len(moved), "photo")
        notes.append(f"{tested} that tested the current model trained the new one")
    return frozenset(test), frozenset(val), tuple(notes)


def _common(bundle: Bundle, hashed: Hashed, keys: frozenset[str], added: Sequence[str]) -> Examples:
    """Those among the photos whose classes both models know, for one of the two."""
    single, new = hashed.dataset.task == "single_label", set(added)
    kept = keys
    if single and new:
        strange = {
            key
            for key, sample in zip(hashed.identities, hashed.dataset.samples, strict=True)
            if sample.labels[0] in new
        }
        kept = keys - strange
    return make_examples(hashed.dataset, hashed.identities, bundle.manifest.classes, only=kept)


def _both(
    old: Bundle,
    made: Bundle,
    hashed: Hashed,
    keys: frozenset[str],
    added: Sequence[str],
    threads: int,
) -> Pair:
    outcomes: list[Outcome] = [
        run_bundle(bundle, _common(bundle, hashed, keys, added), threads=threads, text=name)
        for name, bundle in ((CURRENT, old), (NEW, made))
    ]
    return pair(*outcomes)


def _counts(tested: Pair, val: Pair | None) -> dict[str, int]:
    return dict(details.counts(tested.current, None if val is None else val.current.examples))


def _row(name: str, bundle: Bundle, reference: Outcome, outcome: Outcome, metric: Metric) -> Row:
    drops = paired_drops(reference.scored, outcome.scored, units=reference.examples.units)
    drop = drops[metric]
    manifest = bundle.manifest
    return Row(
        name=name,
        runtime=manifest.runtime,
        backend=manifest.backend,
        precision=manifest.precision,
        method=manifest.lineage.method,
        metric=metric,
        score=float(metrics.score(metric, outcome.scored)[0]),
        drop=drop.drop,
        drop_low=drop.low,
        drop_high=drop.high,
        drop_unseen=0.0 if outcome is reference else drop.unseen,
        loss=metrics.loss(outcome.scored),
        size_bytes=bundle.size_bytes,
        params=manifest.model.get("params"),
        macs=manifest.model.get("macs"),
        agreement=metrics.agreement(reference.scored, outcome.scored),
        metrics=metrics.summary(outcome.scored),
        intervals={
            key: {"drop": found.drop, "drop_low": found.low, "drop_high": found.high}
            for key, found in drops.items()
        },
    )


def _judged(row: Row, timings: dict[str, Timing], limits: Limits) -> tuple[Row, Reason | None]:
    """The new row with its verdict, and what rejects it.

    Against the limits by the common rule; against the current model's speed only where no limit
    is given, and only by a lead that can't be the machine's mood.
    """
    row = replace(row, speedup_float=1.0)
    judged, against = judge(row, limits), objection(row, limits)
    old, new = timings[CURRENT], timings[NEW]
    if judged.verdict == "failed" or old.failed is not None:
        return replace(judged, speedup_float=None), against
    ratio = speedup(old, new)
    judged = replace(judged, speedup_float=ratio)
    if judged.verdict == "ok" and limits.max_latency_ms is None and is_faster(old, new):
        against = slower(1 / ratio)
        judged = replace(judged, verdict="slower", reason=against.text)
    return judged, against

"""From bundles to rows: scored on the same photos, timed in the same turns, judged by one gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketlens.core import metrics
from pocketlens.core.bootstrap import paired_drops
from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Comparison, Parity, Row
from pocketlens.core.errors import MissingExtraError, UserError
from pocketlens.core.examples import Examples
from pocketlens.core.gate import Limits, choose
from pocketlens.core.metrics import Metric
from pocketlens.core.parity import parity
from pocketlens.core.predictor import available_cores
from pocketlens.core.scored import Scored
from pocketlens.measures.latency import measure_latency
from pocketlens.measures.machine import describe_machine
from pocketlens.measures.peak import Peak, matmul_peak
from pocketlens.measures.score import Outcome
from pocketlens.measures.start import measure_starts
from pocketlens.progress import say
from pocketlens.workflows import _details as details
from pocketlens.workflows._photos import photos_of
from pocketlens.workflows._timings import with_ranks, with_speedups, with_timing
from pocketlens.workflows.evaluate import run_bundle

_TIMED_PHOTOS: Final = 16

#: Photos on which one network's runtimes are compared logit by logit.
_PARITY_PHOTOS: Final = 200

#: Share by which a photo's logits may differ between two runtimes of one network: rounding is
#: far below.
_SAME_NETWORK: Final = 0.01

#: Share of photos, in percent, that one compressed file must answer alike in two runtimes. Integer
#: kernels round differently, so photos between two classes may fall on either side.
_RUNTIMES_AGREE: Final = 95.0
#: The same of several labels a photo: of all labels that either gives, those that both give. One
#: that turns counts for more among these few than a photo among all.
_LABELS_AGREE: Final = 85.0


@dataclass(frozen=True)
class Variant:
    """One bundle to put into the table, or the reason why there is none.

    Attributes:
        verdict, reason: for variants that could not be made.
    """

    name: str
    bundle: Bundle | None
    method: str = ""
    runtime: str = ""
    precision: str = ""
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Scores:
    """A variant's answers on test and validation photos."""

    test: Outcome
    val: Outcome | None


def tabulate(
    variants: Sequence[Variant],
    reference: str,
    test: Examples,
    val: Examples | None,
    *,
    metric: Metric,
    limits: Limits,
    data: Mapping[str, Any],
    threads: int | None = None,
    batch: int = 16,
    known: Mapping[str, Scores] | None = None,
    config: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    home: Path | None = None,
) -> Comparison:
    """Score, time and judge all variants.

    Args:
        reference: name of the float variant that drops are counted from.
        val: photos by which variants were chosen; None where there are none.
        known: scores that are there already.
        notes: what was found before, to be kept with the result.
        home: the comparison's own directory; bundles in it are named relative to it.
    """
    threads = threads or available_cores()
    scores: dict[str, Scores] = dict(known or {})
    failed: dict[str, Row] = {}
    for variant in variants:
        if variant.bundle is None or variant.name in scores:
            continue
        try:
            scores[variant.name] = score_variant(variant.bundle, test, val, threads, variant.name)
        except UserError as error:
            failed[variant.name] = replace(
                _empty_row(variant, metric),
                verdict="skipped" if isinstance(error, MissingExtraError) else "failed",
                reason=str(error),
            )
    if reference not in scores:
        reason = failed[reference].reason if reference in failed else "there is none"
        raise UserError(f"the float model to compare with can't be scored: {reason}")
    bundles = {v.name: v.bundle.path for v in variants if v.bundle is not None and v.name in scores}
    timed = min(_TIMED_PHOTOS, len(scores[reference].test.examples))
    requests = [scores[reference].test.examples.request(i) for i in range(timed)]
    say(f"measuring the latency of {len(bundles)} variants with {threads} threads, in turns")
    timings = measure_latency(bundles, requests, threads=threads, batch=batch)
    starts = measure_starts(bundles, requests[0], threads=threads)
    peak = matmul_peak(threads)
    origin = next(v.bundle for v in variants if v.name == reference)
    assert origin is not None
    rows = []
    for variant in variants:
        if variant.name in scores:
            row = _row(variant, origin, metric, scores[reference], scores[variant.name], home)
            row = _unless_runtimes_disagree(row, variant, variants, scores)
            name = variant.name
            rows.append(with_timing(row, timings[name], starts[name], peak))
        else:
            rows.append(failed.get(variant.name) or _empty_row(variant, metric))
    # A pruned descendant is another network, and may be faster.
    floats = {v.name for v in variants if v.bundle is not None and _is_export(v.bundle, origin)}
    rows = with_ranks(with_speedups(rows, timings, floats), timings)
    judged = choose(rows, limits, reference=reference, floats=floats)
    ref = scores[reference].test
    others = {n: s.test for n, s in scores.items() if n != reference}
    return Comparison(
        rows=judged,
        reference=reference,
        machine=describe_machine(threads) | _peaks(peak),
        data={**data, **details.counts(ref, val)},
        limits=vars(limits),
        classes=ref.examples.classes,
        confusion=details.confusions({reference: ref, **others}),
        damage=tuple(details.damage(metric, ref, others)),
        flips=tuple(details.flips(ref, others)),
        num_flips={n: details.num_flips(ref.scored, o.scored) for n, o in others.items()},
        parity=tuple(_parities(variants, scores)),
        notes=(
            *notes,
            *details.notes(ref, scores[reference].val, [v.bundle for v in variants if v.bundle]),
        ),
        config=config or {},
    )


def score_variant(
    bundle: Bundle, test: Examples, val: Examples | None, threads: int | None, name: str
) -> Scores:
    """Answers on test and validation photos.

    Raises:
        UserError: the runtime isn't there, or the answers are no numbers.
    """
    parts = [part for part in (test, val) if part]
    with photos_of(bundle.manifest.preprocess, parts) as photos:
        ask = partial(run_bundle, bundle, threads=threads, photos=photos)
        return Scores(
            ask(test, text=f"{name}: test", num_logits=_PARITY_PHOTOS),
            ask(val, text=f"{name}: validation") if val else None,
        )


def drop_of(metric: Metric, reference: Outcome, other: Outcome) -> float:
    """Points lost, without an interval."""
    lost = metrics.score(metric, reference.scored) - metrics.score(metric, other.scored)
    return float(lost[0])


def _empty_row(variant: Variant, metric: Metric) -> Row:
    bundle = variant.bundle
    manifest = None if bundle is None else bundle.manifest
    return Row(
        name=variant.name,
        runtime=variant.runtime if manifest is None else manifest.runtime,
        precision=variant.precision if manifest is None else manifest.precision,
        method=variant.method,
        metric=metric,
        verdict="failed" if not variant.verdict else variant.verdict,  # type: ignore[arg-type]
        reason=variant.reason,
    )


def _row(
    variant: Variant,
    origin: Bundle,
    metric: Metric,
    reference: Scores,
    scores: Scores,
    home: Path | None,
) -> Row:
    bundle = variant.bundle
    assert bundle is not None
    ref, test = reference.test, scores.test
    drops = paired_drops(ref.scored, test.scored, units=ref.examples.units)
    drop = drops[metric]
    val_drop = val_score = val_before = None
    if reference.val is not None and scores.val is not None:
        val_drop = drop_of(metric, reference.val, scores.val)
        val_before, val_score = (
            float(metrics.score(metric, one.scored)[0]) for one in (reference.val, scores.val)
        )
    model = bundle.manifest.model
    differs = metrics.largest_difference(ref.scored, test.scored)
    is_export = _is_export(bundle, origin)
    mismatch = is_export and differs > _SAME_NETWORK
    return Row(
        name=variant.name,
        runtime=bundle.manifest.runtime,
        backend=bundle.manifest.backend,
        precision=bundle.manifest.precision,
        method=variant.method or bundle.manifest.lineage.method,
        metric=metric,
        score=float(metrics.score(metric, test.scored)[0]),
        drop=drop.drop,
        drop_low=drop.low,
        drop_high=drop.high,
        # The float model in another runtime needs no photos to be known.
        drop_unseen=0.0 if is_export and not mismatch else drop.unseen,
        val_drop=val_drop,
        val_score=val_score,
        val_score_reference=val_before,
        loss=metrics.loss(test.scored),
        size_bytes=bundle.size_bytes,
        params=model.get("params"),
        macs=model.get("macs"),
        agreement=metrics.agreement(ref.scored, test.scored),
        path=_path_for_reader(bundle.path, home),
        metrics=metrics.summary(test.scored),
        intervals={
            name: {"drop": found.drop, "drop_low": found.low, "drop_high": found.high}
            for name, found in drops.items()
        },
        verdict="mismatch" if mismatch else "ok",
        reason="an export must answer as what it was made from, but logits of a photo differ by "
        f"{100 * differs:.2g} %"
        if mismatch
        else "",
    )


def _unless_runtimes_disagree(
    row: Row, variant: Variant, variants: Sequence[Variant], scores: Mapping[str, Scores]
) -> Row:
    """A compressed file must answer much the same in the runtime it was made for and in others."""
    if row.verdict == "mismatch":
        return row
    answers = {name: found.test.scored for name, found in scores.items()}
    reason = disagreement(variant, variants, answers)
    return replace(row, verdict="mismatch", reason=reason) if reason else row


def disagreement(
    variant: Variant, variants: Sequence[Variant], answers: Mapping[str, Scored]
) -> str:
    """Why a file is not to be trusted in this runtime: in the one it was made for it answers
    otherwise. Empty where it does not.
    """
    assert variant.bundle is not None
    for other in variants:
        if (
            other.bundle is None
            or other.name == variant.name
            or other.name not in answers
            or other.bundle.id != variant.bundle.network_id
        ):
            continue
        same, least = _alike(answers[other.name], answers[variant.name])
        if same < least:
            return (
                f"only {same:.1f} % of its answers are those of {other.name}, which is the same "
                "file in another runtime"
            )
    return ""


def _alike(one: Scored, other: Scored) -> tuple[float, float]:
    """Percent of two files' answers that are the same, and how many should be."""
    if one.task == "single_label":
        return 100 * float(np.mean(one.predicted == other.predicted)), _RUNTIMES_AGREE
    # Not of all classes: most labels are given to few photos, so nothing at all would be near.
    either = np.count_nonzero(one.predicted | other.predicted)
    both = np.count_nonzero(one.predicted & other.predicted)
    return (100 * both / either if either else 100.0), _LABELS_AGREE


def _parities(variants: Sequence[Variant], scores: Mapping[str, Scores]) -> Iterator[Parity]:
    """Every pair of rows that are one network in two runtimes."""
    for one, other in combinations([v for v in variants if v.name in scores], 2):
        assert one.bundle is not None
        assert other.bundle is not None
        a, b = scores[one.name].test, scores[other.name].test
        if one.bundle.network_id != other.bundle.network_id:
            continue
        names = [sample.path for sample in a.examples.samples]
        if a.logits_FK is None or b.logits_FK is None or len(a.scored) != len(b.scored):
            continue
        yield parity(
            (one.name, other.name),
            a.logits_FK,
            b.logits_FK,
            names[: len(a.logits_FK)],
            a.scored.task,
            a.scored.thresholds_K,
        )


def _peaks(peak: Peak | None) -> dict[str, float]:
    if peak is None:
        return {}
    return {"peak_gops_float32": peak.float32 / 1e9, "peak_gops_int8": peak.int8 / 1e9}


def _is_export(bundle: Bundle, origin: Bundle) -> bool:
    """Whether a bundle is this model in another runtime, nothing else."""
    return bundle.network_id == origin.network_id


def _path_for_reader(path: Path, home: Path | None) -> str:
    inside = home is not None and path.resolve().is_relative_to(home.resolve())
    return str(path.resolve().relative_to(home.resolve()) if home and inside else path)

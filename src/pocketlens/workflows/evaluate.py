"""`evaluate`: the scores of one bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pocketlens.core import metrics
from pocketlens.core.errors import UserError
from pocketlens.core.metrics import Metric
from pocketlens.core.predictor import Fitted
from pocketlens.core.scored import Scored
from pocketlens.measures.score import Outcome, collect
from pocketlens.progress import warn
from pocketlens.workflows._about import interval_of
from pocketlens.workflows._parts import Part, examples_of
from pocketlens.workflows.data import DataLike, as_hashed
from pocketlens.workflows.open import BundleLike, as_bundle, load


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent, `loss` in nats.

    Attributes:
        score_low, score_high: 95 % interval over other draws of as many photos.
        per_class: class -> its scores, its number of samples, its threshold (multi-label).
    """

    metric: Metric
    score: float
    score_low: float
    score_high: float
    loss: float
    num_samples: int
    metrics: dict[str, float]
    errors: dict[str, str]
    unknown_classes: tuple[str, ...] = ()
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    untested_classes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "metric": self.metric,
            "score": self.score,
            "score_low": self.score_low,
            "score_high": self.score_high,
            "loss": self.loss,
            "num_samples": self.num_samples,
            **{k: v for k, v in self.metrics.items() if k != "loss"},
            "errors": self.errors,
            "unknown_classes": list(self.unknown_classes),
            "per_class": self.per_class,
            "untested_classes": list(self.untested_classes),
        }


def evaluate(
    bundle: BundleLike,
    data: DataLike,
    *,
    split: Part = "test",
    metric: str | None = None,
    threads: int | None = None,
) -> Evaluation:
    """Score a bundle, by default on the photos it was neither trained nor chosen on.

    Raises:
        UserError: data and bundle don't fit, nothing can be scored, or the network answers
            with NaN or infinity.
    """
    opened = as_bundle(bundle)
    examples = examples_of(opened, as_hashed(data), split)
    if not len(examples):
        raise UserError(
            f"{opened.path} remembers no validation photos among these; use --split test or all"
        )
    outcome = run_bundle(opened, examples, threads=threads)
    for name, reason in list(outcome.errors.items())[:5]:
        warn(f"{name} is not scored: {reason}")
    chosen = metric_of(opened, metric)
    scored = outcome.scored
    ends = interval_of(outcome, chosen)
    return Evaluation(
        metric=chosen,
        score=float(metrics.score(chosen, scored)[0]),
        score_low=ends.low,
        score_high=ends.high,
        loss=metrics.loss(scored),
        num_samples=len(scored),
        metrics=metrics.summary(scored),
        errors=outcome.errors,
        unknown_classes=outcome.examples.unknown_classes,
        per_class=_per_class(scored, opened.manifest.classes),
        untested_classes=outcome.examples.untested_classes,
    )


def _per_class(scored: Scored, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    figures = metrics.per_class(scored)
    if scored.thresholds_K is not None:
        figures["threshold"] = scored.thresholds_K
    rows = {
        name: {key: float(values[k]) for key, values in figures.items()}
        for k, name in enumerate(classes)
    }
    for row in rows.values():
        row["num_samples"] = int(row["num_samples"])
    return rows


def metric_of(bundle: BundleLike, metric: str | None = None) -> Metric:
    """The metric asked for, else the one the bundle was chosen by."""
    manifest = as_bundle(bundle).manifest
    name = metric or manifest.metrics.get("metric") or metrics.DEFAULT_METRIC[manifest.task]
    return metrics.check_metric(str(name), manifest.task)


def run_bundle(
    bundle: BundleLike,
    examples: Any,
    *,
    threads: int | None = None,
    text: str = "scoring",
    photos: Fitted | None = None,
    num_logits: int = 0,
) -> Outcome:
    """Answers of a bundle to examples.

    Args:
        photos: where decoded ones are kept.
        num_logits: photos whose logits are held; see `collect`.

    Raises:
        UserError: no sample could be scored, or an answer is NaN or infinite.
    """
    with load(bundle, threads=threads, fitted=photos) as predictor:
        outcome = collect(predictor, examples, text=text, num_logits=num_logits)
    if outcome.num_not_finite:
        raise UserError(
            f"the network answers {outcome.num_not_finite} of {len(examples)} photos with NaN or "
            "infinity, so it has no score"
        )
    if len(examples) and not len(outcome.scored):
        first = next(iter(outcome.errors.items()))
        raise UserError(
            f"none of {len(examples)} photos can be read; the first, {first[0]}: {first[1]}"
        )
    return outcome

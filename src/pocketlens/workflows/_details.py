"""What stands behind the rows: classes, photos and confusions that a mean would hide."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import ClassDamage, Flip
from pocketlens.core.examples import Examples
from pocketlens.core.metrics import Metric
from pocketlens.core.predictor import read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.scored import Scored, ranking, sigmoid
from pocketlens.core.text import count_of
from pocketlens.measures.score import Outcome

_MAX_FLIPS: Final = 24
_MAX_CONFUSION_CLASSES: Final = 60
_THUMBNAIL: Final = 112
#: Times what guessing gives, below which a network has hardly learnt anything.
_HARDLY: Final = 1.3


def num_flips(a: Scored, b: Scored) -> int:
    """Samples whose label, or set of labels, differs."""
    return int((~_same(a, b)).sum())


def _same(a: Scored, b: Scored) -> Any:
    same = a.predicted == b.predicted
    return same.all(axis=1) if same.ndim == 2 else same


def confusions(outcomes: Mapping[str, Outcome]) -> dict[str, list[list[int]]]:
    """Counts of what was taken for what, by variant; single-label only."""
    first = next(iter(outcomes.values()))
    if first.scored.task != "single_label" or len(first.examples.classes) > _MAX_CONFUSION_CLASSES:
        return {}
    return {n: metrics.confusion_matrix(o.scored).tolist() for n, o in outcomes.items()}


def damage(metric: Metric, reference: Outcome, others: Mapping[str, Outcome]) -> list[ClassDamage]:
    """Each class's part in the metric, before and after."""
    name = "average_precision" if metric == "map" else "f1"
    before = metrics.per_class(reference.scored)
    found = []
    for row, outcome in others.items():
        after = metrics.per_class(outcome.scored)
        found += [
            ClassDamage(row, label, int(n), float(old), float(new), name)
            for label, n, old, new in zip(
                reference.examples.classes,
                before["num_samples"],
                before[name],
                after[name],
                strict=True,
            )
            if n > 0
        ]
    return found


def flips(reference: Outcome, others: Mapping[str, Outcome]) -> list[Flip]:
    """Photos whose answer changed, a few of each variant, those that changed most first."""
    examples, classes = reference.examples, reference.examples.classes
    before, truth = reference.scored.predicted, reference.scored.truth
    describe = _changed_class if reference.scored.chosen_N is not None else _changed_label
    found: list[Flip] = []
    thumbnails: dict[int, str | None] = {}
    for row, outcome in others.items():
        after = outcome.scored.predicted
        changed = np.flatnonzero(~_same(reference.scored, outcome.scored))
        moves = describe(reference.scored, outcome.scored, changed)
        for move in sorted(moves, key=lambda move: -move.size)[:_MAX_FLIPS]:
            i = move.sample
            if i not in thumbnails:
                thumbnails[i] = _thumbnail(examples, i)
            found.append(
                Flip(
                    row=row,
                    filename=examples.samples[i].path,
                    truth=_names(truth[i], classes),
                    before=_names(before[i], classes),
                    after=_names(after[i], classes),
                    confidence_before=move.before * 100,
                    confidence_after=move.after * 100,
                    changed="" if move.label is None else classes[move.label],
                    thumbnail=thumbnails[i],
                )
            )
    return found


class _Move(NamedTuple):
    """How far one sample's answer moved.

    `before` and `after` are the confidences, 0 to 1: of the class that was named each time, or
    of the `label` that was given or taken away.
    """

    sample: int
    size: float
    before: float
    after: float
    label: int | None = None


def _changed_class(reference: Scored, other: Scored, changed: NDArray[np.int64]) -> list[_Move]:
    """Single-label: the sum of both confidences orders them.

    A class named with confidence a had at most 1 - b once another was named with b, so the sum
    less one is the least by which either class's probability moved; no other class's is needed.
    """
    assert reference.confidence_N is not None
    assert other.confidence_N is not None
    pairs = zip(reference.confidence_N[changed], other.confidence_N[changed], strict=True)
    return [
        _Move(int(i), float(a + b - 1), float(a), float(b))
        for i, (a, b) in zip(changed, pairs, strict=True)
    ]


def _changed_label(reference: Scored, other: Scored, changed: NDArray[np.int64]) -> list[_Move]:
    """Multi-label: the largest move among the labels that were given or taken away."""
    differs_NK = reference.predicted != other.predicted
    logits = ranking(reference), ranking(other)
    moves = []
    for i in changed:
        before_K, after_K = (sigmoid(logits_NK[i]) for logits_NK in logits)
        moved_K = np.where(differs_NK[i], np.abs(after_K - before_K), -1)
        k = int(moved_K.argmax())
        moves.append(_Move(int(i), float(moved_K[k]), float(before_K[k]), float(after_K[k]), k))
    return moves


def _names(predicted: Any, classes: Sequence[str]) -> str:
    if np.ndim(predicted) == 0:
        return classes[int(predicted)]
    return " | ".join(classes[k] for k in np.flatnonzero(predicted).tolist()) or "none"


def _thumbnail(examples: Examples, index: int) -> str | None:
    source, box = examples.request(index)
    assert isinstance(source, str | Path)
    spec = Preprocess(_THUMBNAIL, _THUMBNAIL, resize="pad", pad_color=(127, 127, 127))
    image = Image.fromarray(spec.fit(spec.decode(read_bytes(source), box)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def notes(test: Outcome, val: Outcome | None, bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """What a reader of the figures should know."""
    notes = []
    for name, outcome in (("test", test), ("validation", val)):
        if outcome is not None and outcome.errors:
            first = next(iter(outcome.errors.items()))
            notes.append(
                f"{count_of(len(outcome.errors), f'{name} photo')} can't be read and so not "
                f"scored, such as {first[0]} ({first[1]})"
            )
    if val is None:
        notes.append("there are no validation photos, so the limit is applied to the test photos")
    if test.examples.num_dropped:
        notes.append(
            f"{test.examples.num_dropped} test samples of classes that the model doesn't know are "
            f"not scored: {', '.join(test.examples.unknown_classes[:10])}"
        )
    notes += [
        f"{b.path.name} ({b.manifest.precision}): what has fewer than 8 bits is {simulated}; its "
        "size is the file's, its time that of float"
        for b in bundles
        if isinstance(simulated := b.manifest.lineage.config.get("simulated"), str)
    ]
    notes += _usefulness(test)
    if test.scored.task == "multi_label":
        notes += _label_notes(test, bundles)
    elif untested := test.examples.untested_classes:
        notes.append(
            f"{len(untested)} classes that the model knows have no test sample, so nothing is "
            f"known of them: {', '.join(untested[:10])}{' …' if len(untested) > 10 else ''}"
        )
    return tuple(notes)


def _usefulness(test: Outcome) -> list[str]:
    """What nobody should ship unknowingly: a network that has learnt nothing yet."""
    scored, classes = test.scored, test.examples.classes
    if scored.task == "multi_label":
        guessed = 100 * float(np.mean(scored.truth, axis=0).mean())
        reached = float(metrics.score("map", scored)[0])
        if reached < _HARDLY * guessed:
            return [
                f"the float model's mAP is {reached:.1f} %, where guessing gives about "
                f"{guessed:.1f} %: train longer, or from ImageNet weights"
            ]
        return []
    given = np.unique(scored.predicted)
    tested = np.unique(scored.truth)
    if len(given) == 1 < len(tested):
        return [
            f"the float model answers {classes[int(given[0])]} for every test photo: it has learnt "
            "nothing yet; train longer, or from ImageNet weights"
        ]
    commonest = 100 * float(np.bincount(scored.truth).max() / len(scored))
    right = float(metrics.score("accuracy", scored)[0])
    recall = metrics.summary(scored)["macro_recall"]
    if len(tested) > 1 and right <= commonest and recall < _HARDLY * 100 / len(tested):
        return [
            f"the float model is right for {right:.1f} % of the test photos; always answering "
            f"the commonest class would be for {commonest:.1f} %: train longer, or from ImageNet "
            "weights"
        ]
    return []


def counts(test: Outcome, val: Examples | None) -> dict[str, int]:
    """How much was scored."""
    counts = {"num_test": len(test.scored), "num_val": 0 if val is None else len(val)}
    if test.scored.task == "multi_label":
        counts["num_classes_scored"] = int((test.scored.truth == 1).any(axis=0).sum())
    return counts


def _label_notes(test: Outcome, bundles: Sequence[Bundle]) -> list[str]:
    notes = []
    without = ~(test.scored.truth == 1).any(axis=0)
    if without.any():
        names = [name for name, none in zip(test.examples.classes, without, strict=True) if none]
        notes.append(
            f"mAP and the macro scores are means over {len(without) - len(names)} of "
            f"{len(without)} classes: no test photo has {', '.join(names[:5])}"
            + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        )
    kept = [
        bundle.path.name
        for bundle in bundles
        if bundle.manifest.metrics.get("thresholds", {}).get("found_on") == "parent"
    ]
    if kept:
        notes.append(
            f"the thresholds of {', '.join(kept)} are their parent's, not found for their own "
            "answers (compress was given no data)"
        )
    return notes

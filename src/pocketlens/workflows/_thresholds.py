"""Thresholds of multi-label bundles: found on validation photos, anew wherever answers change.

Compression moves all answers a little, so a threshold that was best for the float model is not
for its INT8 child. A float export answers the same and keeps its parent's.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from pocketlens.core.bundle import Bundle, Manifest
from pocketlens.core.examples import Examples
from pocketlens.core.scored import Scored, ranking
from pocketlens.core.thresholds import MIN_POSITIVES, Thresholds, find_thresholds
from pocketlens.progress import say, warn
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import Hashed
from pocketlens.workflows.evaluate import run_bundle

#: Where `manifest.metrics` tells how the thresholds were found.
RECORD: Final = "thresholds"
#: Of a compressed bundle, the hash of the photos and labels they were found on.
DATA: Final = "data"


def with_own_thresholds(scored: Scored) -> Scored:
    """Validation answers read with the thresholds that are best for them; single-label as it is.

    Epochs are told apart by what would be stored with them: at a fixed 0.5 a young network
    gives no label at all.
    """
    if scored.task == "single_label":
        return scored
    found = find_thresholds(ranking(scored), scored.truth)
    return replace(scored, thresholds_K=found.per_class_K)


def with_thresholds(manifest: Manifest, scored: Scored) -> Manifest:
    """The manifest with thresholds that are found on these validation answers."""
    found = find_thresholds(ranking(scored), scored.truth)
    names = [name for name, few in zip(manifest.classes, found.global_K, strict=True) if few]
    if names:
        say(
            f"{len(names)} of {len(manifest.classes)} classes have fewer than {MIN_POSITIVES} "
            f"validation photos and take the global threshold {found.everywhere:.3f}"
        )
    return replace(
        manifest,
        thresholds=_by_name(manifest, found),
        metrics={
            **manifest.metrics,
            RECORD: {
                "found_on": "val",
                "num_images": len(scored),
                "global": found.everywhere,
                "global_for": names,
            },
        },
    )


def own_thresholds(
    made: Bundle, parent: Bundle, data: Hashed | None, *, threads: int | None = None
) -> Manifest:
    """The manifest of a compressed multi-label bundle, with thresholds for its own answers.

    Args:
        parent: whose thresholds it has so far, and keeps where there is no validation photo.
        data: the photos the parent was trained on.

    Raises:
        UserError: the bundle can't be run.
    """
    if data is not None:
        examples = examples_of(made, data, "val")
        if len(examples) and examples.truth.any():
            scored = run_bundle(made, examples, threads=threads, text="thresholds").scored
            manifest = with_thresholds(made.manifest, scored)
            record = {**manifest.metrics[RECORD], DATA: hash_of(examples)}
            return replace(manifest, metrics={**manifest.metrics, RECORD: record})
    why = "no data is named (--data)" if data is None else "there are no validation photos"
    if made.manifest.thresholds is None:
        warn(f"{why}, so thresholds stay at 0.5")
        return made.manifest
    warn(f"{why}, so the thresholds stay those of {parent.path.name}")
    record = {**parent.manifest.metrics.get(RECORD, {}), "found_on": "parent"}
    return replace(made.manifest, metrics={**made.manifest.metrics, RECORD: record})


def hash_of(examples: Examples) -> str:
    """Of the photos and labels that thresholds are found on."""
    truths = (truth.tobytes() for truth in examples.truth)
    lines = sorted(zip(examples.identities, truths, strict=True))
    return hashlib.sha256(repr(lines).encode()).hexdigest()[:32]


def _by_name(manifest: Manifest, found: Thresholds) -> dict[str, float]:
    return dict(zip(manifest.classes, found.per_class_K.tolist(), strict=True))

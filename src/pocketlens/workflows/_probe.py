"""Does an INT8 model answer here as it did where it was made?

Integer kernels differ: without VNNI, x86 adds products of 8-bit numbers in 16 bits, which may
saturate, and a model loses points that it had where it was measured. So a compressed bundle
keeps its answers to a few made-up patterns, and whoever opens it on another processor is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle, Manifest
from pocketlens.core.errors import BundleError
from pocketlens.core.noise import coloured_noise
from pocketlens.core.predictor import Predictor
from pocketlens.measures.machine import describe_machine
from pocketlens.progress import warn

#: Where `manifest.metrics` keeps the answers.
RECORD: Final = "probe"
_NUM_KEPT: Final = 8
#: Share of the largest logit. Float rounding moves single activations by one of 255 steps, which
#: stays far below; saturation does not.
_TOLERANCE: Final = 0.05


def with_probe(manifest: Manifest, predictor: Predictor) -> Manifest:
    """The manifest with answers to the patterns: of each the largest logits by class number."""
    logits_NK = _answers(predictor)
    if not np.isfinite(logits_NK).all():
        return manifest  # who scores it will be told
    kept = []
    for logits_K in logits_NK:
        largest = np.argsort(-np.abs(logits_K), kind="stable")[:_NUM_KEPT]
        kept.append({str(k): float(f"{logits_K[k]:.6g}") for k in largest.tolist()})
    machine = describe_machine()
    record = {"logits": kept, "cpu": machine["cpu"], "cpu_flags": machine["cpu_flags"]}
    return replace(manifest, metrics={**manifest.metrics, RECORD: record})


def warn_where_answers_differ(bundle: Bundle, predictor: Predictor) -> None:
    """Compare a compressed bundle's answers with those it gave where it was made."""
    record = bundle.manifest.metrics.get(RECORD)
    if not isinstance(record, Mapping):
        return
    try:
        share = _difference(record, predictor)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{bundle.path}: the manifest is damaged: metrics.{RECORD} can't be read; copy it again"
        ) from error
    if not share <= _TOLERANCE:  # NaN too
        _warn_once(
            f"{bundle.path.name} answers otherwise on this processor than on {record.get('cpu')}, "
            f"where it was made: logits differ by up to {100 * share:.0f} % of the largest. Score "
            "it here (pocketlens evaluate), or make it again on this processor"
        )


def _difference(record: Mapping[str, Any], predictor: Predictor) -> float:
    """The largest difference, as a share of the largest logit there was."""
    found = _answers(predictor)
    before = record["logits"]
    largest = max(abs(value) for kept in before for value in kept.values())
    differences = [
        abs(float(logits_K[int(k)]) - value)
        for logits_K, kept in zip(found, before, strict=True)
        for k, value in kept.items()
    ]
    return float(np.max(differences) / max(largest, 1e-6))


def _answers(predictor: Predictor) -> NDArray[np.float32]:
    patterns = _patterns(predictor.manifest)
    return np.concatenate([predictor.logits(pattern[None]) for pattern in patterns])


def _patterns(manifest: Manifest) -> NDArray[Any]:
    """Coarse to fine coloured noise, as a batch: together they reach what photos reach."""
    spec = manifest.preprocess
    rng = np.random.default_rng(0)
    noise = (coloured_noise(rng, cells, spec.height, spec.width) for cells in (2, 4, 16, 64))
    return np.stack([manifest.input.of(image_HWC, spec) for image_HWC in noise])


@cache
def _warn_once(message: str) -> None:
    warn(message)

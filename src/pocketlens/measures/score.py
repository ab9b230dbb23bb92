"""Logits of a bundle over samples: what every score is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pocketlens.core.examples import Examples
from pocketlens.core.metrics import Scored
from pocketlens.core.predictor import Predictor
from pocketlens.progress import bar


@dataclass(frozen=True)
class Outcome:
    """What came of scoring: the samples that could be scored, and why the others could not.

    Attributes:
        errors: file name -> reason.
        num_not_finite: samples answered with NaN or infinity.
    """

    examples: Examples
    scored: Scored
    errors: dict[str, str]
    num_not_finite: int = 0


def collect(predictor: Predictor, examples: Examples, *, text: str = "scoring") -> Outcome:
    """Ask the network about every sample, in order; memory holds the logits only."""
    task = predictor.manifest.task
    logits_NK = np.zeros((len(examples), len(predictor.classes)), dtype=np.float32)
    kept: list[int] = []
    errors: dict[str, str] = {}
    not_finite = 0
    requests = (examples.request(i) for i in range(len(examples)))
    with bar(text, len(examples)) as advance:
        for i, answer in enumerate(predictor.answers(requests)):
            advance()
            if answer.logits_K is None:
                errors[examples.samples[i].path] = answer.error or ""
                not_finite += answer.not_finite
                continue
            logits_NK[len(kept)] = answer.logits_K
            kept.append(i)
    left = examples if len(kept) == len(examples) else examples.take(kept)
    thresholds = predictor.thresholds_K if task == "multi_label" else None
    scored = Scored(task, logits_NK[: len(kept)], left.truth, thresholds)
    return Outcome(left, scored, errors, not_finite)

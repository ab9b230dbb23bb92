"""Answers of a bundle over samples: what every score is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.examples import Examples
from pocketlens.core.predictor import Predictor
from pocketlens.core.scored import Scored, from_logits, join
from pocketlens.core.stream import batched
from pocketlens.progress import bar

#: Answers that are reduced together.
_BLOCK: Final = 64


@dataclass(frozen=True)
class Outcome:
    """What came of scoring: the samples that could be scored, and why the others could not.

    Attributes:
        errors: file name -> reason.
        num_not_finite: samples answered with NaN or infinity.
        logits_FK: of the first samples that were scored, as many as were asked for.
    """

    examples: Examples
    scored: Scored
    errors: dict[str, str]
    num_not_finite: int = 0
    logits_FK: NDArray[np.float32] | None = None


def collect(
    predictor: Predictor, examples: Examples, *, text: str = "scoring", num_logits: int = 0
) -> Outcome:
    """Ask the network about every sample, in order.

    Single-label answers are reduced as they come, so that memory holds three figures a sample
    however many classes there are; multi-label ones are held as logits.

    Args:
        num_logits: samples whose logits are held whatever the task.
    """
    task = predictor.manifest.task
    num_classes = len(predictor.classes)
    kept: list[int] = []
    errors: dict[str, str] = {}
    not_finite = 0
    first: list[NDArray[np.float32]] = []

    def rows() -> Iterator[NDArray[np.float32]]:
        nonlocal not_finite
        requests = (examples.request(i) for i in range(len(examples)))
        with bar(text, len(examples)) as advance:
            for i, answer in enumerate(predictor.answers(requests)):
                advance()
                if answer.logits_K is None:
                    errors[examples.samples[i].path] = answer.error or ""
                    not_finite += answer.not_finite
                    continue
                kept.append(i)
                if len(first) < num_logits:
                    first.append(answer.logits_K)
                yield answer.logits_K

    if task == "multi_label":
        logits_NK = np.zeros((len(examples), num_classes), dtype=np.float32)
        for row, logits_K in enumerate(rows()):
            logits_NK[row] = logits_K
        truth = examples.truth[kept] if len(kept) < len(examples) else examples.truth
        scored = from_logits(task, logits_NK[: len(kept)], truth, predictor.thresholds_K)
    else:
        none = from_logits(task, np.zeros((0, num_classes), np.float32), examples.truth[:0])
        blocks = (
            from_logits(task, np.stack(block), examples.truth[kept[-len(block) :]])
            for block in batched(rows(), _BLOCK)
        )
        scored = join([none, *blocks])
    left = examples if len(kept) == len(examples) else examples.take(kept)
    return Outcome(left, scored, errors, not_finite, np.stack(first) if first else None)

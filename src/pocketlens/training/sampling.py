"""Which photos an epoch shows, in which order, and which of them are augmented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.training.config import TrainConfig

MINORITY: Final = "minority"


def class_counts(examples: Examples) -> NDArray[np.int64]:
    """Samples K of each class."""
    if examples.truth.ndim == 2:
        counts: NDArray[np.int64] = examples.truth.sum(axis=0, dtype=np.int64)
        return counts
    return np.bincount(examples.truth, minlength=len(examples.classes))


def epoch_order(examples: Examples, config: TrainConfig, epoch: int) -> list[int]:
    """Indices of the samples of one epoch, as many as there are samples.

    `balanced` draws with replacement, a sample with 1 / the count of its class (of several
    labels the rarest; samples without a label are a class of their own).
    """
    rng = np.random.default_rng([config.seed, epoch])
    if config.sampler == "shuffle":
        return [int(i) for i in rng.permutation(len(examples))]
    chances = _rarity(examples)
    drawn = rng.choice(len(examples), size=len(examples), p=chances / chances.sum())
    return [int(i) for i in drawn]


def occurrences(order: Sequence[int]) -> list[int]:
    """How often each was there before, so that a repeated photo is augmented otherwise."""
    seen: dict[int, int] = {}
    found = []
    for index in order:
        found.append(seen.get(index, 0))
        seen[index] = found[-1] + 1
    return found


def check_augmented(config: TrainConfig, classes: Sequence[str]) -> None:
    """Refuse classes of `--augment-only` that nothing is trained for.

    Raises:
        UserError: there is one.
    """
    named = () if config.augment_only in (None, (MINORITY,)) else config.augment_only or ()
    if unknown := [name for name in named if name not in classes]:
        some = ", ".join(classes[:8]) + (" …" if len(classes) > 8 else "")
        raise UserError(
            f"--augment-only names {unknown[0]!r}, which is no class that is trained; there are "
            f"{some}"
        )


def augmented(examples: Examples, config: TrainConfig) -> NDArray[np.bool_]:
    """Whether each sample is augmented: one of the classes named has it; all when none is named.

    Raises:
        UserError: a class that nothing is trained for.
    """
    check_augmented(config, examples.classes)
    if config.augment_only is None:
        return np.ones(len(examples), dtype=np.bool_)
    counts = class_counts(examples)
    if config.augment_only == (MINORITY,):
        chosen_K = counts < counts.mean()
    else:
        known = {name: k for k, name in enumerate(examples.classes)}
        chosen_K = np.isin(np.arange(len(known)), [known[name] for name in config.augment_only])
    result: NDArray[np.bool_]
    if examples.truth.ndim == 2:
        result = ((examples.truth == 1) & chosen_K).any(axis=1)
    else:
        result = chosen_K[examples.truth]
    return result


def _rarity(examples: Examples) -> NDArray[np.float64]:
    rarity_K = 1 / np.maximum(class_counts(examples), 1)
    if examples.truth.ndim == 1:
        result: NDArray[np.float64] = rarity_K[examples.truth]
        return result
    rarity_N = (examples.truth * rarity_K).max(axis=1, initial=0.0)
    unlabelled = rarity_N == 0
    return np.where(unlabelled, 1 / max(1, int(unlabelled.sum())), rarity_N)

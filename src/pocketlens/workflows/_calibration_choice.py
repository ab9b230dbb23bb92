"""Which photos INT8 ranges are found on: random ones, or ones that cover what the network sees.

Features are those of the very network that is compressed: ranges of its activations are to be
found, it needs no other weights, and an own network knows more of its data than ImageNet's. Of
many photos a class-balanced pool is looked at, so that time stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

import numpy as np

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.predictor import Request
from pocketlens.explain.choice import Choice, by_clusters, class_balanced, k_centre
from pocketlens.explain.features import features_of
from pocketlens.extras import require
from pocketlens.progress import bar
from pocketlens.workflows._features import of_bundle

CHOICES: Final[tuple[Choice, ...]] = get_args(Choice)
#: Photos that features are taken of: this many times what is wanted, and at least so many.
_POOL_FACTOR: Final = 4
_POOL: Final = 1_000


def check_choice(name: str) -> Choice:
    """A choice by its name.

    Raises:
        UserError: there is none of this name.
    """
    for choice in CHOICES:
        if choice == name:
            return choice
    raise UserError(f"--calibration-choice must be one of {', '.join(CHOICES)}, not {name!r}")


def choose(
    bundle: Bundle,
    requests: Sequence[Request],
    labels: Sequence[tuple[str, ...]],
    num: int,
    seed: int,
    choice: Choice,
) -> list[int]:
    """Indices of `num` samples (or all, where there are fewer).

    Args:
        bundle: the float model that is compressed.
        labels: those of each sample; `random` takes as many of each.

    Raises:
        UserError: features can't be had from this bundle, or no photo can be read.
    """
    if choice == "random" or len(requests) <= num:
        return class_balanced(labels, num, seed)
    require("sklearn", extra="train")
    pool = class_balanced(labels, max(_POOL, _POOL_FACTOR * num), seed)
    extractor = of_bundle(bundle)
    with bar("features", len(pool)) as advance:
        features_NF, kept = features_of(
            [requests[i] for i in pool],
            extractor.preprocess,
            extractor.input,
            extractor.session,
            advance=advance,
        )
    if not len(kept):
        raise DataError(f"none of {len(pool)} calibration photos can be read")
    pick = by_clusters if choice == "clusters" else k_centre
    chosen = np.asarray(kept)[pick(features_NF, num, seed)]
    return [pool[i] for i in chosen]

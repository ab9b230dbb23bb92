"""Training batches, decoded and augmented ahead by threads, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import ImageError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.stream import batched, run_ahead
from pocketlens.training.augment import POLICIES, generator

Batch = tuple[NDArray[np.float32], NDArray[Any]]


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches an epoch; a last batch of one is left out, since batch norm can't use it."""
    full, rest = divmod(num_examples, batch_size)
    return full + (rest > 1 or (rest == 1 and full == 0))


def epoch_batches(
    examples: Examples,
    preprocess: Preprocess,
    *,
    augment: str,
    batch_size: int,
    seed: int,
    epoch: int,
    workers: int,
    unreadable: Callable[[str, str], None],
) -> Iterator[Batch]:
    """`(input_NCHW float32, truth)` of one epoch in its shuffled order.

    Args:
        unreadable: called with the file name and the reason for each photo that can't be read;
            the photo is left out of its batch.
    """
    policy = POLICIES[augment]
    order = np.random.default_rng([seed, epoch]).permutation(len(examples))

    def prepare(index: int) -> NDArray[np.float32] | ImageError:
        source, box = examples.request(index)
        assert isinstance(source, str)
        rng = generator(seed, epoch, examples.identities[index])
        try:
            image_HWC = preprocess.decode(read_bytes(source), box)
        except ImageError as error:
            return error
        return preprocess.normalize(policy(image_HWC, preprocess, rng))

    def keep(index: int) -> tuple[int, NDArray[np.float32] | ImageError]:
        return index, prepare(index)

    indices = [int(i) for i in order]
    ahead = run_ahead(keep, indices, workers=workers, depth=2 * batch_size)
    left = num_batches(len(examples), batch_size)
    for batch in batched(ahead, batch_size):
        if left == 0:
            break
        left -= 1
        good = [(i, value) for i, value in batch if not isinstance(value, ImageError)]
        for i, value in batch:
            if isinstance(value, ImageError):
                unreadable(examples.samples[i].path, str(value))
        if len(good) > 1 or len(examples) == 1:
            yield np.stack([value for _, value in good]), examples.truth[[i for i, _ in good]]

"""Training batches, decoded and augmented ahead by threads, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import ImageError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.stream import batched, run_ahead
from pocketlens.training.augment import POLICIES, generator, v0
from pocketlens.training.config import TrainConfig
from pocketlens.training.mixing import Batch, mix
from pocketlens.training.sampling import augmented, epoch_order, occurrences


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches an epoch; a last batch of one is left out, since batch norm can't use it."""
    full, rest = divmod(num_examples, batch_size)
    return full + (rest > 1 or (rest == 1 and full == 0))


def epoch_batches(
    examples: Examples,
    preprocess: Preprocess,
    config: TrainConfig,
    *,
    epoch: int,
    start: int = 0,
    workers: int,
    unreadable: Callable[[str, str], None],
) -> Iterator[tuple[int, Batch]]:
    """The batches of one epoch with their numbers, a function of settings and epoch alone.

    Args:
        start: number of the first batch, where an epoch is gone on with.
        unreadable: called with the file name and the reason for each photo that can't be read;
            the photo is left out of its batch.
    """
    policy = POLICIES[config.augment]
    is_augmented = augmented(examples, config)
    order = epoch_order(examples, config, epoch)

    def prepare(index: int, occurrence: int) -> NDArray[np.float32] | ImageError:
        source, box = examples.request(index)
        assert isinstance(source, str)
        rng = generator(config.seed, epoch, examples.identities[index], occurrence)
        try:
            image_HWC = preprocess.decode(read_bytes(source), box)
        except ImageError as error:
            return error
        chosen = policy if is_augmented[index] else v0
        return preprocess.normalize(chosen(image_HWC, preprocess, rng))

    def keep(asked: tuple[int, int]) -> tuple[int, NDArray[np.float32] | ImageError]:
        return asked[0], prepare(*asked)

    asked = list(zip(order, occurrences(order), strict=True))[start * config.batch_size :]
    ahead = run_ahead(keep, asked, workers=workers, depth=2 * config.batch_size)
    total = num_batches(len(examples), config.batch_size)
    for number, block in enumerate(batched(ahead, config.batch_size), start):
        if number == total:
            break
        good = [(i, value) for i, value in block if not isinstance(value, ImageError)]
        for i, value in block:
            if isinstance(value, ImageError):
                unreadable(examples.samples[i].path, str(value))
        if len(good) > 1 or len(examples) == 1:
            rows = np.array([i for i, _ in good])
            inputs = np.stack([value for _, value in good])
            batch = Batch(inputs, examples.truth[rows], rows=rows)
            rng = np.random.default_rng([config.seed, epoch, number, 1])
            yield number, mix(batch, mixup=config.mixup, cutmix=config.cutmix, rng=rng)

"""Training batches: photos prepared ahead by threads, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import ImageError
from pocketlens.core.examples import Examples
from pocketlens.core.stream import run_ahead
from pocketlens.training.augment import POLICIES, generator, v0
from pocketlens.training.config import TrainConfig
from pocketlens.training.mixing import Batch, mix
from pocketlens.training.photos import Photos
from pocketlens.training.sampling import augmented, epoch_order, occurrences
from pocketlens.training.workers import Workers

T = TypeVar("T")


class Share(NamedTuple):
    """Which part of each batch this process computes: the `rank`th of `size`."""

    rank: int = 0
    size: int = 1


ALONE: Final = Share()


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches an epoch; a last batch of one is left out, since batch norm can't use it."""
    full, rest = divmod(num_examples, batch_size)
    return full + (rest > 1 or (rest == 1 and full == 0))


def epoch_batches(
    examples: Examples,
    photos: Photos,
    config: TrainConfig,
    *,
    epoch: int,
    start: int = 0,
    workers: Workers,
    unreadable: Callable[[str, str], None],
    share: Share = ALONE,
) -> Iterator[tuple[int, Batch]]:
    """The batches of one epoch with their numbers, a function of settings and epoch alone.

    Args:
        start: number of the first batch, where an epoch is gone on with.
        unreadable: called with the file name and the reason for each photo that can't be read;
            the photo is left out of its batch.
        share: where several processes compute a batch, `input_NCHW` is this one's part of it.
            Truth and rows are those of the part too, unless photos are mixed: then each process
            prepares the whole batch, since a photo's partner may be another's.
    """
    preprocess = photos.preprocess
    policy = POLICIES[config.augment]
    is_augmented = augmented(examples, config)
    is_mixed = bool(config.mixup or config.cutmix)

    def prepare(asked: tuple[int, int]) -> tuple[int, NDArray[np.float32] | ImageError]:
        index, occurrence = asked
        rng = generator(config.seed, epoch, examples.identities[index], occurrence)
        chosen = policy if is_augmented[index] else v0
        with workers:
            try:
                image_HWC = photos(examples.request(index))
            except ImageError as error:
                return index, error
            return index, preprocess.normalize(chosen(image_HWC, preprocess, rng))

    order = epoch_order(examples, config, epoch)
    asked = list(zip(order, occurrences(order), strict=True))
    total = num_batches(len(examples), config.batch_size)
    batches: list[Sequence[tuple[int, int]]]
    batches = [asked[i * config.batch_size :][: config.batch_size] for i in range(start, total)]
    if not is_mixed:
        batches = [part_of(batch, share) for batch in batches]
    wanted = [one for batch in batches for one in batch]
    depth = 2 * max(1, config.batch_size // share.size)
    with closing(run_ahead(prepare, wanted, workers=workers.most, depth=depth)) as ahead:
        for number, batch in enumerate(batches, start):
            good: list[tuple[int, NDArray[np.float32]]] = []
            for _ in batch:
                index, value = next(ahead)
                if isinstance(value, ImageError):
                    unreadable(examples.samples[index].path, str(value))
                else:
                    good.append((index, value))
            enough = len(good) > 1 or len(examples) == 1
            if not enough and share.size == 1:  # several processes decide it together
                continue
            rows = np.array([i for i, _ in good], dtype=np.int64)
            shape = (0, 3, preprocess.height, preprocess.width)
            inputs = np.stack([v for _, v in good]) if good else np.empty(shape, dtype=np.float32)
            whole = Batch(inputs, examples.truth[rows], rows=rows)
            if is_mixed and good:
                rng = np.random.default_rng([config.seed, epoch, number, 1])
                whole = mix(whole, mixup=config.mixup, cutmix=config.cutmix, rng=rng)
                part: Any = part_of(whole.input_NCHW, share)  # type: ignore[arg-type]
                whole = whole._replace(input_NCHW=part)
            yield number, whole


def part_of(items: Sequence[T], share: Share) -> Sequence[T]:
    """The consecutive items of one process; parts differ by at most one in length."""
    edges = [len(items) * rank // share.size for rank in (share.rank, share.rank + 1)]
    return items[edges[0] : edges[1]]

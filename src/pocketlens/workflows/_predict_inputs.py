"""What to predict: files, folders, patterns, tables, videos; with boxes and truth where given."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Box, Dataset
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.predictor import ImageSource
from pocketlens.core.text import one_line
from pocketlens.progress import warn
from pocketlens.workflows._frames import count_frames, frames, is_video
from pocketlens.workflows._parts import Part, examples_of
from pocketlens.workflows._predict_table import read_table
from pocketlens.workflows.boxes import match_boxes, read_boxes
from pocketlens.workflows.data import DataLike, as_dataset, as_hashed
from pocketlens.workflows.images import PathLike, find_images


class Item(NamedTuple):
    """One row to come.

    Attributes:
        name: what the row's `filename` is.
        source: what to read; None: there is nothing to read, and `error` says why.
        truth: labels that the data gives it, or None.
    """

    name: str
    source: ImageSource | None
    box: Box | None = None
    truth: tuple[str, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Inputs:
    """What to predict.

    Attributes:
        items: makes the rows, once.
        number: of them, where it is known.
        has_frames: whether rows are frames, whose pixels are held while they are worked on.
        words: where truth comes from, in words; empty where there is none.
        names: gives the photos' files; frames have none.
        has_boxes: whether a row is a box of its photo.
    """

    items: Callable[[], Iterator[Item]]
    number: int | None
    has_frames: bool = False
    words: str = ""
    names: Callable[[], list[str]] = list
    has_boxes: bool = False


def gather(
    bundle: Bundle,
    given: Sequence[PathLike],
    *,
    boxes: PathLike | None = None,
    truth: DataLike | None = None,
    split: Part | None = None,
    every_s: float = 1.0,
    max_frames: int | None = None,
) -> Inputs:
    """Find what to predict.

    Args:
        given: files, folders, patterns, CSV tables, videos, `webcam`.
        boxes: what `boxes.read_boxes` reads.
        truth: labelled data that tells what is right; where nothing else is given, its photos
            are predicted.
        split: of them the part, by the split that the bundle remembers; default: `test`.
        every_s: seconds of a video between two frames.
        max_frames: of each video; a webcam gives 60 where nothing is said.

    Raises:
        UserError: nothing is found, or the data doesn't fit the bundle.
    """
    if not given:
        if truth is None:
            raise UserError("name the images to predict: files, folders or patterns")
        if boxes is None:
            return _of_data(bundle, truth, split or "test")
        raise UserError("--boxes needs images; the boxes of --truth are used by themselves")
    if split is not None:
        raise UserError("--split chooses from the photos of --truth; name no images beside it")
    paths = [os.fspath(path) for path in given]
    videos = [path for path in paths if is_video(path)]
    if videos and boxes is not None:
        raise UserError(f"--boxes is for photos; leave out {one_line(videos[0])}")
    numbers = [count_frames(path, every_s, max_frames) for path in videos]
    parts: list[tuple[list[Item], str]] = []  # the still pictures, and the video after them
    still: list[Item] = []
    for path in paths:
        if path in videos:
            parts.append((still, path))
            still = []
        else:
            still = still + _still(path, bundle)
    everything = [item for items, _ in parts for item in items] + still
    if boxes is not None:
        still = _with_boxes(still, boxes)
        everything = still
    words = "the table" if any(item.truth is not None for item in everything) else ""
    truths = None if truth is None else _truths(bundle, as_dataset(truth))
    known = None if None in numbers else len(everything) + sum(n or 0 for n in numbers)

    def items() -> Iterator[Item]:
        for before, video in parts:
            yield from before
            for frame in frames(video, every_s, max_frames):
                yield Item(frame.name, frame.image_HWC)
        yield from still

    def names() -> list[str]:
        sources = (item.source for item in everything)
        return [os.fspath(s) for s in sources if isinstance(s, str | os.PathLike)]

    boxed = any(item.box is not None for item in everything)
    if truths is None:
        return Inputs(items, known, bool(videos), words, names, boxed)
    if not any(_true_of(item, truths) is not None for item in everything):
        if not (own := names()):
            raise DataError("--truth is about photos; frames of a video are in no data set")
        raise DataError(
            f"the data of --truth has none of the images, such as {one_line(own[0])}: they are "
            f"matched by their paths, so name photos of that data (one is "
            f"{one_line(next(iter(truths)))}), or none, for those of its test part"
        )
    return Inputs(
        lambda: (item._replace(truth=_true_of(item, truths)) for item in items()),
        known,
        bool(videos),
        "--truth",
        names,
        boxed,
    )


def _still(path: str, bundle: Bundle) -> list[Item]:
    if os.path.splitext(path)[1].lower() != ".csv" or os.path.isdir(path):
        return [Item(file, file) for file in find_images([path])]
    rows = read_table(path)
    known = set(bundle.manifest.classes)
    labels = {name for row in rows for name in row.labels or ()}
    use = not known.isdisjoint(labels)
    if labels and not use:
        warn(f"the labels of {path} are none of the model's classes; they are not compared")
    return [
        Item(row.name, row.file, row.box, row.labels if use else None, row.error) for row in rows
    ]


def _with_boxes(items: Sequence[Item], boxes: PathLike) -> list[Item]:
    """A row for each box; one with an error for an image that has none."""
    found = match_boxes([item.name for item in items], read_boxes(boxes))
    made: list[Item] = []
    for item, own in zip(items, found, strict=True):
        if item.error is not None:
            made.append(item)
        elif own:
            made += [item._replace(box=box) for box in own]
        else:
            made.append(item._replace(source=None, error="no box is given for this image"))
    return made


def _of_data(bundle: Bundle, data: DataLike, split: Part) -> Inputs:
    examples = examples_of(bundle, as_hashed(data), split)
    if not len(examples):
        raise UserError(f"{bundle.path} remembers no photo of the part {split} in --truth")

    # Rows of one photo follow each other, so that it is drawn once with all its boxes.
    first: dict[str, int] = {}
    for i, sample in enumerate(examples.samples):
        first.setdefault(sample.path, i)
    order = sorted(range(len(examples)), key=lambda i: first[examples.samples[i].path])

    def items() -> Iterator[Item]:
        for i in order:
            source, box = examples.request(i)
            yield Item(str(source), source, box, examples.samples[i].labels)

    def names() -> list[str]:
        return [str(examples.request(i).source) for i in order]

    return Inputs(
        items,
        len(examples),
        words=f"--truth, {split} photos",
        names=names,
        has_boxes=any(sample.box is not None for sample in examples.samples),
    )


_Truths = dict[str, dict[Box | None, tuple[str, ...]]]


def _truths(bundle: Bundle, dataset: Dataset) -> _Truths:
    """Real path -> box -> labels."""
    if dataset.task != bundle.manifest.task:
        raise DataError(
            f"{bundle.path} is a {bundle.manifest.task} model, {dataset.root} holds "
            f"{dataset.task} data; give it data of its own kind"
        )
    if not set(bundle.manifest.classes) & set(dataset.classes):
        raise DataError(f"{dataset.root} has none of the classes of {bundle.path}")
    found: defaultdict[str, dict[Box | None, tuple[str, ...]]] = defaultdict(dict)
    for sample in dataset.samples:
        found[os.path.realpath(dataset.file(sample))][sample.box] = sample.labels
    return dict(found)


def _true_of(item: Item, truths: _Truths) -> tuple[str, ...] | None:
    if not isinstance(item.source, str):
        return None
    return truths.get(os.path.realpath(item.source), {}).get(item.box)

"""What a run leaves for people: history, curves, confusion matrix, split, augmented photos."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from pocketlens.core.dataset import Dataset
from pocketlens.core.errors import ImageError
from pocketlens.core.examples import Examples
from pocketlens.core.metrics import confusion_matrix, per_class
from pocketlens.core.predictor import read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.scored import Scored
from pocketlens.core.split import Split
from pocketlens.core.text import csv_cell
from pocketlens.extras import require
from pocketlens.training.augment import POLICIES, generator, v0
from pocketlens.training.config import TrainConfig
from pocketlens.training.sampling import augmented

#: Of the sheet of augmented photos: photos, epochs of each, and the width of one in pixels.
_SHOWN: Final = 8
_EPOCHS: Final = 7
_TILE: Final = 128


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """`history.csv`: a row an epoch."""
    _write(path, list(history[0]), (row.values() for row in history))


def write_confusion(path: Path, scored: Scored, classes: Sequence[str]) -> None:
    """`confusion_matrix.csv`: rows are the truth, columns the prediction."""
    counts = confusion_matrix(scored)
    names = [csv_cell(name) for name in classes]
    rows = ([name, *map(int, row)] for name, row in zip(names, counts, strict=True))
    _write(path, ["truth", *names], rows)


def write_classes(path: Path, scored: Scored, classes: Sequence[str]) -> None:
    """`classes.csv` of multi-label photos: a row a class, scores in percent."""
    figures = per_class(scored)
    assert scored.thresholds_K is not None
    columns = [*figures.values(), scored.thresholds_K]
    rows = (
        [csv_cell(name), *(f"{column[k]:.6g}" for column in columns)]
        for k, name in enumerate(classes)
    )
    _write(path, ["label", *figures, "threshold"], rows)


def write_split(path: Path, dataset: Dataset, identities: Sequence[str], split: Split) -> None:
    """`split.csv`: which sample is in which part, with its labels and further columns."""
    part_of = split.part_of()
    extra = [name for name in dataset.extra_columns if name not in _SPLIT_COLUMNS]
    positions = [dataset.extra_columns.index(name) for name in extra]
    rows = (
        [
            csv_cell(sample.path),
            "" if sample.box is None else str(sample.box),
            csv_cell("|".join(sample.labels)),
            csv_cell(sample.group or ""),
            part_of.get(identity, ""),
            *(csv_cell(sample.extra[i]) if sample.extra else "" for i in positions),
        ]
        for sample, identity in zip(dataset.samples, identities, strict=True)
    )
    _write(path, [*_SPLIT_COLUMNS, *map(csv_cell, extra)], rows)


_SPLIT_COLUMNS = ("filename", "box", "label", "group", "split")


def write_augmented(
    path: Path, examples: Examples, preprocess: Preprocess, config: TrainConfig
) -> None:
    """`augmentation.png`: a row a photo, as it is and as some epochs will see it."""
    side = min(_TILE, preprocess.width)
    height = max(1, round(side * preprocess.height / preprocess.width))
    # Spread over the photos, so that more than the first class is seen.
    chosen = np.linspace(0, len(examples) - 1, min(_SHOWN, len(examples)), dtype=int)
    is_augmented = augmented(examples, config)
    rows = []
    for index in chosen.tolist():
        source, box = examples.request(index)
        assert isinstance(source, str)
        try:
            image_HWC = preprocess.fit(preprocess.decode(read_bytes(source), box))
        except ImageError:
            continue
        policy = POLICIES[config.augment] if is_augmented[index] else v0
        key = examples.identities[index]
        seen = [
            policy(image_HWC, preprocess, generator(config.seed, epoch, key))
            for epoch in range(_EPOCHS)
        ]
        rows.append([image_HWC, *seen])
    if not rows:
        return
    sheet = Image.new("RGB", ((_EPOCHS + 1) * (side + 4) + 8, len(rows) * (height + 4)), "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            tile = Image.fromarray(np.ascontiguousarray(pixels)).resize((side, height))
            sheet.paste(tile, (x * (side + 4) + (8 if x else 0), y * (height + 4)))
    sheet.save(path)


def write_curves(path: Path, history: Sequence[Mapping[str, float]], metric: str) -> None:
    """`curves.png`: loss and score over the epochs."""
    require("matplotlib", extra="train")
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["train_loss"] for row in history], "o-", label="training")
    left.plot(epochs, [row["val_loss"] for row in history], "s--", label="validation")
    left.set(title="Loss", xlabel="epoch", ylabel="nats")
    left.legend()
    second = "micro_f1" if "val_micro_f1" in history[0] else "accuracy"
    for name, style in ((metric, "o-"), (second, "s--")):
        key = f"val_{name}"
        if key in history[0] and name != "loss":
            right.plot(epochs, [row[key] for row in history], style, label=name.replace("_", " "))
    right.set(title="Validation score", xlabel="epoch", ylabel="percent")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110)


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    # surrogateescape: file names may hold bytes that are no UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(list(row) for row in rows)

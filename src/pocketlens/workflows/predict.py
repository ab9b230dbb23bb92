"""`predict`: answers for files, folders and patterns, as CSV and JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlens.core.dataset import LABEL_SEPARATOR
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.directory import new_directory, refuse_existing, write_text
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Prediction, Predictor, Request, available_cores
from pocketlens.core.text import csv_cell
from pocketlens.extras import versions
from pocketlens.progress import track, warn
from pocketlens.workflows._map_files import write_maps
from pocketlens.workflows.boxes import match_boxes, read_boxes
from pocketlens.workflows.images import find_images
from pocketlens.workflows.maps import choose
from pocketlens.workflows.open import BundleLike, as_bundle, load

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Predicted:
    """What a run over many images left.

    Attributes:
        num_images: rows: images, or boxes of them.
        errors: file name -> reason, the first thousand.
    """

    out: Path
    num_images: int
    num_errors: int
    errors: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "out": str(self.out),
            "num_images": self.num_images,
            "num_errors": self.num_errors,
            "errors": self.errors,
        }


def predict(
    bundle: BundleLike,
    images: PathLike | Sequence[PathLike],
    *,
    out: PathLike,
    boxes: PathLike | None = None,
    top_k: int = 5,
    maps: str | None = None,
    max_maps: int | None = None,
    max_megapixels: float = MAX_PIXELS / 1e6,
    threads: int | None = None,
    overwrite: bool = False,
) -> Predicted:
    """Predict images and write `predictions.csv`, `predictions.json` and `config.json`.

    Rows are written as they come, so memory stays flat. An image that can't be read is a row
    with its error.

    Args:
        images: files, folders (searched to the bottom) or patterns such as `photos/*.jpg`.
        boxes: what `boxes.read_boxes` reads; each box is a row, an image without one is a row
            with an error.
        top_k: classes named for each image in the JSON.
        maps: a method of `workflows.maps`: also draw where answers come from, into `out/maps`.
        max_maps: of at most so many requests.
        max_megapixels: larger images are refused before they are decoded.

    Raises:
        UserError: nothing was found, or no image could be read; the rows that say why are
            written all the same.
    """
    if top_k < 1 or not max_megapixels > 0:
        raise UserError("--top-k and --max-megapixels must be above 0")
    target = Path(out)
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    opened = as_bundle(bundle)
    refuse_existing(
        target, overwrite=overwrite, inputs=[opened.path, *given, *([boxes] if boxes else [])]
    )
    if not given:
        raise UserError("name the images to predict: files, folders or patterns")
    files = find_images(given)
    if maps is not None:
        choose(maps, [opened])  # before any work is done
    if boxes is None and opened.manifest.preprocess.box_margin:
        warn(
            f"{opened.path.name} was trained on boxes cut out of photos; whole photos are another "
            "thing to it: name boxes by --boxes"
        )
    requests = _requests(files, boxes)
    count = _Count()
    with (
        load(opened, threads=threads) as predictor,
        new_directory(target, overwrite=overwrite) as folder,
    ):
        found = _predictions(predictor, requests, round(max_megapixels * 1e6))
        _write(folder, predictor, count.watch(track(found, "predicting", len(requests))), top_k)
        mapped = None
        if maps is not None:
            asked = (request for request in requests if isinstance(request, Request))
            pixels = round(max_megapixels * 1e6)
            mapped = write_maps(
                folder / "maps", opened, predictor, asked, maps, max_maps,
                threads=threads, max_pixels=pixels,
            )  # fmt: skip
        settings = {
            "bundle": opened.path.name,
            "bundle_id": opened.id,
            "boxes": None if boxes is None else Path(boxes).name,
            "top_k": top_k,
            "maps": mapped,
            "max_megapixels": max_megapixels,
            "threads": threads or available_cores(),
            "versions": versions("onnxruntime", "torch", "pillow"),
        }
        write_text(folder / "config.json", json.dumps(settings, indent=1) + "\n")
    if count.errors and count.num_errors == count.num_images:
        name, reason = next(iter(count.errors.items()))
        raise UserError(
            f"none of {count.num_images} images can be used; the first, {name}: {reason} "
            f"(all reasons are in {target / 'predictions.csv'})"
        )
    return Predicted(target, count.num_images, count.num_errors, count.errors)


def _requests(files: list[str], boxes: PathLike | None) -> list[Request | str]:
    """What to predict; the name alone of a file that has no box although boxes are given."""
    if boxes is None:
        return list(map(Request, files))
    requests: list[Request | str] = []
    for file, found in zip(files, match_boxes(files, read_boxes(boxes)), strict=True):
        requests += [Request(file, box) for box in found] or [file]
    return requests


def _predictions(
    predictor: Predictor, requests: list[Request | str], max_pixels: int
) -> Iterator[Prediction]:
    asked = (request for request in requests if isinstance(request, Request))
    answers = predictor.stream(asked, max_pixels=max_pixels)
    for request in requests:
        if isinstance(request, Request):
            yield next(answers)
        else:
            yield Prediction(request, predictor.classes, error="no box is given for this image")


class _Count:
    """Counts answers as they pass."""

    def __init__(self) -> None:
        self.num_images = 0
        self.num_errors = 0
        self.errors: dict[str, str] = {}

    def watch(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        for prediction in predictions:
            self.num_images += 1
            if prediction.error is not None:
                self.num_errors += 1
                if len(self.errors) < 1000:
                    box = "" if prediction.box is None else f" box {prediction.box}"
                    self.errors[prediction.filename + box] = prediction.error
            yield prediction


def _write(
    folder: Path, predictor: Predictor, predictions: Iterable[Prediction], top_k: int
) -> None:
    classes = predictor.classes
    multi = predictor.manifest.task == "multi_label"
    names = ("labels", "scores") if multi else ("predicted_class", "predicted_label", "confidence")
    # File names may hold bytes that are no UTF-8.
    with (
        (folder / "predictions.csv").open(
            "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as table,
        # In JSON the same bytes, which are no UTF-8, become an escape that JSON knows.
        (folder / "predictions.json").open(
            "w", encoding="utf-8", errors="backslashreplace"
        ) as objects,
    ):
        writer = csv.writer(table)
        probabilities = [f"prob_{name}" for name in classes]
        writer.writerow(["filename", *names, *probabilities, "box", "error"])
        separator = "["
        for prediction in predictions:
            writer.writerow(_csv_row(prediction, multi, len(classes)))
            objects.write(
                f"{separator}\n{json.dumps(to_dict(prediction, top_k), ensure_ascii=False)}"
            )
            separator = ","
        objects.write("\n]\n")


def _csv_row(prediction: Prediction, multi: bool, num_classes: int) -> list[Any]:
    probs = prediction.probabilities_K
    values = [""] * num_classes if probs is None else [_number(p) for p in probs]
    answer: list[Any]
    if probs is None:
        answer = ["", ""] if multi else ["", "", ""]
    elif multi:
        score = dict(zip(prediction.classes, probs, strict=True))
        answer = [
            csv_cell(LABEL_SEPARATOR.join(prediction.labels)),
            LABEL_SEPARATOR.join(_number(score[name]) for name in prediction.labels),
        ]
    else:
        label = csv_cell(prediction.label or "")
        answer = [prediction.index, label, _number(prediction.confidence or 0.0)]
    box = "" if prediction.box is None else str(prediction.box)
    error = csv_cell(prediction.error or "")
    return [csv_cell(prediction.filename), *answer, *values, box, error]


def _number(probability: float) -> str:
    # As many digits as a float32 logit carries: fewer would make ties, and ties another mAP.
    return f"{probability:.9g}"


def to_dict(prediction: Prediction, top_k: int = 5) -> dict[str, Any]:
    """A prediction as plain values."""
    values: dict[str, Any] = {"filename": prediction.filename}
    if prediction.error is not None:
        values["error"] = prediction.error
    else:
        top = [{"label": name, "probability": p} for name, p in prediction.top(top_k)]
        values |= {"label": prediction.label, "index": prediction.index}
        values |= {"confidence": prediction.confidence, "top": top}
        if prediction.label is None:
            values["labels"] = list(prediction.labels)
        if prediction.info:  # of several labels by label
            values["info"] = dict(prediction.info)
    if prediction.box is not None:
        values["box"] = list(prediction.box)
    return values

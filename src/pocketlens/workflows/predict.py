"""`predict`: answers for files, folders, patterns, tables and videos, and pictures of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.directory import new_directory, refuse_existing, write_text
from pocketlens.core.errors import UserError
from pocketlens.core.judged import Judged, unsure_limit
from pocketlens.core.predictor import Predictor, Request, available_cores
from pocketlens.core.tally import RegionTally, Tally
from pocketlens.explain.fonts import Fonts
from pocketlens.extras import versions
from pocketlens.progress import track, warn
from pocketlens.reports._predictions import render
from pocketlens.workflows._map_files import maps_shown, write_maps
from pocketlens.workflows._parts import Part
from pocketlens.workflows._predict_files import Tables
from pocketlens.workflows._predict_inputs import Inputs, gather
from pocketlens.workflows._predict_pictures import Overlays, Telling, shown_names, write_sheets
from pocketlens.workflows._predict_regions import Regions, files_of, open_regions
from pocketlens.workflows._predict_rows import rows_of
from pocketlens.workflows._region_pictures import Pairs
from pocketlens.workflows.data import DataLike, data_paths
from pocketlens.workflows.images import PathLike
from pocketlens.workflows.maps import Maps, choose, open_maps
from pocketlens.workflows.open import BundleLike, as_bundle, load

#: Photos that are drawn where nothing is said: drawing one costs as much as predicting several.
OVERLAYS: Final = 100
_MAX_ERRORS: Final = 1000
#: Photos from which on each core takes batches of its own.
_MANY: Final = 64
_MAX_STREAMS: Final = 16


@dataclass(frozen=True)
class Predicted:
    """What a run over many images left.

    Attributes:
        num_images: rows: images, or boxes of them.
        errors: file name -> reason, the first thousand.
        num_known: rows whose truth is known; `num_right` of these.
        regions: how regions' answers differ from those of the whole photos, where asked for.
    """

    out: Path
    num_images: int
    num_errors: int
    errors: dict[str, str]
    num_unsure: int = 0
    num_known: int = 0
    num_right: int = 0
    num_overlays: int = 0
    regions: RegionTally | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "out": str(self.out),
            "num_images": self.num_images,
            "num_errors": self.num_errors,
            "errors": self.errors,
            "num_unsure": self.num_unsure,
            "num_known": self.num_known,
            "num_right": self.num_right,
            "num_overlays": self.num_overlays,
            **({} if self.regions is None else {"regions": self.regions.to_dict()}),
        }


class Consumer(Protocol):
    """Takes rows one by one, in order; holds no more of them than it must."""

    def take(self, row: Judged) -> None:
        """Use a row."""
        ...


def predict(
    bundle: BundleLike,
    images: PathLike | Sequence[PathLike] = (),
    *,
    out: PathLike,
    boxes: PathLike | None = None,
    truth: DataLike | None = None,
    split: Part | None = None,
    top_k: int = 5,
    unsure_below: float | None = None,
    overlays: int | Literal["all"] = OVERLAYS,
    maps: str | None = None,
    max_maps: int | None = None,
    region: str | None = None,
    region_keep: str | None = None,
    region_fill: str = "mean",
    region_options: Mapping[str, Any] | None = None,
    every: float = 1.0,
    max_frames: int | None = None,
    max_megapixels: float = MAX_PIXELS / 1e6,
    threads: int | None = None,
    overwrite: bool = False,
) -> Predicted:
    """Predict images: tables, overlays, contact sheets and a report.

    Rows are written as they come, so memory stays flat. An image that can't be read is a row
    with its error.

    Args:
        images: files, folders (searched to the bottom), patterns such as `photos/*.jpg`, CSV
            tables with a column of images (and perhaps of boxes and labels), videos, `webcam`.
        boxes: what `boxes.read_boxes` reads; each box is a row, an image without one is a row
            with an error.
        truth: labelled data that says what is right; its own photos are predicted where no
            images are named, by default those of its part `split` = `test`.
        top_k: classes named for each image in the JSON.
        unsure_below: probability, 0 to 1, below which an answer counts as unsure. None:
            `judged.unsure_limit` where there is one label.
        overlays: photos to draw with their answers, the first so many, or all.
        maps: a method of `workflows.maps`: also draw where answers come from, into `out/maps`.
        max_maps: of at most so many rows.
        region: a way to find the part to classify (`plugins.names("regions")`): answers are of
            that part, those of the whole photo stand beside them, and a photo without one is a
            row with an error.
        region_keep: the rest is coloured (`mask`), cut off (`crop`) or both (`mask-crop`).
        region_fill: its colour: `mean` is what the network sees as 0, or `black`.
        region_options: of the way's `Config`, such as `{"masks": "masks/"}`.
        every: seconds of a video between two frames.
        max_frames: of each video.
        max_megapixels: larger images are refused before they are decoded.

    Raises:
        UserError: nothing was found, or no image could be read; the rows that say why are
            written all the same.
    """
    if top_k < 1 or not max_megapixels > 0:
        raise UserError("--top-k and --max-megapixels must be above 0")
    if unsure_below is not None and not 0 <= unsure_below <= 1:
        raise UserError("--unsure-below must be from 0 to 1")
    if not every > 0 or (max_frames is not None and max_frames < 1):
        raise UserError("--every and --max-frames must be above 0")
    if max_maps is not None and max_maps < 1:
        raise UserError("--maps must be at least 1")
    if overlays != "all" and overlays < 0:
        raise UserError("--overlays must be a number, all or none")
    options = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value
        for key, value in (region_options or {}).items()
    }
    if region is None and (options or region_keep is not None):
        raise UserError("--region-… needs --region: " + ", ".join(plugins.names("regions")))
    target = Path(out)
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    opened = as_bundle(bundle)
    read: list[PathLike] = [opened.path, *given, *([boxes] if boxes else [])]
    read += [*data_paths(truth), *files_of(options)]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    inputs = gather(
        opened, given, boxes=boxes, truth=truth, split=split, every_s=every, max_frames=max_frames
    )
    regions = None
    if region is not None:
        regions = open_regions(
            opened, inputs, region, options, keep=region_keep, fill=region_fill, threads=threads,
            streams=_is_many(inputs),
        )  # fmt: skip
    elif boxes is None and truth is None and opened.manifest.preprocess.box_margin:
        warn(
            f"{opened.path.name} was trained on boxes cut out of photos; whole photos are another "
            "thing to it: name boxes by --boxes"
        )
    if maps is not None:
        choose(maps, [opened])  # before any work is done
        if inputs.has_frames and max_maps is None:
            raise UserError("frames are held until their maps are drawn: say of how many by --maps")
    settings = {
        "bundle": opened.path.name,
        "bundle_id": opened.id,
        "boxes": None if boxes is None else Path(boxes).name,
        "truth": inputs.words or None,
        "top_k": top_k,
        "unsure_below": _limit(opened, unsure_below),
        "overlays": overlays,
        "maps": maps,
        "region": None if regions is None else regions.settings(),
        "every": every if inputs.has_frames else None,
        "max_megapixels": max_megapixels,
        "threads": threads or available_cores(),
        "versions": versions("onnxruntime", "torch", "pillow"),
    }
    pixels = round(max_megapixels * 1e6)
    run = _Run(opened, inputs, top_k, unsure_below, overlays, maps, max_maps, pixels, regions)
    with new_directory(target, overwrite=overwrite) as folder:
        _write(run, folder, threads, settings)
        write_text(folder / "config.json", json.dumps(settings, indent=1) + "\n")
    tally = run.tally
    result = Predicted(
        target,
        tally.num_rows,
        tally.number("error"),
        run.errors,
        tally.number("unsure"),
        tally.num_known,
        tally.num_right,
        run.num_overlays,
        run.region_tally,
    )
    if result.errors and result.num_errors == result.num_images:
        name, reason = next(iter(result.errors.items()))
        raise UserError(
            f"none of {result.num_images} images can be used; the first, {name}: {reason} "
            f"(all reasons are in {target / 'predictions.csv'})"
        )
    return result


@dataclass
class _Run:
    """One run: what it was asked, and what is told of it at the end."""

    bundle: Bundle
    inputs: Inputs
    top_k: int
    unsure_below: float | None
    overlays: int | Literal["all"]
    maps: str | None
    max_maps: int | None
    max_pixels: int
    regions: Regions | None = None
    errors: dict[str, str] = field(default_factory=dict)
    num_overlays: int = 0
    mapped: list[tuple[str, Request]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tally = Tally(self.bundle.manifest.task)
        self.region_tally = None if self.regions is None else RegionTally()

    def take(self, row: Judged) -> None:
        """Count a row, and keep its error."""
        self.tally.take(row)
        if self.region_tally is not None:
            self.region_tally.take(row)
        found = row.prediction
        if self.maps is not None and found.error is None and self._wants_more():
            # What stands for a region is found again when its map is drawn.
            self.mapped.append((found.filename, Request(row.source, found.box)))
        if found.error is not None and len(self.errors) < _MAX_ERRORS:
            box = "" if found.box is None else f" box {found.box}"
            self.errors[found.filename + box] = found.error

    def _wants_more(self) -> bool:
        return self.max_maps is None or len(self.mapped) < self.max_maps


def _write(run: _Run, folder: Path, threads: int | None, settings: dict[str, Any]) -> None:
    """Send the rows past all that use them, one after the other."""
    manifest = run.bundle.manifest
    fonts, shown = Fonts(warn), shown_names(manifest)
    telling = Telling(manifest)
    most = None if run.overlays == "all" else run.overlays
    with ExitStack() as stack:
        predictor = stack.enter_context(_open(run, threads))
        maps = _open_maps(run, predictor, threads)
        kind = None if run.regions is None else run.regions.kind
        tables = Tables(folder, predictor, run.top_k, kind)
        stack.callback(tables.close)
        drawn = Overlays(folder, most, fonts, shown, run.max_pixels)
        stack.callback(drawn.close)
        pairs = Pairs(fonts, shown, run.max_pixels)
        consumers: tuple[Consumer, ...] = (tables, run, telling, drawn, pairs)
        rows = rows_of(
            predictor,
            run.inputs,
            unsure_below=run.unsure_below,
            max_pixels=run.max_pixels,
            regions=run.regions,
        )
        for row in track(rows, "predicting", run.inputs.number):
            for consumer in consumers:
                consumer.take(row)
        if maps is not None and run.maps is not None:
            settings["maps"] = write_maps(
                folder / "maps",
                maps,
                run.mapped,
                asked=run.maps,
                fonts=fonts,
                max_pixels=run.max_pixels,
            )
    run.num_overlays = drawn.num_written
    pictures = telling.pictures()
    write_sheets(folder, pictures, run.tally.states, fonts, shown)
    number = drawn.num_written
    text = render(
        run.tally, pictures, shown=shown, settings=settings, num_overlays=number,
        regions=run.region_tally, pairs=pairs.pictures(), maps=maps_shown(folder / "maps"),
    )  # fmt: skip
    write_text(folder / "report.html", text)


def _open_maps(run: _Run, predictor: Predictor, threads: int | None) -> Maps | None:
    """What maps need is found missing before any photo is read, not after all of them."""
    if run.maps is None:
        return None
    if run.regions is not None:
        predictor = run.regions.predictor(predictor, run.max_pixels)
    return open_maps(run.bundle, predictor, run.maps, threads=threads)


def _open(run: _Run, threads: int | None) -> Predictor:
    """Many photos are divided among the cores; few have all cores one after the other."""
    many = _is_many(run.inputs)
    streams = min(threads or available_cores(), _MAX_STREAMS) if many else 1
    # A frame's pixels are held while it waits for its batch.
    batch_size = 2 if run.inputs.has_frames else 8
    return load(run.bundle, threads=threads, streams=streams, batch_size=batch_size)


def _is_many(inputs: Inputs) -> bool:
    return inputs.number is None or inputs.number >= _MANY


def _limit(bundle: Bundle, unsure_below: float | None) -> float | None:
    single = bundle.manifest.task == "single_label"
    by_itself = unsure_limit(len(bundle.manifest.classes)) if single else None
    return by_itself if unsure_below is None else unsure_below

"""`explain`: maps of one bundle, or of several side by side with how far they moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.directory import new_directory, refuse_existing, write_text
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.explained import Explanations, Look, Moved, Row, Source
from pocketlens.core.predictor import Prediction, Request, read_bytes
from pocketlens.core.stream import batched
from pocketlens.core.text import count_of
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.heat import TOP_SHARE, Panel, side_by_side
from pocketlens.explain.moved import aligned, correlation, overlap, quartiles
from pocketlens.explain.pictures import jpeg
from pocketlens.progress import bar, warn
from pocketlens.reports import _maps
from pocketlens.workflows._map_files import map_panel, photo_panel, picture_name
from pocketlens.workflows.boxes import match_boxes, read_boxes
from pocketlens.workflows.images import find_images
from pocketlens.workflows.maps import TITLES, Map, Mapped, Maps, choose
from pocketlens.workflows.open import BundleLike, as_bundle, load

PathLike = str | os.PathLike[str]
#: Rows on the page; all have a picture file.
_ON_PAGE = 60
_BATCH = 8


@dataclass(frozen=True)
class Explained:
    """Where the files lie, and what they hold."""

    out: Path
    explanations: Explanations


@dataclass
class _Made:
    """Rows and pictures as they come."""

    folder: Path
    fonts: Fonts
    rows: list[Row] = field(default_factory=list)
    panels: list[list[str]] = field(default_factory=list)


def explain_photos(
    bundles: BundleLike | Sequence[BundleLike],
    images: PathLike | Sequence[PathLike],
    *,
    out: PathLike,
    method: str = "auto",
    label: str | None = None,
    boxes: PathLike | None = None,
    maps: int | None = 100,
    max_megapixels: float = MAX_PIXELS / 1e6,
    threads: int | None = None,
    overwrite: bool = False,
) -> Explained:
    """Where on each photo the answers come from; leaves `report.html`, `maps.json` and PNG files.

    Of several bundles each photo is a row and each bundle a column. All maps are made by one
    method, which all bundles can do, and of the class that the first bundle answers; a bundle that
    doesn't know this class (such as the network before transfer learning) shows its own answer.

    Args:
        bundles: one, or several; the others are compared with the first.
        images: files, folders (searched to the bottom) or patterns.
        method: `auto`, `gradcam`, `gradcam++`, `eigencam` or `occlusion`.
        label: map this class instead of the answer.
        boxes: what `predict` takes; each box is cut out and is a row.
        maps: at most so many rows of images or boxes, the first ones; None: all.

    Raises:
        MissingExtraError: what the method or a bundle's runtime needs isn't installed.
        UserError: a bundle can't do the method or hasn't got the class, or no image can be used.
    """
    if maps is not None and maps < 1:
        raise UserError("--maps must be at least 1")
    target = Path(out)
    single = isinstance(bundles, Bundle | str | os.PathLike)
    named: list[BundleLike] = [bundles] if single else list(bundles)  # type: ignore[list-item,arg-type]
    opened = [as_bundle(bundle) for bundle in named]
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not opened or not given:
        raise UserError("name at least one bundle, and the photos by --images")
    read: list[PathLike] = [*(b.path for b in opened), *given, *([boxes] if boxes else [])]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    index = _index(opened[0], label)
    chosen = choose(method, opened)
    found = find_images(given)
    requests = _requests(found, boxes)
    if not requests:
        raise UserError(f"none of {count_of(len(found), 'image')} has a box in {boxes}")
    notes = _notes(method, chosen, opened, len(requests), maps)
    if boxes is not None and (bare := len(set(found) - {str(r.source) for r in requests})):
        notes.append(f"{count_of(bare, 'image')} without a box: left out.")
    requests = requests[:maps]
    with ExitStack() as stack, new_directory(target, overwrite=overwrite) as folder:
        opener = [stack.enter_context(load(b, threads=threads)) for b in opened]
        all_maps = [
            Maps(b, predictor, chosen, threads=threads)
            for b, predictor in zip(opened, opener, strict=True)
        ]
        for coarse in (maps.coarse for maps in all_maps if maps.coarse):
            warn(coarse)
            notes.append(coarse)
        made = _Made(folder, Fonts(warn))
        (folder / "maps").mkdir()
        with bar("drawing maps", len(requests)) as advance:
            for batch in batched(requests, _BATCH):
                _draw(made, all_maps, batch, index, round(max_megapixels * 1e6))
                advance(len(batch))
        failed = [row for row in made.rows if row.looks[0].error is not None]
        if len(failed) == len(made.rows):
            first = failed[0]
            raise UserError(
                f"none of {len(failed)} images can be used; the first, {first.filename}: "
                f"{first.looks[0].error}"
            )
        if failed:
            notes.append(f"{count_of(len(failed), 'image')} could not be used.")
        names = _names(opened)
        explained = Explanations(
            asked=method,
            method=chosen,
            top_share=TOP_SHARE,
            sources=[_source(m, name) for m, name in zip(all_maps, names, strict=True)],
            rows=made.rows,
            moved=[_moved(made.rows, i, opened) for i in range(1, len(opened))],
            notes=notes,
        )
        write_text(folder / "maps.json", explained.to_json())
        write_text(folder / "report.html", _maps.render(explained, made.panels))
    return Explained(target, explained)


def _requests(files: list[str], boxes: PathLike | None) -> list[Request]:
    if boxes is None:
        return list(map(Request, files))
    matched = match_boxes(files, read_boxes(boxes))
    return [Request(f, box) for f, found in zip(files, matched, strict=True) for box in found]


def _index(bundle: Bundle, label: str | None) -> int | None:
    if label is None:
        return None
    classes = bundle.manifest.classes
    if label not in classes:
        some = ", ".join(classes[:8]) + (" …" if len(classes) > 8 else "")
        raise UserError(f"{bundle.path} has no class {label!r}; it has {some}")
    return classes.index(label)


def _notes(
    asked: str, chosen: str, bundles: Sequence[Bundle], number: int, most: int | None
) -> list[str]:
    notes = []
    if asked == "auto" and chosen != "gradcam":
        why = "all of these bundles" if len(bundles) > 1 else "this bundle"
        notes.append(
            f"The method is {TITLES[chosen]}, since that is the first that {why} can do; Grad-CAM "
            "needs gradients, which only torch bundles give."
        )
    if most is not None and number > most:
        notes.append(f"These are the first {most:,} of {number:,}; --maps N draws more.")
    return notes


def _draw(
    made: _Made, all_maps: Sequence[Maps], batch: Sequence[Request], index: int | None, pixels: int
) -> None:
    """The rows of a few requests: first bundle's maps, then the others' of the same classes."""
    first = list(all_maps[0].of(batch, classes=[index] * len(batch), max_pixels=pixels))
    wanted = [
        (request, mapped, one)
        for request, mapped in zip(batch, first, strict=True)
        for one in (mapped.maps or (None,))
    ]
    columns: list[list[tuple[Mapped, Map | None]]] = [[(m, one) for _, m, one in wanted]]
    for maps in all_maps[1:]:
        known = {name: i for i, name in enumerate(maps.predictor.classes)}
        classes = [None if one is None else known.get(one.label) for _, _, one in wanted]
        found = maps.of((r for r, _, _ in wanted), classes=classes, top=1, max_pixels=pixels)
        columns.append([(m, m.maps[0] if m.maps else None) for m in found])
    for i, (request, _, _) in enumerate(wanted):
        _add(made, all_maps, request, [column[i] for column in columns])


def _add(
    made: _Made,
    all_maps: Sequence[Maps],
    request: Request,
    cells: Sequence[tuple[Mapped, Map | None]],
) -> None:
    name = os.fspath(request.source)  # type: ignore[arg-type]
    looks = [_look(all_maps, request, cells, column) for column in range(len(all_maps))]
    picture = None
    panels = _panels(all_maps, cells, looks)
    shown: list[str] = []
    if panels:
        picture = f"maps/{picture_name(len(made.rows) + 1, name)}"
        side_by_side(panels, made.fonts).save(made.folder / picture)
        if len(made.rows) < _ON_PAGE:
            shown = [jpeg(panel.image) for panel in panels]
    box = None if request.box is None else tuple(request.box)
    made.panels.append(shown)
    made.rows.append(Row(name, box, tuple(looks), picture))


def _look(
    all_maps: Sequence[Maps],
    request: Request,
    cells: Sequence[tuple[Mapped, Map | None]],
    column: int,
) -> Look:
    mapped, one = cells[column]
    before = cells[0][1]
    if one is None:
        return Look(error=mapped.prediction.error)
    alike, shared = None, None
    comparable = before is not None and (before.label == one.label or not all_maps[column].of_class)
    if column and comparable and before is not None:
        pair = _pair(all_maps[0], all_maps[column], request, before, one)
        if pair is not None:
            alike, shared = correlation(*pair), overlap(*pair)
    flat = not one.map_HW.any()
    answer = _answer(mapped.prediction)
    return Look(answer, one.label, one.called, one.probability, alike, shared, flat)


def _pair(
    a: Maps, b: Maps, request: Request, first: Map, second: Map
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Both maps on what both networks see of the photo."""
    one, other = a.bundle.manifest.preprocess, b.bundle.manifest.preprocess
    if request.box is not None and one.box_margin != other.box_margin:
        return None
    size = one.width, one.height
    ways = [(s.resize, s.crop_pct, s.width / s.height) for s in (one, other)]
    if ways[0] != ways[1]:
        try:
            image_HWC = one.decode(read_bytes(request.source), request.box)  # type: ignore[arg-type]
        except ImageError:
            return None
        size = image_HWC.shape[1], image_HWC.shape[0]
    return aligned(first.map_HW, second.map_HW, one.visible(*size), other.visible(*size))


def _panels(
    all_maps: Sequence[Maps], cells: Sequence[tuple[Mapped, Map | None]], looks: Sequence[Look]
) -> list[Panel]:
    if cells[0][1] is None:
        return []
    panels = [photo_panel(cells[0][0])]
    for maps, (mapped, one), look in zip(all_maps, cells, looks, strict=True):
        if one is not None:
            before = f"{maps.bundle.path.name}: " if len(all_maps) > 1 else ""
            how = maps.words
            if look.correlation is not None:
                how = f"correlation {look.correlation:.2f}, overlap {look.overlap or 0:.2f}"
            panels.append(map_panel(mapped, one, how, before))
    return panels


def _answer(prediction: Prediction) -> tuple[str, ...]:
    return prediction.labels if prediction.label is None else (prediction.label,)


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """Each bundle's own name, with its number where two are called alike."""
    names = [bundle.path.resolve().name for bundle in bundles]
    return [f"{n} ({i})" if names.count(n) > 1 else n for i, n in enumerate(names, 1)]


def _source(maps: Maps, name: str) -> Source:
    manifest = maps.bundle.manifest
    network = str(manifest.model.get("name", ""))
    return Source(
        name, maps.bundle.id, network, manifest.runtime, manifest.precision, maps.layer, maps.words
    )


def _moved(rows: Sequence[Row], column: int, bundles: Sequence[Bundle]) -> Moved:
    looks = [(row.looks[0], row.looks[column]) for row in rows]
    alike = [b.correlation for _, b in looks if b.correlation is not None]
    shared = [b.overlap for _, b in looks if b.overlap is not None]
    same = sum(a.answer == b.answer for a, b in looks if a.error is None)
    classes = [set(bundles[i].manifest.classes) for i in (0, column)]
    return Moved(
        len(alike), same if classes[0] & classes[1] else None, quartiles(alike), quartiles(shared)
    )

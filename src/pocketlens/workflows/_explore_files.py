"""The files that `explore` leaves: the page with its small pictures, JSON, and PNGs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pocketlens.core.dataset import Dataset, Sample
from pocketlens.core.directory import write_text
from pocketlens.core.exploration import Exploration
from pocketlens.core.predictor import Request, available_cores
from pocketlens.core.stream import run_ahead
from pocketlens.core.text import safe_filename
from pocketlens.explain.features import Mean
from pocketlens.explain.pictures import jpeg, sheet, thumbnail
from pocketlens.progress import track
from pocketlens.reports._explore import Pictures, render

#: Side of a thumbnail in pixels; it is shown smaller, so that it is sharp on dense screens.
SIDE: Final = 112
_A_CLASS: Final = 8
_ALL_CLASSES: Final = 240
_MAX_CLASSES: Final = 120
_SUSPECTS: Final = 24
_NEIGHBOURS: Final = 3
_COPIES: Final = 12
_COPIES_EACH: Final = 3
_MARGIN: Final = 0.1


def write(
    folder: Path,
    dataset: Dataset,
    samples: Sequence[Sample],
    exploration: Exploration,
    mean: Mean,
    seed: int,
) -> None:
    """Write everything into a folder that exists."""
    sheets = _sheets(exploration.class_counts, samples, seed)
    index = {sample.path: i for i, sample in reversed(list(enumerate(samples)))}
    copies = _copies(exploration, index)
    wanted = dict.fromkeys(
        [
            *(i for members in sheets.values() for i in members),
            *_odd(exploration),
            *(i for group in copies for i in group),
            *(exploration.clusters.medoids if exploration.clusters else ()),
        ]
    )
    images = _thumbnails(dataset, samples, wanted)
    means = {name: mean.image(name) for name in mean.sums}
    pictures = Pictures(
        thumbnails={i: jpeg(image) for i, image in images.items()},
        sheets=sheets,
        copies=copies,
        means={name: jpeg(image) for name, image in means.items()},
    )
    write_text(folder / "explore.json", exploration.to_json())
    write_text(folder / "report.html", render(exploration, pictures))
    for part in ("mean", "samples"):
        (folder / part).mkdir()
    for name, image in means.items():
        path = folder / "mean" / f"{safe_filename(name)}.png" if name else folder / "mean.png"
        image.save(path)
    for name, members in sheets.items():
        shown = [images[i] for i in members if i in images]
        sheet(shown, SIDE, 4).save(folder / "samples" / f"{safe_filename(name)}.png")
    if exploration.plane is not None:
        from pocketlens.explain.drawing import draw_plane

        draw_plane(exploration, folder / "plane.png")


def _sheets(counts: Iterable[str], samples: Sequence[Sample], seed: int) -> dict[str, list[int]]:
    """A few random samples of each class that has any; fewer of each when classes are many."""
    members: dict[str, list[int]] = {name: [] for name in counts}
    rng = np.random.default_rng(seed)
    for i in rng.permutation(len(samples)):
        for label in samples[i].labels:
            members.setdefault(label, []).append(int(i))
    present = [name for name in members if members[name]][:_MAX_CLASSES]
    each = max(1, min(_A_CLASS, _ALL_CLASSES // max(1, len(present))))
    return {name: members[name][:each] for name in present}


def _odd(exploration: Exploration) -> list[int]:
    suspects = (exploration.suspects or ())[:_SUSPECTS]
    return [i for s in suspects for i in (s.sample, *s.neighbours[:_NEIGHBOURS])]


def _copies(exploration: Exploration, index: dict[str, int]) -> list[list[int]]:
    """Samples that show the first groups of near duplicates."""
    groups = exploration.duplicates.groups if exploration.duplicates else ()
    return [[index[name] for name in g.files[:_COPIES_EACH]] for g in groups[:_COPIES]]


def _thumbnails(
    dataset: Dataset, samples: Sequence[Sample], wanted: Iterable[int]
) -> dict[int, Image.Image]:
    chosen = list(wanted)

    def make(i: int) -> Image.Image | None:
        sample = samples[i]
        return thumbnail(Request(dataset.file(sample), sample.box), SIDE, margin=_MARGIN)

    workers = max(2, available_cores())
    made = run_ahead(make, chosen, workers=workers, depth=2 * workers)
    found = zip(chosen, track(made, "thumbnails", len(chosen)), strict=True)
    return {i: image for i, image in found if image is not None}

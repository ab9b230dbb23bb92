"""Pictures of a run: overlays as the rows come, contact sheets of the most telling at the end."""

from __future__ import annotations

import heapq
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pocketlens.core.bundle import Manifest
from pocketlens.core.decode import MAX_PIXELS, decode_image
from pocketlens.core.errors import ImageError
from pocketlens.core.judged import Judged, State
from pocketlens.core.names import shown_name
from pocketlens.core.predictor import ImageSource, Request, available_cores, read_bytes
from pocketlens.core.stream import run_ahead
from pocketlens.core.text import safe_filename
from pocketlens.explain.contact_sheet import PER_PAGE, SIDE, contact_sheet
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.overlay import draw_overlay
from pocketlens.explain.pictures import thumbnail
from pocketlens.explain.region_pair import draw_pair

#: Pages of each contact sheet: mistakes are looked through further than what went well.
PAGES: Final[dict[State, int]] = {"wrong": 3, "unsure": 2, "right": 1, "sure": 1}
#: Boxes of one photo that are drawn together; further ones would only hide it.
_MOST_ROWS: Final = 500
#: Photos that wait to be drawn: their pixels may be at hand only now (a video's frames).
_WAITING: Final = 4
_QUALITY: Final = 88
_TITLES: Final[dict[State, str]] = {
    "wrong": "Wrong, the surest first",
    "unsure": "Unsure, the least sure first",
    "right": "Right, the least sure first",
    "sure": "Sure, the least sure first",
}


def shown_names(manifest: Manifest) -> dict[str, str]:
    """Class -> what it is called, where the bundle knows a name beside its code."""
    names = {label: shown_name(label, info) for label, info in manifest.class_info.items()}
    return {label: name for label, name in names.items() if name is not None}


class Overlays:
    """Draws each photo once with all rows that follow each other, in a thread of its own."""

    def __init__(
        self,
        folder: Path,
        most: int | None,
        fonts: Fonts,
        shown: dict[str, str],
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.num_written = 0
        self._folder = folder / "overlays"
        self._most = most
        self._fonts = fonts
        self._shown = shown
        self._max_pixels = max_pixels
        self._rows: list[Judged] = []
        self._left_out = 0
        self._waiting: deque[Future[bool]] = deque()
        self._number = 0
        # One thread: a font's face is used by one at a time.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="overlay")

    def take(self, row: Judged) -> None:
        """Keep a row, and draw the photo before it."""
        if self._rows and row.prediction.filename != self._rows[0].prediction.filename:
            self._flush()
        if self._most is not None and self._number >= self._most:
            return
        if len(self._rows) < _MOST_ROWS:
            self._rows.append(row)
        else:
            self._left_out += 1

    def close(self) -> None:
        """Draw what is left, and wait until all is written."""
        try:
            self._flush()
            while self._waiting:
                self.num_written += self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        left_out, self._left_out = self._left_out, 0
        # What can't be read has nothing to be drawn on; without a region there is its photo.
        if not rows:
            return
        regional = rows[0].regional
        shown = rows[0] if regional is None else regional.plain
        if shown.state == "error" and len(rows) == 1:
            return
        self._number += 1
        self._folder.mkdir(exist_ok=True)
        stem = os.path.splitext(os.path.basename(rows[0].prediction.filename))[0]
        path = self._folder / f"{self._number:05d}-{safe_filename(stem)}.jpg"
        self._waiting.append(self._pool.submit(self._draw, rows, left_out, path))
        while len(self._waiting) > _WAITING:
            self.num_written += self._waiting.popleft().result()

    def _draw(self, rows: list[Judged], left_out: int, path: Path) -> bool:
        try:
            image = photo_of(rows[0].source, self._max_pixels)
        except ImageError:  # its rows say why
            return False
        if rows[0].regional is not None:
            drawn = draw_pair(image, rows[0], self._fonts, self._shown)
        else:
            drawn = draw_overlay(image, rows, self._fonts, self._shown, left_out=left_out)
        drawn.save(path, "JPEG", quality=_QUALITY)
        return True


def photo_of(source: ImageSource, max_pixels: int) -> Image.Image:
    """The whole upright photo.

    Raises:
        ImageError: it can't be read.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    return decode_image(read_bytes(source), max_pixels=max_pixels)


class Telling:
    """Keeps the most telling rows of each kind, few of them however many there are."""

    def __init__(self, manifest: Manifest) -> None:
        self._margin = manifest.preprocess.box_margin
        self._kept: dict[State, list[tuple[float, int, Judged, Image.Image | None]]] = {}
        self._number = 0

    def take(self, row: Judged) -> None:
        """Keep it if it tells more than another of its kind."""
        self._number += 1
        state = row.state
        if state == "error":
            return
        kept = self._kept.setdefault(state, [])
        worth = row.certainty if state == "wrong" else -row.certainty
        most = PAGES[state] * PER_PAGE
        if len(kept) == most and (worth, -self._number) < kept[0][:2]:
            return
        small = None
        if row.regional is not None and row.regional.region is not None:
            seen = Request(row.regional.region.seen_HWC)
            small, row = thumbnail(seen, SIDE), row._replace(regional=None)
        elif isinstance(row.source, np.ndarray):  # a frame: its pixels are here only now
            small = thumbnail(Request(row.source, row.prediction.box), SIDE, margin=self._margin)
        if isinstance(row.source, np.ndarray):
            row = row._replace(source="")
        entry = (worth, -self._number, row, small)
        if len(kept) < most:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def pictures(self) -> dict[State, list[tuple[Judged, Image.Image | None]]]:
        """State -> rows with small pictures, the most telling first."""
        states: tuple[State, ...] = ("wrong", "unsure", "right", "sure")
        found: dict[State, list[tuple[Judged, Image.Image | None]]] = {}
        workers = max(2, available_cores())
        for state in states:
            entries = sorted(self._kept.get(state, []), key=lambda e: e[:2], reverse=True)
            if entries:
                small = run_ahead(self._small, entries, workers=workers, depth=2 * workers)
                found[state] = [(e[2], image) for e, image in zip(entries, small, strict=True)]
        return found

    def _small(self, entry: tuple[float, int, Judged, Image.Image | None]) -> Image.Image | None:
        _, _, row, small = entry
        if small is not None or isinstance(row.source, np.ndarray) or not row.source:
            return small
        return thumbnail(Request(row.source, row.prediction.box), SIDE, margin=self._margin)


def write_sheets(
    folder: Path,
    pictures: dict[State, list[tuple[Judged, Image.Image | None]]],
    numbers: dict[State, int],
    fonts: Fonts,
    shown: dict[str, str],
) -> int:
    """`sheets/STATE.png`, `STATE-2.png`…; returns how many were written.

    Args:
        numbers: of all rows in each state; a sheet that shows only some says so.
    """
    written = 0
    (folder / "sheets").mkdir()
    for state, rows in pictures.items():
        for page, start in enumerate(range(0, len(rows), PER_PAGE), 1):
            part = rows[start : start + PER_PAGE]
            title = f"{_TITLES[state]}: {start + 1} to {start + len(part)} of {numbers[state]:,}"
            name = f"{state}.png" if page == 1 else f"{state}-{page}.png"
            # Photos hardly shrink in a PNG: harder trying would cost seconds for a tenth.
            sheet = contact_sheet(title, part, fonts, shown)
            sheet.save(folder / "sheets" / name, compress_level=1)
            written += 1
    return written

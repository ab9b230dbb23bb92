"""The most telling rows of a run with regions, drawn for its page."""

from __future__ import annotations

import heapq
from typing import Final

from PIL import Image

from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.errors import ImageError
from pocketlens.core.judged import Judged
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.region_pair import draw_pair
from pocketlens.workflows._predict_pictures import photo_of

#: Pairs on the page.
MOST: Final = 12
_SIDE: Final = 280


class Pairs:
    """Keeps a few rows as pictures: changed answers before others, the surest first."""

    def __init__(self, fonts: Fonts, shown: dict[str, str], max_pixels: int = MAX_PIXELS) -> None:
        self._fonts = fonts
        self._shown = shown
        self._max_pixels = max_pixels
        self._kept: list[tuple[bool, float, int, Judged, Image.Image]] = []
        self._number = 0

    def take(self, row: Judged) -> None:
        """Draw it if it tells more than another."""
        changed = row.changed
        if row.regional is None or changed is None:
            return
        plain = row.regional.plain
        self._number += 1
        worth = (changed, min(row.certainty, plain.certainty), -self._number)
        if len(self._kept) == MOST and worth < self._kept[0][:3]:
            return
        try:
            image = photo_of(row.source, self._max_pixels)
        except ImageError:  # it has gone since
            return
        picture = draw_pair(image, row, self._fonts, self._shown, _SIDE)
        entry = (*worth, row._replace(source=""), picture)
        if len(self._kept) < MOST:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def pictures(self) -> list[tuple[Judged, Image.Image]]:
        """Rows with their pictures, the most telling first."""
        ordered = sorted(self._kept, key=lambda entry: entry[:3], reverse=True)
        return [(row, picture) for *_, row, picture in ordered]

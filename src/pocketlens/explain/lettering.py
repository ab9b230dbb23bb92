"""Text and signs on pictures: right, wrong and unsure differ by sign, not by colour alone."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageDraw

from pocketlens.core.judged import Judged, State
from pocketlens.core.text import one_line
from pocketlens.explain.fonts import Fonts

Colour = tuple[int, int, int]

#: Okabe and Ito's colours, darkened until white text on them has a contrast of 4.5 or more.
COLOURS: Final[dict[State, Colour]] = {
    "right": (0, 99, 166),
    "wrong": (176, 70, 0),
    "unsure": (106, 76, 147),
    "sure": (52, 62, 74),
    "error": (90, 90, 90),
}
WHITE: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (22, 32, 43)
SOFT: Final[Colour] = (86, 98, 112)
GROUND: Final[Colour] = (245, 246, 248)


class Line:
    """A line of text, measured: never wider than it may be, in fonts that have its letters."""

    def __init__(self, fonts: Fonts, text: str, size: int, widest: float = float("inf")) -> None:
        self.text = one_line(text)[:400]
        self.size = size
        self._runs = fonts.runs(self.text, size)
        if self.width > widest:
            # As many letters as fit, found by halving: each try measures the whole line.
            low, high = 0, len(self.text)
            while low < high:
                middle = (low + high + 1) // 2
                self._runs = fonts.runs(self.text[:middle].rstrip() + "…", size)
                low, high = (middle, high) if self.width <= widest else (low, middle - 1)
            self._runs = fonts.runs(self.text[:low].rstrip() + "…", size)

    @property
    def width(self) -> float:
        """In pixels."""
        return sum(run.font.getlength(run.text) for run in self._runs)

    def draw(self, draw: ImageDraw.ImageDraw, x: float, middle: float, colour: Colour) -> None:
        """Write it, its letters centred on a height."""
        for run in self._runs:
            draw.text((x, middle + 0.36 * self.size), run.text, colour, run.font, anchor="ls")
            x += run.font.getlength(run.text)


def wrapped(fonts: Fonts, text: str, size: int, widest: float, most: int = 2) -> list[Line]:
    """A text in up to `most` lines, broken at spaces where there are; only the last is cut."""
    text = one_line(text)[:400]
    lines: list[Line] = []
    while len(lines) < most - 1 and Line(fonts, text, size).width > widest:
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            fits = Line(fonts, text[:middle].rstrip(), size).width <= widest
            low, high = (middle, high) if fits else (low, middle - 1)
        space = text.rfind(" ", low // 2, low + 1)
        low = space if space > 0 else low
        lines.append(Line(fonts, text[:low].rstrip(), size, widest))
        text = text[low:].lstrip()
    return [*lines, Line(fonts, text, size, widest)]


def sign(draw: ImageDraw.ImageDraw, x: float, y: float, side: float, state: State) -> None:
    """A white sign in a square: a tick, a cross, a question mark or an exclamation mark."""
    width = max(2, round(side / 7))

    def stroke(*points: tuple[float, float]) -> None:
        draw.line([(x + a * side, y + b * side) for a, b in points], WHITE, width, joint="curve")

    def dot(a: float, b: float) -> None:
        r = 0.6 * width
        cx, cy = x + a * side, y + b * side
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), WHITE)

    if state == "right":
        stroke((0.18, 0.54), (0.42, 0.78), (0.84, 0.24))
    elif state == "wrong":
        stroke((0.22, 0.22), (0.78, 0.78))
        stroke((0.78, 0.22), (0.22, 0.78))
    elif state == "unsure":
        stroke((0.28, 0.32), (0.36, 0.18), (0.6, 0.16), (0.7, 0.32), (0.5, 0.48), (0.5, 0.62))
        dot(0.5, 0.84)
    elif state == "error":
        stroke((0.5, 0.12), (0.5, 0.6))
        dot(0.5, 0.84)


def outline(draw: ImageDraw.ImageDraw, area: tuple[float, ...], state: State, width: int) -> None:
    """A frame that is seen on any ground: its colour between a dark and a light line."""
    left, top, right, bottom = area
    for grow, colour, thick in (
        (width + 1, INK, 1),
        (width, COLOURS[state], width),
        (0, WHITE, 1),
    ):
        box = (left - grow, top - grow, right + grow, bottom + grow)
        draw.rectangle(box, outline=colour, width=thick)


def words(judged: Judged, shown: dict[str, str] | None = None) -> tuple[str, str]:
    """What is said of a row, and of its truth; the second is empty where there is nothing to say.

    Args:
        shown: class -> what it is called, where it has a better name.
    """
    shown = shown or {}
    found = judged.prediction
    if found.error is not None:
        return found.error, ""
    if judged.labels:
        first = ", ".join(
            f"{shown.get(name, name)} {percent(judged.probability(name))}"
            for name in judged.labels[:6]
        )
        if len(judged.labels) > 6:
            first += f" and {len(judged.labels) - 6} more"
    else:
        first = f"no label (at most {percent(found.confidence or 0.0)})"
    if judged.unsure:
        first = f"unsure: {first}"
    if judged.truth is None or judged.right:
        return first, ""
    truth = ", ".join(shown.get(name, name) for name in judged.truth) or "no label"
    return first, f"true: {truth}"


def percent(probability: float) -> str:
    """A probability in whole percent, cut off: below a limit never looks as if it reached it."""
    return f"{int(100 * probability + 1e-9)} %"


def panel(image: Image.Image, height: int, width: int = 0) -> Image.Image:
    """The picture with room below it, and beside it where it is not as wide as that."""
    size = (max(width, image.width), image.height + height)
    canvas = Image.new("RGB", size, GROUND)
    canvas.paste(image, ((size[0] - image.width) // 2, 0))
    return canvas

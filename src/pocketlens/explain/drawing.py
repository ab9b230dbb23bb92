"""The plane of features as a PNG file, for slides and tickets; the page draws its own."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Final

from pocketlens.core.exploration import Exploration, Place

#: Okabe and Ito's colours (without yellow and black), which people of any colour vision tell
#: apart, and marks, so that colour is never all there is.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS: Final = "os^Dv*P"
_MOST: Final = 12
_OTHER_FONTS: Final = (
    "Noto Sans CJK KR", "Noto Sans CJK JP", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo",
)  # fmt: skip


def draw_plane(exploration: Exploration, path: Path) -> None:
    """Samples by class on their two main directions, or by cluster for multi-label data."""
    from matplotlib import rc_context

    # Texts take their font when they are made.
    with rc_context({"font.family": _fonts()}):
        _draw(exploration, path)


def _draw(exploration: Exploration, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert exploration.plane is not None
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [place for place in exploration.samples if place.x is not None]
    counts = Counter(kind(place, exploration) for place in shown)
    named = [name for name, _ in sorted(counts.items(), key=lambda i: (-i[1], i[0]))][:_MOST]
    rest = [place for place in shown if kind(place, exploration) not in named]
    if rest:
        axes.scatter(*_xy(rest), s=8, c="#b0b6bd", label="other classes", linewidths=0)
    for i, name in enumerate(named):
        those = [p for p in shown if kind(p, exploration) == name]
        axes.scatter(
            *_xy(those),
            s=14,
            c=_COLOURS[i % len(_COLOURS)],
            marker=_MARKS[i % len(_MARKS)],
            alpha=0.7,
            linewidths=0,
            label=name[:40].replace("$", r"\$").lstrip("_") or "_",
        )
    x, y = exploration.plane["explained"]
    axes.set_xlabel(f"first main direction ({x:.0f} % of the variance)")
    axes.set_ylabel(f"second ({y:.0f} %)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    with warnings.catch_warnings():
        # A letter that no installed font has becomes a box; the page, in a browser, has it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, metadata={"Software": None})


def _fonts() -> list[str]:
    """Matplotlib's own font, then what the system has for other scripts."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _OTHER_FONTS if name in installed)]


def _xy(places: list[Place]) -> tuple[list[float], list[float]]:
    return [p.x or 0.0 for p in places], [p.y or 0.0 for p in places]


def kind(place: Place, exploration: Exploration) -> str:
    """What a sample is coloured by."""
    if exploration.is_multi_label:
        return "sample" if place.cluster is None else f"cluster {place.cluster + 1}"
    return place.labels[0]

"""What is told of a run over many images: counts, and bounded lists of rows.

Nothing in it grows with the number of images, but for counts of classes that occur.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pocketlens.core.dataset import Task
from pocketlens.core.judged import Judged, State

#: Rows a page lists; a browser sorts so many at once.
MAX_LINES: Final = 5_000
MAX_ERRORS: Final = 200
#: Of certainty, 0 to 1.
NUM_BINS: Final = 20


class Line(NamedTuple):
    """A row of the page's table. `labels` of an error are empty, `error` of the others."""

    filename: str
    box: str
    labels: tuple[str, ...]
    certainty: float
    truth: tuple[str, ...] | None
    state: State
    error: str = ""


@dataclass
class ClassCount:
    """How often a class was named, how often it was true, and both at once."""

    named: int = 0
    true: int = 0
    both: int = 0


@dataclass
class Tally:
    """Counts rows as they pass.

    Attributes:
        num_known: rows whose truth is known; `num_right` of these, unsure ones too.
        num_sure_known, num_sure_right: of these, the sure ones.
        states: how many rows ended so.
        per_class: classes that were named or true.
        bins: state -> rows by certainty, in `NUM_BINS` equal parts from 0 to 1.
        lines: the first `MAX_LINES` rows.
        errors: the first `MAX_ERRORS` rows without an answer.
    """

    task: Task
    num_rows: int = 0
    num_known: int = 0
    num_right: int = 0
    num_sure_known: int = 0
    num_sure_right: int = 0
    states: dict[State, int] = field(default_factory=dict)
    per_class: dict[str, ClassCount] = field(default_factory=dict)
    bins: dict[State, list[int]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    errors: list[Line] = field(default_factory=list)

    def take(self, row: Judged) -> None:
        """Count a row."""
        found, state = row.prediction, row.state
        self.num_rows += 1
        self.states[state] = self.states.get(state, 0) + 1
        box = "" if found.box is None else str(found.box)
        line = Line(
            found.filename, box, row.labels, row.certainty, row.truth, state, found.error or ""
        )
        if len(self.lines) < MAX_LINES:
            self.lines.append(line)
        if state == "error":
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(line)
            return
        bins = self.bins.setdefault(state, [0] * NUM_BINS)
        bins[min(NUM_BINS - 1, int(row.certainty * NUM_BINS))] += 1
        for label in row.labels:
            self._count(label).named += 1
        if row.truth is None:
            return
        self.num_known += 1
        self.num_right += bool(row.right)
        if not row.unsure:
            self.num_sure_known += 1
            self.num_sure_right += bool(row.right)
        for label in row.truth:
            count = self._count(label)
            count.true += 1
            count.both += label in row.labels

    def number(self, state: State) -> int:
        """Rows that ended so."""
        return self.states.get(state, 0)

    def _count(self, label: str) -> ClassCount:
        return self.per_class.setdefault(label, ClassCount())


@dataclass
class RegionTally:
    """Counts of rows of which both a region and the whole photo were classified.

    Attributes:
        num_missing: rows on which no region was found.
        num_both: rows with both answers; `num_changed` of these differ.
        num_known: rows with both answers and truth; `num_gained` are right of the region alone,
            `num_lost` of the whole photo alone, `num_kept` of both.
    """

    num_missing: int = 0
    num_both: int = 0
    num_changed: int = 0
    num_known: int = 0
    num_kept: int = 0
    num_gained: int = 0
    num_lost: int = 0
    _area: float = 0.0

    def take(self, row: Judged) -> None:
        """Count a row."""
        regional, changed = row.regional, row.changed
        self.num_missing += regional is not None and regional.missing
        if regional is None or changed is None:
            return
        assert regional.region is not None
        plain = regional.plain
        self._area += regional.region.share
        self.num_both += 1
        self.num_changed += changed
        if row.right is None:
            return
        self.num_known += 1
        self.num_kept += row.right and bool(plain.right)
        self.num_gained += row.right and not plain.right
        self.num_lost += bool(plain.right) and not row.right

    @property
    def share(self) -> float:
        """Mean percent of their photos that regions cover."""
        return self._area / self.num_both if self.num_both else 0.0

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        names = ("missing", "both", "changed", "known", "gained", "lost")
        return {f"num_{name}": getattr(self, f"num_{name}") for name in names}

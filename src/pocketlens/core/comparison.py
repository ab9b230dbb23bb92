"""The one table: a row a variant, all measured the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from pocketlens.core.errors import UserError

Verdict = Literal[
    "best",
    "ok",
    "slower",
    "less_accurate",
    "too_large",
    "mismatch",
    "failed",
    "skipped",
    "reference",
]

SCHEMA: Final = 1


@dataclass(frozen=True)
class Row:
    """One variant. Shares and scores in percent, times in milliseconds; None: not measured.

    Attributes:
        drop: float score minus this score on the test images, in points; `drop_low` and
            `drop_high` bound its 95 % interval.
        val_drop: the same on the validation images, by which variants are chosen; `val_score` and
            `val_score_reference` are the two scores that it is the difference of.
        drop_unseen: points that may be lost although no test image got worse, since there are
            few; 0 where the interval tells, and where both are one network.
        proven: `drop_high` and `drop_unseen` are within the limit.
        latency_ms: median at batch 1 of the network alone; `e2e_latency_ms` from a file's bytes.
        latency_ms_spread: the slowest minus the fastest of the rounds' medians.
        throughput: images a second at `batch`.
        speedup: against the float model in PyTorch; `speedup_float`: against the float model
            in its fastest runtime.
        metrics: every score by name, and the loss.
        intervals: of each score its `drop`, `drop_low` and `drop_high`.
        noisy: the measurement's rounds differ too much to rank it.
        ties: rows whose latency can't be told from this one's; `rank_best` and `rank_worst`
            bound the place among all timed rows that this leaves it, 1 the fastest.
        cold_start_ms: from the start of a process to its first answer; `memory_bytes`: the most
            that this process held.
        roofline_percent: share of the machine's matrix-multiply peak in the row's precision that
            its multiply-adds reach.
        agreement: percent of test images with the float model's answer.
        backend: what computes it, in runtimes that know several; else None.
    """

    name: str
    runtime: str
    precision: str
    method: str
    metric: str
    score: float | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    drop_unseen: float | None = None
    val_drop: float | None = None
    val_score: float | None = None
    val_score_reference: float | None = None
    proven: bool = False
    loss: float | None = None
    size_bytes: int | None = None
    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_spread: float | None = None
    e2e_latency_ms: float | None = None
    throughput: float | None = None
    batch: int | None = None
    speedup: float | None = None
    speedup_float: float | None = None
    noisy: bool = False
    ties: tuple[str, ...] = ()
    rank_best: int | None = None
    rank_worst: int | None = None
    cold_start_ms: float | None = None
    memory_bytes: int | None = None
    roofline_percent: float | None = None
    agreement: float | None = None
    verdict: Verdict = "ok"
    reason: str = ""
    path: str | None = None
    backend: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassDamage:
    """What compression did to one class: its score with the float model and with a variant.

    Attributes:
        metric: what the scores are, in percent: `f1`, `recall` or `average_precision`.
    """

    row: str
    label: str
    num_samples: int
    score_float: float
    score: float
    metric: str = "f1"


@dataclass(frozen=True)
class Flip:
    """A test photo whose answer changed.

    Attributes:
        truth, before, after: class names; several of a multi-label photo are joined by `|`.
        confidence_before, confidence_after: in percent, each of its own answer; of a multi-label
            photo both of the label `changed`.
        changed: multi-label: the label given or taken away whose probability moved most.
        thumbnail: PNG or JPEG bytes in base64.
    """

    row: str
    filename: str
    truth: str
    before: str
    after: str
    confidence_before: float
    confidence_after: float
    thumbnail: str | None = None
    changed: str = ""


@dataclass(frozen=True)
class Parity:
    """One network in two runtimes.

    Attributes:
        rows: names of both rows.
        num_photos: real photos that both answered.
        largest, mean: absolute difference of logits, over photos and classes.
        scale: the largest absolute logit of the first, which the differences are to be seen
            against.
        cosine: of all logits of the first row, as one vector, and all of the second. Not photo by
            photo: where a photo lies between two classes all its logits are near zero, and
            rounding alone turns so short a vector about.
        agreement: percent of the photos with the same answer: of several labels, all the same.
        disagreeing: names of photos with another answer, the first 20.
    """

    rows: tuple[str, str]
    num_photos: int
    largest: float
    mean: float
    scale: float
    cosine: float
    agreement: float
    disagreeing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All rows with what they were measured on.

    Attributes:
        machine: processor, flags, threads, versions.
        data: name, counts and metric of the scored data.
        limits: what the gate was asked for.
        reference: name of the float row that drops are counted from.
        confusion: row name -> counts KK, rows the truth (single-label, up to 60 classes).
        damage, flips: the details behind the rows.
        parity: each network that is there in several runtimes, pair by pair.
        notes: what a reader should know.
    """

    rows: tuple[Row, ...]
    machine: Mapping[str, Any]
    data: Mapping[str, Any]
    limits: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    confusion: Mapping[str, list[list[int]]] = field(default_factory=dict)
    damage: tuple[ClassDamage, ...] = ()
    flips: tuple[Flip, ...] = ()
    num_flips: Mapping[str, int] = field(default_factory=dict)
    parity: tuple[Parity, ...] = ()
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def best(self) -> Row | None:
        """The row to ship, if any passed."""
        return next((row for row in self.rows if row.verdict == "best"), None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Comparison:
        """What `to_json` wrote, from its parsed text; thumbnails are not in it.

        Raises:
            UserError: it is no comparison, or of another schema.
        """
        if values.get("schema") != SCHEMA:
            raise UserError(
                f"this is no compare.json of schema {SCHEMA}; make it anew with this pocketlens"
            )
        try:
            return cls(
                **{
                    **{k: v for k, v in values.items() if k != "schema"},
                    "rows": tuple(
                        Row(**{**row, "ties": tuple(row["ties"])}) for row in values["rows"]
                    ),
                    "classes": tuple(values["classes"]),
                    "damage": tuple(ClassDamage(**one) for one in values["damage"]),
                    "flips": tuple(Flip(**one) for one in values["flips"]),
                    "parity": tuple(
                        Parity(
                            **{
                                **one,
                                "rows": tuple(one["rows"]),
                                "disagreeing": tuple(one["disagreeing"]),
                            }
                        )
                        for one in values["parity"]
                    ),
                    "notes": tuple(values["notes"]),
                }
            )
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(f"the comparison is damaged: {error}") from error

    def to_json(self) -> str:
        """The text of `compare.json`; thumbnails stay in the report alone."""
        values: dict[str, Any] = _finite(asdict(self))
        for flip in values["flips"]:
            del flip["thumbnail"]
        text = json.dumps(
            {"schema": SCHEMA} | values, indent=1, ensure_ascii=False, allow_nan=False
        )
        return text + "\n"


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: what is not a number is null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Train, validation and test parts: seeded, stratified, never dividing a group.

A part is remembered by what the samples are (`dataset.identity`), not by where they lie, so a
later run can neither test on training photos nor use another split without noticing.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pocketlens.core.dataset import PARTS, Part, Sample
from pocketlens.core.errors import DataError

FRACTIONS: Final[Mapping[Part, float]] = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Split:
    """Which identities belong to which part.

    Attributes:
        train, val, test: sample identities, sorted; together they need not be all samples.
        calibration: identities that a compression step has looked at and that belong to no
            part (of an imported bundle); they are never scored.
        seed: of the random choice; None when the parts came with the data.
        notes: what a person should know of how it came about.
    """

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    seed: int | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def part_of(self) -> dict[str, str]:
        """Identity -> part, `calibration` included."""
        return {key: part for part in ("calibration", *PARTS) for key in getattr(self, part)}

    def __bool__(self) -> bool:
        return bool(self.train or self.val or self.test)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `split.json`."""
        values: dict[str, Any] = {part: list(getattr(self, part)) for part in PARTS}
        return values | {"calibration": list(self.calibration), "seed": self.seed}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Split:
        """The value that `to_dict` wrote."""
        parts = {k: tuple(map(str, values.get(k, ()))) for k in (*PARTS, "calibration")}
        return cls(**parts, seed=values.get("seed"))


def make_split(
    samples: Sequence[Sample],
    identities: Sequence[str],
    *,
    seed: int = 0,
    keep: Split | None = None,
) -> Split:
    """Divide samples 70:15:15, or as the data's own layout says.

    With parts `train` and `test` alone, validation is carved from train; with `train` and `val`
    alone, val becomes the test and validation is carved from train. Samples with the same photo
    or the same group stay together. A photo that the data puts both into test and elsewhere is
    kept for the test only.

    Args:
        samples: N samples.
        identities: N identities, as `dataset.identity` makes them.
        seed: the random choice is a function of it and of the identities, not of their order.
        keep: an earlier split; its samples keep their part.

    Raises:
        DataError: nothing would be left to train on, or to test with.
    """
    assert len(samples) == len(identities)
    kept = keep.part_of() if keep else {}
    parts: list[Part | None] = [_as_part(kept.get(key)) for key in identities]
    notes: list[str] = []
    given = any(sample.part in ("val", "test") for sample in samples)
    if given:
        _use_given(samples, parts)
        num_leaks = _keep_tested_photos_out(identities, parts)
        if num_leaks:
            notes.append(f"{num_leaks} samples whose photo is also in the test part are not used")
        if "val" not in parts:
            notes.append("validation is carved from the training part")
            _assign(samples, identities, parts, {"train": 0.70 / 0.85, "val": 0.15 / 0.85}, seed)
    else:
        _assign(samples, identities, parts, FRACTIONS, seed)
    found: dict[Part, tuple[str, ...]] = {
        part: tuple(sorted({key for key, p in zip(identities, parts, strict=True) if p == part}))
        for part in PARTS
    }
    for part in ("train", "test"):
        if not found[part]:
            raise DataError(
                f"the {part} part would be empty: {len(samples)} samples are too few, or in too "
                "few groups, to divide; add photos"
            )
    return Split(**found, seed=None if given else seed, notes=tuple(notes))


def _as_part(name: str | None) -> Part | None:
    return next((part for part in PARTS if part == name), None)


def _use_given(samples: Sequence[Sample], parts: list[Part | None]) -> None:
    """Fill in the parts that the data's layout gives; train and val alone mean train and test."""
    present = {sample.part for sample in samples}
    val: Part = "val" if "test" in present else "test"
    for i, sample in enumerate(samples):
        part = sample.part or "train"
        parts[i] = parts[i] or (val if part == "val" else part)


def _keep_tested_photos_out(identities: Sequence[str], parts: list[Part | None]) -> int:
    tested = {_photo(key) for key, part in zip(identities, parts, strict=True) if part == "test"}
    leaks = [
        i
        for i, key in enumerate(identities)
        if parts[i] in ("train", "val") and _photo(key) in tested
    ]
    for i in leaks:
        parts[i] = None
    return len(leaks)


def _assign(
    samples: Sequence[Sample],
    identities: Sequence[str],
    parts: list[Part | None],
    fractions: Mapping[Part, float],
    seed: int,
) -> None:
    """Divide the samples of `parts` that are None (or in train, when carving) by `fractions`.

    Greedy: each unit goes where its labels are missed most, large units and rare labels first
    (after Sechidis et al. 2011, "On the stratification of multi-label data").
    """
    carving = "test" not in fractions
    pool = [i for i, p in enumerate(parts) if (p == "train" if carving else True)]
    free: list[list[int]] = []
    need: dict[Part, Counter[str]] = {part: Counter() for part in fractions}
    totals: Counter[str] = Counter()
    for members in _units(samples, identities, pool):
        totals.update(label for i in members for label in _strata(samples[i]))
        fixed = {known for i in members if (known := parts[i])} if not carving else set()
        if not fixed:
            free.append(members)
            continue
        part = next(p for p in ("test", "val", "train") if p in fixed)
        for i in members:
            mine = parts[i] or part
            parts[i] = mine
            need[mine].subtract(_strata(samples[i]))
    for part, fraction in fractions.items():
        for label, total in totals.items():
            need[part][label] += fraction * total  # type: ignore[assignment]

    def order(members: list[int]) -> tuple[int, int, str]:
        rarest = min(totals[label] for i in members for label in _strata(samples[i]))
        return (-len(members), rarest, _shuffled(seed, min(identities[i] for i in members)))

    for members in sorted(free, key=order):
        labels = Counter(label for i in members for label in _strata(samples[i]))

        def missed(part: Part, labels: Counter[str] = labels) -> float:
            return sum(n * need[part][label] / totals[label] for label, n in labels.items())

        # Ties go to the test before validation, so that three photos of a class give one of each.
        order_of_ties: tuple[Part, ...] = ("train", "test", "val")
        chosen = max((p for p in order_of_ties if p in fractions), key=missed)
        need[chosen].subtract(labels)
        for i in members:
            parts[i] = chosen


def _strata(sample: Sample) -> Iterable[str]:
    return sample.labels or ("",)  # photos without any label are a stratum of their own


def _photo(key: str) -> str:
    return key.split("@", 1)[0]


def _shuffled(seed: int, key: str) -> str:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).hexdigest()


def _units(
    samples: Sequence[Sample], identities: Sequence[str], pool: Sequence[int]
) -> list[list[int]]:
    """Samples that must stay together: connected by the same photo or the same group."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for i in pool:
        if (group := samples[i].group) is not None:
            parent[root(_photo(identities[i]))] = root(f"group:{group}")
    units: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        units[root(_photo(identities[i]))].append(i)
    return list(units.values())

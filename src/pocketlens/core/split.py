"""Train, validation and test parts: seeded, stratified, never dividing a group.

A part is remembered by what the samples are (`dataset.identity`), not by where they lie, so a
later run can neither test on training photos nor use another split without noticing.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pocketlens.core.dataset import PARTS, Part, Sample, SplitGroups, photo_of
from pocketlens.core.errors import DataError
from pocketlens.core.text import one_line

FRACTIONS: Final[Mapping[Part, float]] = {"train": 0.70, "val": 0.15, "test": 0.15}
#: Where the data brings its own test part.
CARVED: Final[Mapping[Part, float]] = {"train": 0.70 / 0.85, "val": 0.15 / 0.85}

_MAX_NAMED: Final = 3

_TIES: Final[tuple[Part, ...]] = ("train", "test", "val")


@dataclass(frozen=True)
class Split:
    """Which identities belong to which part.

    Attributes:
        train, val, test: sample identities, sorted; together they need not be all samples.
        calibration: identities that a compression step has looked at and that belong to no
            part (of an imported bundle); they are never scored.
        tested_before: identities that tested an earlier model and are not in this data, so that a
            later one whose data has them tests with them again.
        seed: of the random choice; None when the parts came with the data.
        groups: whether groups stayed whole (`across`) or were divided (`inside`).
        notes: what a person should know of how it came about.
    """

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    tested_before: tuple[str, ...] = ()
    seed: int | None = None
    groups: SplitGroups = "across"
    notes: tuple[str, ...] = field(default=(), compare=False)

    def part_of(self) -> dict[str, str]:
        """Identity -> part, `calibration` included."""
        before = dict.fromkeys(self.tested_before, "test")
        now = {key: part for part in ("calibration", *PARTS) for key in getattr(self, part)}
        return before | now

    def parts_of(self, identities: Iterable[str]) -> list[str | None]:
        """The part of each sample; None where neither it nor its photo is known.

        A box that is new, or was corrected, belongs to its photo's part: what was trained on is
        the photo. Of a photo in several parts the most telling counts: train, val, calibration.
        """
        exact = self.part_of()
        by_photo = dict.fromkeys(map(photo_of, self.tested_before), "test")
        for part in ("test", "calibration", "val", "train"):
            by_photo |= dict.fromkeys(map(photo_of, getattr(self, part)), part)
        return [exact.get(key) or by_photo.get(photo_of(key)) for key in identities]

    def __bool__(self) -> bool:
        return bool(self.train or self.val or self.test)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `split.json`."""
        values: dict[str, Any] = {part: list(getattr(self, part)) for part in PARTS}
        values |= {"calibration": list(self.calibration), "seed": self.seed}
        values |= {"tested_before": list(self.tested_before)} if self.tested_before else {}
        return values | ({} if self.groups == "across" else {"groups": self.groups})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Split:
        """The value that `to_dict` wrote."""
        names = (*PARTS, "calibration", "tested_before")
        parts = {k: tuple(map(str, values.get(k, ()))) for k in names}
        groups: SplitGroups = "inside" if values.get("groups") == "inside" else "across"
        return cls(**parts, seed=values.get("seed"), groups=groups)


def make_split(
    samples: Sequence[Sample],
    identities: Sequence[str],
    *,
    seed: int = 0,
    keep: Split | None = None,
    groups: SplitGroups | None = None,
) -> Split:
    """Divide samples 70:15:15, or as the data's own layout says.

    With parts `train` and `test` alone, validation is carved from train; with `train` and `val`
    alone, val becomes the test and validation is carved from train. Samples with the same photo
    or the same group stay together; where the data's own layout divides a group, a note says so.
    A photo that the layout puts into several parts is used in one only: test, else validation.
    A class of at least three photos (or groups) is in every part, one of two in train and test,
    one of one in train.

    Args:
        samples: N samples.
        identities: N identities, as `dataset.identity` makes them.
        seed: the random choice is a function of it and of the identities, not of their order.
        keep: an earlier split; its samples keep their part, as do new boxes of its photos; those
            seen in calibration are trained on. What it tested is remembered, here or not.
        groups: `across` keeps each group in one part; `inside` divides each between the parts,
            stratified by it as by a label. By default as in `keep`, else `across`.

    Raises:
        DataError: nothing would be left to train on, or to test with.
    """
    assert len(samples) == len(identities)
    groups = groups or ("across" if keep is None else keep.groups)
    known = Split() if keep is None else keep
    kept = [_as_part(part) for part in known.parts_of(identities)]
    parts = list(kept)
    notes: list[str] = []
    if conflicts := _conflicts(samples, identities):
        notes.append(
            f"{len(conflicts)} photos (or boxes) are there under different labels, which teaches "
            f"and tests nothing; `check --exclude-to` lists them: {_some(conflicts)}"
        )
    given = any(sample.part in ("val", "test") for sample in samples)
    if given:
        _use_given(samples, parts)
        if leaks := _use_once(identities, parts):
            names = _some(samples[i].path for i in leaks)
            notes.append(
                f"{len(leaks)} samples whose photo is also in a later part are not used: {names}"
            )
        num_groups = _num_divided(samples, parts)
        if num_groups and groups == "across":
            notes.append(f"the data's own parts divide {num_groups} groups")
        if not {"val", "test"} <= {sample.part for sample in samples}:
            pool = [i for i, part in enumerate(parts) if part in ("train", "val")]
            for i in pool:  # earlier choices stay, the layout's `train` is open to both
                parts[i] = kept[i]
            _assign(samples, identities, parts, pool, CARVED, seed, groups)
            notes.append(_set_aside(samples, [parts[i] for i in pool]))
    else:
        _assign(samples, identities, parts, range(len(parts)), FRACTIONS, seed, groups)
    found: dict[Part, tuple[str, ...]] = {
        part: tuple(sorted({key for key, p in zip(identities, parts, strict=True) if p == part}))
        for part in PARTS
    }
    for part in ("train", "test"):
        if not found[part]:
            raise DataError(
                f"the {part} part would be empty: "
                + (
                    f"the data's own parts leave nothing for it; add photos to {part}"
                    if given
                    else f"{len(samples)} samples are too few, or in too few groups, to divide; "
                    "add photos of each class"
                )
            )
    before = _tested_before(keep, identities)
    seed_used = None if given else seed
    return Split(**found, tested_before=before, seed=seed_used, groups=groups, notes=tuple(notes))


def _tested_before(keep: Split | None, identities: Sequence[str]) -> tuple[str, ...]:
    """What tested an earlier model and isn't among these photos."""
    if keep is None:
        return ()
    here = set(map(photo_of, identities))
    tested = {*keep.test, *keep.tested_before}
    return tuple(sorted(key for key in tested if photo_of(key) not in here))


def halves(
    samples: Sequence[Sample], identities: Sequence[str], *, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Positions of two halves, alike in labels; a photo or a group stays whole."""
    parts: list[Part | None] = [None] * len(samples)
    _assign(
        samples, identities, parts, range(len(samples)), {"val": 0.5, "test": 0.5}, seed, "across"
    )
    first, second = ([i for i, part in enumerate(parts) if part == p] for p in ("val", "test"))
    return first, second


def _as_part(name: str | None) -> Part | None:
    # What a calibration has seen must never be scored, but may be trained on.
    return "train" if name == "calibration" else next((p for p in PARTS if p == name), None)


def _use_given(samples: Sequence[Sample], parts: list[Part | None]) -> None:
    """Fill in the parts that the data's layout gives; train and val alone mean train and test."""
    val: Part = "val" if any(sample.part == "test" for sample in samples) else "test"
    for i, sample in enumerate(samples):
        part = sample.part or "train"
        parts[i] = parts[i] or (val if part == "val" else part)


def _set_aside(samples: Sequence[Sample], pool: Sequence[Part | None]) -> str:
    """What became of a training part out of which validation was taken."""
    what = "boxes" if any(sample.box for sample in samples) else "photos"
    as_test = all(sample.part != "test" for sample in samples)
    return (
        f"{pool.count('val')} of the {len(pool)} {what} of the training part are set aside for "
        "validation, since the data names "
        + ("no test part: its validation part is the test" if as_test else "no validation part")
    )


def _conflicts(samples: Sequence[Sample], identities: Sequence[str]) -> list[str]:
    """Copies under different labels, a text for each."""
    first: dict[str, Sample] = {}
    found: dict[str, str] = {}
    for key, sample in zip(identities, samples, strict=True):
        other = first.setdefault(key, sample)
        if key not in found and set(other.labels) != set(sample.labels):
            found[key] = f"{_labelled(other)} = {_labelled(sample)}"
    return list(found.values())


def _labelled(sample: Sample) -> str:
    return f"{sample.path} ({', '.join(sample.labels) or 'none'})"


def _some(texts: Iterable[str]) -> str:
    named = list(texts)
    return "; ".join(map(one_line, named[:_MAX_NAMED])) + ("; …" if len(named) > _MAX_NAMED else "")


def _use_once(identities: Sequence[str], parts: list[Part | None]) -> list[int]:
    """Take photos of a later part out of the earlier ones; give the samples' positions."""
    photos: dict[Part | None, set[str]] = {part: set() for part in PARTS}
    for key, part in zip(identities, parts, strict=True):
        photos[part].add(photo_of(key))
    later: dict[Part | None, set[str]] = {
        "train": photos["val"] | photos["test"],
        "val": photos["test"],
        "test": set(),
    }
    leaks = [i for i, key in enumerate(identities) if photo_of(key) in later[parts[i]]]
    for i in leaks:
        parts[i] = None
    return leaks


def _num_divided(samples: Sequence[Sample], parts: Sequence[Part | None]) -> int:
    """Groups with samples in the test and elsewhere."""
    groups: dict[bool, set[str]] = {True: set(), False: set()}
    for sample, part in zip(samples, parts, strict=True):
        if sample.group is not None and part is not None:
            groups[part == "test"].add(sample.group)
    return len(groups[True] & groups[False])


def _assign(
    samples: Sequence[Sample],
    identities: Sequence[str],
    parts: list[Part | None],
    pool: Sequence[int],
    fractions: Mapping[Part, float],
    seed: int,
    groups: SplitGroups,
) -> None:
    """Divide the samples of the pool by `fractions`; those that have a part already keep it.

    Greedy: each unit goes where its labels are missed most, large units and rare labels first
    (after Sechidis et al. 2011, "On the stratification of multi-label data"). The last units of
    a label go to parts that have none of it yet.
    """
    free: list[tuple[list[int], Counter[str]]] = []
    total: Counter[str] = Counter()  # samples of a label
    units_left: Counter[str] = Counter()  # free units with a label
    placed: dict[Part, Counter[str]] = {part: Counter() for part in fractions}

    inside = groups == "inside"
    sizes = Counter(samples[i].group for i in pool)
    # A group of one or two has nothing to divide; as a stratum it would go to train alone.
    divided = {group for group, size in sizes.items() if inside and group and size >= len(PARTS)}
    for members in _units(samples, identities, pool, whole_groups=not inside):
        labels = Counter(label for i in members for label in _strata(samples[i], divided))
        total.update(labels)
        fixed = {part for i in members if (part := parts[i])}
        if not fixed:
            free.append((members, labels))
            units_left.update(labels.keys())
            continue
        home = next(part for part in ("test", "val", "train") if part in fixed)
        for i in members:
            part = parts[i] = parts[i] or home
            placed[part].update(_strata(samples[i], divided))

    def order(unit: tuple[list[int], Counter[str]]) -> tuple[int, int, str]:
        members, labels = unit
        name = _shuffled(seed, min(identities[i] for i in members))
        return (-len(members), min(total[label] for label in labels), name)

    for members, labels in sorted(free, key=order):
        rarest = min(labels, key=lambda label: (units_left[label], label))
        without = [part for part in fractions if not placed[part][rarest]]
        choices = without if units_left[rarest] <= len(without) else list(fractions)

        def missed(part: Part, labels: Counter[str] = labels) -> float:
            return sum(
                n * (fractions[part] - placed[part][label] / total[label])
                for label, n in sorted(labels.items())
            )

        # A tie goes to the test before validation: a class of two is trained and tested.
        chosen = max(sorted(choices, key=_TIES.index), key=missed)
        placed[chosen].update(labels)
        units_left.subtract(labels.keys())
        for i in members:
            parts[i] = chosen


def _strata(sample: Sample, divided: Collection[str]) -> Iterable[str]:
    strata = sample.labels or ("",)  # photos without any label are a stratum of their own
    return (*strata, f"\0group:{sample.group}") if sample.group in divided else strata


def _shuffled(seed: int, key: str) -> str:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).hexdigest()


def _units(
    samples: Sequence[Sample],
    identities: Sequence[str],
    pool: Sequence[int],
    *,
    whole_groups: bool,
) -> list[list[int]]:
    """Samples that must stay together: connected by the same photo or the same group."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for i in pool:
        if whole_groups and (group := samples[i].group) is not None:
            parent[root(photo_of(identities[i]))] = root(f"group:{group}")
    units: dict[str, list[int]] = defaultdict(list)
    for i in pool:
        units[root(photo_of(identities[i]))].append(i)
    return list(units.values())

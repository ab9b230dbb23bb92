"""`check`: is this data ready? Counts, and everything a person should look at before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pocketlens.core.dataset import PARTS, Box, Dataset, Problem, SplitGroups, identity
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.directory import expand
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.exclusion import Excluded, write_exclusions
from pocketlens.core.split import make_split
from pocketlens.core.text import count_of, one_line
from pocketlens.measures.photos import look_at
from pocketlens.progress import say
from pocketlens.workflows import _findings


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        num_samples: labelled photos or boxes, those that can't be used included.
        splits: usable samples a part: as the data's layout says, else what 70:15:15 gives.
        splits_given: whether the layout says it.
        part_counts: part -> class -> usable samples, where the layout says it.
        training: samples a part as a training takes them; empty where nothing can be divided.
        num_groups: different groups (a patient, a fabric); 0: none were recognised.
        split_groups: `across`: each group stays in one part; `inside`: each is divided.
        sizes: `width` and `height` of the photos, upright, in pixels: least, median, largest.
        excluded: what `--exclude-to` writes.
    """

    format: str
    task: str
    num_samples: int
    class_counts: Mapping[str, int]
    splits: Mapping[str, int]
    splits_given: bool
    sizes: Mapping[str, tuple[float, float, float]]
    problems: tuple[Problem, ...]
    excluded: tuple[Excluded, ...]
    part_counts: Mapping[str, Mapping[str, int]]
    training: Mapping[str, int]
    num_groups: int
    split_groups: SplitGroups

    @property
    def num_classes(self) -> int:
        """Number of different labels."""
        return len(self.class_counts)

    def to_dict(self) -> dict[str, Any]:
        """The object that `check --json` prints."""
        return {
            "format": self.format,
            "task": self.task,
            "num_samples": self.num_samples,
            "num_classes": self.num_classes,
            "class_counts": dict(self.class_counts),
            "class_counts_by_part": {k: dict(v) for k, v in self.part_counts.items()},
            "splits": dict(self.splits),
            "splits_of_training": dict(self.training),
            "num_groups": self.num_groups,
            "split_groups": self.split_groups,
            "sizes": {name: list(values) for name, values in self.sizes.items()},
            "problems": [problem.to_dict() for problem in self.problems],
        }


def check(
    dataset: Dataset,
    *,
    exclude_to: str | os.PathLike[str] | None = None,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    max_box_height: float = _findings.MAX_BOX_HEIGHT,
) -> CheckResult:
    """Look at every photo once and say what a person should know before training.

    Args:
        dataset: as `read_dataset` gives it.
        exclude_to: a CSV file to write: unreadable photos, bad and too large boxes, further
            copies, photos under two labels. `read_dataset(..., exclude=FILE)` leaves them out.
        seed: of the split that is counted where the data has none.
        max_pixels: larger photos count as unreadable.
        max_box_height: share of a photo's height, above which a box is listed.

    Raises:
        UserError: not one photo can be used, or the file can't be written.
    """
    if not max_box_height > 0:
        raise UserError("--max-box-height must be above 0")
    photos = look_at(dataset, max_pixels=max_pixels)
    faults = _findings.faults(dataset, photos)
    usable = [sample for sample in dataset.samples if _findings.is_usable(sample, faults)]
    if not usable:
        (path, _), reason = next(iter(faults.items()))
        raise DataError(
            f"none of the {len(dataset)} photos can be used; the first: {one_line(path)}: {reason}"
        )
    identities = [identity(photos.hashes[sample.path], sample.box) for sample in usable]
    kept = dataset.subset(usable)
    boxes, large = _findings.odd_boxes(kept, photos, max_box_height)
    copies, excluded = _findings.copies(kept, identities)
    near, leaking = _findings.near_copies(kept, photos)
    given = any(sample.part in ("val", "test") for sample in usable)
    splits, training, split_problems = _splits(kept, identities, given=given, seed=seed)
    problems = (
        *_findings.unusable(faults),
        *dataset.problems,
        *boxes,
        *copies,
        *near,
        *split_problems,
        *(_findings.divisions(kept) if given else ()),
        *_findings.odd_sizes(kept, photos),
        *_findings.classes(kept),
    )
    unusable = (Excluded(path, box, reason) for (path, box), reason in faults.items())
    listed = {(entry.filename, entry.box) for entry in large}
    left_out = (
        *unusable,
        *large,
        *(e for e in _once((*excluded, *leaking)) if (e.filename, e.box) not in listed),
    )
    if exclude_to is not None:
        count = write_exclusions(expand(exclude_to), left_out)
        say(f"{count} entries written to {exclude_to}; leave them out with --exclude")
    return CheckResult(
        format=dataset.format,
        task=dataset.task,
        num_samples=len(dataset),
        class_counts=dataset.class_counts(),
        splits=splits,
        splits_given=given,
        sizes=_findings.sizes(kept, photos),
        problems=problems,
        excluded=left_out,
        part_counts=_findings.counts_by_part(kept),
        training=training,
        num_groups=len({sample.group for sample in usable} - {None}),
        split_groups=dataset.split_groups or "across",
    )


def describe(result: CheckResult) -> str:
    """The result as plain text for a terminal."""
    counts = result.class_counts
    kind = "one label each" if result.task == "single_label" else "any number of labels each"
    of = f"{count_of(result.num_samples, 'sample')} of {count_of(len(counts), 'class', 'classes')}"
    lines = [f"{of} ({result.format}, {kind})", ""]
    lines += [*_class_table(result), ""]
    lines += [
        f"split ({'as given' if result.splits_given else '70:15:15'}): {_parts(result.splits)}"
    ]
    if result.training and result.training != result.splits:
        lines.append(f"a training uses: {_parts(result.training)}{_carved(result)}")
    lines += [_groups(result), ""]
    sizes = (
        f"{name} {low:g} to {high:g}, median {mid:g}"
        for name, (low, mid, high) in result.sizes.items()
    )
    lines[-1:] = [f"photos in pixels: {'; '.join(sizes)}", ""]
    if not result.problems:
        return "\n".join([*lines, "no problems found"])
    lines.append(f"problems of {count_of(len(result.problems), 'kind')}:")
    for problem in result.problems:
        lines.append(f"- {problem.count} x {problem.kind}: {problem.message}")
        lines += [f"    {one_line(example)}" for example in problem.examples]
        if 0 < len(problem.examples) < problem.count:
            lines.append("    …")
    return "\n".join(lines)


def _class_table(result: CheckResult) -> list[str]:
    """A line a class: its samples, and those of each part where the data names parts."""
    counts, by_part = result.class_counts, result.part_counts
    columns = {**({"all": counts} if by_part else {"": counts}), **by_part}
    width = min(40, max(len(one_line(name)) for name in counts))
    widths = [max(len(part), len(str(max(of.values())))) for part, of in columns.items()]
    rows = [(one_line(name)[:width], [str(of[name]) for of in columns.values()]) for name in counts]
    if by_part:
        rows.insert(0, ("", list(columns)))
    return [
        f"  {name:<{width}}  " + "  ".join(f"{v:>{w}}" for v, w in zip(cells, widths, strict=True))
        for name, cells in rows
    ]


def _parts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in counts.items())


def _carved(result: CheckResult) -> str:
    """What a training does with the parts that the data names."""
    given, used = result.splits, result.training
    if given["val"] and given["test"]:
        return ""
    told = f"{used['val']} of the training part are set aside to validate"
    return f" ({told}; val is used to test)" if given["val"] else f" ({told})"


def _groups(result: CheckResult) -> str:
    """Whether anything keeps related photos together."""
    if not result.num_groups:
        return (
            "groups: none recognised (a folder above the class folders, or a column of a table, "
            "keeps photos of one patient or thing in one part)"
        )
    what = (
        "each is divided between the parts"
        if result.split_groups == "inside"
        else (
            "each is kept whole as the data's own parts have it"
            if result.splits_given
            else "each stays in one part"
        )
    )
    return f"groups: {result.num_groups} recognised; {what}"


def _once(entries: Iterable[Excluded]) -> Iterable[Excluded]:
    """The first entry of each sample."""
    found: dict[tuple[str, Box | None], Excluded] = {}
    for entry in entries:
        found.setdefault((entry.filename, entry.box), entry)
    return found.values()


def _splits(
    dataset: Dataset, identities: list[str], *, given: bool, seed: int
) -> tuple[dict[str, int], dict[str, int], list[Problem]]:
    """Samples a part, as a training takes them too, and what stands in the way of dividing."""
    problems: list[Problem] = []
    found: Counter[str] = Counter()
    used: dict[str, int] = {}
    try:
        split = make_split(dataset.samples, identities, seed=seed, groups=dataset.split_groups)
        part_of = split.part_of()
        found.update(part_of[key] for key in identities if key in part_of)
        used = {part: len(getattr(split, part)) for part in PARTS}
    except DataError as error:
        problems.append(Problem("cannot_split", str(error), 1))
    if given:
        found = Counter(sample.part or "train" for sample in dataset.samples)
    return {part: found[part] for part in PARTS}, used, problems

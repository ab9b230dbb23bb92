"""`check`: is this data ready? Counts, and everything a person should look at before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pocketlens.core.dataset import PARTS, Box, Dataset, Problem, identity
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
            "splits": dict(self.splits),
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
    splits, split_problems = _splits(kept, identities, given=given, seed=seed)
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
    )


def describe(result: CheckResult) -> str:
    """The result as plain text for a terminal."""
    counts = result.class_counts
    width = min(40, max(len(one_line(name)) for name in counts))
    digits = len(str(max(counts.values())))
    kind = "one label each" if result.task == "single_label" else "any number of labels each"
    lines = [f"{result.num_samples} samples of {len(counts)} classes ({result.format}, {kind})", ""]
    lines += [
        f"  {one_line(name)[:width]:<{width}}  {count:>{digits}}" for name, count in counts.items()
    ]
    parts = ", ".join(f"{name} {count}" for name, count in result.splits.items())
    lines += ["", f"split ({'as given' if result.splits_given else '70:15:15'}): {parts}", ""]
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


def _once(entries: Iterable[Excluded]) -> Iterable[Excluded]:
    """The first entry of each sample."""
    found: dict[tuple[str, Box | None], Excluded] = {}
    for entry in entries:
        found.setdefault((entry.filename, entry.box), entry)
    return found.values()


def _splits(
    dataset: Dataset, identities: list[str], *, given: bool, seed: int
) -> tuple[dict[str, int], list[Problem]]:
    """Samples a part, and what stands in the way of dividing them."""
    problems: list[Problem] = []
    found: Counter[str] = Counter()
    try:
        split = make_split(dataset.samples, identities, seed=seed, groups=dataset.split_groups)
        part_of = split.part_of()
        found.update(part_of[key] for key in identities if key in part_of)
    except DataError as error:
        problems.append(Problem("cannot_split", str(error), 1))
    if given:
        found = Counter(sample.part or "train" for sample in dataset.samples)
    return {part: found[part] for part in PARTS}, problems

"""What `check` looks for, one function a subject."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from pocketlens.core.dataset import PARTS, Box, Dataset, Problem, Sample, photo_of
from pocketlens.core.exclusion import Excluded
from pocketlens.core.problems import Findings
from pocketlens.measures.duplicates import connected, near_duplicates, same
from pocketlens.measures.photos import Photos

MIN_SIDE: Final = 32
MAX_ASPECT: Final = 4.0
MIN_CLASS: Final = 10
#: Beyond it a network that never names the smallest class still looks good by its accuracy.
MAX_IMBALANCE: Final = 4.0
#: Of the photo's height: a box beyond it rarely shows one thing among others.
MAX_BOX_HEIGHT: Final = 0.9

#: What `faults` gives: a photo, or a box of one, and why it can't be used.
Faults = Mapping[tuple[str, Box | None], str]

_UNUSABLE: Final = {
    "unreadable": "photos that can't be read are left out of everything; replace or remove them",
    "bad_box": "boxes without area or outside their photo are left out; mend their numbers",
}
_BOXES: Final = {
    "large_box": "boxes that cover more of their photo's height than --max-box-height; look "
    "whether they hold one thing",
    "box_beyond_photo": "boxes that reach beyond their photo; they are cut at its edge",
}
_COPIES: Final = {
    "label_conflict": "groups of copies under different labels; decide for one and remove the rest",
    "split_leak": "groups of copies in different parts; the test would flatter, so they are used "
    "in the later part only",
    "duplicate": "further copies of a photo under the same label; remove them",
}
_NEAR: Final = {
    "near_label_conflict": "pairs of nearly the same picture under different labels; look at them",
    "near_split_leak": "pairs of nearly the same picture in different parts; the test may flatter "
    "(`check --exclude-to` lists the earlier part's)",
    "near_duplicate": "photos with nearly the same picture as an earlier one; give them one group "
    "(a folder above their class folders, or a column of a table), so that they stay in one part",
}
_DIVIDED: Final = {
    "group_leak": "groups that the data divides between parts; the test may flatter",
    "unknown_test_class": "classes of the validation or test part that the training part lacks; "
    "they are not learnt, so they can't be recognised",
}
_SIZES: Final = {
    "tiny_photo": f"photos with a side below {MIN_SIDE} pixels; little can be seen in them",
    "tiny_box": f"boxes with a side below {MIN_SIDE} pixels; little can be seen in what is cut out",
    "extreme_shape": f"photos, or boxes, more than {MAX_ASPECT:g} times as long as wide; "
    "cropping to a square loses most of them, use pad or stretch",
}
_CLASSES: Final = {
    "single_class": "there is one class only, nothing to tell apart; add photos of another",
    "tiny_class": f"classes with fewer than {MIN_CLASS} samples; their scores will be a guess",
    "imbalance": f"classes with less than 1/{MAX_IMBALANCE:g} of the largest one's samples to "
    "train on; add photos, and look at macro F1 rather than accuracy",
    "similar_class_names": "class names that differ only by case, spaces or Unicode form; "
    "merge them if they mean the same",
}


def faults(dataset: Dataset, photos: Photos) -> dict[tuple[str, Box | None], str]:
    """Photos (box None) and boxes that can't be used, with the reason, in the samples' order."""
    found: dict[tuple[str, Box | None], str] = {}
    for sample in dataset.samples:
        if (error := photos.error(sample.path)) is not None:
            found[sample.path, None] = error
        elif sample.box and (error := sample.box.fault(photos.size(sample.path))) is not None:
            found[sample.path, sample.box] = error
    return found


def is_usable(sample: Sample, faults: Faults) -> bool:
    """Whether neither the photo nor the box has a fault."""
    return (sample.path, None) not in faults and (sample.path, sample.box) not in faults


def unusable(faults: Faults) -> list[Problem]:
    """Unreadable photos and bad boxes, each with its reason."""
    findings = Findings(_UNUSABLE)
    for (path, box), reason in faults.items():
        findings.add("unreadable" if box is None else "bad_box", f"{path}: {reason}")
    return findings.problems()


def odd_boxes(
    dataset: Dataset, photos: Photos, max_height: float
) -> tuple[list[Problem], list[Excluded]]:
    """Boxes that cover too much of their photo's height, and boxes that leave it.

    Args:
        dataset: with boxes that have no fault.
        max_height: share of the photo's height, 0 to 1.
    """
    findings, excluded = Findings(_BOXES), []
    for sample in dataset.samples:
        if sample.box is None:
            continue
        x, y, width, height = sample.box
        full_width, full_height = photos.size(sample.path)
        where = f"{sample.path}: the box {sample.box}"
        if height > max_height * full_height:
            reason = f"covers {100 * height / full_height:.0f} % of the photo's height"
            findings.add("large_box", f"{where} {reason}")
            excluded.append(_excluded(sample, f"its box {reason}"))
        # A pixel more is rounding.
        if min(x, y) < -1 or x + width > full_width + 1 or y + height > full_height + 1:
            findings.add("box_beyond_photo", f"{where} in {full_width}x{full_height} pixels")
    return findings.problems(), excluded


def copies(dataset: Dataset, identities: Sequence[str]) -> tuple[list[Problem], list[Excluded]]:
    """The same bytes more than once: copies, contradictions, leaks; and what to leave out.

    Of copies under one label the best placed is kept (test, else validation, else train; then
    the first). Of copies under different labels none is: nobody knows which is right. A photo
    leaks also where its boxes in the one part are others than in the other.
    """
    findings, excluded = Findings(_COPIES), []
    leaked: set[int] = set()
    for group in same(photo_of(identity) for identity in identities):
        samples = [dataset.samples[i] for i in group]
        if len({_place(sample) for sample in samples}) > 1:
            leaked.update(group)
            names = tuple(dict.fromkeys(map(_placed, samples)))[:4]
            findings.add("split_leak", " = ".join(names))
    left_out: set[int] = set()
    for group in same(identities):
        samples = [dataset.samples[i] for i in group]
        if len({frozenset(sample.labels) for sample in samples}) > 1:
            findings.add("label_conflict", " = ".join(map(_labelled, samples[:4])))
            excluded += [_excluded(s, "copies of it have other labels") for s in samples]
            left_out.update(group)
            continue
        if not leaked.intersection(group):
            names = tuple(sample.path for sample in samples[:4])
            findings.add("duplicate", " = ".join(names), count=len(group) - 1)
        first = min(samples, key=_place)
        for i, sample in zip(group, samples, strict=True):
            # One file named twice can't be left out once.
            if sample is not first and sample.path != first.path:
                excluded.append(_excluded(sample, f"a copy of {first.path}"))
                left_out.add(i)
    excluded += _leaking_crops(dataset, identities, sorted(leaked - left_out))
    return findings.problems(), excluded


def _leaking_crops(
    dataset: Dataset, identities: Sequence[str], leaked: Sequence[int]
) -> list[Excluded]:
    """Boxes of photos that are in a later part too, under another file name."""
    last: dict[str, Sample] = {}
    for i in leaked:
        photo, sample = photo_of(identities[i]), dataset.samples[i]
        last[photo] = min(last.get(photo, sample), sample, key=_place)
    excluded = []
    for i in leaked:
        sample, later = dataset.samples[i], last[photo_of(identities[i])]
        if _place(sample) > _place(later) and sample.path != later.path:
            excluded.append(_excluded(sample, f"of the same photo as {later.path}"))
    return excluded


def near_copies(dataset: Dataset, photos: Photos) -> tuple[list[Problem], list[Excluded]]:
    """Nearly the same picture in different files; of a leak, what to leave out: the earlier part's.

    Copies in one part are left in: several views of one thing are what training wants.
    """
    excluded: dict[str, Excluded] = {}
    samples_of: dict[int, Sample] = {}  # a content's first sample speaks for its copies
    for sample in dataset.samples:
        samples_of.setdefault(photos.contents.row[photos.hashes[sample.path]], sample)
    rows = np.array(sorted(samples_of))
    thumbs = photos.contents.thumbs()
    pairs = near_duplicates(thumbs if len(rows) == len(thumbs) else thumbs[rows])
    findings = Findings(_NEAR)
    for a, b in pairs.tolist():
        one, two = samples_of[rows[a]], samples_of[rows[b]]
        if one.box is None and two.box is None and set(one.labels) != set(two.labels):
            findings.add("near_label_conflict", f"{_labelled(one)} ~ {_labelled(two)}")
        if (one.part or "train") != (two.part or "train"):
            findings.add("near_split_leak", f"{_placed(one)} ~ {_placed(two)}")
            kept, other = sorted((one, two), key=_place)
            if other.box is None:
                excluded[other.path] = _excluded(other, f"nearly the same picture as {kept.path}")
    for group in connected(pairs):
        names = " ~ ".join(samples_of[rows[i]].path for i in group[:4])
        more = f" and {len(group) - 4} more" if len(group) > 4 else ""
        findings.add("near_duplicate", names + more, count=len(group) - 1)
    return findings.problems(), list(excluded.values())


def divisions(dataset: Dataset) -> list[Problem]:
    """What the data's own parts do to groups and classes."""
    findings = Findings(_DIVIDED)
    parts_of: defaultdict[str, set[str]] = defaultdict(set)
    trained: set[str] = set()
    tested: set[str] = set()
    for sample in dataset.samples:
        part = sample.part or "train"
        if sample.group is not None:
            parts_of[sample.group].add(part)
        (trained if part == "train" else tested).update(sample.labels)
    for group, parts in parts_of.items():
        if len(parts) > 1 and dataset.split_groups != "inside":
            findings.add("group_leak", f"{group}: {', '.join(sorted(parts))}")
    for name in sorted(tested - trained):
        findings.add("unknown_test_class", name)
    return findings.problems()


def sizes(dataset: Dataset, photos: Photos) -> dict[str, tuple[float, float, float]]:
    """Width and height of the photos in pixels: least, median, largest."""
    found = np.array([photos.size(path) for path in {s.path for s in dataset.samples}])
    return {
        name: (float(sides.min()), float(np.median(sides)), float(sides.max()))
        for name, sides in zip(("width", "height"), found.T, strict=True)
    }


def odd_sizes(dataset: Dataset, photos: Photos) -> list[Problem]:
    """Photos, or boxes, that are very small or very long."""
    findings = Findings(_SIZES)
    for sample in dataset.samples:
        size = photos.size(sample.path) if sample.box is None else sample.box[2:]
        width, height = size
        place = "" if sample.box is None else f" the box {sample.box},"
        text = f"{sample.path}:{place} {width:g}x{height:g}"
        if min(size) < MIN_SIDE:
            findings.add("tiny_photo" if sample.box is None else "tiny_box", text)
        if max(size) > MAX_ASPECT * min(size):
            findings.add("extreme_shape", text)
    return findings.problems()


def classes(dataset: Dataset) -> list[Problem]:
    """Too few, too unequal, or too similarly named classes.

    Unequal are those of the training part, where the data has parts: nothing else is learnt from.
    """
    findings = Findings(_CLASSES)
    counts = dataset.class_counts()
    trained = counts_by_part(dataset).get("train", counts)
    if len(counts) == 1 and dataset.task == "single_label":
        findings.add("single_class", next(iter(counts)))
    largest = max(trained.values(), default=0)
    for name, count in sorted(counts.items(), key=lambda item: item[1]):
        if count < MIN_CLASS:
            findings.add("tiny_class", f"{name}: {count}")
    for name, count in sorted(trained.items(), key=lambda item: item[1]):
        # A class without any is told of as never learnt.
        if count * MAX_IMBALANCE < largest and (count or not counts[name]):
            findings.add("imbalance", f"{name}: {count} of at most {largest}")
    for names in _look_alikes(counts):
        findings.add("similar_class_names", " / ".join(map(ascii, names)))
    return findings.problems()


def counts_by_part(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Part -> class -> samples, of the parts that the data itself names; else empty."""
    if all(sample.part in (None, "train") for sample in dataset.samples):
        return {}
    parts = {part: [s for s in dataset.samples if (s.part or "train") == part] for part in PARTS}
    return {part: dataset.subset(own).class_counts() for part, own in parts.items() if own}


def _look_alikes(names: Iterable[str]) -> list[list[str]]:
    by_form: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        form = unicodedata.normalize("NFKC", name).casefold()
        by_form[" ".join(form.replace("_", " ").replace("-", " ").split())].append(name)
    return [group for group in by_form.values() if len(group) > 1]


def _labelled(sample: Sample) -> str:
    return f"{sample.path} ({', '.join(sample.labels) or 'none'})"


def _place(sample: Sample) -> int:
    """The later the part, the lower."""
    return {"test": 0, "val": 1}.get(sample.part or "", 2)


def _placed(sample: Sample) -> str:
    return f"{sample.path} ({sample.part or 'train'})"


def _excluded(sample: Sample, reason: str) -> Excluded:
    return Excluded(sample.path, sample.box, reason)

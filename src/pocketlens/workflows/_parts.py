"""Which photos a bundle may be scored on."""

from __future__ import annotations

from typing import Literal

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import DataError
from pocketlens.core.examples import Examples, make_examples
from pocketlens.core.split import Split
from pocketlens.progress import warn
from pocketlens.workflows.data import Hashed

Part = Literal["test", "val", "all"]


def examples_of(
    bundle: Bundle, hashed: Hashed, part: Part, *, split: Split | None = None
) -> Examples:
    """The samples of one part, by the split that the bundle remembers.

    A bundle without a split (imported), and data of which the bundle has never seen a sample,
    are scored on the data's own test part, else on everything it was not calibrated on.

    Args:
        split: to use instead of the bundle's own, when several bundles share photos.

    Raises:
        DataError: nothing is left, or no class is in common.
    """
    split = bundle.split if split is None else split
    part_of = split.part_of()
    known = [key in part_of for key in hashed.identities]
    task = hashed.dataset.task
    if task != bundle.manifest.task:
        raise DataError(
            f"{bundle.path} is a {bundle.manifest.task} model, {hashed.dataset.root} holds "
            f"{task} data; give it data of its own kind"
        )
    if part == "all":
        only = {key for key in hashed.identities if part_of.get(key) != "calibration"}
    elif split and any(known):
        only = {key for key in hashed.identities if part_of.get(key) == part}
        if new := len(known) - sum(known):
            warn(f"{new} photos are new to {bundle.path.name} and are not scored")
    elif part == "val":
        only = set()
    else:
        only = _own_test_part(hashed) - set(split.calibration)
    examples = make_examples(hashed.dataset, hashed.identities, bundle.manifest.classes, only=only)
    if examples.num_dropped:
        names = ", ".join(examples.unknown_classes[:5])
        warn(
            f"{examples.num_dropped} samples of {len(examples.unknown_classes)} classes that the "
            f"model doesn't know are not scored: {names}"
        )
    elif hashed.dataset.task == "multi_label" and examples.unknown_classes:
        names = ", ".join(examples.unknown_classes[:5])
        warn(
            f"{len(examples.unknown_classes)} classes that the model doesn't know are not scored: "
            f"{names}"
            + (
                "; photos with no other label count as showing none of the model's classes: "
                f"{examples.num_only_unknown}"
                if examples.num_only_unknown
                else ""
            )
        )
    if not len(examples) and part != "val":
        raise DataError(f"{hashed.dataset.root} has no photo to score in the part {part!r}")
    return examples


def _own_test_part(hashed: Hashed) -> set[str]:
    samples = hashed.dataset.samples
    present = {sample.part for sample in samples}
    part = "test" if "test" in present else "val" if "val" in present else None
    return {
        key
        for key, sample in zip(hashed.identities, samples, strict=True)
        if part is None or sample.part == part
    }

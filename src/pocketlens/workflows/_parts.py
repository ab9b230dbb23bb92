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
    bundle: Bundle,
    hashed: Hashed,
    part: Part | Literal["train"],
    *,
    split: Split | None = None,
) -> Examples:
    """The samples of one part, by the split that the bundle remembers.

    Data with no test photo of that split (all of it, for an imported bundle) is scored on its own
    test part, else on all of it, but for photos that were trained, chosen or calibrated on.

    Args:
        split: to use instead of the bundle's own, when several bundles share photos.

    Raises:
        DataError: nothing is left, or no class is in common.
    """
    split = bundle.split if split is None else split
    parts = split.parts_of(hashed.identities)
    task = hashed.dataset.task
    if task != bundle.manifest.task:
        raise DataError(
            f"{bundle.path} is a {bundle.manifest.task} model, {hashed.dataset.root} holds "
            f"{task} data; give it data of its own kind"
        )
    if part == "all":
        kept = [found != "calibration" for found in parts]
    elif part in ("train", "val") or "test" in parts:
        kept = [found == part for found in parts]
        if any(parts) and part != "train" and (new := parts.count(None)):
            warn(f"{new} samples are new to {bundle.path.name} and are not scored")
    else:
        own = _own_test_part(hashed)
        kept = [found is None and mine for found, mine in zip(parts, own, strict=True)]
        if seen := len(parts) - parts.count(None):
            warn(f"{seen} samples are not scored: {bundle.path.name} was made with their photos")
        if not any(kept):
            raise DataError(
                f"nothing in {hashed.dataset.root} can be scored: {bundle.path.name} was made with "
                "all its test photos; name other data"
            )
    only = {key for key, keep in zip(hashed.identities, kept, strict=True) if keep}
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
    if not len(examples) and part not in ("train", "val"):
        raise DataError(f"{hashed.dataset.root} has no photo to score in the part {part!r}")
    return examples


def _own_test_part(hashed: Hashed) -> list[bool]:
    """Whether the data itself calls each sample a test; all of them where it names no part."""
    samples = hashed.dataset.samples
    present = {sample.part for sample in samples}
    part = "test" if "test" in present else "val" if "val" in present else None
    return [part is None or sample.part == part for sample in samples]

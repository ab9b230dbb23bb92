"""`compare`: one table for any number of bundles."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from pocketlens.core.bundle import Bundle
from pocketlens.core.directory import new_directory, refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.core.gate import Goal, Limits
from pocketlens.core.predictor import available_cores
from pocketlens.core.split import Split
from pocketlens.measures.emulated import find_root
from pocketlens.workflows._emulation import on_arm64
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._result import Table, write_reports
from pocketlens.workflows._table import Variant, tabulate
from pocketlens.workflows.data import DataLike, as_hashed, data_paths, describe_data
from pocketlens.workflows.evaluate import metric_of
from pocketlens.workflows.open import BundleLike, as_bundle


def compare(
    bundles: Sequence[BundleLike],
    data: DataLike,
    *,
    out: str | os.PathLike[str],
    reference: BundleLike | None = None,
    metric: str | None = None,
    max_drop: float = 0.5,
    max_size_mb: float | None = None,
    max_latency_ms: float | None = None,
    goal: Goal = "latency",
    threads: int | None = None,
    batch: int = 16,
    emulate: Literal["arm64"] | None = None,
    overwrite: bool = False,
) -> Table:
    """Score and time bundles on the same photos, on this machine, and judge them.

    Args:
        reference: the float model that drops are counted from; by default the one among the
            bundles that all others were made from.
        emulate: a processor on which a few photos are asked about, too; never timed.

    Raises:
        UserError: bundles with other classes or another split, no reference, or data that
            doesn't fit.
    """
    if not bundles:
        raise UserError("name the bundles to compare")
    target = Path(out)
    if emulate is not None:
        find_root()  # before hours of work
    limits = Limits(max_drop, max_size_mb, max_latency_ms, goal)
    if batch < 1:
        raise UserError("--throughput-batch must be at least 1")
    opened = [as_bundle(bundle) for bundle in bundles]
    read = [*(bundle.path for bundle in opened), *data_paths(data)]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    chosen = None
    if reference is not None:
        chosen = as_bundle(reference)
        if chosen.manifest.precision != "float32":
            raise UserError(
                f"{chosen.path} is {chosen.manifest.precision}; --reference needs a float model"
            )
        if all(bundle.id != chosen.id for bundle in opened):
            opened.insert(0, chosen)
    split = _common_split(opened)
    chosen = chosen or find_reference(opened)
    _refuse_strangers(opened, chosen)
    names = _names(opened)
    hashed = as_hashed(data)
    test = examples_of(chosen, hashed, "test", split=split)
    val = examples_of(chosen, hashed, "val", split=split)
    comparison = tabulate(
        [Variant(name, bundle) for name, bundle in zip(names, opened, strict=True)],
        next(n for n, b in zip(names, opened, strict=True) if b.id == chosen.id),
        test,
        val if len(val) else None,
        metric=metric_of(chosen, metric),
        limits=limits,
        data=describe_data(hashed),
        threads=threads,
        batch=batch,
        config={
            **asdict(limits),
            "reference": chosen.path.name,
            "metric": metric_of(chosen, metric),
            "threads": threads or available_cores(),
            "throughput_batch": batch,
        },
    )
    if emulate is not None:
        pairs = on_arm64(dict(zip(names, opened, strict=True)), test)
        comparison = replace(comparison, parity=(*comparison.parity, *pairs))
    with new_directory(target, overwrite=overwrite) as folder:
        write_reports(folder, comparison)
    best = comparison.best
    return Table(comparison, target, None if best is None else Path(best.path or ""))


def find_reference(bundles: Sequence[Bundle]) -> Bundle:
    """The float bundle that the others descend from; torch before other runtimes.

    Raises:
        UserError: none of them is a float model, or one descends from another network.
    """
    floats = [bundle for bundle in bundles if bundle.manifest.precision == "float32"]
    if not floats:
        raise UserError(
            "none of the bundles is a float model to compare with; name one by --reference"
        )
    descendants = Counter(
        parent["id"] for bundle in bundles for parent in bundle.manifest.lineage.parents
    )
    chosen = max(
        floats, key=lambda bundle: (descendants[bundle.id], bundle.manifest.runtime == "torch")
    )
    for bundle in bundles:
        if not bundle.family & chosen.family:
            raise UserError(
                f"{bundle.path} was not made from {chosen.path}, so it is not clear what its drop "
                f"is counted from; say so by --reference {chosen.path}, or name another float model"
            )
    return chosen


def _refuse_strangers(bundles: Sequence[Bundle], reference: Bundle) -> None:
    for bundle in bundles:
        if bundle.manifest.classes != reference.manifest.classes:
            raise UserError(
                f"{bundle.path} has other classes than {reference.path}; only models for the "
                "same classes can be compared"
            )
        if bundle.manifest.task != reference.manifest.task:
            raise UserError(f"{bundle.path} is a {bundle.manifest.task} model, the others are not")


def _common_split(bundles: Sequence[Bundle]) -> Split:
    """The split all bundles share, with everything that any of them was calibrated on.

    Raises:
        UserError: two of them were trained on different splits.
    """
    splits = [bundle.split for bundle in bundles]
    first = splits[0]
    for bundle, split in zip(bundles, splits, strict=True):
        if (split.train, split.val, split.test) != (first.train, first.val, first.test):
            raise UserError(
                f"{bundle.path} was trained on another split than {bundles[0].path}, so photos "
                "that test one have trained the other; train both with the same --seed and data"
            )
    calibration = sorted({key for split in splits for key in split.calibration})
    return replace(first, calibration=tuple(calibration))


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """Directory names, with the parent's where two are alike."""
    short = [bundle.path.resolve().name for bundle in bundles]
    if len(set(short)) == len(short):
        return short
    long = ["/".join(bundle.path.resolve().parts[-2:]) for bundle in bundles]
    if len(set(long)) == len(long):
        return long
    return [f"{name} ({i + 1})" for i, name in enumerate(long)]

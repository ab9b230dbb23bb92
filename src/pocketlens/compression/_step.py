"""What every compression method is handed, and how it leaves its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.split import Split
from pocketlens.extras import versions

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Calibration:
    """Photos that ranges are found on: class-balanced training photos, or others that were named.

    Attributes:
        batches: gives `input_NCHW` batches through the whole preprocessing, each time anew, so
            that nothing needs to be kept.
        num_images: how many photos there are; some may turn out to be unreadable.
        source: where they come from, for the lineage.
        split: the bundle's split, with these photos marked where they are in no part.
        choice: how they were chosen among those that could be had.
        pool_hash: hash of those.
    """

    batches: Callable[[], Iterator[NDArray[np.float32]]]
    num_images: int
    source: str
    split: Split
    choice: str = "random"
    pool_hash: str = ""


@dataclass(frozen=True)
class Context:
    """What a method may use beside the bundle and its own options.

    Attributes:
        out: directory of the new bundle.
        calibration: photos by number and seed; raises a `UserError` where none were named.
    """

    out: Path
    overwrite: bool
    calibration: Callable[[int, int], Calibration]


def finish(
    bundle: Bundle,
    context: Context,
    method: str,
    config: DataclassInstance,
    files: Mapping[str, Path | bytes],
    *,
    runtime: str,
    precision: str,
    split: Split | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write the result as a child of `bundle`: same classes, same preprocessing.

    Args:
        facts: further lines for the lineage's configuration.
    """
    lineage = bundle.child_lineage(
        method,
        {**asdict(config), **(facts or {})},
        versions("onnx", "onnxruntime", "torch"),
    )
    # The parent's scores are not the child's; by which metric it is judged stays.
    metric = {k: v for k, v in bundle.manifest.metrics.items() if k == "metric"}
    manifest = replace(
        bundle.manifest, runtime=runtime, precision=precision, lineage=lineage, metrics=metric
    )
    return write_bundle(
        context.out,
        manifest,
        files,
        split=bundle.split if split is None else split,
        overwrite=context.overwrite,
    )

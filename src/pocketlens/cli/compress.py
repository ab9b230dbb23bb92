"""`pocketlens compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Out, Overwrite

_DATA = DataOptions()


def run(
    bundle: Path,
    /,
    *,
    method: str,
    out: Out,
    data: Path | None = None,
    calibration: Path | None = None,
    calibration_choice: Literal["random", "clusters", "k-centre"] = "random",
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    overwrite: Overwrite = False,
    **options: str,
) -> None:
    """Make one compression step on a bundle.

    `pocketlens plugins` lists the methods with their options, which are flags here.

    Example: `pocketlens compress runs/a --method onnx-static --data photos/ --out runs/a-int8`

    Parameters
    ----------
    bundle
        The bundle to compress.
    method
        Compression method.
    data
        The photos it was trained on; ranges are found on its training part, thresholds (of
        several labels a photo) on its validation part.
    calibration
        Other photos to find ranges on; their labels don't matter.
    calibration_choice
        Which photos: class-balanced at random, as many from each cluster of the network's
        features, or k-centre, so that every photo is near a chosen one.
    options
        The method's own options.
    """
    from pocketlens.workflows.compress import compress

    result = compress(
        bundle,
        method=method,
        out=out,
        data=None if data is None else reading.read(data),
        calibration=calibration,
        calibration_choice=calibration_choice,
        overwrite=overwrite,
        **options,
    )
    print(result.path)

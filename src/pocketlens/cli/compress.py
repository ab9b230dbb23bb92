"""`pocketlens compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Out, Overwrite, Resume, Threads

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
    teacher: Path | None = None,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    threads: Threads = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    **options: str,
) -> None:
    """Make one compression step on a bundle, or a chain of them.

    `pocketlens plugins` lists the methods. Their options are flags here: `--ratio 0.5` is for every
    step that has it, `--prune:ratio 0.5` for that method alone; a wrong one is answered with those
    there are.

    Example: `pocketlens compress runs/a --method prune,distill,lsq --data photos/ --out runs/b`

    Parameters
    ----------
    bundle
        The bundle to compress.
    method
        Compression method, or several with commas between, in the order they are made.
    data
        The photos it was trained on; ranges are found, and networks trained, on its training part;
        thresholds (of several labels a photo) on its validation part.
    calibration
        Other photos to find ranges on; their labels don't matter.
    teacher
        Float bundle whose answers the methods that train learn from; default: BUNDLE.
    calibration_choice
        Which photos: class-balanced at random, as many from each cluster of the network's
        features, or k-centre, so that every photo is near a chosen one.
    options
        The method's own options.
    """
    from pocketlens.progress import say
    from pocketlens.workflows.compress import compress
    from pocketlens.workflows.open import as_bundle

    result = compress(
        bundle,
        method=method,
        out=out,
        data=None if data is None else reading.read(data),
        calibration=calibration,
        calibration_choice=calibration_choice,
        teacher=teacher,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        **options,
    )
    before = as_bundle(bundle).size_bytes / 1e6
    say(
        f"{before:.2f} MB before, {result.size_bytes / 1e6:.2f} MB now; what it lost and how fast "
        f"it is: pocketlens compare {bundle} {out} --data {data or 'PHOTOS'} --out {out}-compared"
    )
    print(result.path)

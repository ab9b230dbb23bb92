"""`pocketlens strip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import Out, Overwrite


def run(
    checkpoint: Path,
    /,
    *,
    out: Out,
    last: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
) -> None:
    """A checkpoint's model alone, as a bundle; the run need not be finished.

    Example: `pocketlens strip runs/a.run --out runs/so-far`

    Parameters
    ----------
    checkpoint
        The .run directory of a training run, or the checkpoint in it.
    last
        The weights of the last step instead of those of the best epoch so far.
    """
    from pocketlens.workflows.strip import strip

    print(strip(checkpoint, out=out, last=last, overwrite=overwrite).path)

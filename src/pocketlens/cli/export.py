"""`pocketlens export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pocketlens.cli._options import Out, Overwrite


def run(
    bundle: Path,
    /,
    *,
    runtime: str,
    out: Out,
    batch: int | None = None,
    embed_preprocess: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    **options: str,
) -> None:
    """The same model for another runtime; nothing is quantized.

    An ONNX file can also be written anew for a fixed batch or for pixels, in float and in INT8.

    Example: `pocketlens export runs/a --runtime onnx --batch 1 --embed-preprocess --out runs/phone`

    Parameters
    ----------
    bundle
        The bundle to export.
    runtime
        Where it will run; `pocketlens plugins` lists all with their options.
    batch
        Photos that an ONNX file takes at a time: 1 for phones; by default any number.
    embed_preprocess
        Make an ONNX file that takes pixels (uint8, RGB, at the network's size) and normalises
        them itself.
    options
        The runtime's own options.
    """
    from pocketlens.workflows.convert import export

    given: dict[str, Any] = dict(options)
    if batch is not None:
        given["batch"] = batch
    if embed_preprocess:
        given["embed_preprocess"] = True
    print(export(bundle, runtime=runtime, out=out, overwrite=overwrite, **given).path)

"""`pocketlens export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pocketlens.cli._options import Json, Out, Overwrite, print_json


def run(
    bundle: Path,
    /,
    *,
    runtime: str,
    out: Out,
    batch: int | None = None,
    embed_preprocess: Annotated[bool, Parameter(negative="")] = False,
    mobile_check: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
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
    mobile_check
        Print whether NNAPI (Android) and CoreML (iOS) would take the ONNX file, and what to do.
    options
        The runtime's own options.
    """
    from pocketlens.core.errors import UserError
    from pocketlens.workflows.convert import export

    if mobile_check and runtime != "onnx":  # before anything is made
        raise UserError(f"--mobile-check is for --runtime onnx, not {runtime}")
    given: dict[str, Any] = dict(options)
    if batch is not None:
        given["batch"] = batch
    if embed_preprocess:
        given["embed_preprocess"] = True
    made = export(bundle, runtime=runtime, out=out, overwrite=overwrite, **given)
    checked = None
    if mobile_check:
        from pocketlens.measures.mobile import describe_mobile
        from pocketlens.workflows import mobile

        checked = mobile.mobile_check(made)
    if json:
        told = {} if checked is None else {"mobile_check": checked.to_dict()}
        print_json({"out": str(made.path), "size_bytes": made.size_bytes} | told)
        return
    print(made.path)
    if checked is not None:
        print(describe_mobile(checked))

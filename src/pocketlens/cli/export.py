"""`pocketlens export`."""

from __future__ import annotations

from pathlib import Path

from pocketlens.cli._options import Out, Overwrite


def run(
    bundle: Path, /, *, runtime: str, out: Out, overwrite: Overwrite = False, **options: str
) -> None:
    """The same model for another runtime; nothing is quantized.

    Example: `pocketlens export runs/a --runtime onnx --out runs/a-onnx`

    Parameters
    ----------
    bundle
        The bundle to export.
    runtime
        Where it will run; `pocketlens plugins` lists all with their options.
    options
        The runtime's own options.
    """
    from pocketlens.workflows.convert import export

    print(export(bundle, runtime=runtime, out=out, overwrite=overwrite, **options).path)

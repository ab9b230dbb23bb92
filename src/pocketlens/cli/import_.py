"""`pocketlens import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import Out, Overwrite


def run(
    model: str,
    /,
    *,
    out: Out,
    weights: str = "auto",
    image_size: int | None = None,
    preprocess: Path | None = None,
    class_names: Path | None = None,
    multi_label: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make a bundle of a ready-trained network as it is.

    A network of timm keeps its ImageNet head: its classes are WordNet ids, their names stand in
    the bundle. An ONNX file needs to be told how its input is made and what its outputs mean.

    Examples: `pocketlens import tf_efficientnet_lite0 --out lite0` and
    `pocketlens import theirs.onnx --preprocess theirs.yaml --class-names names.txt --out theirs`

    Parameters
    ----------
    model
        Name of a network, or path of an ONNX file.
    weights
        For a name: `auto` finds ImageNet weights; or a file or directory.
    image_size
        For a name: side of the input, when other than the weights were trained for.
    preprocess
        For an ONNX file: YAML with height, width, resize, interpolation, mean, std.
    class_names
        For an ONNX file: text with one class a line, in the order of the outputs.
    multi_label
        For an ONNX file: a photo can have several labels.
    """
    from pocketlens.workflows.convert import import_model

    bundle = import_model(
        model,
        out=out,
        weights=weights,
        image_size=image_size,
        preprocess=preprocess,
        class_names=class_names,
        multi_label=multi_label,
        overwrite=overwrite,
    )
    print(bundle.path)

"""`pocketlens explain`."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import Json, MapMethod, Out, Overwrite, Threads, print_json


def run(
    *bundles: Path,
    images: Annotated[list[str], Parameter(consume_multiple=True, negative="")],
    out: Out,
    map_method: MapMethod = "auto",
    label: str | None = None,
    boxes: Path | None = None,
    maps: int = 100,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Where on its photo an answer comes from, for one bundle or several side by side.

    Several bundles (before and after training, float and INT8) are compared with the first: each
    photo is a row, and the report says how far the maps moved. One method makes all maps.

    Leaves report.html, maps.json and a PNG for each row in OUT.

    Example: `pocketlens explain runs/a/model runs/a/best --images photos/ --out looked`

    Parameters
    ----------
    bundles
        The bundle to look into, or several; the first is what the others are compared with.
    images
        Files, folders (searched to the bottom) or patterns.
    map_method
        How: by gradients (torch bundles), by the network's last activations, or by covering parts;
        auto takes Grad-CAM, EigenCAM or occlusion, the first that all bundles can do.
    label
        Map this class instead of the answer.
    boxes
        Boxes to cut out, each a row, in any form that predict takes.
    maps
        At most so many images or boxes, the first ones.
    """
    from pocketlens.workflows.explain import explain_photos

    result = explain_photos(
        bundles,
        images,
        out=out,
        method=map_method,
        label=label,
        boxes=boxes,
        maps=maps,
        threads=threads,
        overwrite=overwrite,
    )
    found = result.explanations
    if json:
        print_json(json_.loads(found.to_json()))
        return
    for source in found.sources:
        print(f"{source.name}: {source.how}")
    for source, moved in zip(found.sources[1:], found.moved, strict=True):
        if moved.correlation is None or moved.overlap is None:
            print(f"{source.name}: nothing to compare with {found.sources[0].name}")
            continue
        print(
            f"{source.name}: correlation {moved.correlation[1]:.2f}, overlap of the strongest "
            f"fifth {moved.overlap[1]:.2f} (medians of {moved.num_compared})"
        )
    print(f"Report {out / 'report.html'}")

"""`pocketlens predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import Json, MapMethod, Out, Overwrite, Threads, print_json


def run(
    bundle: Path,
    /,
    *images: str,
    out: Out,
    boxes: Path | None = None,
    top_k: int = 5,
    gradcam: Annotated[bool, Parameter(negative="")] = False,
    map_method: MapMethod | None = None,
    maps: int | None = None,
    max_megapixels: float = 200,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Predict images, folders or patterns.

    Leaves predictions.csv and predictions.json in OUT. An image that can't be read is a row with
    its error.

    Example: `pocketlens predict runs/b/best photos/ 'more/*.jpg' --out predicted`

    Parameters
    ----------
    bundle
        The bundle to predict with.
    images
        Files, folders (searched to the bottom) or patterns.
    boxes
        Boxes to predict, each a row: JSON {name: [[x, y, width, height], …]} in pixels, or COCO,
        AI-Hub, VOC or YOLO annotations (a file or a folder).
    top_k
        Classes named for each image in predictions.json.
    gradcam
        Also draw where on each photo the answer comes from, into OUT/maps.
    map_method
        How: by gradients (torch bundles), by the network's last activations, or by covering parts;
        auto, the default, takes Grad-CAM, EigenCAM or occlusion, the first that the bundle's
        runtime can do.
    maps
        At most so many photos get maps; default: all.
    max_megapixels
        Larger images are refused before they are decoded.
    """
    from pocketlens.core.errors import UserError
    from pocketlens.workflows.predict import predict

    if not gradcam and (map_method is not None or maps is not None):
        raise UserError("--map-method and --maps say how maps are drawn; add --gradcam")
    result = predict(
        bundle,
        images,
        out=out,
        boxes=boxes,
        top_k=top_k,
        maps=(map_method or "auto") if gradcam else None,
        max_maps=maps,
        max_megapixels=max_megapixels,
        threads=threads,
        overwrite=overwrite,
    )
    if json:
        print_json(result.to_dict())
        return
    kind = "images" if boxes is None else "rows (boxes, and images without one)"
    print(f"{result.num_images} {kind}, {result.num_errors} could not be used")
    for name, reason in list(result.errors.items())[:10]:
        print(f"  {name}: {reason}")
    print(out / "predictions.csv")

"""`pocketlens predict`."""

from __future__ import annotations

from pathlib import Path

from pocketlens.cli._options import Json, Out, Overwrite, Threads, print_json


def run(
    bundle: Path,
    /,
    *images: str,
    out: Out,
    boxes: Path | None = None,
    top_k: int = 5,
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
    max_megapixels
        Larger images are refused before they are decoded.
    """
    from pocketlens.workflows.predict import predict

    result = predict(
        bundle,
        images,
        out=out,
        boxes=boxes,
        top_k=top_k,
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

"""`pocketlens predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from pocketlens.cli._options import Json, MapMethod, Out, Overwrite, Threads, print_json
from pocketlens.core.errors import UserError
from pocketlens.core.text import count_of, one_line

Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]


def run(
    bundle: Path,
    /,
    *images: str,
    out: Out,
    boxes: Path | None = None,
    truth: Path | None = None,
    split: Literal["test", "val", "all"] | None = None,
    unsure_below: Share | None = None,
    top_k: int = 5,
    overlays: str = "100",
    gradcam: Annotated[bool, Parameter(negative="")] = False,
    map_method: MapMethod | None = None,
    maps: int | None = None,
    region: str | None = None,
    region_keep: Literal["mask", "crop", "mask-crop"] | None = None,
    region_fill: Literal["mean", "black"] = "mean",
    every: float = 1.0,
    max_frames: int | None = None,
    max_megapixels: float = 200,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
    **options: str,
) -> None:
    """Predict images, folders, patterns, CSV tables, videos or a webcam.

    Leaves predictions.csv, predictions.json, report.html, contact sheets and overlays (photos with
    their answers) in OUT. An image that can't be read is a row with its error.

    Example: `pocketlens predict runs/b/best photos/ 'more/*.jpg' --out predicted`

    Parameters
    ----------
    bundle
        The bundle to predict with.
    images
        Files, folders (searched to the bottom), patterns, CSV tables with a column of images (and
        perhaps of boxes and labels), videos, or `webcam` (`webcam:1` for the second).
    boxes
        Boxes to predict, each a row: JSON {name: [[x, y, width, height], …]} in pixels, or COCO,
        AI-Hub, VOC or YOLO annotations (a file or a folder).
    truth
        Labelled data that says what is right. Where no images are named, its photos are predicted.
    split
        Part of the photos of --truth, by the split that the bundle remembers; default: test.
    unsure_below
        Probability, 0 to 1, below which an answer counts as unsure; default: half-way from
        guessing to certainty where a photo has one label (0.75 of two classes, 0.55 of ten), none
        where it can have several, which have thresholds of their own.
    top_k
        Classes named for each image in predictions.json.
    overlays
        Photos to draw with their answers: the first so many, all or none.
    gradcam
        Also draw where on each photo the answer comes from, into OUT/maps.
    map_method
        How: by gradients (torch bundles), by the network's last activations, or by covering parts;
        auto, the default, takes Grad-CAM, EigenCAM or occlusion, the first that the bundle's
        runtime can do.
    maps
        At most so many photos get maps; default: all.
    region
        Find the part to classify first: box (of annotations, --region-boxes FILE), mask (of PNG
        files, --region-masks DIR) or face-skin (by a network, --region-model FILE, DIR or hub
        model). Answers are the part's, beside those of the whole photo.
    region_keep
        What becomes of the rest: coloured (mask), cut off (crop) or both (mask-crop); default:
        crop for box, mask for mask, both for face-skin.
    region_fill
        Colour of the rest: what the network sees as 0, or black.
    every
        Seconds between two frames of a video.
    max_frames
        Frames of each video; default: all, 60 of a webcam.
    max_megapixels
        Larger images are refused before they are decoded.
    options
        --region-…: the region's own options; a wrong one is answered with those there are.
    """
    from pocketlens.workflows.predict import predict

    if not gradcam and (map_method is not None or maps is not None):
        raise UserError("--map-method and --maps say how maps are drawn; add --gradcam")
    result = predict(
        bundle,
        images,
        out=out,
        boxes=boxes,
        truth=truth,
        split=split,
        unsure_below=unsure_below,
        top_k=top_k,
        overlays=_overlays(overlays),
        maps=(map_method or "auto") if gradcam else None,
        max_maps=maps,
        region=region,
        region_keep=region_keep,
        region_fill=region_fill,
        region_options=_region_options(options),
        every=every,
        max_frames=max_frames,
        max_megapixels=max_megapixels,
        threads=threads,
        overwrite=overwrite,
    )
    if json:
        print_json(result.to_dict())
        return
    number = count_of(result.num_images, "image" if boxes is None else "row")
    kind = "" if boxes is None else " (boxes, and images without one)"
    print(f"{number}{kind}, {result.num_errors} could not be used")
    for name, reason in list(result.errors.items())[:10]:
        print(f"  {name}: {reason}")
    if result.num_unsure:
        print(f"{result.num_unsure} unsure")
    if result.num_known:
        share = 100 * result.num_right / result.num_known
        print(f"{result.num_right} of {result.num_known} right ({share:.1f} %)")
    if result.regions is not None:
        told = result.regions
        print(f"{told.num_changed} of {told.num_both} answers differ from the whole photo's")
        if told.num_known:
            gained, lost = told.num_gained, told.num_lost
            print(f"  {gained} right by the region alone, {lost} by the whole photo alone")
        if told.num_missing:
            print(f"  on {told.num_missing} no region was found")
    if result.num_overlays:
        usable = result.num_images - result.num_errors
        some = overlays == str(result.num_overlays) and result.num_overlays < usable
        more = " (--overlays all draws every photo)" if some else ""
        print(f"{count_of(result.num_overlays, 'overlay')} drawn{more}")
    print(out / "predictions.csv")
    print(out / "report.html")


def _overlays(text: str) -> int | Literal["all"]:
    if text in ("all", "none"):
        return "all" if text == "all" else 0
    if text.isdecimal():
        return int(text)
    raise UserError(f"--overlays must be a number, all or none, not {text}")


def _region_options(options: dict[str, str]) -> dict[str, str]:
    """Options of a region, without what they begin with."""
    found = {}
    for key, value in options.items():
        name = key.replace("_", "-")
        if not name.startswith("region-"):
            raise UserError(f"--{one_line(name)} is no option of predict (--help lists all)")
        found[name.removeprefix("region-")] = value
    return found

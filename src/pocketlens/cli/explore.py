"""`pocketlens explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Out, Overwrite, Threads

_DATA = DataOptions()


def run(
    data: Path,
    /,
    *,
    out: Out,
    bundle: Path | None = None,
    model: str = "tf_efficientnet_lite0",
    weights: str = "auto",
    max_photos: int = 2000,
    seed: int = 0,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Pictures of the data, and a first estimate whether its classes can be told apart.

    Class counts, sizes, samples, mean pictures, near copies; by the features of a pretrained
    network also clusters on a plane, classes that are alike, and labels that look wrong.

    Leaves report.html, explore.json and PNG files in OUT.

    Example: `pocketlens explore photos/ --out looked`

    Parameters
    ----------
    data
        Folder with one folder a class, or a table (CSV) with image and label.
    bundle
        Take features from this bundle's network.
    model
        Pretrained network that features are taken from, when no bundle is named.
    weights
        Its weights: `auto` finds them, or a file or directory.
    max_photos
        Of more samples, a class-balanced choice is looked at.
    seed
        Of that choice, of clusters and of the samples shown.
    """
    from pocketlens.core.text import count_of
    from pocketlens.workflows.explore import explore

    result = explore(
        reading.read(data),
        out=out,
        bundle=bundle,
        model=model,
        weights=weights,
        max_photos=max_photos,
        seed=seed,
        threads=threads,
        overwrite=overwrite,
    )
    found = result.exploration
    if json:
        print(found.to_json(), end="")
        return
    counted = found.data
    groups = f"{counted['num_groups']} groups" if counted["num_groups"] else "no groups recognised"
    kinds = count_of(counted["num_classes"], "class", "classes")
    print(f"{count_of(counted['num_samples'], 'sample')} of {kinds}, {groups}")
    if found.imbalance is not None:
        where = " of the training part" if found.class_counts_by_part else ""
        print(f"largest class by smallest{where}: {found.imbalance:.1f} : 1")
    if found.neighbours is not None:
        near = found.neighbours
        print(f"{near.verdict} ({near.balanced_accuracy:.0f} % by neighbours, no training)")
        for pair in near.pairs[:3]:
            print(f"  {pair.a} and {pair.b}: {pair.verdict}")
    if found.suspects:
        print(f"{len(found.suspects)} doubtful labels")
    print(f"Report {out / 'report.html'}")

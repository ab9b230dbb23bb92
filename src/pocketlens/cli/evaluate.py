"""`pocketlens evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pocketlens.cli._options import DataOptions, Json, Threads, print_json

_DATA = DataOptions()


def run(
    bundle: Path,
    /,
    *,
    data: Path,
    split: Literal["test", "val", "all"] = "test",
    metric: str | None = None,
    reading: Annotated[DataOptions, Parameter(name="*")] = _DATA,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """The scores of one bundle, by default on photos it was neither trained nor chosen on.

    Example: `pocketlens evaluate runs/b/best --data photos/`

    Parameters
    ----------
    bundle
        The bundle to score.
    data
        Labelled photos.
    split
        Part of the photos; all includes those it was trained on.
    metric
        macro_f1, accuracy or map; default: the one the bundle was chosen by.
    """
    from pocketlens.core.text import one_line
    from pocketlens.workflows.evaluate import evaluate

    result = evaluate(bundle, reading.read(data), split=split, metric=metric, threads=threads)
    if json:
        print_json(result.to_dict())
        return
    ends = f"[{result.score_low:.2f}, {result.score_high:.2f}]"
    print(f"{result.metric} {result.score:.2f} % {ends} on {result.num_samples} {split} photos")
    for text, names in (
        ("in the data, unknown to the model, not scored", result.unknown_classes),
        ("known to the model, not in these photos", result.untested_classes),
    ):
        if names:
            shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
            print(f"  {len(names)} classes {text}: {one_line(shown)}")
    for name, value in result.metrics.items():
        if name == "num_classes_scored":
            print(f"  {name:20s} {value:6.0f}")
        else:
            print(f"  {name:20s} {value:6.2f}{'' if name == 'loss' else ' %'}")

"""Is a data set ready to train from? What `pocketlens check` finds, and what is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pocketlens.core.dataset import Dataset
from pocketlens.core.errors import DataError
from pocketlens.core.gate import Reason
from pocketlens.core.text import one_line
from pocketlens.progress import hidden
from pocketlens.service import datasets
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.jobs import Job

LANE: Final = "slow"

#: Different photos of a class: one to learn from, one to choose by, one to test with.
MIN_PHOTOS: Final = 3
_MAX_NAMED: Final = 5
_STORED: Final = re.compile(r"[0-9a-f]{2}/([0-9a-f]{12})[0-9a-f]{52}\.(?:png|jpg)")


def run(job: Job, context: Context) -> Any:
    """The object of `check --json` with `ready` and `missing`, of `request`'s `dataset_id`."""
    from pocketlens.workflows.check import check

    folder = context.settings.home / "work" / job.id
    shutil.rmtree(folder, ignore_errors=True)  # an attempt that was lost
    try:
        hashed = datasets.materialise(
            context.database, context.storage, job.request["dataset_id"], folder
        )
        context.beat(None)
        with hidden():
            found = check(hashed.dataset, max_pixels=context.settings.max_pixels).to_dict()
    except DataError as error:
        raise JobFailed("no_labelled_photo", str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for problem in found["problems"]:
        problem["examples"] = [_STORED.sub(r"photo \1", text) for text in problem["examples"]]
    missing = lacks(hashed.dataset, datasets.num_photos(hashed), found)
    about = {"dataset": job.request["dataset"], "version": job.request["version"]}
    return {**found, **about, **_said(missing)}


def lacks(
    dataset: Dataset, num_photos: Mapping[str, int], found: Mapping[str, Any]
) -> list[Reason]:
    """What stands in the way of training.

    Args:
        num_photos: different photos a class.
        found: as `check` gives it.
    """
    missing: list[Reason] = []
    if dataset.task == "single_label" and len(dataset.classes) < 2:
        text = "photos of a second class: one class can't be told from nothing"
        missing.append(Reason("one_class", {}, text))
    few = {_shown(name): number for name, number in num_photos.items() if number < MIN_PHOTOS}
    if few:
        named = dict(list(few.items())[:_MAX_NAMED])
        more = f" and {len(few) - _MAX_NAMED} more" if len(few) > _MAX_NAMED else ""
        listed = ", ".join(f"{name} has {number}" for name, number in named.items())
        text = (
            f"at least {MIN_PHOTOS} different photos of each class, to learn from, to choose by "
            f"and to test with: {listed}{more}"
        )
        values = {"needed": MIN_PHOTOS, "num": len(few), "classes": named}
        missing.append(Reason("few_photos", values, text))
    missing += [
        Reason("cannot_split", {}, problem["message"])
        for problem in found["problems"]
        if problem["kind"] == "cannot_split"
    ]
    return missing


def nothing(name: str, task: str, version: int) -> dict[str, Any]:
    """What is said of a data set without photos."""
    return {
        **{"format": "uploads", "task": task, "num_samples": 0, "num_classes": 0},
        **{"class_counts": {}, "splits": {}, "sizes": {}, "problems": []},
        **{"dataset": name, "version": version},
        **_said([Reason("no_photo", {}, "photos: there are none")]),
    }


def _said(missing: Sequence[Reason]) -> dict[str, Any]:
    return {
        "ready": not missing,
        "missing": [reason.text for reason in missing],
        "reasons": [reason.to_dict() for reason in missing],
    }


def _shown(name: str) -> str:
    text = one_line(name)
    return text if len(text) <= 40 else f"{text[:39]}…"

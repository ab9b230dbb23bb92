"""`fit`: the main job. Check, train, shrink, compare, report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from pocketlens.core.directory import refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.progress import say, warn
from pocketlens.training.config import TrainConfig
from pocketlens.workflows._network import check_network
from pocketlens.workflows._result import Table
from pocketlens.workflows._tracking import check_trackers
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows.check import check
from pocketlens.workflows.data import DataLike, as_dataset, data_paths, identities
from pocketlens.workflows.open import BundleLike, as_bundle
from pocketlens.workflows.shrink import ShrinkConfig, search
from pocketlens.workflows.train import train

#: Problems of the data that make test scores better than they are.
_FLATTERING: Final = ("split_leak", "near_split_leak", "group_leak")


def fit(
    data: DataLike,
    *,
    out: str | os.PathLike[str],
    train_config: TrainConfig | None = None,
    shrink_config: ShrinkConfig | None = None,
    keep_split: BundleLike | None = None,
    calibration: DataLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Table:
    """From labelled photos to the model to ship, with the evidence.

    Leaves `OUT/model` (the float bundle), `OUT/variants`, `OUT/best`, `OUT/compare.json` and
    `OUT/report.html`.

    Args:
        settings: those of `TrainConfig` and `ShrinkConfig` by name, instead of the two values.
        resume: go on where an interrupted run stopped.

    Raises:
        UserError: the data or a setting can't be used.
    """
    target = Path(out)
    train_settings, shrink_settings = _divide(settings)
    train_config = train_config or TrainConfig(**train_settings)
    shrink_config = shrink_config or ShrinkConfig(**shrink_settings)
    keep = None if keep_split is None else as_bundle(keep_split)
    if not resume:
        inputs = [*data_paths(data), *data_paths(calibration), *([keep.path] if keep else [])]
        refuse_existing(target, overwrite=overwrite, inputs=inputs)
    check_trackers(train_config)
    check_network(train_config)
    with workplace(target, resume=resume, overwrite=overwrite):
        dataset = as_dataset(data)
        problems = check(dataset).problems
        if not (target / "model" / "manifest.json").exists():
            for problem in problems:
                warn(f"{problem.message} ({problem.count}): {', '.join(problem.examples[:3])}")
        hashed = identities(dataset)
        model = train(
            hashed,
            out=target / "model",
            config=train_config,
            keep_split=keep,
            threads=threads,
            resume=resume,
        )
        say(f"{target / 'model'} is trained; now it is made small")
        return search(
            model,
            hashed,
            target,
            shrink_config,
            calibration=calibration,
            threads=threads,
            further=asdict(train_config),
            notes=[f"{p.count} {p.message}" for p in problems if p.kind in _FLATTERING],
        )


def _divide(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    of_train = {field.name for field in fields(TrainConfig)}
    of_shrink = {field.name for field in fields(ShrinkConfig)}
    if unknown := sorted(set(settings) - of_train - of_shrink):
        raise UserError(f"fit has no setting {unknown[0]!r}")
    return (
        {k: v for k, v in settings.items() if k in of_train},
        {k: v for k, v in settings.items() if k in of_shrink},
    )

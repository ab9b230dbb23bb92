"""TensorBoard: event files in `tensorboard/` beside the checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketlens.extras import require
from pocketlens.loggers._tracker import Tracker

EXTRA = "track"
NEEDS: Final = ("tensorboard",)


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def open(
    run_dir: Path, name: str, settings: Mapping[str, Any], run_id: str | None, config: Config
) -> Tracker:
    """Begin a run, or go on with it: TensorBoard joins the files of one folder."""
    require("tensorboard", extra=EXTRA)
    from torch.utils.tensorboard import SummaryWriter

    folder = run_dir / "tensorboard"
    if run_id is None:  # of a run that this one overwrites
        shutil.rmtree(folder, ignore_errors=True)
    writer: Any = SummaryWriter(str(folder))
    if run_id is None:
        table = ["| setting | value |", "|---|---|"]
        table += [f"| {key} | {json.dumps(value)} |" for key, value in settings.items()]
        writer.add_text("settings", "\n".join(table))

    def log(row: Mapping[str, float]) -> None:
        for key, value in row.items():
            if key != "epoch":
                writer.add_scalar(key, value, int(row["epoch"]))
        writer.flush()

    def close(finished: bool) -> None:
        writer.close()

    return Tracker(run_id or name, log, close)

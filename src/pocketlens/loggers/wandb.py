"""Weights & Biases: offline, beside the checkpoints, unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketlens.extras import require
from pocketlens.loggers._tracker import Tracker
from pocketlens.progress import say

EXTRA = "track"
NEEDS: Final = ("wandb",)

#: Seconds to wait for a server at the start and at the end; what it didn't get stays on the disk.
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Config:
    """Nothing to choose: WANDB_MODE, WANDB_PROJECT and the like do."""


def open(
    run_dir: Path, name: str, settings: Mapping[str, Any], run_id: str | None, config: Config
) -> Tracker:
    """Begin a run, or go on with the one of this id.

    Without WANDB_MODE or WANDB_API_KEY nothing leaves the machine. Neither the source, git, the
    command line nor what is printed is sent.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb: Any = require("wandb", extra=EXTRA)
    mode = os.environ.get("WANDB_MODE") or (
        "online" if os.environ.get("WANDB_API_KEY") else "offline"
    )
    known = run_id or uuid.uuid4().hex
    run = wandb.init(
        dir=str(run_dir),
        project=os.environ.get("WANDB_PROJECT") or "pocketlens",
        name=name,
        id=known,
        resume="allow" if mode == "online" else None,
        mode=mode,
        config=dict(settings),
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            init_timeout=_PATIENCE_S,
            finish_timeout=_PATIENCE_S,
        ),
    )

    def log(row: Mapping[str, float]) -> None:
        run.log(dict(row), step=int(row["epoch"]))

    def close(finished: bool) -> None:
        run.finish(exit_code=0 if finished else 1)
        if mode == "offline":
            say(f"W&B was offline; to upload: wandb sync {run_dir / 'wandb'}/offline-run-*-{known}")

    return Tracker(known, log, close)

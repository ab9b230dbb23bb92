"""What is kept of a run between two steps, so that it can go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlens.core.errors import UserError
from pocketlens.progress import say
from pocketlens.training.checkpoint import Checkpoint
from pocketlens.training.config import TrainConfig, settings_of
from pocketlens.training.precision import Precision

if TYPE_CHECKING:
    import torch


@dataclass
class Progress:
    """Where a run stands beside its weights.

    Attributes:
        step: batches of the epoch that are done; `losses` are theirs.
        best: weights of the best epoch so far.
        seconds: that the epoch has taken.
        precision: how steps compute, once it was chosen.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    precision: Precision | None = None


def state_of(
    run: Progress,
    config: TrainConfig,
    data_hash: str,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: torch.optim.swa_utils.AveragedModel | None,
) -> Checkpoint:
    """The state after a step."""
    import torch

    facts = {
        "config": settings_of(config),
        "data_hash": data_hash,
        "history": run.history,
        "best_epoch": run.best_epoch,
        "step": run.step,
        "losses": run.losses,
        "seconds": run.seconds,
        "precision": None if run.precision is None else asdict(run.precision),
    }
    further = {"rng": torch.get_rng_state()}
    if average is not None:
        further |= {f"average.{k}": v.detach().cpu() for k, v in average.state_dict().items()}
    state = {k: v.detach().cpu() for k, v in module.state_dict().items()}
    return Checkpoint(state, run.best, optimizer.state_dict(), facts, further)


def restore(
    saved: Checkpoint,
    config: TrainConfig,
    data_hash: str,
    run_dir: Path,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: torch.optim.swa_utils.AveragedModel | None,
) -> Progress:
    """Put a checkpoint's state into network, optimiser and average; says where the run stands.

    Raises:
        UserError: it was made with other settings or on other photos.
    """
    import torch

    refuse_other_settings(saved.facts["config"], config, run_dir)
    if saved.facts.get("data_hash", "") != data_hash:
        raise UserError(
            f"the photos or their split changed since {run_dir} was interrupted; "
            "start anew with --overwrite"
        )
    module.load_state_dict(saved.model)
    optimizer.load_state_dict(saved.optimizer)
    if average is not None:
        prefix = "average."
        average.load_state_dict(
            {k.removeprefix(prefix): v for k, v in saved.further.items() if k.startswith(prefix)}
        )
    torch.set_rng_state(saved.further["rng"])
    keys = ("history", "best_epoch", "step", "losses", "seconds")
    run = Progress(**{key: saved.facts[key] for key in keys}, best=saved.best)
    if saved.facts.get("precision"):
        run.precision = Precision(**saved.facts["precision"])
    within = f", batch {run.step}" if run.step else ""
    say(f"going on after epoch {len(run.history)} of {config.epochs}{within}")
    return run


def refuse_other_settings(saved: Mapping[str, Any], config: TrainConfig, place: Path) -> None:
    """Going on with a run is going on with its settings.

    Raises:
        UserError: one of them is another now.
    """
    # A setting that an older version didn't have was what its default is; JSON has no tuples.
    defaults, now = (json.loads(json.dumps(settings_of(c))) for c in (TrainConfig(), config))
    before = defaults | dict(saved)
    changed = [key for key, value in now.items() if before[key] != value]
    if changed:
        raise UserError(
            f"{place} was made with another "
            f"{', '.join('--' + name.replace('_', '-') for name in changed)}; "
            "resume with the same settings, or start anew with --overwrite"
        )

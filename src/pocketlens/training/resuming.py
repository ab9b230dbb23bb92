"""What is kept of a run between two steps, so that it can go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.training import checkpoint
from pocketlens.training.checkpoint import Checkpoint
from pocketlens.training.config import OLDER, TrainConfig
from pocketlens.training.learner import Learner
from pocketlens.training.parallel import World
from pocketlens.training.precision import Precision

if TYPE_CHECKING:
    import torch

_AVERAGE: Final = "average."
_HINTS: Final = "hints."


@dataclass
class Progress:
    """Where a run stands beside its weights.

    Attributes:
        step: batches of the epoch that are done; `losses` are theirs.
        best: weights of the best epoch so far.
        seconds: that the epoch has taken.
        precision, workers: how steps compute and how many threads prepare photos, once chosen.
        unreadable: photos that were left out, with the reason.
        scaler: state of the loss's scale (float16).
        is_saved: whether there is a checkpoint of it.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    precision: Precision | None = None
    workers: int | None = None
    unreadable: dict[str, str] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    is_saved: bool = False


def state_of(
    run: Progress,
    config: TrainConfig,
    data_hash: str,
    learner: Learner,
    world: World,
) -> Checkpoint:
    """The state after a step; all processes must ask for it."""
    import torch

    facts = {
        "config": asdict(config),
        "data_hash": data_hash,
        "history": run.history,
        "best_epoch": run.best_epoch,
        "step": run.step,
        "losses": run.losses,
        "seconds": run.seconds,
        "precision": None if run.precision is None else asdict(run.precision),
        "workers": run.workers,
        "unreadable": {k: v for seen in world.of_all(run.unreadable) for k, v in seen.items()},
        "scaler": learner.scaler.state_dict(),
    }
    random = world.of_all((torch.get_rng_state(), _cuda_state(world)))
    further = {f"rng.{rank}": state for rank, (state, _) in enumerate(random)}
    further |= {f"cuda.{rank}": s for rank, (_, s) in enumerate(random) if s is not None}
    further |= _prefixed(_HINTS, learner.net.hints)
    if learner.average is not None:
        further |= _prefixed(_AVERAGE, learner.average)
    state = {k: v.detach().cpu() for k, v in learner.module.state_dict().items()}
    return Checkpoint(state, run.best, learner.optimizer.state_dict(), facts, further)


def restore(
    saved: Checkpoint,
    config: TrainConfig,
    data_hash: str,
    run_dir: Path,
    learner: Learner,
    world: World,
) -> Progress:
    """Put a checkpoint's state into what learns; gives where the run stands.

    Raises:
        UserError: it was made with other settings or on other photos.
    """
    import torch

    refuse_other_run(saved.facts, config, data_hash, run_dir)
    learner.module.load_state_dict(saved.model)
    learner.optimizer.load_state_dict(saved.optimizer)
    learner.net.hints.load_state_dict(_without(_HINTS, saved.further))
    if learner.average is not None:
        learner.average.load_state_dict(_without(_AVERAGE, saved.further))
    # One of an older version has one process's.
    rank = f"rng.{world.share.rank}"
    torch.set_rng_state(saved.further[rank if rank in saved.further else "rng"])
    if (state := saved.further.get(f"cuda.{world.share.rank}")) is not None:
        torch.cuda.set_rng_state(state, world.device)
    return _progress_of(saved)


def refuse_other_run(
    facts: Mapping[str, Any], config: TrainConfig, data_hash: str, run_dir: Path
) -> None:
    """A checkpoint's facts must be those of this run.

    Raises:
        UserError: it was made with other settings or on other photos.
    """
    refuse_other_settings(facts["config"], config, run_dir)
    if facts.get("data_hash", "") != data_hash:
        raise UserError(
            f"the photos or their split changed since {run_dir} was interrupted; "
            "start anew with --overwrite"
        )


def result_of(run_dir: Path) -> Progress:
    """Where a run stands whose steps were taken by other processes."""
    saved = checkpoint.load(run_dir)
    assert saved is not None, "a run that ended well has a checkpoint"
    return _progress_of(saved)


def _progress_of(saved: Checkpoint) -> Progress:
    needed = ("history", "best_epoch", "step", "losses", "seconds")
    newer = ("workers", "unreadable", "scaler")
    facts = {key: saved.facts[key] for key in needed}
    facts |= {key: saved.facts[key] for key in newer if key in saved.facts}
    how = saved.facts.get("precision")
    precision = None if how is None else Precision(**how)
    return Progress(**facts, best=saved.best, precision=precision, is_saved=True)


def _cuda_state(world: World) -> torch.Tensor | None:
    import torch

    return torch.cuda.get_rng_state(world.device) if world.device.type == "cuda" else None


def _prefixed(prefix: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + k: v.detach().cpu() for k, v in module.state_dict().items()}


def _without(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def config_of(values: Mapping[str, Any]) -> TrainConfig:
    """Settings from a manifest or checkpoint, where JSON made lists of tuples."""
    known = {setting.name for setting in fields(TrainConfig)}
    plain: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known
    }
    return TrainConfig(**plain)


def refuse_other_settings(saved: Mapping[str, Any], config: TrainConfig, place: Path) -> None:
    """Going on with a run is going on with its settings.

    Raises:
        UserError: one of them is another now.
    """
    # A setting that an older version didn't have was what its default is; JSON has no tuples.
    defaults, now = (json.loads(json.dumps(asdict(c))) for c in (TrainConfig(), config))
    before = defaults | OLDER | dict(saved)
    free = {setting.name for setting in fields(config) if setting.metadata.get("free")}
    changed = [key for key, value in now.items() if key not in free and before[key] != value]
    if changed:
        raise UserError(
            f"{place} was made with another "
            f"{', '.join('--' + name.replace('_', '-') for name in changed)}; "
            "resume with the same settings, or start anew with --overwrite"
        )

"""One trial of a sweep: trained, judged after each epoch, and told how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pocketlens.core.errors import UserError
from pocketlens.progress import say, warn
from pocketlens.training import checkpoint
from pocketlens.workflows import _study
from pocketlens.workflows._sweep_space import Space
from pocketlens.workflows.data import Hashed
from pocketlens.workflows.train import train

if TYPE_CHECKING:
    import optuna


def run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    plan: Space,
    hashed: Hashed,
    target: Path,
    threads: int | None,
) -> None:
    """Train one trial and tell the study how it ended."""
    import optuna
    from optuna.exceptions import OptunaError

    state = optuna.trial.TrialState
    if (twin := _twin(study, trial)) is not None:
        trial.set_user_attr("reason", f"same settings as trial {twin.number}")
        study.tell(trial.number, twin.value)
        return
    key = f"val_{plan.base.metric}"
    known = set(study.trials[trial.number].intermediate_values)

    def report(row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        if epoch not in known:  # else it is done again, since it wasn't in the checkpoint
            before = trial.user_attrs.get("seconds", 0.0)
            trial.set_user_attr("seconds", before + row["seconds"])
            trial.report(row[key], epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    folder = target / "trials" / f"{trial.number:04d}"
    try:
        bundle = train(
            hashed,
            out=folder,
            config=plan.config(trial.params),
            threads=threads,
            resume=True,
            on_epoch=report,
            test=False,
        )
    except optuna.TrialPruned:
        study.tell(trial.number, state=state.PRUNED)
        say(f"trial {trial.number} is worse than most at this epoch: cut short")
    except UserError as error:
        trial.set_user_attr("reason", str(error))
        study.tell(trial.number, state=state.FAIL)
        warn(f"trial {trial.number} failed: {error}")
    except BaseException as error:
        if _is_out_of_memory(error):
            trial.set_user_attr("reason", "not enough memory")
            study.tell(trial.number, state=state.FAIL)
            warn(f"trial {trial.number} failed: not enough memory")
            return
        if isinstance(error, Exception) and not isinstance(error, OptunaError):
            trial.set_user_attr("reason", f"a fault of pocketlens: {type(error).__name__}")
            study.tell(trial.number, state=state.FAIL)  # --resume must not meet it again
        elif not (folder.with_name(f"{folder.name}.run") / checkpoint.NAME).exists():
            _study.abandon(study, trial)  # nothing to go on from
        raise
    else:
        score = bundle.manifest.metrics["val"][plan.base.metric]
        study.tell(trial.number, score)
        say(f"trial {trial.number}: {plan.base.metric} {score:.4g} on validation photos")


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _twin(study: optuna.Study, trial: optuna.Trial) -> optuna.trial.FrozenTrial | None:
    """An earlier trial with the same values: training it again would give the same."""
    for other in _study.counted(study):
        if (
            other.number < trial.number
            and other.state.name == "COMPLETE"
            and other.params == trial.params
        ):
            return other
    return None

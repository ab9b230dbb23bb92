"""The training loop: epochs of steps, the best epoch by validation, resumable after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketlens.core import metrics
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import available_cores
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.scored import Scored
from pocketlens.progress import bar, say, warn
from pocketlens.training import checkpoint
from pocketlens.training.config import TrainConfig
from pocketlens.training.loader import epoch_batches, num_batches
from pocketlens.training.optimize import learning_rate, make_optimizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainResult:
    """What training leaves: the best epoch's weights, and a row of figures an epoch."""

    state: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    unreadable: dict[str, str]


def train_network(
    module: torch.nn.Module,
    examples: Examples,
    preprocess: Preprocess,
    config: TrainConfig,
    *,
    validate: Callable[[torch.nn.Module], Scored],
    run_dir: Path,
    resume: bool = False,
    data_hash: str = "",
    threads: int | None = None,
) -> TrainResult:
    """Train a network and keep its best epoch.

    With `resume`, training goes on from the last checkpoint in `run_dir`, if there is one; else
    the first one that is saved takes its place. Each epoch's
    randomness (order, augmentation, dropout) is a function of the seed and the epoch alone, so a
    resumed run gives the very weights of an uninterrupted one.

    Args:
        validate: scores a module on validation photos; photos it can't score are its business.
        data_hash: of the samples and their split, which must not change when a run is resumed:
            what was trained on could be tested on.
        threads: processor threads; all cores by default.

    Raises:
        UserError: the loss became NaN; the checkpoint belongs to other settings or data; no
            training photo can be read.
    """
    import torch

    torch.set_num_threads(threads or available_cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(module, config)
    loss_of = make_loss(config, multi_label=examples.dataset.task == "multi_label")
    steps = num_batches(len(examples), config.batch_size)
    metric = config.metric or metrics.DEFAULT_METRIC[examples.dataset.task]
    history: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}
    best_epoch = -1
    unreadable: dict[str, str] = {}
    if resume and (saved := checkpoint.load(run_dir)) is not None:
        refuse_other_settings(saved.facts["config"], config, run_dir)
        if saved.facts.get("data_hash", "") != data_hash:
            raise UserError(
                f"the photos or their split changed since {run_dir} was interrupted; "
                "start anew with --overwrite"
            )
        module.load_state_dict(saved.model)
        optimizer.load_state_dict(saved.optimizer)
        best, history = saved.best, saved.facts["history"]
        best_epoch = saved.facts["best_epoch"]
        say(f"going on after epoch {len(history)} of {config.epochs}")

    with bar("training", config.epochs * steps) as advance:
        advance(len(history) * steps)
        for epoch in range(len(history), config.epochs):
            if _out_of_patience(config, epoch, best_epoch):
                say(f"stopped early: no better epoch since epoch {best_epoch + 1}")
                break
            started = time.monotonic()
            torch.manual_seed(_epoch_seed(config.seed, epoch))
            module.train()
            losses: list[float] = []
            batches = epoch_batches(
                examples,
                preprocess,
                augment=config.augment,
                batch_size=config.batch_size,
                seed=config.seed,
                epoch=epoch,
                workers=available_cores(),
                unreadable=unreadable.__setitem__,
            )
            for number, (input_NCHW, truth) in enumerate(batches):
                step = epoch * steps + number
                rate = learning_rate(config, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                inputs = torch.from_numpy(input_NCHW).to(device, memory_format=torch.channels_last)
                loss = loss_of(module(inputs), torch.from_numpy(truth).to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    kept = f". The last good checkpoint stays in {run_dir}" if history else ""
                    raise UserError(
                        f"the loss became {losses[-1]} at step {number + 1} of epoch {epoch + 1}; "
                        f"lower --lr{kept}"
                    )
                optimizer.step()
                advance(1, f"epoch {epoch + 1}/{config.epochs} loss {np.mean(losses):.3f}")
            if not losses:
                raise UserError("no training photo could be read; run `pocketlens check`")
            row = _figures(epoch, rate, losses, validate(module.eval()), time.monotonic() - started)
            history.append(row)
            # A tie goes to the earlier epoch.
            if best_epoch < 0 or _better(metric, row, history[best_epoch]):
                best_epoch = epoch
                best = {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}
            _report(row, metric, config.epochs, is_best=best_epoch == epoch)
            facts = {"config": asdict(config), "history": history, "best_epoch": best_epoch}
            facts["data_hash"] = data_hash
            state = {k: v.detach().cpu() for k, v in module.state_dict().items()}
            checkpoint.save(
                run_dir, checkpoint.Checkpoint(state, best, optimizer.state_dict(), facts)
            )
    for name, reason in list(unreadable.items())[:5]:
        warn(f"{name} was not used: {reason}")
    return TrainResult(best, history, best_epoch, unreadable)


def make_loss(
    config: TrainConfig, *, multi_label: bool
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Loss of `logits_NK` against class indices N or a 0/1 matrix NK."""
    from torch.nn import functional

    if multi_label:
        return lambda logits_NK, truth_NK: functional.binary_cross_entropy_with_logits(
            logits_NK, truth_NK.to(logits_NK.dtype)
        )
    return lambda logits_NK, truth_N: functional.cross_entropy(
        logits_NK, truth_N, label_smoothing=config.label_smoothing
    )


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _out_of_patience(config: TrainConfig, epoch: int, best_epoch: int) -> bool:
    return config.patience is not None and epoch - best_epoch > config.patience


def _figures(
    epoch: int, rate: float, losses: list[float], scored: Scored, seconds: float
) -> dict[str, float]:
    row = {"epoch": epoch + 1, "lr": rate, "train_loss": float(np.mean(losses))}
    row |= {f"val_{name}": value for name, value in metrics.summary(scored).items()}
    return row | {"seconds": round(seconds, 2)}


def _better(metric: str, row: dict[str, float], best: dict[str, float]) -> bool:
    key = f"val_{metric}"
    return row[key] < best[key] if metric == "loss" else row[key] > best[key]


def _report(row: dict[str, float], metric: str, epochs: int, *, is_best: bool) -> None:
    shown = "" if metric == "loss" else f", {metric} {row[f'val_{metric}']:.2f}"
    say(
        f"epoch {row['epoch']:.0f}/{epochs}: train loss {row['train_loss']:.3f}, validation loss "
        f"{row['val_loss']:.3f}{shown}, {row['seconds']:.0f} s{' (best so far)' if is_best else ''}"
    )


def refuse_other_settings(saved: Mapping[str, Any], config: TrainConfig, place: Path) -> None:
    """Going on with a run is going on with its settings.

    Raises:
        UserError: one of them is another now.
    """
    # A setting that an older version didn't have was what its default is.
    before = asdict(TrainConfig()) | dict(saved)
    changed = [k for k, v in asdict(config).items() if before[k] != v]
    if changed:
        raise UserError(
            f"{place} was made with another "
            f"{', '.join('--' + name.replace('_', '-') for name in changed)}; "
            "resume with the same settings, or start anew with --overwrite"
        )

"""The training loop: epochs of steps, the best epoch by validation, resumable after any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pocketlens.core import metrics
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import available_cores
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.scored import Scored
from pocketlens.progress import bar, say, warn
from pocketlens.training import checkpoint
from pocketlens.training.artifacts import write_history
from pocketlens.training.averaging import make_average
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import answers_of, distillation_loss
from pocketlens.training.freezing import set_training
from pocketlens.training.loader import epoch_batches, num_batches
from pocketlens.training.losses import make_loss
from pocketlens.training.mixing import Batch
from pocketlens.training.optimize import learning_rate, make_optimizer, momentum, set_rates
from pocketlens.training.precision import Precision, choose
from pocketlens.training.resuming import Progress, restore, state_of
from pocketlens.training.sampling import class_counts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainResult:
    """What training leaves: the best epoch's weights, and a row of figures an epoch."""

    state: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    unreadable: dict[str, str]
    precision: Precision


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
    teacher_NK: NDArray[np.float32] | None = None,
    threads: int | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Train a network and keep its best epoch.

    With `resume`, training goes on from the last checkpoint in `run_dir`, if there is one; else
    the first one that is saved takes its place. Each epoch's randomness (order, augmentation,
    dropout) is a function of the seed and the epoch alone, or stands in the checkpoint, so a
    resumed run gives the very weights of an uninterrupted one.

    Args:
        validate: scores a module on validation photos; photos it can't score are its business.
        data_hash: of the samples and their split, which must not change when a run is resumed:
            what was trained on could be tested on.
        teacher_NK: a teacher's logits for `examples`, in the order of their classes.
        threads: processor threads; all cores by default.
        on_epoch: is told each epoch's row of figures; what it raises gets out.

    Raises:
        UserError: the loss became NaN; the checkpoint belongs to other settings or data; no
            training photo can be read.
    """
    import torch

    torch.set_num_threads(threads or available_cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(module, config)
    average = None if config.ema is None else make_average(module, config.ema)
    task = examples.dataset.task
    loss_of = make_loss(config, task, class_counts(examples).tolist())
    steps = num_batches(len(examples), config.batch_size)
    metric = config.metric or metrics.DEFAULT_METRIC[task]
    unreadable: dict[str, str] = {}
    run = Progress()
    if resume and (saved := checkpoint.load(run_dir)) is not None:
        run = restore(saved, config, data_hash, run_dir, module, optimizer, average)

    is_saved = bool(run.history or run.step)

    def save() -> None:
        nonlocal is_saved
        checkpoint.save(run_dir, state_of(run, config, data_hash, module, optimizer, average))
        is_saved = True

    def loss_on(batch: Batch, net: torch.nn.Module, how: Precision) -> torch.Tensor:
        inputs = torch.from_numpy(batch.input_NCHW).to(device, memory_format=how.layout)
        with how.autocast(device):
            logits_NK = net(inputs)
        logits_NK = logits_NK.float()
        loss: torch.Tensor = loss_of(logits_NK, torch.from_numpy(batch.truth).to(device))
        if batch.partner is not None:
            other = loss_of(logits_NK, torch.from_numpy(batch.partner).to(device))
            loss = batch.share * loss + (1 - batch.share) * other
        if teacher_NK is None:
            return loss
        taught = torch.from_numpy(answers_of(batch, teacher_NK)).to(device)
        follow = distillation_loss(logits_NK, taught, task, config.temperature)
        return (1 - config.teacher_weight) * loss + config.teacher_weight * follow

    if run.precision is None:
        run.precision = Precision(config.precision) if config.precision != "auto" else None
    if run.precision is None:
        _, first = next(
            epoch_batches(
                examples,
                preprocess,
                config,
                epoch=0,
                workers=available_cores(),
                unreadable=unreadable.__setitem__,
            )
        )
        run.precision = choose(module, lambda net, how: loss_on(first, net, how), device)
    precision = run.precision
    module.to(device, memory_format=precision.layout)  # type: ignore[call-overload]
    with bar("training", config.epochs * steps) as advance:
        advance(len(run.history) * steps + run.step)
        for epoch in range(len(run.history), config.epochs):
            if _out_of_patience(config, epoch, run.best_epoch):
                say(f"stopped early: no better epoch since epoch {run.best_epoch + 1}")
                break
            began = last_saved = time.monotonic()
            if run.step == 0:  # else the checkpoint's random state is there
                torch.manual_seed(_epoch_seed(config.seed, epoch))
            set_training(module, head_only=epoch < config.freeze_epochs)
            batches = epoch_batches(
                examples,
                preprocess,
                config,
                epoch=epoch,
                start=run.step,
                workers=available_cores(),
                unreadable=unreadable.__setitem__,
            )
            waiting = False
            for number, batch in batches:
                rate = learning_rate(config, epoch * steps + number, steps)
                set_rates(optimizer, rate, momentum(config, epoch * steps + number, steps))
                loss = loss_on(batch, module, precision)
                run.losses.append(loss.item())
                if not math.isfinite(run.losses[-1]):
                    kept = f". The last good checkpoint stays in {run_dir}" if is_saved else ""
                    raise UserError(
                        f"the loss became {run.losses[-1]} at step {number + 1} of epoch "
                        f"{epoch + 1}; lower --lr{kept}"
                    )
                (loss / _group_size(config, number, steps)).backward()  # type: ignore[no-untyped-call]
                waiting = (number + 1) % config.accumulate != 0
                if not waiting:
                    _take_step(module, optimizer, average, config)
                    run.step = number + 1
                    if time.monotonic() - last_saved >= 60 * config.checkpoint_minutes:
                        run.seconds += time.monotonic() - began
                        began = time.monotonic()
                        save()
                        last_saved = time.monotonic()
                advance(1, f"epoch {epoch + 1}/{config.epochs} loss {np.mean(run.losses):.3f}")
            if waiting:
                _take_step(module, optimizer, average, config)
            if not run.losses:
                raise UserError("no training photo could be read; run `pocketlens check`")
            kept_module = module if average is None else average.module
            scored = validate(kept_module.eval())
            seconds = run.seconds + time.monotonic() - began
            rate = learning_rate(config, (epoch + 1) * steps - 1, steps)  # of the last step
            row = _figures(epoch, rate, run.losses, scored, seconds)
            # A tie goes to the earlier epoch.
            is_best = run.best_epoch < 0 or _better(metric, row, run.history[run.best_epoch])
            run.history.append(row)
            run.step, run.losses, run.seconds = 0, [], 0.0
            if is_best:
                run.best_epoch = epoch
                run.best = {
                    k: v.detach().cpu().clone() for k, v in kept_module.state_dict().items()
                }
            _report(row, metric, config.epochs, is_best=is_best)
            write_history(run_dir / "history.csv", run.history)
            if on_epoch is not None:
                on_epoch(row)
            save()
    for name, reason in list(unreadable.items())[:5]:
        warn(f"{name} was not used: {reason}")
    return TrainResult(run.best, run.history, run.best_epoch, unreadable, precision)


def _group_size(config: TrainConfig, number: int, steps: int) -> int:
    """Batches whose gradients make one step; at an epoch's end there may be fewer."""
    start = number - number % config.accumulate
    return min(config.accumulate, steps - start)


def _take_step(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: torch.optim.swa_utils.AveragedModel | None,
    config: TrainConfig,
) -> None:
    import torch

    if config.clip_grad is not None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_grad)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if average is not None:
        average.update_parameters(module)


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

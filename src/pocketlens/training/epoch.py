"""One epoch: its steps, then validation, the comparison with the best one, a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from pocketlens.core import metrics
from pocketlens.core.errors import UserError
from pocketlens.progress import Advance, say
from pocketlens.training import checkpoint
from pocketlens.training.artifacts import write_history
from pocketlens.training.config import TrainConfig
from pocketlens.training.freezing import set_training
from pocketlens.training.job import NO_PHOTO, Run
from pocketlens.training.loader import epoch_batches
from pocketlens.training.optimize import learning_rate, momentum, set_rates
from pocketlens.training.parallel import synced
from pocketlens.training.repeatable import torch_threads
from pocketlens.training.workers import Workers


def take_steps(run: Run, epoch: int, workers: Workers, advance: Advance) -> None:
    """The steps of one epoch that are not done yet."""
    world, job, learner, progress = run.world, run.job, run.learner, run.progress
    config, precision = job.config, progress.precision
    assert precision is not None
    began = last_saved = time.monotonic()
    taken = progress.seconds  # before an interruption
    if progress.step == 0:  # else the checkpoint's random state is there
        _seed_torch(config.seed, epoch, world.share.rank)
    set_training(learner.module, head_only=epoch < config.freeze_epochs)
    if job.before_epoch is not None:
        job.before_epoch(learner.module, epoch)
    net = precision.ready(world.wrap(learner.net))
    batches = epoch_batches(
        job.examples,
        job.photos,
        config,
        epoch=epoch,
        start=progress.step,
        workers=workers,
        unreadable=progress.unreadable.__setitem__,
        share=world.share,
    )
    waiting = False
    step_began, kept_before = time.perf_counter(), job.photos.num_kept
    for number, part in batches:
        batch, counts = world.completed(part, job.examples)
        if sum(counts) < 2 and len(job.examples) > 1:
            continue
        step = epoch * run.num_steps + number
        rate = learning_rate(config, step, run.num_steps)
        set_rates(learner.optimizer, rate, momentum(config, step, run.num_steps))
        with synced(world):
            loss = run.loss_of(net, batch, counts, precision, world)
        progress.losses.append(loss.item())
        _refuse_nan(run, epoch, number)
        share = world.scale / _group_size(config, number, run.num_steps)
        learner.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        waiting = (number + 1) % config.accumulate != 0
        if not waiting:
            learner.step(config)
            progress.step = number + 1
            now = time.monotonic()
            if world.from_first(now - last_saved >= 60 * config.checkpoint_minutes):
                progress.seconds = taken + now - began
                run.save()
                last_saved = time.monotonic()
        # A step that waited for photos to be decoded for good is not as later ones will be.
        if job.photos.num_kept == kept_before:
            workers.step_took(time.perf_counter() - step_began)
            progress.workers = workers.chosen
        step_began, kept_before = time.perf_counter(), job.photos.num_kept
        done = f"epoch {epoch + 1}/{config.epochs}, step {number + 1}/{run.num_steps}"
        text = f"{done}, loss {np.mean(progress.losses):.3f}"
        advance(1, text)
    if waiting:
        learner.step(config)
    if not progress.losses:
        raise UserError(NO_PHOTO)
    progress.seconds = taken + time.monotonic() - began


def close_epoch(run: Run, epoch: int) -> None:
    """Validate, compare with the best epoch so far, write."""
    world, job, progress = run.world, run.job, run.progress
    began = time.monotonic()
    row: dict[str, float] = {}
    if world.is_first:  # the others wait, so it may have all threads
        row = _validated(run)
    row = world.from_first(row)
    rate = learning_rate(job.config, (epoch + 1) * run.num_steps - 1, run.num_steps)
    losses = {"train_loss": float(np.mean(progress.losses))}
    took = {"seconds": round(progress.seconds + time.monotonic() - began, 2)}
    row = {"epoch": epoch + 1, "lr": rate} | losses | row | took
    history = progress.history
    is_best = progress.best_epoch < 0 or _better(run.metric, row, history[progress.best_epoch])
    history.append(row)
    progress.step, progress.losses, progress.seconds = 0, [], 0.0
    if is_best:
        progress.best_epoch = epoch
        state = run.learner.kept.state_dict()
        progress.best = {k: v.detach().cpu().clone() for k, v in state.items()}
    if world.is_first:
        _report(row, run.metric, job.config.epochs, is_best=is_best)
        write_history(job.run_dir / "history.csv", history)
        if job.on_epoch is not None:
            job.on_epoch(row)
    run.save()
    if world.is_first and job.config.keep_epochs:
        checkpoint.keep(job.run_dir, epoch + 1)


def _validated(run: Run) -> dict[str, float]:
    with torch_threads(run.threads):
        scored = run.job.validate(run.learner.kept.eval())
    return {f"val_{name}": value for name, value in metrics.summary(scored).items()}


def _refuse_nan(run: Run, epoch: int, number: int) -> None:
    loss = run.progress.losses[-1]
    if math.isfinite(loss):
        return
    raise UserError(
        f"the loss became {loss} at step {number + 1} of epoch {epoch + 1}; lower --lr{run.kept}"
    )


def _group_size(config: TrainConfig, number: int, steps: int) -> int:
    """Batches whose gradients make one step; at an epoch's end there may be fewer."""
    start = number - number % config.accumulate
    return min(config.accumulate, steps - start)


def _seed_torch(seed: int, epoch: int, rank: int) -> None:
    import torch

    words = [seed, epoch] if rank == 0 else [seed, epoch, rank]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))


def _better(metric: str, row: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """A tie goes to the earlier epoch."""
    key = f"val_{metric}"
    return row[key] < best[key] if metric == "loss" else row[key] > best[key]


def _report(row: Mapping[str, float], metric: str, epochs: int, *, is_best: bool) -> None:
    shown = "" if metric == "loss" else f", {metric} {row[f'val_{metric}']:.2f}"
    say(
        f"epoch {row['epoch']:.0f}/{epochs}: train loss {row['train_loss']:.3f}, validation loss "
        f"{row['val_loss']:.3f}{shown}, {row['seconds']:.0f} s{' (best so far)' if is_best else ''}"
    )

"""The training loop: epochs of steps, the best epoch by validation, resumable after any step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pocketlens.core import metrics
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import available_cores
from pocketlens.progress import bar, say, warn
from pocketlens.training import checkpoint
from pocketlens.training.allocator import kept_memory
from pocketlens.training.epoch import close_epoch, take_steps
from pocketlens.training.job import NO_PHOTO, Job, Run
from pocketlens.training.learner import make_learner, make_loss_of
from pocketlens.training.loader import ALONE, epoch_batches, num_batches
from pocketlens.training.parallel import World, alone, launch
from pocketlens.training.precision import Precision, choose
from pocketlens.training.repeatable import repeatable, torch_threads
from pocketlens.training.resuming import Progress, restore, result_of
from pocketlens.training.workers import Workers

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


def train_network(job: Job) -> TrainResult:
    """Train a network and keep its best epoch.

    With `resume`, training goes on from the last checkpoint in `run_dir`, if there is one; else
    the first one that is saved takes its place. Each epoch's randomness (order, augmentation,
    dropout) is a function of the seed and the epoch alone, or stands in the checkpoint, so a
    resumed run gives the very weights of an uninterrupted one.

    Raises:
        UserError: the loss became NaN; the checkpoint belongs to other settings or data; no
            training photo can be read; one of several processes ended.
    """
    threads = job.threads or available_cores()
    if job.config.devices == 1:
        run = _train(alone(), job, threads)
    else:
        told, sent = job.on_epoch, replace(job, on_epoch=None)  # a call can't be sent
        launch(job.config.devices, _train, sent, threads, going_on=job.run_dir)
        run = result_of(job.run_dir)
        if told is not None:
            for row in run.history:
                told(row)
    for name, reason in list(run.unreadable.items())[:5]:
        warn(f"{name} was not used: {reason}")
    assert run.precision is not None
    return TrainResult(run.best, run.history, run.best_epoch, run.unreadable, run.precision)


def _train(world: World, job: Job, threads: int) -> Progress:
    """All epochs, in one process of perhaps several."""
    own = torch_threads(max(1, threads // world.share.size))
    with own, repeatable(on=job.config.deterministic), kept_memory():
        run = _begin(world, job, threads)
        _choose_precision(run)
        _epochs(run)
    return run.progress


def _begin(world: World, job: Job, threads: int) -> Run:
    config, examples = job.config, job.examples
    learner = make_learner(job.module, job.photos.preprocess, config, job.teaching, world.device)
    run = Run(
        world,
        job,
        learner,
        make_loss_of(examples, config, job.teaching),
        threads,
        num_batches(len(examples), config.batch_size),
        config.metric or metrics.DEFAULT_METRIC[examples.dataset.task],
    )
    if job.resume and (saved := checkpoint.load(job.run_dir)) is not None:
        run.progress = restore(saved, config, job.data_hash, job.run_dir, learner, world)
        within = f", batch {run.progress.step}" if run.progress.step else ""
        _tell(world, f"going on after epoch {len(run.progress.history)} of {config.epochs}{within}")
    return run


def _choose_precision(run: Run) -> None:
    """What was asked for, or what a few steps say; the first process decides for all."""
    world, config, progress, learner = run.world, run.job.config, run.progress, run.learner
    if progress.precision is None and config.precision != "auto":
        progress.precision = Precision(config.precision)
    elif progress.precision is None:
        found = None
        if world.is_first:
            one = replace(world, share=ALONE)
            workers = Workers(available_cores(), chosen=available_cores())
            batches = epoch_batches(
                run.job.examples,
                run.job.photos,
                config,
                epoch=0,
                workers=workers,
                unreadable=progress.unreadable.__setitem__,
            )
            if (first := next(batches, None)) is None:
                raise UserError(NO_PHOTO)
            counts = [len(first[1].input_NCHW)]

            def loss_of(net: torch.nn.Module, how: Precision) -> torch.Tensor:
                return run.loss_of(net, first[1], counts, how, one)

            num_steps = config.epochs * run.num_steps
            found = choose(learner.net, loss_of, world.device, num_steps)
        progress.precision = world.from_first(found)
    assert progress.precision is not None
    learner.scaler = progress.precision.scaler(world.device, progress.scaler)
    for module in (learner.net, learner.kept):
        module.to(world.device, memory_format=progress.precision.layout)  # type: ignore[call-overload]


def _epochs(run: Run) -> None:
    config, progress = run.job.config, run.progress
    cores = max(1, available_cores() // run.world.share.size)
    workers = Workers(cores, chosen=config.workers or progress.workers)
    with bar("training", config.epochs * run.num_steps) as advance:
        advance(len(progress.history) * run.num_steps + progress.step)
        for epoch in range(len(progress.history), config.epochs):
            if config.patience is not None and epoch - progress.best_epoch > config.patience:
                best = progress.best_epoch + 1
                _tell(run.world, f"stopped early: no better epoch since epoch {best}")
                return
            take_steps(run, epoch, workers, advance)
            close_epoch(run, epoch)


def _tell(world: World, text: str) -> None:
    if world.is_first:
        say(text)

"""What is to be trained, and where a process stands with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.scored import Scored
from pocketlens.training import checkpoint
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import Teaching
from pocketlens.training.learner import Learner, LossOf
from pocketlens.training.parallel import World
from pocketlens.training.photos import Photos
from pocketlens.training.resuming import Progress, state_of

if TYPE_CHECKING:
    import torch

NO_PHOTO: Final = "no training photo could be read; run `pocketlens check`"


@dataclass(frozen=True)
class Job:
    """What is to be trained on what; it may be sent to other processes.

    Attributes:
        validate: scores a module on validation photos; photos it can't score are its business.
        data_hash: of the samples and their split, which must not change when a run is resumed:
            what was trained on could be tested on.
        on_epoch: is told each epoch's row of figures, and what it raises gets out; by several
            processes when they are done.
        before_epoch: is called with the module, which is in training mode, and the epoch's number.
    """

    module: torch.nn.Module
    examples: Examples
    photos: Photos
    config: TrainConfig
    validate: Callable[[torch.nn.Module], Scored]
    run_dir: Path
    resume: bool = False
    data_hash: str = ""
    teaching: Teaching | None = None
    threads: int | None = None
    on_epoch: Callable[[Mapping[str, float]], None] | None = None
    before_epoch: Callable[[torch.nn.Module, int], None] | None = None


@dataclass
class Run:
    """One process's training, from its first step or a checkpoint on.

    Attributes:
        threads: processor threads of all processes together.
        num_steps: batches an epoch.
        metric: what the best epoch is chosen by.
    """

    world: World
    job: Job
    learner: Learner
    loss_of: LossOf
    threads: int
    num_steps: int
    metric: str
    progress: Progress = field(default_factory=Progress)

    @property
    def kept(self) -> str:
        """For messages: what there is to go on from."""
        if not self.progress.is_saved:
            return ""
        return f". The last good checkpoint stays in {self.job.run_dir}"

    def save(self) -> None:
        """Write a checkpoint; all processes must ask for it.

        Raises:
            UserError: the weights are no numbers any more; the last checkpoint stays.
        """
        for values in self.learner.module.state_dict().values():
            if values.is_floating_point() and not values.isfinite().all():
                raise UserError(f"the weights became NaN or infinite; lower --lr{self.kept}")
        state = state_of(
            self.progress, self.job.config, self.job.data_hash, self.learner, self.world
        )
        if self.world.is_first:
            checkpoint.save(self.job.run_dir, state)
        self.progress.is_saved = True

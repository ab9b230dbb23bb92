"""What learns: the network, its optimiser, the moving average, and a step of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.examples import Examples
from pocketlens.core.preprocess import Preprocess
from pocketlens.training.averaging import make_average
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import Teaching, answers_of, distillation_loss, hint_loss
from pocketlens.training.losses import make_loss
from pocketlens.training.mixing import Batch
from pocketlens.training.optimize import make_optimizer
from pocketlens.training.parallel import World
from pocketlens.training.precision import Precision
from pocketlens.training.sampling import class_counts

if TYPE_CHECKING:
    import torch

    from pocketlens.training.net import Net

#: Loss of a network on a batch that is complete, whose parts have these lengths.
LossOf = Callable[["torch.nn.Module", Batch, list[int], Precision, World], "torch.Tensor"]


@dataclass
class Learner:
    """All that a step changes.

    Attributes:
        net: the network with what learns along and is thrown away afterwards.
        average: of the weights; None where it isn't asked for.
        scaler: of the loss; it does nothing but for float16.
    """

    net: Net
    optimizer: torch.optim.Optimizer
    average: torch.optim.swa_utils.AveragedModel | None
    scaler: torch.amp.GradScaler

    @property
    def module(self) -> torch.nn.Module:
        """The network that is trained."""
        return self.net.module

    @property
    def kept(self) -> torch.nn.Module:
        """The network that is validated and kept."""
        if self.average is None:
            return self.module
        module: torch.nn.Module = self.average.module
        return module

    def step(self, config: TrainConfig) -> None:
        """Use the gradients that were added up."""
        import torch

        if config.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.module)


def make_learner(
    module: torch.nn.Module,
    preprocess: Preprocess,
    config: TrainConfig,
    teaching: Teaching | None,
    device: torch.device,
) -> Learner:
    """A network ready to learn.

    Raises:
        UserError: a layer of `--teacher-features` isn't there.
    """
    import torch

    from pocketlens.training.net import Net

    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers = [] if teaching is None else teaching.layers
    widths = [] if teaching is None else [f.shape[1] for f in teaching.features]
    with torch.random.fork_rng():  # what learns along starts alike in each process and run
        torch.manual_seed(config.seed)
        net = Net(module, layers, widths, (preprocess.height, preprocess.width)).to(device)
    average = None if config.ema is None else make_average(module, config.ema)
    optimizer = make_optimizer(module, config)
    if layers:
        optimizer.add_param_group({"params": list(net.hints.parameters()), "weight_decay": 0.0})
    return Learner(net, optimizer, average, Precision().scaler(device))


def make_loss_of(examples: Examples, config: TrainConfig, teaching: Teaching | None) -> LossOf:
    """The loss of a whole batch: of its labels, and of the teacher's answers and features.

    Raises:
        UserError: the loss is not one for this task.
    """
    import torch

    task = examples.dataset.task
    criterion = make_loss(config, task, class_counts(examples).tolist())

    def loss_of(
        net: torch.nn.Module, batch: Batch, counts: list[int], how: Precision, world: World
    ) -> torch.Tensor:
        def given(values: NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(values).to(world.device)

        inputs = torch.from_numpy(batch.input_NCHW).to(world.device, memory_format=how.layout)
        with how.autocast(world.device):
            logits_NK, features = net(inputs)
        logits_NK = world.whole(logits_NK.float(), counts)
        loss: torch.Tensor = criterion(logits_NK, given(batch.truth))
        if batch.partner is not None:
            other = criterion(logits_NK, given(batch.partner))
            loss = batch.share * loss + (1 - batch.share) * other
        if teaching is None:
            return loss
        taught = given(answers_of(batch, teaching.logits_NK))
        follow = distillation_loss(logits_NK, taught, task, config.temperature)
        loss = (1 - config.teacher_weight) * loss + config.teacher_weight * follow
        for own, theirs in zip(features, teaching.features, strict=True):
            wanted = given(answers_of(batch, theirs))
            loss = loss + config.feature_weight * hint_loss(world.whole(own, counts), wanted)
        return loss

    return loss_of

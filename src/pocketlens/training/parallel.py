"""Several processes that train one network: each computes its part of every batch.

torchrun's agent starts them and stops all when one dies; Accelerate sets up the devices and wraps
the network (DDP). The result is that of one process with the same batches, but for the order in
which floats are added: the loss is that of the whole batch, and batch norm sees the whole batch.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import available_cores
from pocketlens.extras import require
from pocketlens.training.config import TrainConfig
from pocketlens.training.loader import Share
from pocketlens.training.mixing import Batch
from pocketlens.training.precision import refuse

if TYPE_CHECKING:
    import torch

#: A process that waits for the first one's validation waits for no longer than this.
_PATIENCE: Final = timedelta(hours=24)
_FAILURE: Final = "failure.json"


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees them.

    Attributes:
        share: which of them this is, and how many there are.
        device: where this one computes.
        accelerator: Accelerate's, where there are several.
    """

    share: Share
    device: torch.device
    accelerator: Any = None

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.share.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that validates, writes and speaks."""
        return self.share.rank == 0

    def wrap(self, net: torch.nn.Module) -> torch.nn.Module:
        """A network whose gradients become the mean over all processes."""
        if self.is_alone:
            return net
        self.accelerator.free_memory()  # of the epoch before; it would keep all
        wrapped: torch.nn.Module = self.accelerator.prepare_model(net)
        return wrapped

    def from_first(self, value: Any) -> Any:
        """What the first process has."""
        if self.is_alone:
            return value
        from torch.distributed import broadcast_object_list

        box = [value]
        broadcast_object_list(box, src=0)
        return box[0]

    def of_all(self, value: Any) -> list[Any]:
        """What each process has, in their order."""
        if self.is_alone:
            return [value]
        from torch.distributed import all_gather_object

        values: list[Any] = [None] * self.share.size
        all_gather_object(values, value)
        return values

    def completed(self, batch: Batch, examples: Examples) -> tuple[Batch, list[int]]:
        """The batch with truth and rows of all processes' parts, and the length of each part."""
        counts = [len(batch.input_NCHW)]
        if self.is_alone:
            return batch, counts
        assert batch.rows is not None
        if batch.partner is not None or len(batch.rows) != len(batch.input_NCHW):
            return batch, self.of_all(counts[0])  # mixed: it is whole already
        rows: list[NDArray[np.int64]] = self.of_all(batch.rows)
        together = np.concatenate(rows)
        whole = batch._replace(truth=examples.truth[together], rows=together)
        return whole, [len(part) for part in rows]

    def whole(self, values: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Rows of all processes in their order; gradients flow to this one's own.

        Each process has the same loss of the same rows, and the gradient of its own part of it;
        `scale` makes their mean the gradient of the whole.
        """
        if self.is_alone:
            return values
        import torch
        from torch.distributed import all_gather

        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        all_gather(parts, padded)
        kept = [part[:count] for part, count in zip(parts, counts, strict=True)]
        kept[self.share.rank] = values
        return torch.cat(kept)

    @property
    def scale(self) -> int:
        """What a loss is multiplied by before `backward`, since gradients are averaged."""
        return self.share.size


def alone() -> World:
    """One process, on the graphics card if there is one."""
    import torch

    return World(Share(), torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def check_machine(config: TrainConfig) -> None:
    """Whether this machine can train so, before any photo is read.

    Raises:
        UserError: there are fewer graphics cards or cores, or none that computes in this format.
        MissingExtraError: Accelerate isn't installed.
    """
    require("torch", extra="train")
    refuse(config.precision, alone().device)
    devices = config.devices
    if devices == 1:
        return
    require("accelerate", extra="train")
    import torch

    cards, cores = torch.cuda.device_count(), available_cores()
    if cards and devices > cards:
        raise UserError(f"--devices {devices}: there are {cards} graphics cards here")
    if not cards and devices > cores:
        raise UserError(f"--devices {devices}: there are {cores} processor cores here")


@contextmanager
def synced(world: World) -> Iterator[None]:
    """Batch norm over all processes' parts of a batch, for the time of the block."""
    if world.is_alone:
        yield
        return
    from pocketlens.training._synced import SyncedBatchNorm

    with SyncedBatchNorm():
        yield


def launch(devices: int, work: Callable[..., Any], *arguments: Any, going_on: Path) -> None:
    """Call `work(world, *arguments)` in so many processes and wait for all.

    Args:
        work: a function of a module, since each process looks it up anew.
        going_on: where the last checkpoint is, for messages.

    Raises:
        UserError: what the first process raised, or which process ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="pocketlens-") as name, _quiet():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            run_id=uuid.uuid4().hex,
            logs_specs=DefaultLogsSpecs(log_dir=name),
        )
        try:
            elastic_launch(config, _enter)(name, work, arguments)
        except SignalException as error:
            raise KeyboardInterrupt from error
        except ChildFailedError as error:
            failure = Path(name) / _FAILURE
            if failure.exists():
                raise UserError(json.loads(failure.read_text("utf-8"))) from error
            rank, first = error.get_first_failure()
            if first.exitcode > 0:  # by an exception that is no user's
                raise RuntimeError(f"process {rank + 1} of {devices}: {_message(first)}") from error
            raise UserError(
                f"process {rank + 1} of {devices} ended (signal "
                f"{signal.Signals(-first.exitcode).name}), so all were stopped; "
                f"the last checkpoint stays in {going_on}, go on with --resume"
            ) from error


def _enter(folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What each process does first."""
    # The agent stops its processes itself; Ctrl-C, or its death, must leave no traceback of each.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=_PATIENCE),
            DistributedDataParallelKwargs(broadcast_buffers=False),  # they are equal by themselves
        ],
    )
    share = Share(accelerator.process_index, accelerator.num_processes)
    if share.rank > 0:  # the first one speaks for all
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    world = World(share, accelerator.device, accelerator)
    try:
        work(world, *arguments)
    except UserError as error:
        if world.is_first:
            (Path(folder) / _FAILURE).write_text(json.dumps(str(error)), "utf-8")
        raise
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _message(failure: Any) -> str:
    """What a process raised, with its traceback where the agent has it."""
    message = failure.message
    if not isinstance(message, dict):
        return str(message)
    trace = (message.get("extraInfo") or {}).get("py_callstack", "")
    return str(trace or message.get("message", ""))


@contextmanager
def _quiet() -> Iterator[None]:
    """The agent's own log says in many lines what one line of ours says."""
    before, cores = logging.root.manager.disable, os.environ.get("OMP_NUM_THREADS")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # else the agent sets it, with a warning
    try:
        yield
    finally:
        logging.disable(before)
        if cores is None:
            os.environ.pop("OMP_NUM_THREADS", None)

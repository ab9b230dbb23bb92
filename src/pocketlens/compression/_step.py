"""What every compression method is handed, and how it leaves its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.session import Input, Session
from pocketlens.core.split import Split
from pocketlens.extras import versions

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

    from pocketlens.compression._tuning import Tuning


@dataclass(frozen=True)
class Calibration:
    """Photos that ranges are found on: class-balanced training photos, or others that were named.

    Attributes:
        batches: gives `input_NCHW` batches through the whole preprocessing, each time anew, so
            that nothing needs to be kept.
        num_images: how many photos there are; some may turn out to be unreadable.
        source: where they come from, for the lineage.
        split: the bundle's split, with these photos marked where they are in no part.
        choice: how they were chosen among those that could be had.
        pool_hash: hash of those.
    """

    batches: Callable[[], Iterator[NDArray[np.float32]]]
    num_images: int
    source: str
    split: Split
    choice: str = "random"
    pool_hash: str = ""


@dataclass(frozen=True)
class Tuned:
    """What came of training a network on.

    Attributes:
        state: the better of the start's and the best epoch's weights, by validation photos.
        start, best: their score, in percent; `best` is the start's where no epoch was better.
        kept_start: whether the start was the better one.
        facts: lines for the lineage.
    """

    state: dict[str, torch.Tensor]
    start: float
    best: float
    kept_start: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


class Train(Protocol):
    """Trains a network on the bundle's training photos, taught by the float model."""

    def __call__(
        self,
        module: torch.nn.Module,
        tuning: Tuning,
        *,
        before_epoch: Callable[[torch.nn.Module, int], None] | None = None,
        keep_start: bool = True,
        name: str = "",
    ) -> Tuned:
        """Train on, validating after each epoch, and put the better state into `module`.

        Args:
            module: input NCHW -> logits NK; it starts with weights worth starting from.
            before_epoch: is called with the module and the epoch's number (from 0) when the
                module was put into training mode: what is frozen late is frozen there.
            keep_start: the start is validated too, and kept where no epoch is better.
            name: of the run among several of one step; its checkpoint is found by it.
        """


@dataclass(frozen=True)
class Context:
    """What a method may use beside the bundle and its own options.

    Attributes:
        out: directory of the new bundle.
        calibration: photos by number and seed; raises a `UserError` where none were named. The
            result's split and lineage tell of them without the method's doing.
        train: trains a module; raises a `UserError` where no data was named.
        score: of a session on the validation photos, by the bundle's metric, in percent; raises a
            `UserError` where there are none.
        operations: parameters and multiply-adds of a module for this bundle's input.
        latency: milliseconds of one photo for each of some bundles, measured in turns.
        work: a directory that stays when the step is interrupted.
        cache: directory of what may be found again by a later call.
        cpu_flags: what this processor can do that INT8 depends on (`avx512_vnni` and the like).
    """

    out: Path
    overwrite: bool
    calibration: Callable[[int, int], Calibration]
    train: Train
    score: Callable[[Session], float]
    operations: Callable[[torch.nn.Module], tuple[int, int]]
    latency: Callable[[Mapping[str, Path]], Mapping[str, float]]
    work: Path
    cache: Path
    cpu_flags: tuple[str, ...] = ()


def finish(
    bundle: Bundle,
    context: Context,
    method: str,
    config: DataclassInstance,
    files: Mapping[str, Path | bytes],
    *,
    runtime: str,
    precision: str,
    facts: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    input: Input | None = None,
    packages: tuple[str, ...] = ("onnx", "onnxruntime", "torch"),
) -> Bundle:
    """Write the result as a child of `bundle`: same classes, same preprocessing.

    Args:
        facts: further lines for the lineage's configuration.
        model, input: of the manifest, where they are not the parent's.
        packages: whose versions the lineage names.
    """
    lineage = bundle.child_lineage(method, {**asdict(config), **(facts or {})}, versions(*packages))
    # The parent's scores are not the child's; by which metric it is judged stays.
    metric = {k: v for k, v in bundle.manifest.metrics.items() if k == "metric"}
    manifest = replace(
        bundle.manifest,
        runtime=runtime,
        backend=None,  # what is compressed is measured, and so made, for the processor
        precision=precision,
        lineage=lineage,
        metrics=metric,
        model=bundle.manifest.model if model is None else model,
        input=bundle.manifest.input if input is None else input,
    )
    return write_bundle(
        context.out,
        manifest,
        files,
        split=bundle.split,
        overwrite=context.overwrite,
    )


def finish_network(
    bundle: Bundle,
    context: Context,
    method: str,
    config: DataclassInstance,
    module: torch.nn.Module,
    *,
    family_config: Mapping[str, Any],
    name: str | None = None,
    family: str | None = None,
    facts: Mapping[str, Any] | None = None,
    packages: tuple[str, ...] = ("torch", "timm"),
) -> Bundle:
    """Write a float network that was changed as a child of `bundle`.

    Args:
        module: its weights are stored.
        family_config: options of the network's family by which it is built again.
        name, family: of the network, where they are not the parent's.
    """
    from safetensors.torch import save

    params, macs = context.operations(module)
    model = {
        **bundle.manifest.model,
        "family": family or bundle.manifest.model["family"],
        "name": name or bundle.manifest.model["name"],
        "config": dict(family_config),
        "params": params,
        "macs": macs,
    }
    weights = save({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})
    return finish(
        bundle,
        context,
        method,
        config,
        {"model.safetensors": weights},
        runtime="torch",
        precision="float32",
        facts=facts,
        model=model,
        packages=packages,
    )

"""What PyTorch's INT8 methods share: calibrating, training, a bundle that reopens alike."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pocketlens import plugins
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.compression._tuning import Tuning, check_num_images, check_tuning
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError, DataError, UserError
from pocketlens.progress import say

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

#: The method's result opened again holds the same numbers, and must answer as it did: root mean
#: square of the difference over that of the logits. Where a program computes in float between its
#: steps, the order of its sums, which the layout in memory decides, turns a rounding now and then.
_TOLERANCE: Final = 0.02


@dataclass(frozen=True)
class Observed:
    """How PyTorch's static methods find ranges."""

    ranges: Literal["histogram", "minmax"] = "histogram"
    """How activation ranges follow from the calibration photos: where a histogram's error is
    least, or all that was seen."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_num_images(self.num_images, self.seed)


@dataclass(frozen=True)
class QuantizedTuning(Tuning):
    """How to train with fake quantization."""

    ranges: Literal["histogram", "minmax"] = "histogram"
    """How activation ranges follow from the calibration photos: where a histogram's error is
    least, or all that was seen."""

    observe: float = 0.67
    """Share of the epochs in which activation ranges still follow; then they stay as they are."""

    batch_statistics: float = 0.67
    """Share of the epochs in which batch norm uses each batch's own figures; then it is frozen."""

    num_images: int = 256
    """Calibration photos, class-balanced: training starts from the ranges that they give."""

    def __post_init__(self) -> None:
        check_tuning(self)
        check_num_images(self.num_images, self.seed)
        for name in ("observe", "batch_statistics"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name.replace('_', '-')} must be between 0 and 1")


def needs_reduced_range(cpu_flags: tuple[str, ...]) -> bool:
    """Whether this processor adds products of 8 bits in 16, which 8-bit activations overflow.

    torch's kernels use VNNI of AVX-512 alone; ARM's are exact in any case.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return x86 and "avx512_vnni" not in cpu_flags


def calibrate(network: torch.nn.Module, calibration: Calibration) -> int:
    """Show the calibration photos to a prepared network; returns how many could be read.

    Where it has fake quantization, its observers alone are at work meanwhile, and afterwards its
    ranges are those they found.

    Raises:
        DataError: none can be read.
    """
    import torch

    num_used = 0
    with torch.no_grad():
        for input_NCHW in calibration.batches():
            network(torch.from_numpy(input_NCHW))
            num_used += len(input_NCHW)
    if not num_used:
        raise DataError(f"none of {calibration.num_images} calibration photos can be read")
    return num_used


def calibrate_for_training(
    network: torch.nn.Module, calibration: Calibration, moving_average: Any
) -> int:
    """Find the ranges of a network that was prepared for training, as `calibrate` does.

    The observers that find them are slow, so they stand alone in the place of fake quantization
    meanwhile, and then give way to moving averages that start from what was found.

    Args:
        moving_average: makes an observer for training of the same integers as another one.
    """
    import torch

    places = [
        (parent, name, child)
        for parent in list(network.modules())
        for name, child in parent.named_children()
        if hasattr(child, "fake_quant_enabled")
    ]
    ranges = [place for place in places if not place[2].is_per_channel]
    for _, _, fake in places:
        fake.disable_fake_quant()  # type: ignore[operator]
    for parent, name, fake in ranges:
        setattr(parent, name, fake.activation_post_process)
    num_used = calibrate(network, calibration)
    for parent, name, fake in ranges:
        setattr(parent, name, fake)
        fake.activation_post_process = _settled(fake, moving_average)
    for _, _, fake in places:
        fake.enable_fake_quant()  # type: ignore[operator]
        scale, zero_point = fake.calculate_qparams()  # type: ignore[operator]
        fake.scale.resize_(scale.shape).copy_(scale)  # type: ignore[operator]
        fake.zero_point.resize_(zero_point.shape).copy_(zero_point)  # type: ignore[operator]
    if not all(bool(torch.isfinite(fake.scale).all()) for _, _, fake in places):  # type: ignore[arg-type]
        raise UserError("calibration gave a range without end: the network answers with NaN")
    return num_used


def _settled(fake: Any, moving_average: Any) -> Any:
    """A moving average that gives the scale which the observer of a fake quantization gives."""
    observer = fake.activation_post_process
    made = moving_average(observer)
    if not observer.min_val.numel() or observer.min_val > observer.max_val:
        made.min_val.resize_(()).zero_()  # the layer was never reached
        made.max_val.resize_(()).zero_()
        return made
    scale, zero_point = observer.calculate_qparams()
    zero_point = zero_point.to(scale.dtype)
    made.min_val.resize_(()).copy_(((observer.quant_min - zero_point) * scale).reshape(()))
    made.max_val.resize_(()).copy_(((observer.quant_max - zero_point) * scale).reshape(()))
    return made


def student(network: torch.nn.Module, way: Any) -> torch.nn.Module:
    """A network with fake quantization as training wants it: modes that mean what they say.

    In evaluation mode no range moves. In training mode ranges and batch norm follow until
    `freeze` is told otherwise.

    Args:
        way: the flow, which knows how its networks are put into a mode.
    """
    import torch

    class Student(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.observing = True
            self.frozen = False

        def forward(self, input_NCHW: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(input_NCHW)
            return logits

        def freeze(self, *, ranges: bool, statistics: bool) -> None:
            """Keep activation ranges, or batch norm's running figures, as they are."""
            self.observing, self.frozen = not ranges, statistics
            self.train(self.training)

        def train(self, mode: bool = True) -> Student:
            # Not passed on: exported programs refuse it, and have a way of their own.
            self.training = mode
            way.switch(self.network, training=mode, frozen=self.frozen)
            for part in self.network.modules():
                if hasattr(part, "fake_quant_enabled"):
                    part.enable_observer(mode and self.observing)  # type: ignore[operator]
            return self

    return Student().eval()


def train_quantized(
    prepared: torch.nn.Module, config: QuantizedTuning, context: Context, way: Any
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train a calibrated network; what is kept is not worse, once converted, than its start.

    Args:
        prepared: with fake quantization, calibrated.

    Returns:
        The converted network, and lines for the lineage.
    """
    runtime = plugins.load("runtimes", "torch-int8")
    started = way.convert(prepared)
    learner = student(prepared, way)
    late = config.observe * config.epochs, config.batch_statistics * config.epochs

    def before_epoch(module: Any, epoch: int) -> None:
        module.freeze(ranges=epoch >= late[0], statistics=epoch >= late[1])

    tuned = context.train(learner, config, before_epoch=before_epoch)
    facts = dict(tuned.facts)
    if tuned.kept_start:
        return started, {**facts, "kept": "start"}
    # Integer kernels round where fake quantization doesn't: what is shipped is compared.
    converted = way.convert(learner.network)
    before, after = (context.score(runtime.session_of(net)) for net in (started, converted))
    facts |= {"int8_start": before, "int8_trained": after}
    if after < before:
        say(
            f"in integers the trained network scores {after:.2f}, its start {before:.2f}: the "
            "start stays"
        )
        return started, {**facts, "kept": "start"}
    say(f"in integers: {after:.2f} after training, {before:.2f} before, on validation photos")
    return converted, {**facts, "kept": "trained"}


def finish_int8(
    bundle: Bundle,
    context: Context,
    method: str,
    config: DataclassInstance,
    converted: torch.nn.Module,
    *,
    quantization: Mapping[str, Any],
    calibration: Calibration,
    facts: Mapping[str, Any],
    packages: tuple[str, ...] = ("torch", "timm"),
) -> Bundle:
    """Write a converted network, and make sure that it answers alike when it is opened again.

    Args:
        quantization: how it was quantized, for `manifest.model`.

    Raises:
        BundleError: it doesn't.
    """
    from safetensors.torch import save

    runtime = plugins.load("runtimes", "torch-int8")
    way = runtime.flow(quantization["flow"])
    packed = way.pack(converted)
    weights = save(packed)
    made = finish(
        bundle,
        context,
        method,
        config,
        {"model.safetensors": weights},
        runtime="torch-int8",
        precision="int8",
        facts=facts,
        model={**bundle.manifest.model, "quantization": dict(quantization)},
        packages=packages,
    )
    example = next(calibration.batches())
    expected = runtime.session_of(converted)(example)
    again = runtime.restore(made)
    found = runtime.session_of(again)(example)
    difference = float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))
    if not _are_equal(packed, way.pack(again)) or not difference <= _TOLERANCE:  # NaN too
        shutil.rmtree(made.path)
        raise BundleError(
            f"{bundle.path}: the INT8 network answers differently when it is opened again (by "
            f"{100 * difference:.2g} %), so nothing was written; onnx-static can quantize it"
        )
    return made


def _are_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    same = ((a, other.get(name)) for name, a in one.items())
    return one.keys() == other.keys() and all(b is not None and a.equal(b) for a, b in same)

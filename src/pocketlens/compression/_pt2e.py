"""What the two methods of the exported program (PT2E) share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pocketlens import plugins
from pocketlens.compression._int8 import Observed, QuantizedTuning, needs_reduced_range
from pocketlens.compression._step import Calibration, Context
from pocketlens.core.bundle import Bundle

if TYPE_CHECKING:
    import torch

PACKAGES: Final = ("torch", "torchao", "executorch", "timm")


@dataclass(frozen=True)
class ForKernels:
    """Whose integer kernels the result is for."""

    quantizer: Literal["x86", "xnnpack"] = "x86"
    """Whose kernels it is for: torch's on x86, or XNNPACK's on phones (extra `executorch`)."""


class Prepared(NamedTuple):
    """A network with observers, or with fake quantization.

    Attributes:
        way: the flow that converts it.
        quantization: how it is quantized, for the manifest.
    """

    network: torch.nn.Module
    way: Any
    calibration: Calibration
    quantization: dict[str, Any]


def prepare(
    bundle: Bundle, config: Observed | QuantizedTuning, context: Context, *, train: bool
) -> Prepared:
    """Export a bundle's network, and make it ready to be calibrated.

    Args:
        config: with the fields of `ForKernels`.

    Raises:
        UserError: no calibration photos, or a network that PyTorch can't export.
        MissingExtraError: torchao, or executorch for `xnnpack`, isn't installed.
    """
    assert isinstance(config, ForKernels)
    way = plugins.load("runtimes", "torch-int8").flow("pt2e")
    way.require_for(config.quantizer)
    reduce_range = config.quantizer == "x86" and needs_reduced_range(context.cpu_flags)
    calibration = context.calibration(config.num_images, config.seed)
    side = bundle.manifest.preprocess
    network = way.prepare(
        plugins.load("runtimes", "torch").restore(bundle),
        (side.height, side.width),
        quantizer=config.quantizer,
        ranges=config.ranges,
        reduce_range=reduce_range,
        train=train,
    )
    described = way.description(config.quantizer, reduce_range=reduce_range, train=train)
    return Prepared(network, way, calibration, described)

"""Quantization of exported programs (PT2E) by torchao, for its x86 or ExecuTorch's XNNPACK kernels.

What torchao 0.18 gets wrong when such a program is trained is put right here. Batch norm next to a
convolution is rewritten with an epsilon of 1e-5 and a momentum of 0.1 whatever it had, and into
training mode whatever was asked for; switching modes rewrites dropout and batch norm from patterns,
with the patterns' numbers instead of their own; and folding batch norm into the weights takes that
epsilon again, half a minute, and for x86 gives other answers than were trained. A network whose
epsilon is 1e-3 (EfficientNet, MobileNet) then computes something else. So numbers are kept, modes
switched and batch norm folded in the program's own steps.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import BundleError, UserError
from pocketlens.extras import require
from pocketlens.runtimes._program import (
    fold_norms,
    get_tensor,
    norms,
    pack,
    set_epsilon,
    switch,
    unpack,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "QUANTIZERS",
    "convert",
    "description",
    "moving_average",
    "pack",
    "prepare",
    "rebuild",
    "require_for",
    "switch",
    "unpack",
]

#: Whose kernels the program is for -> the extra that brings the rules.
QUANTIZERS: Final = {"x86": "torchao", "xnnpack": "executorch"}

#: Smallest scales. torchao's 2^-12 for weights leaves channels of small weights a few bits.
_EPS: Final = {"activations": 2.0**-16, "weights": 2.0**-24}
#: Scales of batch norm nearer to zero than this would be divided by as if they were zero.
_LEAST_GAMMA: Final = 1e-5


def require_for(quantizer: str) -> None:
    """What a quantizer needs.

    Raises:
        MissingExtraError: it isn't installed.
    """
    with quiet():
        require("torchao", extra="torchao")
        if quantizer == "xnnpack":
            require("executorch", extra=QUANTIZERS[quantizer])


def prepare(
    module: torch.nn.Module,
    size: tuple[int, int],
    *,
    quantizer: str = "x86",
    ranges: str = "histogram",
    reduce_range: bool = False,
    train: bool = False,
) -> Any:
    """The network as an exported program with observers, or with fake quantization for training.

    Args:
        module: the float network; it stays as it is.
        size: height and width of its input; the batch may be any.
        ranges: how activation ranges are found: `histogram` or `minmax`.
        reduce_range: 7 bits for activations (x86 without VNNI).
        train: batch norm stays a step of its own.

    Raises:
        UserError: the network can't be exported.
        MissingExtraError: torchao or executorch isn't installed.
    """
    require_for(quantizer)
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e, prepare_qat_pt2e

    rules = _rules(quantizer, ranges, reduce_range=reduce_range, train=train)
    with quiet():
        program = _export(module, size)
        if not train:
            return prepare_pt2e(program, rules)
        before = {node.args[3].target: node.args for node in norms(program)}
        prepared = prepare_qat_pt2e(program, rules)
        for node in norms(prepared):
            own = before[node.args[3].target]
            set_epsilon(prepared, node, own[7])
            node.update_arg(6, own[6])
            if node.args[1] is None:
                continue
            gamma = get_tensor(prepared, node.args[1].target).data
            small = gamma.abs() < _LEAST_GAMMA
            gamma[small] = _LEAST_GAMMA
        switch(prepared, training=False, frozen=False)
        prepared.recompile()
    return prepared


def _export(module: torch.nn.Module, size: tuple[int, int]) -> Any:
    import torch

    example = torch.zeros(2, 3, *size)
    batch = torch.export.Dim("batch", min=1)
    try:
        exported = torch.export.export(
            deepcopy(module).eval(), (example,), dynamic_shapes=({0: batch},)
        )
    except Exception as error:  # torch.export raises whatever it comes across
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise UserError(
            f"PyTorch can't export this network ({reason}); quantize its ONNX file: onnx-static"
        ) from error
    return exported.module(check_guards=False)


def _rules(quantizer: str, ranges: str, *, reduce_range: bool, train: bool) -> Any:
    from torchao.quantization.pt2e import (
        FakeQuantize,
        HistogramObserver,
        MinMaxObserver,
        MovingAveragePerChannelMinMaxObserver,
        PerChannelMinMaxObserver,
    )

    rules: Any
    if quantizer == "x86":
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        rules = x86.X86InductorQuantizer()
        config = x86.get_default_x86_inductor_quantization_config(
            is_qat=train, reduce_range=reduce_range
        )
    else:
        name = "executorch.backends.xnnpack.quantizer.xnnpack_quantizer"
        xnnpack = require(name, extra=QUANTIZERS["xnnpack"])
        rules = xnnpack.XNNPACKQuantizer()
        config = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_qat=train)
    observer = {"histogram": HistogramObserver, "minmax": MinMaxObserver}[ranges]
    if train:
        activation = FakeQuantize.with_args(observer=observer, eps=_EPS["activations"])
        # The weights' range is that of the weights as they are, not of those of earlier steps.
        weight = FakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver,
            averaging_constant=1.0,
            eps=_EPS["weights"],
        )
    else:
        activation = observer.with_args(eps=_EPS["activations"])
        weight = PerChannelMinMaxObserver.with_args(eps=_EPS["weights"])
    given = replace(config.input_activation, observer_or_fake_quant_ctr=activation)
    return rules.set_global(
        replace(
            config,
            input_activation=given,
            output_activation=given,
            weight=replace(config.weight, observer_or_fake_quant_ctr=weight),
        )
    )


def moving_average(like: Any) -> Any:
    """An observer for training, of the same type and range of integers as another one."""
    from torchao.quantization.pt2e import MovingAverageMinMaxObserver

    return MovingAverageMinMaxObserver(
        dtype=like.dtype,
        qscheme=like.qscheme,
        quant_min=like.quant_min,
        quant_max=like.quant_max,
        eps=_EPS["activations"],
    )


def convert(network: Any) -> Any:
    """The prepared program with 8-bit weights between quantize and dequantize steps.

    The prepared one stays as it is.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    copied = deepcopy(network)
    with quiet():
        switch(copied, training=False, frozen=False)
        fold_norms(copied)
        return convert_pt2e(copied)


def description(quantizer: str, *, reduce_range: bool, train: bool) -> dict[str, Any]:
    """How a program was quantized, for the manifest."""
    return {
        "flow": "pt2e",
        "quantizer": quantizer,
        "training": train,
        "reduce_range": reduce_range,
    }


def rebuild(
    module: torch.nn.Module,
    model: Mapping[str, Any],
    described: Mapping[str, Any],
    size: tuple[int, int],
) -> Any:
    """A converted program of the right steps, whose numbers mean nothing yet.

    Raises:
        BundleError: the description names an unknown quantizer.
    """
    import torch

    quantizer, train = described["quantizer"], described["training"]
    if quantizer not in QUANTIZERS or not isinstance(train, bool):
        raise BundleError(
            f"the manifest's model was quantized for {quantizer!r}, which this pocketlens doesn't "
            f"know (it knows {', '.join(QUANTIZERS)}); update pocketlens"
        )
    reduce_range = described["reduce_range"] is True
    prepared = prepare(
        module, size, quantizer=quantizer, ranges="minmax", reduce_range=reduce_range, train=train
    )
    with torch.no_grad():
        prepared(torch.zeros(2, 3, *size))  # scales of each channel get their shapes
    return convert(prepared)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep notices of torch and torchao about themselves from the user."""
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

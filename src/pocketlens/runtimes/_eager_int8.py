"""PyTorch's eager-mode quantization, all of it: torch warns that `torch.ao.quantization` will go.

Only networks with quantization stubs can go this way, and only their family knows which of their
layers become one; of ours that is `compact`, whose plugin has `fuse`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pocketlens import plugins
from pocketlens.core.errors import UserError
from pocketlens.extras import require

if TYPE_CHECKING:
    import torch

#: Integer kernels, the best first.
_ENGINES: Final = ("x86", "fbgemm", "onednn", "qnnpack")


def engine() -> str:
    """The INT8 engine of this processor.

    Raises:
        UserError: this build of torch has none.
    """
    import torch

    supported = torch.backends.quantized.supported_engines
    found = [name for name in _ENGINES if name in supported]
    if not found:
        raise UserError(
            "this build of torch has no INT8 kernels (torch.backends.quantized.supported_engines: "
            f"{', '.join(supported) or 'none'}); use onnx-static, which needs none of torch"
        )
    return found[0]


def suits(model: Mapping[str, Any]) -> bool:
    """Whether a network, by `manifest.model`, has quantization stubs."""
    return hasattr(plugins.load("models", str(model["family"])), "fuse")


def prepare(
    module: torch.nn.Module,
    model: Mapping[str, Any],
    *,
    ranges: str = "histogram",
    reduce_range: bool = False,
    train: bool = False,
) -> torch.nn.Module:
    """A fused copy with observers, or with fake quantization and batch norm for training.

    Args:
        module: the float network.
        model: `manifest.model`, which names its family.
        ranges: how activation ranges are found: `histogram` or `minmax`.
        reduce_range: 7 bits for activations, so that sums of two products fit 16 bits.
    """
    ao: Any = require("torch.ao.quantization", extra="train")

    family = plugins.load("models", str(model["family"]))
    with quiet():
        fused = family.fuse(module, train=train)
        fused.qconfig = _qconfig(ranges, reduce_range=reduce_range, train=train)
        make = ao.prepare_qat if train else ao.prepare
        prepared: torch.nn.Module = make(fused, inplace=True)
    return prepared.eval()


def _qconfig(ranges: str, *, reduce_range: bool, train: bool) -> Any:
    import torch

    ao: Any = require("torch.ao.quantization", extra="train")
    observer = {"histogram": ao.HistogramObserver, "minmax": ao.MinMaxObserver}[ranges]
    activation = {
        "dtype": torch.quint8,
        "qscheme": torch.per_tensor_affine,
        "quant_min": 0,
        "quant_max": 127 if reduce_range else 255,
    }
    weight = {
        "dtype": torch.qint8,
        "qscheme": torch.per_channel_symmetric,
        "quant_min": -128,
        "quant_max": 127,
    }
    if not train:
        return ao.QConfig(
            activation=observer.with_args(**activation),
            weight=ao.PerChannelMinMaxObserver.with_args(**weight),
        )
    # The weights' range is that of the weights as they are, not of those of earlier steps.
    weight |= {"observer": ao.MovingAveragePerChannelMinMaxObserver, "averaging_constant": 1.0}
    return ao.QConfig(
        activation=ao.FakeQuantize.with_args(observer=observer, **activation),
        weight=ao.FakeQuantize.with_args(**weight),
    )


def moving_average(like: Any) -> Any:
    """An observer for training, of the same type and range of integers as another one."""
    ao: Any = require("torch.ao.quantization", extra="train")
    return ao.MovingAverageMinMaxObserver(
        dtype=like.dtype,
        qscheme=like.qscheme,
        quant_min=like.quant_min,
        quant_max=like.quant_max,
    )


def switch(network: torch.nn.Module, *, training: bool, frozen: bool) -> None:
    """Put a network prepared for training into a mode.

    Args:
        frozen: batch norm uses its running figures, and leaves them, in training too.
    """
    from torch.ao.nn.intrinsic import qat

    network.train(training)
    network.apply(qat.freeze_bn_stats if frozen else qat.update_bn_stats)
    network.train(training)  # `update_bn_stats` puts batch norm into training mode by itself


def convert(network: torch.nn.Module) -> torch.nn.Module:
    """The prepared network with integer layers; the prepared one stays as it is."""
    import torch

    ao: Any = require("torch.ao.quantization", extra="train")

    torch.backends.quantized.engine = engine()
    with quiet():
        converted: torch.nn.Module = ao.convert(network.eval())
    return converted


def description(*, reduce_range: bool) -> dict[str, Any]:
    """How a network was quantized, for the manifest."""
    return {"flow": "eager", "engine": engine(), "reduce_range": reduce_range}


def rebuild(
    module: torch.nn.Module,
    model: Mapping[str, Any],
    described: Mapping[str, Any],
    size: tuple[int, int],
) -> torch.nn.Module:
    """A converted network of the right layers, whose numbers mean nothing yet."""
    if not suits(model):
        raise KeyError(f"the family {model['family']} has no `fuse`")
    return convert(prepare(module, model))


def pack(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All numbers of a converted network as plain tensors.

    `NAME` of a quantized weight is int8 and has a `NAME.scale` for each output channel; scales of
    activations are one tensor, in the order of the layers, zero points another.
    """
    import torch

    packed: dict[str, torch.Tensor] = {}
    scales, zeros = [], []
    for name, value in _numbers(network):
        if name.endswith(".scale"):
            scales.append(value.reshape(()))
        elif name.endswith(".zero_point"):
            zeros.append(value.reshape(()).to(torch.uint8))
        elif value.is_quantized:
            assert not value.q_per_channel_zero_points().any(), "weights are symmetric"
            packed[name] = value.int_repr()
            # torch widens them; they were found in float32.
            packed[f"{name}.scale"] = value.q_per_channel_scales().float()
        else:
            packed[name] = value.detach().float()
    packed["activations.scale"] = torch.stack(scales).float()
    packed["activations.zero_point"] = torch.stack(zeros)
    return {name: value.contiguous() for name, value in packed.items()}


def unpack(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """Put packed numbers into a converted network.

    Raises:
        KeyError: one is missing, or one too many is there.
        RuntimeError: a shape that doesn't fit.
    """
    import torch

    state = network.state_dict()
    left = dict(tensors)
    scales = iter(left.pop("activations.scale").tolist())
    zeros = iter(left.pop("activations.zero_point").tolist())
    filled: dict[str, Any] = {}
    for name, value in _numbers(network):
        if name.endswith((".scale", ".zero_point")):
            number = next(scales if name.endswith(".scale") else zeros, None)
            if number is None:
                raise KeyError(name)
            new = torch.tensor(number, dtype=value.dtype).reshape(value.shape)
        elif value.is_quantized:
            scale = left.pop(f"{name}.scale").double()
            new = torch._make_per_channel_quantized_tensor(
                left.pop(name), scale, torch.zeros(len(scale), dtype=torch.int64), 0
            )
        else:
            new = left.pop(name)
        if new.shape != value.shape:
            raise RuntimeError(f"{name} has shape {tuple(new.shape)}, not {tuple(value.shape)}")
        _put(filled, name, new, state)
    if left or next(scales, None) is not None:
        raise KeyError(f"nothing needs {next(iter(left), 'a further scale')}")
    with quiet():
        state.update(filled)  # a dictionary of its own: it knows its layers' versions
        network.load_state_dict(state)
    return network


#: A linear layer keeps weight and bias as a pair under this name.
_PAIR: Final = "_packed_params._packed_params"


def _numbers(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors by name in the order of the layers, a linear layer's pair as two."""
    import torch

    with quiet():
        state = network.state_dict()
    for name, value in state.items():
        if name.endswith(_PAIR):
            place = name.removesuffix(_PAIR)
            yield f"{place}weight", value[0]
            if value[1] is not None:
                yield f"{place}bias", value[1]
        elif isinstance(value, torch.Tensor):
            yield name, value


def _put(filled: dict[str, Any], name: str, new: Any, state: Mapping[str, Any]) -> None:
    place, _, leaf = name.rpartition(".")
    pair = f"{place}.{_PAIR}"
    if pair not in state or leaf not in ("weight", "bias"):
        filled[name] = new
        return
    weight, bias = filled.get(pair, state[pair])
    filled[pair] = (new, bias) if leaf == "weight" else (weight, new)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's notices from the user: that eager mode will go, that observers are unused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

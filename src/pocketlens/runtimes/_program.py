"""Steps and numbers of an exported program: modes, batch norm, and all its numbers as tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

#: Steps that know two modes -> which argument says so, and whether freezing holds them back.
_MODES: Final = {
    "aten.batch_norm.default": (5, 1),
    "aten.dropout.default": (2, 0),
    "aten.dropout_.default": (2, 0),
}


def switch(network: Any, *, training: bool, frozen: bool) -> None:
    """Put a program into a mode, in the steps that know two: batch norm and dropout.

    Args:
        frozen: batch norm uses its running figures, and leaves them, in training too.
    """
    changed = False
    for node in network.graph.nodes:
        place, wanted = _MODES.get(str(node.target), (0, 0))
        if place:
            value = training and not (frozen and wanted)
            changed |= node.args[place] is not value
            node.update_arg(place, value)
    if changed:
        network.recompile()


def fold_norms(program: Any) -> None:
    """Put each batch norm behind a convolution into its weights, as training computed them.

    torchao would do so too, in half a minute, and with an epsilon of its own.
    """
    import torch

    for number, norm in enumerate(norms(program)):
        source, bias = norm.args[0], torch.zeros(())
        if _is_divided(source.args[0]) and str(source.target) == "aten.add.Tensor":
            bias = get_tensor(program, source.args[1].args[0].target)
            source = source.args[0]
        if not _is_divided(source):
            continue  # it stands alone
        conv = source.args[0]
        fake = conv.args[1] if conv.args[1].op == "call_module" else conv
        scaled = fake.args[0] if fake is not conv else conv.args[1]
        gamma, beta, mean, variance = (get_tensor(program, node.target) for node in norm.args[1:5])
        factor = gamma / torch.sqrt(variance + norm.args[7])
        weight = get_tensor(program, scaled.args[0].target)
        axes = [1] * weight.ndim
        axes[1 if "transpose" in str(conv.target) else 0] = -1
        with program.graph.inserting_before(fake):
            node = _constant(program, f"folded_weight_{number}", weight * factor.reshape(axes))
            fake.replace_input_with(scaled, node)
        with program.graph.inserting_before(conv):
            node = _constant(program, f"folded_bias_{number}", (bias - mean) * factor + beta)
            conv.args = (*conv.args[:2], node, *conv.args[3:])
        norm.replace_all_uses_with(conv)
    program.graph.eliminate_dead_code()
    program.recompile()


def _is_divided(node: Any) -> bool:
    """Whether this is a convolution divided by the scale of the batch norm behind it."""
    return str(getattr(node, "target", "")) == "aten.div.Tensor" and str(
        getattr(node.args[0], "target", "")
    ).startswith("aten.conv")


def _constant(program: Any, name: str, value: torch.Tensor) -> Any:
    program.register_buffer(name, value.detach())
    node = program.graph.get_attr(name)
    node.meta["val"] = value.detach()
    return node


def norms(program: Any) -> list[Any]:
    """Its steps of batch norm that have running figures, in their order."""
    return [
        node
        for node in program.graph.nodes
        if str(node.target) == "aten.batch_norm.default" and node.args[3] is not None
    ]


def set_epsilon(program: Any, norm: Any, epsilon: float) -> None:
    """Of a batch norm, and of the square root by which the convolution before it is scaled."""
    norm.update_arg(7, epsilon)
    variance = norm.args[4].target
    for node in program.graph.nodes:
        if node.op == "get_attr" and node.target == variance:
            for user in list(node.users):
                if str(user.target) == "aten.add.Tensor":
                    user.update_arg(1, epsilon)


def pack(network: Any) -> dict[str, torch.Tensor]:
    """All numbers of a converted program as tensors.

    Tensors are named as the program names them; scales and zero points of activations are one
    tensor each, in the order of the steps.
    """
    import torch

    packed: dict[str, torch.Tensor] = {}
    for name, value, is_zero_point in _numbers(network):
        if is_zero_point:
            assert not value.any(), "weights are symmetric"
        else:
            packed[name] = value.detach().clone(memory_format=torch.contiguous_format)
    steps = _rescalings(network)
    scales = [node.args[1] for node in steps]  # Python's floats, which float32 may not hold
    packed["activations.scale"] = torch.tensor(scales, dtype=torch.float64)
    packed["activations.zero_point"] = torch.tensor(
        [node.args[2] for node in steps], dtype=torch.int16
    )
    return packed


def unpack(network: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Put packed numbers into a converted program.

    Raises:
        KeyError: one is missing, or one too many is there.
        RuntimeError: a shape or type that doesn't fit.
    """
    left = dict(tensors)
    scales = left.pop("activations.scale").tolist()
    zeros = left.pop("activations.zero_point").tolist()
    steps = _rescalings(network)
    if not len(steps) == len(scales) == len(zeros):
        raise RuntimeError(f"{len(steps)} steps rescale, there are {len(scales)} scales for them")
    for node, scale, zero in zip(steps, scales, zeros, strict=True):
        node.update_arg(1, scale)
        node.update_arg(2, zero)
    for name, value, is_zero_point in _numbers(network):
        if is_zero_point:
            value.zero_()
            continue
        new = left.pop(name)
        if (new.shape, new.dtype) != (value.shape, value.dtype):
            raise RuntimeError(f"{name} is {tuple(new.shape)} {new.dtype}, not as the network's")
        value.data = new
    if left:
        raise KeyError(f"nothing needs {next(iter(left))}")
    network.recompile()
    return network


def _numbers(program: Any) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Tensors that the program reads, by name; whether they are zero points of weights."""
    seen = set()
    for node in program.graph.nodes:
        if node.op != "get_attr" or node.target in seen or not node.users:
            continue
        seen.add(node.target)
        zero_point = any(
            "_per_channel" in str(user.target) and user.args[2] is node for user in node.users
        )
        yield node.target, get_tensor(program, node.target), zero_point


def _rescalings(program: Any) -> list[Any]:
    return [node for node in program.graph.nodes if "_per_tensor.default" in str(node.target)]


def get_tensor(program: Any, name: str) -> Any:
    """A weight or buffer by its name."""
    return operator.attrgetter(name)(program)

"""Which channels go, and the network without them; torch-pruning knows what hangs together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pocketlens.core.errors import DataError, UserError
from pocketlens.extras import require

if TYPE_CHECKING:
    import torch

#: Numbers of a layer: `[in, out, groups]` of a convolution, `[in, out]` of a linear layer,
#: `[channels]` of a batch norm.
Widths = dict[str, list[int]]
#: What torch-pruning raises where a network does something it can't follow.
TRACING_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError)
#: Photos whose gradients are summed before they are squared.
_PHOTOS_A_GRADIENT: Final = 8


@dataclass(frozen=True)
class Rules:
    """How channels are chosen.

    Attributes:
        round_to: numbers of channels that are left are multiples of it.
        max_layer_ratio: share of a layer's channels that may go.
        whole: whether layers compete for their channels; else each loses the same share.
        first: numbers of the layers before any step, which `max_layer_ratio` refers to.
    """

    importance: Literal["magnitude", "taylor", "bn_scale"]
    round_to: int
    max_layer_ratio: float
    whole: bool
    first: Widths


@dataclass(frozen=True)
class _Group:
    """Channels that can only go together: `removed` of `size` are taken from every member."""

    root: Any
    function: Any
    importance: torch.Tensor
    members: tuple[tuple[str, str, int], ...]  # layer, "in" or "out", how many of its channels


def check_prunable(module: torch.nn.Module, name: str) -> None:
    """Refuse a network whose sizes are not all those of convolutions, linear and batch norm layers.

    Raises:
        UserError: another layer has weights, so that widths would not describe it.
    """
    from torch import nn

    for path, layer in module.named_modules():
        if next(layer.parameters(recurse=False), None) is None:
            continue
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            raise UserError(
                f"{name} can't be pruned: its {type(layer).__name__} ({path or 'itself'}) hides "
                "sizes that widths of layers don't tell; prune a convolutional network, or try "
                "--method width or --method distill --student NAME"
            )


def widths_of(module: torch.nn.Module) -> Widths:
    """Numbers of all layers, by name."""
    from torch import nn

    found: Widths = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[name] = [layer.in_channels, layer.out_channels, layer.groups]
        elif isinstance(layer, nn.Linear):
            found[name] = [layer.in_features, layer.out_features]
        elif isinstance(layer, nn.BatchNorm2d):
            found[name] = [layer.num_features]
    return found


def layer_costs(module: torch.nn.Module, example_NCHW: torch.Tensor, by: str) -> dict[str, float]:
    """Operations or parameters of each layer that has some, for one image."""
    import torch
    from torch import nn

    if by == "parameters":
        return {
            name: float(sum(p.numel() for p in layer.parameters(recurse=False)))
            for name, layer in module.named_modules()
            if next(layer.parameters(recurse=False), None) is not None
        }
    costs: dict[str, float] = {}

    def count(name: str) -> Any:
        def hook(layer: Any, given: Any, output: torch.Tensor) -> None:
            places = output[0].numel()  # of one image
            costs[name] = costs.get(name, 0.0) + float(places * layer.weight[0].numel())

        return hook

    handles = [
        layer.register_forward_hook(count(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with torch.inference_mode():
            module(example_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    return costs


def prune_by(
    module: torch.nn.Module,
    example_NCHW: torch.Tensor,
    rules: Rules,
    *,
    by: Literal["operations", "parameters"],
    limit: float,
) -> float:
    """Take the least important channels out of `module`, until its cost is at most `limit`.

    Args:
        example_NCHW: two images of the network's size.
        by: what is counted.
        limit: operations or parameters that may be left.

    Returns:
        What is left, by the sum of its layers.

    Raises:
        UserError: so much can't be taken, or torch-pruning can't follow the network.
    """
    import torch

    start = widths_of(module)
    costs = layer_costs(module, example_NCHW, by)
    pruning = require("torch_pruning", extra="prune")
    with _quiet(), torch.enable_grad():
        graph = pruning.DependencyGraph().build_dependency(module, example_NCHW)
        groups = _groups(graph, module, example_NCHW, rules)
    if not groups:
        raise UserError("no layer of this network can lose channels")

    def left(share: float) -> tuple[float, list[int]]:
        kept = _kept(groups, share, rules)
        after = _planned(start, groups, kept)
        return sum(cost * _shrunk(start[k], after[k]) for k, cost in costs.items()), kept

    low, high = 0.0, 1.0
    least, kept = left(high)
    if least > limit:
        raise UserError(
            f"at most {100 * (1 - least / sum(costs.values())):.0f} % of the {by} can go with "
            f"--max-layer-ratio {rules.max_layer_ratio:g}; lower --ratio or raise that"
        )
    for _ in range(30):
        middle = (low + high) / 2
        found, plan = left(middle)
        if found <= limit:
            high, kept, least = middle, plan, found
        else:
            low = middle
    for group, number in zip(groups, kept, strict=True):
        going = torch.argsort(group.importance, stable=True)[: len(group.importance) - number]
        if len(going):
            taken = graph.get_pruning_group(group.root, group.function, sorted(going.tolist()))
            taken.prune()
    if widths_of(module) != _planned(start, groups, kept):
        raise UserError("its layers depend on each other in a way that torch-pruning can't follow")
    return least


def _groups(
    graph: Any, module: torch.nn.Module, example_NCHW: torch.Tensor, rules: Rules
) -> list[_Group]:
    """What may lose channels: not the logits, not convolutions in several groups."""
    from torch import nn

    importance = _importance(rules.importance)
    names = {layer: name for name, layer in module.named_modules()}
    found = []
    for group in graph.get_all_groups(
        ignored_layers=[_last_layer(module, example_NCHW)], root_module_types=[nn.Conv2d, nn.Linear]
    ):
        layers = [(dep.target.module, dep.handler, len(indices)) for dep, indices in group]
        if any(
            isinstance(layer, nn.Conv2d) and layer.groups not in (1, layer.out_channels)
            for layer, _, _ in layers
        ):
            continue
        scores = importance(group)
        if scores is None:
            continue
        members = tuple(
            (names[layer], "out" if graph.is_out_channel_pruning_fn(function) else "in", number)
            for layer, function, number in layers
            if layer in names
        )
        root, function = group[0].dep.target.module, group[0].dep.handler
        found.append(_Group(root, function, scores.detach().float().cpu(), members))
    return found


def _kept(groups: list[_Group], share: float, rules: Rules) -> list[int]:
    """Channels that each group keeps when `share` of all are to go."""
    import torch

    everything = torch.cat([group.importance for group in groups]).sort().values
    going = round(share * len(everything))
    threshold = everything[going - 1] if going else -torch.inf
    kept = []
    for group in groups:
        size = len(group.importance)
        gone = int((group.importance <= threshold).sum()) if rules.whole else round(share * size)
        name, side, _ = group.members[0]
        before = _out(rules.first[name]) if side == "out" else rules.first[name][0]
        least = max(1, (1 - rules.max_layer_ratio) * before)
        # Up where it is the limit, to the nearest elsewhere: what is lost here is found there.
        floor = -int(-least // rules.round_to) * rules.round_to
        rounded = round((size - gone) / rules.round_to) * rules.round_to
        kept.append(min(size, max(floor, rounded)))
    return kept


def _planned(start: Widths, groups: list[_Group], kept: list[int]) -> Widths:
    """Numbers of the layers when each group keeps so many channels."""
    after = {name: list(numbers) for name, numbers in start.items()}
    for group, number in zip(groups, kept, strict=True):
        size = len(group.importance)
        for name, side, channels in group.members:
            if name not in after:
                continue
            numbers, gone = after[name], channels * (size - number) // size
            if len(numbers) == 3 and numbers[2] > 1:  # depthwise: one of all three
                # It stands in its group once for what it takes and once for what it gives.
                if side == "out":
                    after[name] = [n - gone for n in numbers]
            elif side == "out":
                numbers[min(1, len(numbers) - 1)] -= gone
            else:
                numbers[0] -= gone
    return after


def _shrunk(before: list[int], after: list[int]) -> float:
    """Share of a layer's cost that is left."""
    if len(before) == 1:
        return after[0] / before[0]
    share = (after[0] * after[1]) / (before[0] * before[1])
    return share * before[2] / after[2] if len(before) == 3 else share


def _out(numbers: list[int]) -> int:
    return numbers[min(1, len(numbers) - 1)]


def _importance(kind: str) -> Any:
    tp = require("torch_pruning", extra="prune")
    if kind == "taylor":
        # An effect on the loss can be compared between layers as it is; divided by the layer's mean
        # it can't: 81.2 against 74.5 % of macro F1 (see docs/decisions/0010).
        return tp.importance.GroupTaylorImportance(normalizer=None, group_reduction="sum")
    if kind == "bn_scale":
        return tp.importance.BNScaleImportance()
    return tp.importance.GroupMagnitudeImportance(p=2)


def _last_layer(module: torch.nn.Module, example_NCHW: torch.Tensor) -> torch.nn.Module:
    """What makes the logits: the convolution or linear layer that runs last."""
    import torch
    from torch import nn

    ran: list[torch.nn.Module] = []
    handles = [
        layer.register_forward_hook(lambda layer, given, output: ran.append(layer))
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with torch.inference_mode():
            module(example_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1]


def set_gradients(
    module: torch.nn.Module,
    batches: Iterator[Any],
    task: str,
    seed: int,
) -> None:
    """Give each parameter the root mean square of its gradients over a few photos each.

    The labels are drawn from the network's own answers, as for the Fisher information: what a
    channel is worth then doesn't depend on a few wrong labels, and unlabelled photos will do.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    squares: Mapping[str, torch.Tensor] = {
        name: torch.zeros_like(p) for name, p in module.named_parameters()
    }
    count = 0
    module.eval()
    with torch.enable_grad():
        for batch in batches:
            for part_NCHW in torch.split(torch.from_numpy(batch), _PHOTOS_A_GRADIENT):
                module.zero_grad(set_to_none=True)
                _own_loss(module(part_NCHW), task, generator).backward()  # type: ignore[no-untyped-call]
                for name, parameter in module.named_parameters():
                    if parameter.grad is not None:
                        squares[name].add_(parameter.grad.square())
                count += 1
    if not count:
        raise DataError("none of the photos that importances are found on can be read")
    for name, parameter in module.named_parameters():
        parameter.grad = (squares[name] / count).sqrt()


def _own_loss(logits_NK: torch.Tensor, task: str, generator: torch.Generator) -> torch.Tensor:
    import torch
    from torch.nn import functional

    if task == "multi_label":
        drawn_NK = torch.bernoulli(logits_NK.detach().sigmoid(), generator=generator)
        return functional.binary_cross_entropy_with_logits(logits_NK, drawn_NK, reduction="sum")
    drawn_N = torch.multinomial(logits_NK.detach().softmax(1), 1, generator=generator)[:, 0]
    return functional.cross_entropy(logits_NK, drawn_N, reduction="sum")


@contextmanager
def _quiet() -> Iterator[None]:
    """torch-pruning's warnings are about its own tracing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

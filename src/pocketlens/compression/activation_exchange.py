"""Exchange SiLU, h-swish and the like for ReLU6, simplify squeeze-excite, train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pocketlens.compression._rebuild import build, restored, with_change
from pocketlens.compression._step import Context, finish_network
from pocketlens.compression._tuning import Tuning
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say

if TYPE_CHECKING:
    import torch

EXTRA = "train"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch", "float32")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = False


@dataclass(frozen=True)
class Config(Tuning):
    """What becomes of the activations, and how the network is trained on."""

    to: Literal["relu6", "relu"] = "relu6"
    """What smooth activations (SiLU, h-swish, GELU, Mish, leaky ReLU and the like) become."""

    se: Literal["keep", "simplify", "remove"] = "remove"
    """Squeeze-excite: keep it, make its gate a hard sigmoid with ReLU inside, or remove it; its
    mean factors then go into the next layer's weights."""

    num_images: int = 256
    """Photos that the factors of squeeze-excite are averaged over, where it is removed."""

    epochs: int = 10
    """Passes over the training photos."""

    lr: float = 1e-3
    """Highest learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_images < 1:
            raise UserError("--num-images must be at least 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Exchange the layers, keep the weights by name, and learn from the float model's answers.

    Raises:
        UserError: the network has nothing to exchange.
    """
    require("torch", extra=EXTRA)
    parent = restored(bundle)
    name = bundle.manifest.model["name"]
    options = with_change(bundle, {"kind": "activations", "to": config.to, "se": config.se})
    module = build(bundle, options)
    layers = dict(module.named_modules())
    # Inside of a layer that was removed there is nothing to be named.
    exchanged = {
        path: type(layer).__name__
        for path, layer in parent.named_modules()
        if path in layers and type(layers[path]) is not type(layer)
    }
    if not exchanged:
        hint = (
            "; --se simplify or --se remove is for its squeeze-excite"
            if config.se == "keep"
            else ""
        )
        raise UserError(f"{name} has nothing to exchange{hint}")
    removed = [path for path in exchanged if type(layers[path]).__name__ == "Identity"]
    if removed:
        photos = context.calibration(config.num_images, config.seed)
        _keep_mean_factors(parent, removed, photos.batches())
    kept = module.state_dict().keys()
    module.load_state_dict({k: v for k, v in parent.state_dict().items() if k in kept})
    kinds = sorted(set(exchanged.values()))
    say(f"exchanged {len(exchanged)} layers of {name} ({', '.join(kinds)})")
    # The start may win: it is another network than the parent, and no better one would be there.
    tuned = context.train(module, config)
    return finish_network(
        bundle,
        context,
        "activation-exchange",
        config,
        module,
        family_config=options,
        facts={**tuned.facts, "exchanged": len(exchanged), "kinds": kinds},
    )


def _keep_mean_factors(module: torch.nn.Module, names: list[str], batches: Iterator[Any]) -> None:
    """Multiply what stands next to squeeze-excite blocks by the mean of their factors.

    Removed, a block would leave channels as if all its factors were 1. Where a convolution reads
    its output, or a batch norm makes its input, that layer takes the mean factor of each channel
    on; elsewhere training has to find it. The network computes something else afterwards, until
    the blocks are taken out.
    """
    import torch
    from torch import nn

    blocks = {name: module.get_submodule(name) for name in names}
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    last: dict[str, Any] = {"normed": None}
    reader: dict[str, nn.Conv2d] = {}
    maker: dict[str, nn.BatchNorm2d] = {}
    made: dict[int, str] = {}
    held: list[torch.Tensor] = []  # so that no other tensor takes the place of one that is told by

    def after_block(name: str) -> Any:
        def hook(layer: Any, given: Any, output_NCHW: torch.Tensor) -> None:
            (input_NCHW,) = given
            # Factors are alike over a channel's places: the ratio of sums, 0 for dead channels.
            whole_NC = input_NCHW.abs().sum((2, 3))
            factor_NC = output_NCHW.abs().sum((2, 3)) / whole_NC.clamp_min(1e-12)
            sums[name] = sums.get(name, 0) + factor_NC.double().sum(0)
            counts[name] = counts.get(name, 0) + len(factor_NC)
            if last["normed"] is not None and last["normed"][1] is input_NCHW:
                maker[name] = last["normed"][0]
            made[id(output_NCHW)] = name
            held.append(output_NCHW)

        return hook

    def before_conv(layer: nn.Conv2d, given: Any) -> None:
        name = made.get(id(given[0]))
        if name is not None and layer.groups == 1:
            reader[name] = layer

    def after_norm(layer: nn.BatchNorm2d, given: Any, output_NCHW: torch.Tensor) -> None:
        last["normed"] = (layer, output_NCHW)

    handles = [block.register_forward_hook(after_block(name)) for name, block in blocks.items()]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_pre_hook(before_conv))
        elif type(layer) is nn.BatchNorm2d:  # without an activation of its own
            handles.append(layer.register_forward_hook(after_norm))
    try:
        with torch.inference_mode():
            for batch in batches:
                module(torch.from_numpy(batch))
                made.clear()
                held.clear()
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        for name, total in sums.items():
            factor_C = (total / counts[name]).float()
            if name in reader:
                reader[name].weight.mul_(factor_C[:, None, None])
            elif name in maker:
                maker[name].weight.mul_(factor_C)
                maker[name].bias.mul_(factor_C)

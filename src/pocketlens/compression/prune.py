"""Take the least important channels out, and train the rest on (torch-pruning)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pocketlens.compression._pruned_latency import operations_for_latency
from pocketlens.compression._pruning import (
    TRACING_ERRORS,
    Rules,
    Widths,
    check_prunable,
    prune_by,
    set_gradients,
    widths_of,
)
from pocketlens.compression._rebuild import build, restored, with_change
from pocketlens.compression._step import Context, Tuned, finish_network
from pocketlens.compression._tuning import Tuning
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say

if TYPE_CHECKING:
    import torch

EXTRA = "prune"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch", "float32")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = False


@dataclass(frozen=True)
class Config(Tuning):
    """What is taken out, and how the rest is trained on; `epochs` is that of each step."""

    ratio: float = 0.5
    """Share that is removed."""

    by: Literal["operations", "parameters", "latency"] = "operations"
    """Of what: multiply-adds, parameters, or the time of one photo in ONNX Runtime, measured."""

    importance: Literal["magnitude", "taylor", "bn_scale"] = "taylor"
    """What a channel is worth: size of its weights, effect on the loss, or its batch norm's
    scale."""

    steps: int = 1
    """Times that channels are taken out; each is followed by training."""

    round_to: int = 8
    """Numbers of channels that are left are multiples of this."""

    max_layer_ratio: float = 0.8
    """Largest share of its channels that a layer may lose."""

    global_ranking: bool = True
    """Let all layers compete for the channels that stay; else each loses the same share."""

    num_images: int = 256
    """Photos that importance `taylor` is found on."""

    epochs: int = 4
    """Passes over the training photos after each step."""

    lr: float = 1e-3
    """Highest learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ratio < 1:
            raise UserError("--ratio must be above 0 and below 1")
        if not 0 < self.max_layer_ratio < 1:
            raise UserError("--max-layer-ratio must be above 0 and below 1")
        if self.steps < 1 or self.round_to < 1 or self.num_images < 1:
            raise UserError("--steps, --round-to and --num-images must be at least 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Prune in steps, each followed by training; keep the layers' widths in the manifest.

    Raises:
        UserError: the network can't be pruned, or not by so much.
    """
    require("torch_pruning", extra=EXTRA)
    module = restored(bundle)
    name = bundle.manifest.model["name"]
    check_prunable(module, name)
    original = widths_of(module)
    before = context.operations(module)
    share, by = config.ratio, config.by
    if by == "latency":

        def trial(share: float) -> tuple[torch.nn.Module, dict[str, Any]]:
            return _pruned(bundle, module, original, config, context, share, "operations")

        share, by = (
            operations_for_latency(bundle, config.ratio, trial, context, settings=repr(config)),
            "operations",
        )
    tuned: Tuned | None = None
    options: dict[str, Any] = {}
    for step in range(1, config.steps + 1):
        # Each step leaves the same share of what the one before left.
        so_far = 1 - (1 - share) ** (step / config.steps)
        module, options = _pruned(bundle, module, original, config, context, so_far, by)
        params, macs = context.operations(module)
        say(
            f"pruned {name}{f', step {step} of {config.steps}' if config.steps > 1 else ''}: "
            f"{100 * macs / before[1]:.0f} % of the operations and "
            f"{100 * params / before[0]:.0f} % of the parameters are left"
        )
        run = f"step-{step}" if config.steps > 1 else ""
        tuned = context.train(module, config, name=run)
    assert tuned is not None
    facts = {**tuned.facts, "before": {"params": before[0], "macs": before[1]}}
    return finish_network(
        bundle,
        context,
        "prune",
        config,
        module,
        family_config=options,
        facts=facts,
        packages=("torch", "timm", "torch-pruning"),
    )


def _pruned(
    bundle: Bundle,
    module: torch.nn.Module,
    original: Widths,
    config: Config,
    context: Context,
    share: float,
    by: Literal["operations", "parameters"],
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A network built anew from the pruned one's widths, and the options it is built from.

    Args:
        module: what is pruned; it stays as it is.
        original: widths of the bundle's network.
        share: of the bundle's network's cost that is removed.
    """
    import torch

    side = bundle.manifest.preprocess
    name = bundle.manifest.model["name"]
    example_NCHW = torch.zeros(2, 3, side.height, side.width)
    copy = deepcopy(module).to(memory_format=torch.contiguous_format).eval()
    rules = Rules(
        config.importance, config.round_to, config.max_layer_ratio, config.global_ranking, original
    )
    if config.importance == "taylor":
        photos = context.calibration(config.num_images, config.seed)
        set_gradients(copy, photos.batches(), bundle.manifest.task, config.seed)
    whole = context.operations(restored(bundle))
    limit = (1 - share) * (whole[1] if by == "operations" else whole[0])
    try:
        prune_by(copy, example_NCHW, rules, by=by, limit=limit)
    except TRACING_ERRORS as error:
        raise UserError(f"{name} can't be pruned: {_first_line(error)}") from error
    except UserError as error:
        raise UserError(f"{name} can't be pruned so: {error}") from error
    after = widths_of(copy)
    layers = {key: numbers for key, numbers in after.items() if numbers != original[key]}
    if not layers:
        raise UserError(
            f"--ratio {config.ratio:g} is too little to take {config.round_to} channels anywhere; "
            "raise it, or lower --round-to"
        )
    options = with_change(bundle, {"kind": "widths", "layers": layers})
    return _rebuilt(bundle, copy, options), options


def _rebuilt(bundle: Bundle, pruned: torch.nn.Module, options: dict[str, Any]) -> torch.nn.Module:
    """The network that a reader of the manifest will build, with the pruned one's weights.

    Raises:
        UserError: it isn't the same network.
    """
    import torch

    side = bundle.manifest.preprocess
    generator = torch.Generator().manual_seed(0)
    example_NCHW = torch.randn(2, 3, side.height, side.width, generator=generator)
    refusal = UserError(
        f"{bundle.manifest.model['name']} can't be built again from the widths of its layers, so "
        "it can't be pruned; try --method width or --method distill --student NAME"
    )
    try:
        built = build(bundle, options)
        built.load_state_dict(pruned.state_dict())
        with torch.inference_mode():
            expected_NK, found_NK = pruned(example_NCHW), built(example_NCHW)
    except (*TRACING_ERRORS, UserError) as error:
        raise refusal from error
    if expected_NK.shape != (2, len(bundle.manifest.classes)) or not torch.allclose(
        expected_NK, found_NK, rtol=1e-5, atol=1e-5
    ):
        raise refusal
    return built


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

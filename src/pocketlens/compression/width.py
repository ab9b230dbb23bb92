"""The same network with a share of the channels in every layer, taught by the float model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from pocketlens import plugins
from pocketlens.compression._rebuild import start_of
from pocketlens.compression._step import Context, finish_network
from pocketlens.compression._tuning import Tuning
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say

EXTRA = "train"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("torch", "float32")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = False


@dataclass(frozen=True)
class Config(Tuning):
    """How wide, and how it is trained."""

    factor: float = 0.75
    """Multiplier of the present width; 0.75 leaves about two thirds of the operations."""

    epochs: int = 15
    """Passes over the training photos."""

    lr: float = 1e-3
    """Highest learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.factor < 1:
            raise UserError("--factor must be at least 0.1 and below 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Build the narrower network, start it from the parent's first channels, and train it.

    Raises:
        UserError: the network was pruned, or its family has no width.
    """
    require("torch", extra=EXTRA)
    model = bundle.manifest.model
    name, options = model["name"], dict(model.get("config", {}))
    family = plugins.load("models", model["family"])
    if any(change.get("kind") == "widths" for change in options.get("changes", ())):
        raise UserError(
            f"{bundle.path} was pruned, so its layers have widths of their own; prune it further, "
            "or give width the bundle that was pruned"
        )
    if "width" not in {field.name for field in fields(family.Config)}:
        raise UserError(
            f"{name} can't have another width; try --method prune, or --method distill "
            "--student NAME"
        )
    present = float(options.get("width", 1.0))
    options["width"] = round(present * config.factor, 6)
    built = plugins.configure(family, options)
    with start_of(config.seed):
        module = family.build(name, len(bundle.manifest.classes), built)
        if built.width == 1:  # families cut weights to fit where the width isn't that of the name
            built = replace(built, width=config.factor)
        told = family.load_weights(module, name, str(bundle.path), built)
    say(f"started from {told}")
    tuned = context.train(module, config, keep_start=False)
    return finish_network(
        bundle, context, "width", config, module, family_config=options, facts=tuned.facts
    )

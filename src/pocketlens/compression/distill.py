"""Teach a smaller network the float model's answers, or a pruned one what it has lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pocketlens import plugins
from pocketlens.compression._rebuild import restored, start_of
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
    """Who learns, and how."""

    student: str | None = None
    """Network that learns, by its name; default: the bundle's own goes on learning."""

    weights: str = "auto"
    """The student's start: `auto` finds ImageNet weights, `none` is a random start, or a file or
    directory."""

    epochs: int = 15
    """Passes over the training photos."""

    lr: float = 1e-3
    """Highest learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student is None and self.weights != "auto":
            raise UserError("--weights is the start of another network: name it with --student")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Train the student on the teacher's answers; the input stays as it is.

    Raises:
        UserError: no such network, no weights for it, or it doesn't take this input size.
    """
    require("torch", extra=EXTRA)
    model = bundle.manifest.model
    if config.student is None:
        module = restored(bundle)
        tuned = context.train(module, config)
        return finish_network(
            bundle,
            context,
            "distill",
            config,
            module,
            family_config=model.get("config", {}),
            facts=tuned.facts,
        )
    family_name, family = plugins.find_family(config.student)
    options = family.Config()
    with start_of(config.seed):
        module = family.build(config.student, len(bundle.manifest.classes), options)
        if config.weights != "none":
            told = family.load_weights(module, config.student, config.weights, options)
            say(f"{config.student} starts from {told}")
    _check_size(bundle, config.student, module, context)
    tuned = context.train(module, config, keep_start=False)

    return finish_network(
        bundle,
        context,
        "distill",
        config,
        module,
        family=family_name,
        name=config.student,
        family_config={},
        facts=tuned.facts,
    )


def _check_size(bundle: Bundle, student: str, module: torch.nn.Module, context: Context) -> None:
    try:
        context.operations(module)
    except Exception as error:  # each network has its own way to refuse a size
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        side = bundle.manifest.preprocess
        raise UserError(
            f"{student} takes no images of {side.width}x{side.height} pixels, which "
            f"{bundle.path} is made for: {first_line}; name another --student"
        ) from error

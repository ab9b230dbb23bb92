"""The settings of a training run; the flags of `train` and `fit` come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import MAX_SIDE, Resize


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    model: str = "tf_efficientnet_lite0"
    """Network: any name of timm, or torchvision/resnet18 and the like."""

    weights: str = "auto"
    """Start: `auto` finds ImageNet weights, `none` is a random start, or a file or directory."""

    epochs: int = 15
    """Passes over the training photos."""

    image_size: int | None = None
    """Side of the network's square input in pixels; default: what its weights were trained for."""

    resize: Resize = "stretch"
    """How a photo becomes square: stretch it, crop its centre, or pad it."""

    box_margin: float = 0.1
    """Share of a box's width and height that it grows by on each side before it is cut out (data
    with boxes)."""

    batch_size: int = 32
    """Photos a step."""

    lr: float = 1e-3
    """Highest learning rate."""

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimiser; sgd uses Nesterov momentum 0.9."""

    weight_decay: float = 0.01
    """Weight decay of all but biases and normalisation layers."""

    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """Learning rate over time, after a linear warm-up."""

    warmup: float = 0.25
    """Share of all steps in which the learning rate rises."""

    step_size: int = 10
    """Epochs after which schedule `step` divides the learning rate by 10."""

    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes (single-label only)."""

    augment: Literal["v0", "v1"] = "v1"
    """Augmentation: v0 none, v1 flips and quarter turns."""

    metric: Literal["macro_f1", "accuracy", "map", "loss"] | None = None
    """What the best epoch is chosen by, on validation photos; default macro_f1 (several labels a
    photo: map)."""

    patience: int | None = None
    """Stop after so many epochs without a better one; default: never."""

    seed: int = 0
    """Of the split, the start and the augmentation."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "step_size"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1")
        if self.image_size is not None and not 16 <= self.image_size <= MAX_SIDE:
            raise UserError(f"--image-size must be between 16 and {MAX_SIDE}")
        if self.patience is not None and self.patience < 1:
            raise UserError("--patience must be at least 1")
        if not 0 <= self.box_margin <= 10:
            raise UserError("--box-margin must be between 0 and 10")
        if self.seed < 0:
            raise UserError("--seed must not be negative")
        if not self.lr > 0:
            raise UserError("--lr must be above 0")
        if not 0 <= self.warmup < 1 or not 0 <= self.label_smoothing < 1 or self.weight_decay < 0:
            raise UserError(
                "--warmup and --label-smoothing must be in [0, 1), --weight-decay not negative"
            )

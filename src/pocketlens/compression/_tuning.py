"""How the methods that train do it; their flags come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pocketlens.core.errors import UserError


@dataclass(frozen=True)
class Tuning:
    """How to train on. What is not named here is as the float model was trained."""

    epochs: int = 4
    """Passes over the training photos."""

    lr: float = 2e-4
    """Highest learning rate."""

    batch_size: int = 32
    """Photos a step."""

    teacher_weight: float = 0.9
    """Share of the float model's answers in the loss; the rest is the labels'."""

    temperature: float = 2.0
    """How much the float model's answers are softened."""

    augment: Literal["parent", "v0", "v1", "v2", "v3", "trivial", "randaugment"] = "parent"
    """Augmentation; `parent`: as the float model was trained."""

    ema: float | None = None
    """Keep a moving average of the weights with this decay (0.9 to 0.999); default: none."""

    seed: int = 0
    """Of the order of the photos, their augmentation and the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_tuning(self)


def check_tuning(tuning: Tuning) -> None:
    """Refuse settings that are none.

    Raises:
        UserError: one is out of range.
    """
    if tuning.epochs < 1 or tuning.batch_size < 1:
        raise UserError("--epochs and --batch-size must be at least 1")
    if not tuning.lr > 0:
        raise UserError("--lr must be above 0")
    if not 0 <= tuning.teacher_weight <= 1:
        raise UserError("--teacher-weight must be between 0 and 1")
    if not 0 < tuning.temperature <= 100:
        raise UserError("--temperature must be above 0 and at most 100")
    if tuning.ema is not None and not 0 < tuning.ema < 1:
        raise UserError("--ema must be between 0 and 1")
    if tuning.seed < 0:
        raise UserError("--seed must not be negative")


def check_num_images(num_images: int, seed: int) -> None:
    """Refuse numbers that are none.

    Raises:
        UserError: one is out of range.
    """
    if num_images < 1:
        raise UserError("--num-images must be at least 1")
    if seed < 0:
        raise UserError("--seed must not be negative")

"""The settings of a training run; the flags of `train` and `fit` come from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import MAX_SIDE, Resize

#: Of a setting that leaves the result as it is, so that a run may be resumed with another.
FREE: Final[Mapping[str, bool]] = {"free": True}
#: What a setting was before there was one, where its default is something else.
OLDER: Final[Mapping[str, Any]] = {"draft": False}


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    model: str = "tf_efficientnet_lite0"
    """Network: any name of timm, torchvision/resnet18 and the like, or compact/resnet50."""

    weights: str = "auto"
    """Start: `auto` finds ImageNet weights, `none` is a random start, or a file or directory."""

    width: float = 1.0
    """Multiplier of the network's channels, 0.1 to 2; 0.75 has about two thirds of the
    operations."""

    epochs: int = 15
    """Passes over the training photos."""

    image_size: int | None = None
    """Side of the network's square input in pixels; default: what its weights were trained for."""

    resize: Resize = "stretch"
    """How a photo becomes square: stretch it, crop its centre, or pad it."""

    draft: bool = True
    """Decode JPEGs of at least four times the needed size at a half, a quarter or an eighth of
    it; the bundle remembers it."""

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

    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the steps; auto times a few real ones, in both layouts (and compiled, where
    the run is long), and keeps the fastest."""

    devices: int = 1
    """Processes that train together: as many graphics cards, or parts of the processor."""

    workers: int | None = field(default=None, metadata=FREE)
    """Threads that prepare photos; default: found out by timing the first steps."""

    deterministic: bool = False
    """Use only operations that give the same result to the last bit (graphics cards: slower)."""

    layer_decay: float = 1.0
    """Share of the learning rate that each layer has of the one above it; 1: all learn alike."""

    freeze_epochs: int = 0
    """First epochs in which only the last layer learns."""

    accumulate: int = 1
    """Batches whose gradients are added up for one step."""

    clip_grad: float | None = None
    """Largest norm of a step's gradient; default: no limit."""

    ema: float | None = None
    """Keep a moving average of the weights with this decay (0.99 to 0.9999); default: none."""

    schedule: Literal["cosine", "step", "constant", "one_cycle"] = "cosine"
    """Learning rate over time, after a linear warm-up."""

    warmup: float = 0.25
    """Share of all steps in which the learning rate rises."""

    step_size: int = 10
    """Epochs after which schedule `step` divides the learning rate by 10."""

    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes (single-label only)."""

    loss: Literal["cross_entropy", "bce", "focal", "asymmetric"] | None = None
    """Loss; default cross_entropy (several labels a photo: bce)."""

    teacher: str | None = None
    """Bundle of a larger network for the same classes, whose answers are learnt from too."""

    teacher_weight: float = 0.5
    """Share of the teacher's answers in the loss; the rest is the labels'."""

    temperature: float = 2.0
    """How much the teacher's answers are softened."""

    teacher_features: tuple[str, ...] | None = None
    """Layers of the student whose averaged features follow one of the teacher's, as STUDENT=TEACHER
    or one name for both; repeat the flag."""

    feature_weight: float = 0.5
    """Weight of these features' loss beside the others."""

    focal_gamma: float | None = None
    """How much loss `focal` looks away from photos that are right already; default 2."""

    class_weights: Literal["none", "inverse", "balanced"] = "none"
    """Weight of a class in the loss: inverse to its photos, or to their effective number."""

    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """Photos of an epoch: each once, or drawn so that all classes come equally often."""

    augment: Literal["v0", "v1", "v2", "v3", "trivial", "randaugment"] = "v1"
    """Augmentation: v0 none, v1 flips and quarter turns, v2 also colour, v3 also blur and noise,
    trivial (TrivialAugment) and randaugment."""

    augment_only: tuple[str, ...] | None = None
    """Augment photos of these classes only, separated by commas; `minority`: of classes with
    fewer photos than the mean."""

    mixup: float = 0.0
    """Blend pairs of photos with their labels, share from Beta(a, a); 0: not at all."""

    cutmix: float = 0.0
    """Put a piece of one photo into another with its share of the label, from Beta(a, a)."""

    metric: Literal["macro_f1", "accuracy", "map", "loss"] | None = None
    """What the best epoch is chosen by, on validation photos; default macro_f1 (several labels a
    photo: map)."""

    checkpoint_minutes: float = field(default=5.0, metadata=FREE)
    """Minutes between checkpoints inside an epoch; there is one after each epoch anyway."""

    keep_epochs: bool = field(default=False, metadata=FREE)
    """Keep the checkpoint of each epoch, not only the last."""

    photo_cache: bool = field(default=True, metadata=FREE)
    """Keep decoded photos in the cache directory, so that they are decoded once."""

    patience: int | None = None
    """Stop after so many epochs without a better one; default: never."""

    seed: int = 0
    """Of the split, the start and the augmentation."""

    track: tuple[str, ...] = field(default=(), metadata=FREE)
    """Trackers that get the settings and each epoch's figures, beside history.csv: tensorboard,
    wandb, mlflow (with commas between)."""

    def __post_init__(self) -> None:
        given = (self.track,) if isinstance(self.track, str) else self.track
        named = [name.strip() for text in given for name in text.split(",")]
        object.__setattr__(self, "track", tuple(dict.fromkeys(filter(None, named))))
        for name in ("epochs", "batch_size", "step_size", "accumulate", "devices"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1")
        if not 0.1 <= self.width <= 2:
            raise UserError("--width must be between 0.1 and 2")
        if self.image_size is not None and not 16 <= self.image_size <= MAX_SIDE:
            raise UserError(f"--image-size must be between 16 and {MAX_SIDE}")
        if not self.checkpoint_minutes >= 0:
            raise UserError("--checkpoint-minutes must not be negative")
        if self.patience is not None and self.patience < 1:
            raise UserError("--patience must be at least 1")
        if self.workers is not None and not 1 <= self.workers <= 256:
            raise UserError("--workers must be between 1 and 256")
        if self.deterministic and self.precision == "auto":
            raise UserError(
                "--precision auto chooses by time, which is never the same; with --deterministic "
                "name a format"
            )
        if self.teacher_features and self.teacher is None:
            raise UserError("--teacher-features needs --teacher")
        if not 0 <= self.feature_weight <= 1000:
            raise UserError("--feature-weight must be between 0 and 1000")
        if not 0 <= self.box_margin <= 10:
            raise UserError("--box-margin must be between 0 and 10")
        if self.seed < 0:
            raise UserError("--seed must not be negative")
        if not 0 <= self.teacher_weight <= 1:
            raise UserError("--teacher-weight must be between 0 and 1")
        if not 0 < self.temperature <= 100:
            raise UserError("--temperature must be above 0 and at most 100")
        if not 0 < self.layer_decay <= 1:
            raise UserError("--layer-decay must be above 0 and at most 1")
        if not 0 <= self.freeze_epochs < self.epochs:
            raise UserError("--freeze-epochs must be fewer than --epochs")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise UserError("--clip-grad must be above 0")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError("--ema must be between 0 and 1")
        if self.focal_gamma is not None and not 0 <= self.focal_gamma <= 10:
            raise UserError("--focal-gamma must be between 0 and 10")
        if not 0 <= self.mixup <= 10 or not 0 <= self.cutmix <= 10:
            raise UserError("--mixup and --cutmix must be between 0 and 10")
        if not self.lr > 0:
            raise UserError("--lr must be above 0")
        if not 0 <= self.warmup < 1 or not 0 <= self.label_smoothing < 1 or self.weight_decay < 0:
            raise UserError(
                "--warmup and --label-smoothing must be in [0, 1), --weight-decay not negative"
            )


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """The settings that a result depends on."""
    free = {setting.name for setting in fields(config) if setting.metadata.get("free")}
    return {name: value for name, value in asdict(config).items() if name not in free}

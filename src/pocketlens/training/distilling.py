"""Learning from a larger network's answers beside the labels.

Hinton et al. (2015), "Distilling the Knowledge in a Neural Network": the student's softened
answers follow the teacher's, times T squared, so that the gradients keep their size. The teacher
is asked once for each photo, as it is; its answers are held in memory and on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Task
from pocketlens.progress import warn
from pocketlens.training.config import TrainConfig
from pocketlens.training.mixing import Batch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Teaching:
    """A teacher's answers to the training samples, in their order.

    Attributes:
        logits_NK: in the order of the student's classes.
        layers: layers of the student that follow one of the teacher each.
        features: of those layers of the teacher, NF, each with mean 0 and variance 1.
    """

    logits_NK: NDArray[np.float32]
    layers: tuple[str, ...] = ()
    features: tuple[NDArray[np.float32], ...] = field(default=())


def layer_pairs(config: TrainConfig) -> list[tuple[str, str]]:
    """Names of layers of `--teacher-features`: the student's and the teacher's."""
    pairs = [name.partition("=") for name in config.teacher_features or ()]
    return [(own, teachers or own) for own, _, teachers in pairs]


def hint_loss(own_NF: torch.Tensor, teacher_NF: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of features (Romero et al. 2015, "FitNets")."""
    from torch.nn import functional

    return functional.mse_loss(own_NF, teacher_NF)


def standardised(features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features with mean 0 and variance 1 over the samples; constant ones become 0.

    Rows of NaN are photos that could not be read; nothing is learnt from them.
    """
    mean_F, std_F = np.nanmean(features_NF, axis=0), np.nanstd(features_NF, axis=0)
    result = (features_NF - mean_F) / np.where(std_F > 1e-6, std_F, 1)
    kept: NDArray[np.float32] = np.nan_to_num(result).astype(np.float32)
    return kept


def distillation_loss(
    logits_NK: torch.Tensor, teacher_NK: torch.Tensor, task: Task, temperature: float
) -> torch.Tensor:
    """T^2 times the divergence of the student from the teacher, a mean over the samples.

    Single-label: Kullback-Leibler of both softmaxes at temperature T. Multi-label: of each
    class's two-sided probability, a mean over the classes.
    """
    from torch.nn import functional

    t = temperature
    if task == "single_label":
        student, teacher = ((x / t).log_softmax(1) for x in (logits_NK, teacher_NK))
        return t * t * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    target_NK = (teacher_NK / t).sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits_NK / t, target_NK)
    own = functional.binary_cross_entropy_with_logits(teacher_NK / t, target_NK)
    return t * t * (cross - own)


def answers_of(batch: Batch, teacher_NK: NDArray[np.float32]) -> NDArray[np.float32]:
    """The teacher's logits, or features, for a batch; for mixed photos the same mix of them."""
    assert batch.rows is not None
    found: NDArray[np.float32] = teacher_NK[batch.rows]
    if batch.partner_rows is None:
        return found
    share = np.float32(batch.share)
    return found * share + teacher_NK[batch.partner_rows] * (1 - share)


def load_answers(path: Path, key: str) -> list[NDArray[np.float32]] | None:
    """Answers that were kept for this teacher and these photos, or None: logits, then features.

    Args:
        key: says which.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            if str(content["key"]) != key:
                return None
            names = sorted(name for name in content.files if name != "key")
            return [np.asarray(content[name], dtype=np.float32) for name in names]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def store_answers(path: Path, key: str, answers: Sequence[NDArray[np.float32]]) -> None:
    """Keep the teacher's logits and features."""
    temporary = path.with_name(f".{path.stem}.tmp.npz")
    try:
        named = {f"answers{i:02d}": values for i, values in enumerate(answers)}
        np.savez(temporary, allow_pickle=False, key=np.array(key), **named)
        temporary.replace(path)
    except OSError as error:
        warn(f"{path} can't be kept, a resumed run asks the teacher again: {error.strerror}")
    finally:
        temporary.unlink(missing_ok=True)

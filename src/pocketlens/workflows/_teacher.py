"""A teacher's answers to the training photos, asked once and kept beside the checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.dataset import Dataset
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.split import Split
from pocketlens.progress import bar, say, warn
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import load_answers, store_answers
from pocketlens.workflows.open import as_bundle, load

_FILE: Final = "teacher.npz"


def check_teacher(config: TrainConfig, dataset: Dataset) -> None:
    """Whether the teacher, if there is one, can teach these classes.

    Raises:
        UserError: it does another task, or lacks a class.
    """
    if config.teacher is None:
        return
    manifest = as_bundle(config.teacher).manifest
    if manifest.task != dataset.task:
        raise UserError(f"--teacher {config.teacher} is a {manifest.task} model, the data is not")
    if missing := sorted(set(dataset.classes) - set(manifest.classes)):
        raise UserError(
            f"--teacher {config.teacher} doesn't know {len(missing)} classes, such as "
            f"{', '.join(missing[:3])}; name one that was trained on this data"
        )


def teach(
    config: TrainConfig, examples: Examples, split: Split, run_dir: Path, threads: int | None
) -> NDArray[np.float32] | None:
    """The teacher's logits NK for the training samples, in the order of their classes.

    Args:
        split: the student's; a teacher that was trained on its test photos tells them on.

    Raises:
        UserError: it can't be opened, or answers a photo with NaN or infinity.
    """
    if config.teacher is None:
        return None
    bundle = as_bundle(config.teacher)
    if known := sum(part in ("train", "val") for part in bundle.split.parts_of(split.test)):
        warn(
            f"{bundle.path.name} was trained or chosen on {known} of the test photos, so the test "
            "flatters its student; train both on one split (--keep-split)"
        )
    text = "\n".join((bundle.id, *examples.classes, *examples.identities))
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    if (kept := load_answers(run_dir / _FILE, key)) is not None:
        say(f"the answers of {bundle.path.name} are there already")
        return kept
    teacher_NK = np.zeros((len(examples), len(examples.classes)), dtype=np.float32)
    with load(bundle, threads=threads) as predictor, bar("teacher", len(examples)) as advance:
        number = {name: k for k, name in enumerate(predictor.classes)}
        columns = [number[name] for name in examples.classes]
        requests = (examples.request(i) for i in range(len(examples)))
        for i, answer in enumerate(predictor.answers(requests)):
            advance()
            if answer.not_finite:
                raise UserError(f"--teacher {config.teacher} answers a photo with NaN or infinity")
            if answer.logits_K is not None:  # else the photo is unreadable, and not trained on
                teacher_NK[i] = answer.logits_K[columns]
    store_answers(run_dir / _FILE, key, teacher_NK)
    return teacher_NK

"""A teacher's answers to the training photos, asked once and kept beside the checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Dataset
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import Predictor, available_cores
from pocketlens.core.split import Split
from pocketlens.progress import bar, say, warn
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import (
    Teaching,
    layer_pairs,
    load_answers,
    standardised,
    store_answers,
)
from pocketlens.workflows.open import as_bundle, load

if TYPE_CHECKING:
    import torch

_FILE: Final = "teacher.npz"
_WHO: Final = "the bundle of --teacher"


def check_teacher(config: TrainConfig, dataset: Dataset) -> None:
    """Whether the teacher, if there is one, can teach these classes.

    Raises:
        UserError: it does another task, or lacks a class or a layer that is named.
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
    if not config.teacher_features:
        return
    bundle = as_bundle(config.teacher)
    if manifest.runtime != "torch":
        raise UserError(
            f"--teacher-features looks into a network, and {bundle.path} is an "
            f"{manifest.runtime} bundle; name the torch bundle it was made from"
        )
    from pocketlens.training.net import find_layer

    module = plugins.load("runtimes", "torch").restore(bundle)
    for _, layer in layer_pairs(config):
        find_layer(module, layer)


def teach(
    config: TrainConfig, examples: Examples, split: Split, run_dir: Path, threads: int | None
) -> Teaching | None:
    """The teacher's logits, and perhaps features, for the training samples.

    Args:
        split: the student's; a teacher that was trained on its test photos tells them on.

    Raises:
        UserError: it can't be opened, lacks a layer, or answers a photo with NaN or infinity.
    """
    if config.teacher is None:
        return None
    bundle = as_bundle(config.teacher)
    if known := sum(part in ("train", "val") for part in bundle.split.parts_of(split.test)):
        warn(
            f"{bundle.path.name} was trained or chosen on {known} of the test photos, so the test "
            "flatters its student; train both on one split (--keep-split)"
        )
    pairs = layer_pairs(config)
    layers = [teachers for _, teachers in pairs]
    text = "\n".join((bundle.id, *layers, *examples.classes, *examples.identities))
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    answers = load_answers(run_dir / _FILE, key)
    if answers is not None:
        say(f"the answers of {bundle.path.name} are there already")
    else:
        with _opened(bundle, layers, threads) as (predictor, seen):
            answers = _asked(predictor, seen, layers, examples)
        store_answers(run_dir / _FILE, key, answers)
    logits_NK, *features = answers
    return Teaching(logits_NK, tuple(own for own, _ in pairs), tuple(map(standardised, features)))


@contextmanager
def _opened(
    bundle: Bundle, layers: Sequence[str], threads: int | None
) -> Iterator[tuple[Predictor, Mapping[str, torch.Tensor]]]:
    """The teacher, and what its layers gave for the last batch."""
    if not layers:
        with load(bundle, threads=threads) as predictor:
            yield predictor, {}
        return
    from pocketlens.training.net import Pooled
    from pocketlens.training.repeatable import torch_threads

    runtime = plugins.load("runtimes", "torch")
    module = runtime.restore(bundle)
    own = torch_threads(threads or available_cores())
    with own, Pooled(module, layers) as seen:
        yield Predictor(bundle.manifest, runtime.session_of(module)), seen


def _asked(
    predictor: Predictor,
    seen: Mapping[str, torch.Tensor],
    layers: Sequence[str],
    examples: Examples,
) -> list[NDArray[np.float32]]:
    """Logits NK in the order of the student's classes, then each layer's features NF."""
    number = {name: k for k, name in enumerate(predictor.classes)}
    columns = [number[name] for name in examples.classes]
    teacher_NK = np.zeros((len(examples), len(columns)), dtype=np.float32)
    features: list[NDArray[np.float32]] = []
    row = 0
    with bar("teacher", len(examples)) as advance:
        requests = (examples.request(i) for i in range(len(examples)))
        for i, answer in enumerate(predictor.answers(requests)):
            advance()
            if answer.not_finite:
                raise UserError(f"{_WHO} answers a photo with NaN or infinity")
            if answer.logits_K is None:
                continue  # the photo is unreadable, and not trained on
            teacher_NK[i] = answer.logits_K[columns]
            given = [seen[name].cpu().numpy() for name in layers]  # of the whole batch
            if not features:
                features = [np.full((len(examples), f.shape[1]), np.nan, np.float32) for f in given]
            for kept, values in zip(features, given, strict=True):
                kept[i] = values[row]
            row = (row + 1) % len(given[0]) if given else 0
    return [teacher_NK, *features]

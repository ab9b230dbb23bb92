"""The network of a training run, and the bundle that it will be."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pocketlens.core.bundle import Lineage, Manifest
from pocketlens.core.dataset import Dataset
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.split import Split
from pocketlens.extras import versions
from pocketlens.progress import say, warn
from pocketlens.training.config import TrainConfig
from pocketlens.workflows._network import build_network

if TYPE_CHECKING:
    import torch


def trained_classes(dataset: Dataset, identities: list[str], split: Split) -> tuple[str, ...]:
    """Classes that have a training photo; others can't be learnt, so they are no outputs."""
    trained = frozenset(split.train)
    seen = {
        label
        for sample, identity in zip(dataset.samples, identities, strict=True)
        if identity in trained
        for label in sample.labels
    }
    missing = [name for name in dataset.classes if name not in seen]
    if missing:
        warn(f"no training photo of {', '.join(missing[:5])}: not learnt and not scored")
    return tuple(name for name in dataset.classes if name in seen)


def prepare(
    dataset: Dataset, classes: tuple[str, ...], config: TrainConfig
) -> tuple[torch.nn.Module, Manifest]:
    """The network with the weights it starts from, and a manifest that lacks what comes of it.

    Raises:
        UserError: no such network, its weights can't be had, or it doesn't take this image size.
    """
    import torch

    torch.manual_seed(config.seed)
    network = build_network(config.model, len(classes), config.width)
    if config.weights != "none":
        source = network.load_weights(config.weights)
        say(f"weights of {config.model} from {source}")
        if config.width != 1 and config.freeze_epochs:
            warn(
                "--freeze-epochs keeps the batch norm's figures of the wider network, which don't "
                "fit the cut one; leave it out with --width"
            )
    wanted = network.family.defaults(config.model)
    size = config.image_size or wanted["size"]
    preprocess = Preprocess(
        height=size,
        width=size,
        resize=config.resize,
        interpolation=wanted["interpolation"],
        mean=wanted["mean"],
        std=wanted["std"],
        draft=config.draft,
        # Without boxes a margin would mean nothing and only tell bundles apart.
        box_margin=config.box_margin if any(s.box for s in dataset.samples) else 0.0,
    )
    manifest = Manifest(
        task=dataset.task,
        classes=classes,
        class_info={k: dict(v) for k, v in dataset.class_info.items() if k in classes},
        preprocess=preprocess,
        runtime="torch",
        precision="float32",
        model=network.describe(preprocess),
        lineage=Lineage(
            method="train",
            config=asdict(config),
            versions=versions("torch", "timm", "torchvision"),
        ),
    )
    return network.module, manifest

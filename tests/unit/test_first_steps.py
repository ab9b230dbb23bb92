"""What a new user meets: a first small try, a slip, a Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.dataset import Sample, identity, make_dataset
from pocketlens.core.examples import make_examples
from pocketlens.core.scored import from_logits
from pocketlens.core.split import make_split
from pocketlens.measures.score import Outcome
from pocketlens.workflows._details import notes
from support.comparisons import compared, float_row, row


def outcome(truth: Any, logits: Any, *, multi: bool = False) -> Outcome:
    names = ("a", "b", "c")
    labels = [tuple(names[k] for k in (np.flatnonzero(t) if multi else [t])) for t in truth]
    samples = [Sample(f"{i}.jpg", given) for i, given in enumerate(labels)]
    task = "multi_label" if multi else "single_label"
    dataset = make_dataset(Path("/none"), "test", samples, task=task, classes=names)
    examples = make_examples(dataset, [str(i) for i in range(len(samples))], names)
    return Outcome(examples, from_logits(task, np.float32(logits), examples.truth), {})


RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 90)
LABELS = (RNG.random((90, 3)) < 0.3).astype(np.uint8)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (outcome(TRUTH, np.tile([1, 3, 2], (90, 1))), "answers b for every test photo"),
        (outcome(TRUTH, RNG.normal(size=(90, 3))), "commonest class would be"),
        (outcome(TRUTH, np.eye(3)[TRUTH]), ""),
        (outcome(LABELS, RNG.normal(size=(90, 3)), multi=True), "guessing gives about"),
        (outcome(LABELS, LABELS - 0.5, multi=True), ""),
    ],
)
def test_a_network_that_learnt_nothing_is_said_to_have(found: Outcome, told: str) -> None:
    text = " ".join(notes(found, found, []))
    assert told in text
    assert ("train longer" in text) == bool(told)


def test_notes_stand_in_the_terminal_too() -> None:
    from pocketlens.reports.terminal import render

    told = replace(compared([float_row(), row("int8")]), notes=("the test may flatter",))
    assert "note: the test may flatter" in render(told)


def test_models_that_were_not_tried_did_not_fail() -> None:
    from pocketlens.reports.terminal import render

    skipped = row("int8", verdict="skipped", reason="the budget of minutes was spent")
    told = compared([float_row(), skipped])
    assert "no compressed model was tried" in " ".join(render(told).split())


def test_the_run_is_no_bundle_but_has_one(tiny: Bundle, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copytree(tiny.path, tmp_path / "run" / "best")
    with pytest.raises(pl.UserError, match=r"the one to ship is .*run/best"):
        pl.predict(tmp_path / "run", photos, out=tmp_path / "o")


def test_every_bad_box_of_a_photo_is_told(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = sorted(photos.rglob("*.jpg"))[0]
    boxes = {name.name: [[2, 2, 20, 20], [500, 500, 9, 9], [1, 1, 0, 0]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    words = ["predict", str(tiny_onnx.path), str(name), "--boxes", str(tmp_path / "boxes.json")]
    assert run([*words, "--out", str(tmp_path / "o"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_images"], result["num_errors"], len(result["errors"])) == (3, 2, 2)


def test_whole_photos_are_another_thing_to_a_network_of_boxes(
    tiny_onnx: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(tiny_onnx.manifest.preprocess, box_margin=0.1)
    files = {"model.onnx": tiny_onnx.file("model.onnx")}
    boxed = write_bundle(tmp_path / "b", replace(tiny_onnx.manifest, preprocess=spec), files)
    pl.predict(boxed, photos / "disc", out=tmp_path / "o")
    assert "--boxes" in capsys.readouterr().err
    pl.predict(tiny_onnx, photos / "disc", out=tmp_path / "p")
    assert "--boxes" not in capsys.readouterr().err


def test_groups_of_one_photo_can_be_divided_inside() -> None:
    samples = [Sample(f"{i}.jpg", ("ab"[i % 2],), group=f"patient {i}") for i in range(60)]
    split = make_split(samples, [identity(str(i), None) for i in range(60)], groups="inside")
    assert len(split.train) == 42
    assert min(len(split.val), len(split.test)) >= 8


def test_leaking_near_copies_can_be_left_out(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    from PIL import Image

    for part, seed in (("train", 1), ("test", 2)):
        make_photos(tmp_path / "data" / part, per_class=5, seed=seed)
    source = next((tmp_path / "data" / "test" / "disc").glob("*.jpg"))
    again = tmp_path / "data" / "train" / "disc" / "again.png"
    Image.open(source).save(again)  # other bytes, the same picture
    result = pl.check(pl.read_dataset(tmp_path / "data"), exclude_to=tmp_path / "ex.csv")
    assert "near_split_leak" in {problem.kind for problem in result.problems}
    left = pl.read_dataset(tmp_path / "data", exclude=tmp_path / "ex.csv")
    assert not any(sample.path.endswith("again.png") for sample in left.samples)
    assert sum(sample.part == "test" for sample in left.samples) == 15
    kinds = {problem.kind for problem in pl.check(left).problems}
    assert "near_split_leak" not in kinds


@pytest.mark.skipif(os.name == "nt", reason="needs macOS or Linux")
def test_ctrl_c_says_what_is_left(photos: Path, tmp_path: Path) -> None:
    words = ["fit", str(photos), "--out", str(tmp_path / "run"), "--model", "test_byobnet"]
    words += ["--weights", "none", "--image-size", "32", "--epochs", "500", "--threads", "1"]
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from pocketlens.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "model.run" / "last.safetensors").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines()[-1]
    assert process.returncode == 130
    assert "interrupted" in said
    assert "--resume" in said

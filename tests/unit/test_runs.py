"""Long runs: one at a time, resumed only as they were begun, complete or not there."""

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

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core import directory
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import UserError
from pocketlens.measures.latency import Timing
from pocketlens.workflows import _table
from pocketlens.workflows import shrink as shrinking
from pocketlens.workflows._ladder import Candidate
from pocketlens.workflows._workplace import workplace
from support.tiny import CONFIG


@pytest.fixture
def one_candidate(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`shrink` tries the float export and one static INT8 only, on few photos, untimed."""

    def untimed(bundles: dict[str, Path], *_: Any, **__: Any) -> dict[str, Timing]:
        return dict.fromkeys(bundles, Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,)))

    monkeypatch.setattr(_table, "measure_latency", untimed)

    def use(num_images: int) -> None:
        static = Candidate("int8", "onnx", "onnx-static", {"num_images": num_images})
        ladder = [Candidate("float-onnx", "onnx", precision="float32"), static]
        monkeypatch.setattr(shrinking, "ladder", lambda _: ladder)

    use(4)
    return use


def made_at(path: Path) -> int:
    return (path / "manifest.json").stat().st_mtime_ns


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_second_run_into_one_directory_refuses(tmp_path: Path, how: dict[str, bool]) -> None:
    # FAULTS 30
    with workplace(tmp_path / "run"):
        (tmp_path / "run" / "mine").touch()
        with (
            pytest.raises(UserError, match="another run writes"),
            workplace(tmp_path / "run", **how),
        ):
            raise AssertionError("no work is done")
        assert (tmp_path / "run" / "mine").exists()
    with workplace(tmp_path / "run", **how):
        pass


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    half = tmp_path / f".run.{dead_process()}.tmp"
    fresh = tmp_path / f".run.{dead_process()}.old"
    mine = tmp_path / f".run.{os.getpid()}.tmp"
    other = tmp_path / f".other.{dead_process()}.tmp"
    for path in (half, fresh, mine, other):
        path.mkdir()
    (tmp_path / "run").mkdir()
    long_ago = time.time() - 3600
    os.utime(half, (long_ago, long_ago))
    directory.sweep(tmp_path / "run")
    assert not half.exists()
    assert fresh.exists()
    assert mine.exists()
    assert other.exists()


def test_the_old_result_waits_until_its_successor_shows_something(tmp_path: Path) -> None:
    old = tmp_path / f".run.{dead_process()}.old"
    old.mkdir()
    long_ago = time.time() - 3600
    os.utime(old, (long_ago, long_ago))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / directory.MARKER).touch()
    directory.sweep(run_dir)
    assert old.exists()
    (run_dir / "last.safetensors").touch()
    directory.sweep(run_dir)
    assert not old.exists()


def test_a_failed_overwrite_keeps_the_files_of_the_old_run(photos: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    old = pl.train(photos, out=tmp_path / "a", config=config)
    (tmp_path / "a.run" / "notes.txt").write_text("mine")
    before = sorted(p.name for p in (tmp_path / "a.run").iterdir())
    with pytest.raises(UserError, match="lower --lr"):
        pl.train(photos, out=tmp_path / "a", config=replace(config, lr=1e30), overwrite=True)
    assert sorted(p.name for p in (tmp_path / "a.run").iterdir()) == before
    assert read_bundle(tmp_path / "a").id == old.id
    new = pl.train(photos, out=tmp_path / "a", config=replace(config, seed=1), overwrite=True)
    assert new.id != old.id, "the old checkpoint is not gone on with"


def test_killed_between_two_renames_brings_the_old_one_back(tmp_path: Path) -> None:
    old = tmp_path / f".run.{dead_process()}.old"
    old.mkdir()
    (old / "kept").touch()
    directory.sweep(tmp_path / "run")
    assert (tmp_path / "run" / "kept").exists()


def test_a_complete_run_is_resumed_only_as_it_was(
    tiny: Bundle, photos: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny.path, tmp_path / "a")
    assert pl.train(photos, out=tmp_path / "a", config=CONFIG, resume=True).id == tiny.id
    with pytest.raises(UserError, match="--lr"):
        pl.train(photos, out=tmp_path / "a", config=replace(CONFIG, lr=1e-4), resume=True)
    others = make_photos(tmp_path / "others", per_class=6, seed=5)
    with pytest.raises(UserError, match="other photos or labels"):
        pl.train(others, out=tmp_path / "a", config=CONFIG, resume=True)
    assert read_bundle(tmp_path / "a").id == tiny.id


def test_shrink_resumes_what_was_made_as_it_would_be_now(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    one_candidate: Callable[[int], None],
    make_photos: Callable[..., Path],
) -> None:
    out = tmp_path / "s"
    pl.shrink(tiny, photos, out=out)
    exported, small = out / "variants" / "float-onnx", out / "variants" / "int8"
    before = made_at(exported), made_at(small)
    pl.shrink(tiny, photos, out=out, resume=True)
    assert (made_at(exported), made_at(small)) == before
    one_candidate(5)
    pl.shrink(tiny, photos, out=out, resume=True)
    assert made_at(exported) == before[0]
    assert made_at(small) > before[1]
    assert read_bundle(small).manifest.lineage.config["num_images"] == 5
    others = make_photos(tmp_path / "others", per_class=6, seed=5)
    calibrated = made_at(small)
    pl.shrink(tiny, photos, out=out, resume=True, calibration=others)
    assert made_at(small) > calibrated
    assert json.loads((out / "compare.json").read_text())["config"]["calibration"] == "others"


def test_a_damaged_variant_is_made_again(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    one_candidate: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "s"
    pl.shrink(tiny, photos, out=out)
    (out / "variants" / "int8" / "model.onnx").write_bytes(b"damaged")
    table = pl.shrink(tiny, photos, out=out, resume=True)
    assert "made again" in capsys.readouterr().err
    assert table.comparison.row("int8").verdict != "failed"
    read_bundle(out / "variants" / "int8")


def test_the_table_is_there_only_with_its_model(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    one_candidate: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed while `best` is replaced: no old table stands beside a new model."""
    out = tmp_path / "s"
    pl.shrink(tiny, photos, out=out)
    old = read_bundle(out / "best")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shrinking, "write_reports", killed)
    with pytest.raises(KeyboardInterrupt):
        pl.shrink(tiny, photos, out=out, resume=True)
    assert not (out / "compare.json").exists()
    monkeypatch.setattr(shrinking, "copy_bundle", killed)
    with pytest.raises(KeyboardInterrupt):
        pl.shrink(tiny, photos, out=out, resume=True)
    assert read_bundle(out / "best").id == old.id


def test_a_full_disk_under_the_reports_is_the_users_to_mend(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    one_candidate: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(self: Path, text: str, **_: Any) -> int:
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr(Path, "write_text", full)
    words = ["shrink", str(tiny.path), "--data", str(photos), "--out", str(tmp_path / "s")]
    assert run(words) == 2
    assert "No space left" in capsys.readouterr().err


def test_the_model_is_looked_at_before_the_photos(photos: Path, tmp_path: Path) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("photos were read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocketlens.workflows.fit.check", never)
        patch.setattr("pocketlens.workflows.fit.identities", never)
        for wrong in ({"model": "no_such_net"}, {"weights": str(tmp_path / "none.pth")}):
            settings = {"model": "test_byobnet", **wrong}
            with pytest.raises(UserError, match=r"no network|do not exist"):
                pl.fit(photos, out=tmp_path / "f", **settings)
    assert not (tmp_path / "f").exists()


def test_a_size_that_the_network_refuses(photos: Path, tmp_path: Path) -> None:
    words = ["--model", "test_vit", "--weights", "none", "--image-size", "100"]
    assert run(["train", str(photos), "--out", str(tmp_path / "x"), *words]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs macOS or Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_goes_on(number: signal.Signals, photos: Path, tmp_path: Path) -> None:
    # FAULTS 25, of the whole program
    out = tmp_path / "run"
    words = ["train", str(photos), "--out", str(out), "--model", "test_byobnet", "--image-size"]
    words += ["32", "--weights", "none", "--epochs", "12", "--threads", "1"]
    # A run in the background, as CI's may be, starts with Ctrl-C ignored.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from pocketlens.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run.run" / "last.safetensors").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert not out.exists()
    assert [p.name for p in (tmp_path / "run.run").iterdir() if p.name.endswith(".tmp")] == []
    assert run([*words, "--resume"]) == 0
    history = (tmp_path / "run.run" / "history.csv").read_text().splitlines()
    assert len(history) == 13
    read_bundle(out)


def test_ctrl_c_while_something_is_deleted_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    # FAULTS 25: Python itself only prints what is raised there, and would go on.
    program = """
import signal, time
from pocketlens import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
class Forgotten:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
def work(argv):
    object = Forgotten()
    del object
    time.sleep(60)
    return 0
def watched(argv):
    try:
        return work(argv)
    except KeyboardInterrupt:
        return 130
cli.run = watched
cli.main([])
"""
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 130
    assert time.monotonic() - started < 30
    assert capfd.readouterr().err == ""

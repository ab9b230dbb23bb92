"""Training killed at random moments and resumed, until it is done: is anything lost or different?

    python benchmarks/kills.py --data DATA/fruits --kills 50

One run of each recipe is left in peace. Then runs with a checkpoint after every step are killed
(SIGKILL, at random moments from start to end, every other one while a checkpoint is being written)
and resumed until they are done, until there were so many kills. After each kill the last checkpoint
must load and no half bundle be there; each finished run must have the very weights of the
undisturbed one. Runs are forked from a process that has torch loaded already, so that kills meet
training and not imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import timm  # noqa: F401 - loaded before the fork
import torch  # noqa: F401
from safetensors.numpy import load_file

import pocketlens as pl
from pocketlens.core.errors import UserError
from pocketlens.training import checkpoint

_COMMON: Final[Mapping[str, Any]] = {
    "model": "lcnet_050",
    "weights": "none",
    "image_size": 32,
    "batch_size": 192,
    "epochs": 3,
    "checkpoint_minutes": 0.0,
}
RECIPES: Final[tuple[Mapping[str, Any], ...]] = (
    {"ema": 0.99, "augment": "trivial", "mixup": 0.2},
    {
        "accumulate": 3,
        "sampler": "balanced",
        "optimizer": "sgd",
        "schedule": "one_cycle",
        "freeze_epochs": 1,
    },
)


def main() -> int:
    """Run and print one JSON object; exit 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, usual = [], []
        for number, recipe in enumerate(RECIPES):
            began = time.monotonic()
            wait(start(args.data, folder / f"whole{number}", recipe))
            usual.append(time.monotonic() - began)
            whole.append(load_file(folder / f"whole{number}" / "model.safetensors"))
        kills = finished = saving = 0
        while kills < args.kills:
            number = finished % len(RECIPES)
            run = start(args.data, folder / "cut", RECIPES[number])
            aim = folder / "cut.run" if kills % 2 else None
            code = wait(run, rng.uniform(0, 1.1) * usual[number], aim)
            if code is None:
                kills += 1
                saving += check(folder / "cut")
                print(f"kill {kills}", file=sys.stderr)
                continue
            if code:
                raise SystemExit(f"a resumed run ended with {code}")
            finished += 1
            cut = load_file(folder / "cut" / "model.safetensors")
            if any((value != cut[key]).any() for key, value in whole[number].items()):
                raise SystemExit("a resumed run has other weights")
            shutil.rmtree(folder / "cut")
            shutil.rmtree(folder / "cut.run")
    print(json.dumps({"kills": kills, "while_saving": saving, "finished_the_same": finished}))
    return 0


def start(data: Path, out: Path, recipe: Mapping[str, Any]) -> int:
    """A process that trains, from the last checkpoint on; its number."""
    if process := os.fork():
        return process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = 1
    try:
        pl.train(data, out=out, resume=True, **_COMMON, **recipe)
        code = 0
    except UserError:
        code = 2
    finally:
        os._exit(code)


def wait(process: int, seconds: float | None = None, aim: Path | None = None) -> int | None:
    """The exit code; after so many seconds the process is killed: None.

    Args:
        aim: kill it when a checkpoint is being written in this directory, not just anywhere.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end or (aim is not None and not is_saving(aim)):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def is_saving(run_dir: Path) -> bool:
    """Whether a checkpoint is there that is not complete."""
    return any(run_dir.glob(".last.safetensors.*.tmp"))


def check(out: Path) -> bool:
    """After a kill: a whole checkpoint or none, no half bundle. Whether it hit a save."""
    # The directory of a bundle appears whole; killed after that, the run was done.
    assert not out.exists() or (out / "manifest.json").is_file(), "half a bundle is there"
    run_dir = out.with_name(f"{out.name}.run")
    if not run_dir.exists():
        return False
    checkpoint.load(run_dir)  # raises where it is damaged
    return is_saving(run_dir)  # the next run removes it


if __name__ == "__main__":
    sys.exit(main())

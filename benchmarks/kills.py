"""Training killed at random moments and resumed, until it is done: is anything lost or different?

    python benchmarks/kills.py --data DATA/fruits --kills 50

One run of each recipe is left in peace. Then runs with a checkpoint after every step are killed
(SIGKILL, at random moments from start to end) and resumed until they are done, until there were so
many kills. After each kill the last checkpoint must load and no bundle be there; each finished run
must have the very weights of the undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from safetensors.numpy import load_file

from pocketlens.training import checkpoint

RECIPES: Final = (
    "--ema 0.99 --augment trivial --mixup 0.2",
    "--accumulate 3 --sampler balanced --optimizer sgd --schedule one_cycle --freeze-epochs 1",
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
        whole, usual = [], 0.0
        for number, recipe in enumerate(RECIPES):
            began = time.monotonic()
            start(args.data, folder / f"whole{number}", recipe).wait()
            usual = max(usual, time.monotonic() - began)
            whole.append(load_file(folder / f"whole{number}" / "model.safetensors"))
        kills = finished = saving = 0
        while kills < args.kills:
            number = finished % len(RECIPES)
            run = start(args.data, folder / "cut", RECIPES[number], "--resume")
            try:
                code = run.wait(timeout=rng.uniform(0.2, 1.2) * usual)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
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


def start(data: Path, out: Path, recipe: str, *flags: str) -> subprocess.Popen[bytes]:
    """A training run of a minute or so."""
    command = [sys.executable, "-m", "pocketlens", "train", str(data), "--out", str(out)]
    settings = {
        "model": "mobilenetv3_small_100",
        "weights": "none",
        "image-size": "32",
        "batch-size": "128",
        "epochs": "4",
        "checkpoint-minutes": "0",
    }
    given = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return subprocess.Popen([*command, *given, *recipe.split(), *flags], stderr=subprocess.DEVNULL)


def check(out: Path) -> bool:
    """After a kill: a whole checkpoint or none, no bundle. Whether it hit the saving of one."""
    # The directory of a bundle appears whole; killed after that, the run was done.
    assert not out.exists() or (out / "manifest.json").is_file(), "half a bundle is there"
    run_dir = out.with_name(f"{out.name}.run")
    if not run_dir.exists():
        return False
    checkpoint.load(run_dir)  # raises where it is damaged
    return any(run_dir.glob(".last.safetensors.*.tmp"))


if __name__ == "__main__":
    sys.exit(main())

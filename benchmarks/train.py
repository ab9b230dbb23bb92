"""Photos a second of training, against the plain loop that everybody writes.

    python benchmarks/train.py --data DATA/neu_steel --model mobilenetv3_small_100
    python benchmarks/train.py --data DATA/neu_steel --model tf_efficientnet_lite0
    python benchmarks/train.py --data DATA/imagenet_200 --side 1500 --model mobilenetv3_small_100
    python benchmarks/train.py --data DATA/neu_steel --accuracy --seeds 3

The plain loop: ImageFolder, torchvision's transforms, DataLoader, NCHW float32, AdamW. Network,
photos, batch, resolution, augmentation, schedule and workers are the same. Each loop is a process;
their epochs take turns, one runs while the other waits. Printed is the ratio of each pair of epochs
from the second on: median, smallest and largest. `--accuracy` trains both to the end instead, from
the same start for each seed, and scores both on the same test photos.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import pocketlens as pl
from pocketlens.core.predictor import available_cores

_ROLES = ("ours", "plain")


def main() -> int:
    """Run and print one JSON object and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mobilenetv3_small_100")
    parser.add_argument("--side", type=int, help="enlarge the photos to this many pixels a side")
    parser.add_argument("--photos", type=int, default=320, help="training photos")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--role", choices=_ROLES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        steps = {"ours": ours, "plain": plain}[args.role]
        steps(args)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(args.data, folder / "photos", args.photos, args.side)
        for seed in range(args.seeds if args.accuracy else 1):
            make_begin(args.model, folder, seed)
        compare = accuracy if args.accuracy else throughput
        print(json.dumps(compare(args, folder)))
    return 0


def throughput(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of each epoch of both, in turns."""
    runs = {role: start(role, args, folder, 0) for role in _ROLES}
    seconds: dict[str, list[float]] = {role: [] for role in _ROLES}
    for epoch in range(args.epochs):
        for role in _ROLES if epoch % 2 else _ROLES[::-1]:
            seconds[role].append(turn(runs[role]))
            print(f"epoch {epoch + 1} {role}: {seconds[role][-1]:.2f} s", file=sys.stderr)
    for run in runs.values():
        run.communicate()
    ratios = np.array(seconds["plain"][1:]) / np.array(seconds["ours"][1:])
    median, low, high = np.median(ratios), ratios.min(), ratios.max()
    photos = {role: args.photos / float(np.median(seconds[role][1:])) for role in _ROLES}
    first = seconds["plain"][0] / seconds["ours"][0]
    print(
        f"| {args.model} | {photos['plain']:.0f} | {photos['ours']:.0f} | "
        f"{median:.2f} ({low:.2f} to {high:.2f}) | {first:.2f} |"
    )
    return {"model": args.model, "side": args.side, "seconds": seconds, "ratio": float(median)}


def accuracy(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Test scores of both for each seed."""
    found: dict[str, list[float]] = {role: [] for role in _ROLES}
    for seed in range(args.seeds):
        for role in _ROLES:
            run = start(role, args, folder, seed)
            for _ in range(args.epochs):
                turn(run)
            assert run.stdout is not None
            found[role].append(json.loads(run.stdout.readline())["accuracy"])
            run.communicate()
            print(f"seed {seed} {role}: {found[role][-1]:.2f} %", file=sys.stderr)
    cells = (f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in found.values())
    print(f"| {args.model} | {' | '.join(cells)} |")
    return {"model": args.model, "accuracy": found}


def start(role: str, args: argparse.Namespace, folder: Path, seed: int) -> subprocess.Popen[str]:
    """A process that waits for its first turn."""
    given = ("model", "photos", "epochs", "batch_size", "image_size")
    flags = [x for name in given for x in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]
    command = [sys.executable, __file__, "--role", role, "--data", str(folder), *flags]
    environment = os.environ | {"POCKETLENS_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*command, "--seed", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"{role}-{seed}.log").open("w"),
        text=True,
        env=environment,
    )


def turn(run: subprocess.Popen[str]) -> float:
    """Let a process train for one epoch; the seconds its steps took."""
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.write("go\n")
    run.stdin.flush()
    while line := run.stdout.readline():
        if line.startswith("seconds "):
            return float(line.split()[1])
    logs = [path.read_text() for path in Path(str(run.args[5])).glob("*.log")]  # type: ignore[index]
    raise RuntimeError("a process ended:\n" + "\n".join(logs))


_took: list[float] = []


def timed(steps: Callable[[], None]) -> None:
    """Wait for the turn and run. How long it took is told when all is quiet again."""
    tell()
    sys.stdin.readline()
    began = time.perf_counter()
    steps()
    _took.append(time.perf_counter() - began)


def tell() -> None:
    """After validation, so that it doesn't run beside the other's steps."""
    if _took:
        print("seconds", _took.pop(), flush=True)


def finish(accuracy: float) -> None:
    """Tell what came of it, and stay until the other is done too."""
    tell()
    print(json.dumps({"accuracy": accuracy}), flush=True)
    sys.stdin.read()


def ours(args: argparse.Namespace) -> None:
    """`pl.train`, whose epochs wait for their turn."""
    from pocketlens.training import epoch, loop

    take_steps = epoch.take_steps
    vars(loop)["take_steps"] = lambda *given: timed(lambda: take_steps(*given))
    out = args.data / f"ours-{args.seed}"
    bundle = pl.train(
        args.data / "photos",
        out=out,
        model=args.model,
        weights=str(args.data / f"begin-{args.seed}.pt"),
        image_size=args.image_size,
        batch_size=args.batch_size,
        epochs=args.epochs,
        seed=args.seed,
        metric="loss",
        workers=available_cores(),
    )
    finish(bundle.manifest.metrics["test"]["accuracy"])


def make_begin(model: str, folder: Path, seed: int) -> None:
    """Where both loops start: the packaged weights of lite0, else random ones of the seed."""
    import torch

    from pocketlens.models import timm as family

    torch.manual_seed(seed)
    module = family.build(model, num_classes(folder), family.Config())
    if model == "tf_efficientnet_lite0":
        family.load_weights(module, model, "auto", family.Config())
    torch.save(module.state_dict(), folder / f"begin-{seed}.pt")


def num_classes(folder: Path) -> int:
    """Folders of training photos."""
    return sum(1 for _ in (folder / "photos" / "train").iterdir())


def plain(args: argparse.Namespace) -> None:
    """What a tutorial shows, with the schedule and augmentation of `pl.train`."""
    import timm
    import torch
    from torchvision import datasets, transforms

    from pocketlens.training.config import TrainConfig
    from pocketlens.training.optimize import learning_rate, set_rates

    torch.manual_seed(args.seed)
    spec = timm.data.resolve_model_data_config(timm.create_model(args.model))
    modes = transforms.InterpolationMode
    size = (args.image_size, args.image_size)
    resize = transforms.Resize(size, modes(spec["interpolation"]))
    last = [transforms.ToTensor(), transforms.Normalize(spec["mean"], spec["std"])]
    flips = [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
    turns = [transforms.RandomApply([transforms.Lambda(_transposed)], 0.5)]
    folder = args.data / "photos"
    train = datasets.ImageFolder(
        str(folder / "train"), transforms.Compose([resize, *flips, *turns, *last])
    )
    loader = torch.utils.data.DataLoader(
        train,
        batch_size=args.batch_size,
        shuffle=True,
        num_workers=available_cores(),
        persistent_workers=True,
    )
    module = timm.create_model(args.model, num_classes=num_classes(args.data))
    begin = args.data / f"begin-{args.seed}.pt"
    module.load_state_dict(torch.load(begin, weights_only=True))
    config = TrainConfig(epochs=args.epochs)
    decay = [p for p in module.parameters() if p.ndim > 1]
    other = [p for p in module.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]]
    groups = [{"params": decay}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    step = 0

    def steps() -> None:
        nonlocal step
        module.train()
        for inputs, truth in loader:
            set_rates(optimizer, learning_rate(config, step, len(loader)), None)
            loss = criterion(module(inputs), truth)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1

    best = (float("inf"), module.state_dict())
    for _ in range(args.epochs):
        timed(steps)
        scored = score(module, folder / "val", transforms.Compose([resize, *last]))
        if scored[0] < best[0]:
            best = scored[0], {k: v.clone() for k, v in module.state_dict().items()}
    module.load_state_dict(best[1])
    share = score(module, folder / "test", transforms.Compose([resize, *last]))[1]
    finish(100 * share)


def _transposed(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.TRANSPOSE)


def score(module: Any, folder: Path, transform: Any) -> tuple[float, float]:
    """Loss and share of right answers."""
    import torch
    from torchvision import datasets

    module.eval()
    losses, right = [], []
    with torch.inference_mode():
        for image, truth in datasets.ImageFolder(str(folder), transform):
            logits = module(image[None])
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor([truth])).item())
            right.append(int(logits.argmax()) == truth)
    return float(np.mean(losses)), float(np.mean(right))


def lay_out(data: Path, folder: Path, num_photos: int, side: int | None) -> None:
    """`train/`, `val/` and `test/` with a folder a class, as ImageFolder wants them.

    Where there are too few photos of a class to learn it, the classes are two: even and odd.
    """
    dataset = pl.read_dataset(data)
    numbers = {name: k for k, name in enumerate(dataset.classes)}
    few = len(dataset) < 10 * len(numbers)
    order = iter(np.random.default_rng(0).permutation(len(dataset)))
    left = len(dataset) - num_photos
    for part, count in {"train": num_photos, "val": left // 3, "test": left - left // 3}.items():
        for i in itertools.islice(order, count):
            sample = dataset.samples[i]
            label = str(numbers[sample.labels[0]] % 2) if few else sample.labels[0]
            path = folder / part / label / f"{i:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(dataset.file(sample)) as opened:
                image = opened.convert("RGB")
            if side is not None:
                image = image.resize((side, side), Image.Resampling.BICUBIC)
            image.save(path, quality=92)


if __name__ == "__main__":
    sys.exit(main())

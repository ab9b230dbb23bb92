"""Does augmenting the minority alone help it? Each way over several seeds, on the same splits.

    python benchmarks/imbalance.py skin_lesions --data DATA/skin_lesions
    python benchmarks/imbalance.py fruits --data DATA/fruits

Trains one network for each way and seed (the seed is also that of the split) and prints recall of
the minority and macro F1 on test photos: mean, smallest and largest, and the mean difference to no
augmentation with the 95 % interval of Student's t over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import pocketlens as pl
from pocketlens.core.dataset import Dataset

#: Way -> settings of training; the first is what the others are compared with.
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {"augment": "v0"},
    "minority only": {"augment": "v2", "augment_only": ("minority",)},
    "all": {"augment": "v2"},
}


@dataclass(frozen=True)
class Task:
    """Data on which the minority is hard enough, and how a network is trained on it."""

    minority: str
    settings: Mapping[str, Any]
    #: Photos of the minority to train and validate on; all where None.
    keep: int | None = None


TASKS: Final = {
    "skin_lesions": Task(
        "melanoma", {"model": "tf_efficientnet_lite0", "image_size": 128, "epochs": 8}
    ),
    "fruits": Task(
        "mango",
        {
            "model": "mobilenetv3_small_100",
            "weights": "none",
            "image_size": 96,
            "epochs": 15,
            "lr": 3e-3,
        },
        keep=25,
    ),
}


def main() -> int:
    """Run and print one JSON object and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    task = TASKS[args.task]
    dataset = cut(pl.read_dataset(args.data), task)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in range(args.seeds):
        for way, settings in WAYS.items():
            with tempfile.TemporaryDirectory() as name:
                figures = train(dataset, task, Path(name) / "model", seed, settings)
            found[way].append(figures)
            print(f"seed {seed}, {way}: {figures}", file=sys.stderr, flush=True)
    print(json.dumps({"task": args.task, "settings": dict(task.settings), "found": found}))
    print("\n| augmented | recall of the minority % | against none | macro F1 % | against none |")
    print("|---|---|---|---|---|")
    for way, runs in found.items():
        cells = []
        for metric in ("recall", "macro_f1"):
            values = np.array([run[metric] for run in runs])
            usual = np.array([run[metric] for run in found["none"]])
            cells += [spread(values), "" if way == "none" else interval(values - usual)]
        print(f"| {way} | {' | '.join(cells)} |")
    return 0


def cut(dataset: Dataset, task: Task) -> Dataset:
    """Only `keep` photos of the minority to train and validate on, spread over their names."""
    if task.keep is None:
        return dataset
    rare = sorted(
        sample.path
        for sample in dataset.samples
        if sample.part != "test" and sample.labels == (task.minority,)
    )
    # Turntable photos stand in their order, so that a spread of views is kept.
    kept = {rare[i] for i in np.linspace(0, len(rare) - 1, task.keep, dtype=int)}
    left_out = set(rare) - kept
    return dataset.subset([s for s in dataset.samples if s.path not in left_out])


def train(
    dataset: Dataset, task: Task, out: Path, seed: int, settings: Mapping[str, Any]
) -> dict[str, float]:
    """One run's figures on test photos, in percent."""
    bundle = pl.train(dataset, out=out, seed=seed, **task.settings, **settings)
    with out.with_name(f"{out.name}.run").joinpath("confusion_matrix.csv").open() as file:
        rows = {row["truth"]: row for row in csv.DictReader(file)}
    counts = {name: int(count) for name, count in rows[task.minority].items() if name != "truth"}
    scores = bundle.manifest.metrics["test"]
    return {
        "recall": 100 * counts[task.minority] / sum(counts.values()),
        "macro_f1": scores["macro_f1"],
        "accuracy": scores["accuracy"],
    }


def spread(values: np.ndarray[Any, Any]) -> str:
    """Mean, smallest and largest."""
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"


def interval(differences: np.ndarray[Any, Any]) -> str:
    """Mean with the 95 % interval of Student's t."""
    from scipy.stats import t

    n = len(differences)
    half = t.ppf(0.975, n - 1) * differences.std(ddof=1) / n**0.5
    mean = differences.mean()
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


if __name__ == "__main__":
    sys.exit(main())

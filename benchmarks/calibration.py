"""Does it matter which photos INT8 ranges are found on? Each choice over several seeds.

    python benchmarks/calibration.py --data DATA/imagenet_200 --calibration DATA/coco_mini

Quantizes one float network once for each choice and seed, scores it on `--data` and prints, for
each choice, the mean and the spread (smallest to largest) of agreement with the float model, of
accuracy, and of the error of the logits (root mean square, in percent of theirs).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pocketlens as pl
from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.examples import Examples
from pocketlens.core.scored import Scored
from pocketlens.explain.choice import Choice
from pocketlens.workflows._calibration_choice import CHOICES
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.evaluate import metric_of, run_bundle
from pocketlens.workflows.open import load


def main() -> int:
    """Run and print one JSON object and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled photos to score on")
    parser.add_argument("--calibration", type=Path, required=True, help="photos to choose from")
    parser.add_argument("--bundle", type=Path, help="float bundle; default: lite0 with ImageNet's")
    parser.add_argument("--num-images", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.bundle is None:
            float_bundle = pl.import_model("tf_efficientnet_lite0", out=folder / "float")
        else:
            float_bundle = read_bundle(args.bundle)
        if float_bundle.manifest.runtime == "torch":
            float_bundle = pl.export(float_bundle, runtime="onnx", out=folder / "onnx")
        examples = examples_of(float_bundle, as_hashed(args.data), "test")
        rows = spread(float_bundle, examples, args.calibration, args.num_images, args.seeds, folder)
    print(json.dumps({"num_images": args.num_images, "num_scored": len(examples), "rows": rows}))
    print("\n| choice | agreement % | score % | error of logits % |\n|---|---|---|---|")
    for row in rows:
        cells = (f"{np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in list(row.values())[1:])
        print(f"| {row['choice']} | {' | '.join(cells)} |")
    return 0


def spread(
    bundle: Bundle, examples: Examples, calibration: Path, num: int, seeds: int, folder: Path
) -> list[dict[str, Any]]:
    """Agreement, score and error of the INT8 model for each choice, a figure a seed."""
    reference = run_bundle(bundle, examples).scored, logits_of(bundle, examples)
    rows = []
    for choice in CHOICES:
        found = [
            one(bundle, examples, reference, calibration, choice, num, seed, folder)
            for seed in range(seeds)
        ]
        agreement, score, error = map(list, zip(*found, strict=True))
        rows.append({"choice": choice, "agreement": agreement, "score": score, "error": error})
    return rows


def one(
    bundle: Bundle,
    examples: Examples,
    reference: tuple[Scored, NDArray[np.float32]],
    calibration: Path,
    choice: Choice,
    num: int,
    seed: int,
    folder: Path,
) -> tuple[float, float, float]:
    """One quantization: agreement, score and error of the logits, all in percent."""
    made = pl.compress(
        bundle,
        method="onnx-static",
        out=folder / f"{choice}-{seed}",
        calibration=calibration,
        calibration_choice=choice,
        num_images=num,
        seed=seed,
    )
    scored = run_bundle(made, examples, text=f"{choice} {seed}").scored
    float_scored, float_NK = reference
    difference = logits_of(made, examples) - float_NK
    error = 100 * float(np.sqrt((difference**2).mean() / (float_NK**2).mean()))
    score = float(metrics.score(metric_of(bundle), scored)[0])
    return metrics.agreement(float_scored, scored), score, error


def logits_of(bundle: Bundle, examples: Examples) -> NDArray[np.float32]:
    """`logits_NK` of all examples that can be read."""
    with load(bundle) as predictor:
        requests = (examples.request(i) for i in range(len(examples)))
        return np.stack([a.logits_K for a in predictor.answers(requests) if a.logits_K is not None])


if __name__ == "__main__":
    sys.exit(main())

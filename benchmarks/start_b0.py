"""Weights to start efficientnet_b0 from, where none can be had: lite0's, squeeze-excite at random.

    python benchmarks/start_b0.py OUT.safetensors

lite0 is EfficientNet-B0 with ReLU6 for SiLU and without squeeze-excite, so all its other tensors
have the same names and shapes. `pocketlens train --model efficientnet_b0 --weights OUT.safetensors`
then learns a B0 that is worth compressing from a few hundred photos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

import pocketlens as pl

LITE = "tf_efficientnet_lite0"


def main(out: Path) -> int:
    """Write the file; returns the exit code."""
    torch.manual_seed(0)
    state = timm.create_model("efficientnet_b0").state_dict()
    bundle = pl.import_model(LITE, out=out.with_suffix(".imported"), overwrite=True)
    given = load_file(bundle.file("model.safetensors"))
    assert all(state[name].shape == tensor.shape for name, tensor in given.items())
    save_file({k: v.contiguous() for k, v in (state | given).items()}, out)
    print(f"{len(given)} of {len(state)} tensors from {LITE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Answers of one file on another kind of processor: `RUNTIME FILE INPUTS.npy LOGITS.npy`.

Run by `measures.emulated` as a script by itself, inside a root that has numpy and the runtime but
no pocketlens; so it imports nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def main(runtime: str, file: str, inputs: str, logits: str) -> None:
    """Ask about one photo at a time, as a phone does."""
    given = np.load(inputs)
    answer, size = {"onnx": _onnx, "executorch": _executorch}[runtime](file)
    # A file for a fixed batch gets each photo so many times.
    rows = [answer(np.repeat(photo[None], size, axis=0))[:1] for photo in given]
    np.save(logits, np.concatenate(rows))


def _onnx(file: str) -> tuple[Any, int]:
    import onnxruntime as ort

    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    batch = taken.shape[0] if isinstance(taken.shape[0], int) else 1
    return lambda x: session.run(None, {taken.name: x})[0], batch


def _executorch(file: str) -> tuple[Any, int]:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    batch = method.metadata.input_tensor_meta(0).sizes()[0]
    return lambda x: method.execute([torch.from_numpy(x)])[0].numpy(), batch


if __name__ == "__main__":
    main(*sys.argv[1:])

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
    answer = {"onnx": _onnx, "executorch": _executorch}[runtime](file)
    np.save(logits, np.concatenate([answer(given[i : i + 1]) for i in range(len(given))]))


def _onnx(file: str) -> Any:
    import onnxruntime as ort

    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _executorch(file: str) -> Any:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    return lambda x: method.execute([torch.from_numpy(x)])[0].numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the ONNX methods share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pocketlens.core.session import Session


def load_model(path: Path) -> Any:
    """The model without the shapes noted in it: stale ones (of other people's exporters) would
    stop the quantizer, which finds them anew anyway.
    """
    import onnx

    model = onnx.load(str(path))
    model.graph.ClearField("value_info")
    return model


def first_convolutions(model: Any) -> list[str]:
    """Names of the convolutions that read the network's input, directly or through other nodes
    that only rearrange or shift it.
    """
    reached = {tensor.name for tensor in model.graph.input}
    found = []
    for node in model.graph.node:  # in topological order
        if not reached & set(node.input):
            continue
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            found.append(node.name)
        else:
            reached |= set(node.output)
    return found


def last_layers(model: Any) -> list[Any]:
    """The nodes with weights that lead to the network's output: its classifier."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found, todo, seen = [], [model.graph.output[0].name], set()
    while todo:
        name = todo.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            found.append(node)
        else:
            todo += node.input
    return found


def session_of(content: bytes) -> Session:
    """A session of ONNX Runtime on a model in memory."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the quantizer's advice about its own options from the user."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)

"""What the ONNX methods share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pocketlens.core.batches import in_fixed_batches
from pocketlens.core.session import Session


def load_model(path: Path) -> Any:
    """The model without the shapes noted in it: stale ones (of other people's exporters) would
    stop the quantizer, which finds them anew anyway.
    """
    import onnx

    model = onnx.load(str(path))
    model.graph.ClearField("value_info")
    _name_nodes(model.graph)
    return model


def _name_nodes(graph: Any) -> None:
    """Give each node a name of its own: ONNX asks for none, the quantizer leaves out by names."""
    taken: set[str] = set()
    for i, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            base = f"{node.name or node.op_type}_{i}"
            while base in taken:
                base += "_"
            node.name = base
        taken.add(node.name)


def fixed_batch(shape: Sequence[Any]) -> int | None:
    """Photos that an input of this shape takes at a time, or None for any number."""
    return shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else None


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
    """A session of ONNX Runtime on a model in memory, for any number of photos."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]

    def run(batch: Any, /) -> Any:
        return session.run(None, {takes.name: batch})[0]

    fixed = fixed_batch(takes.shape)
    return run if fixed is None else in_fixed_batches(run, fixed)


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

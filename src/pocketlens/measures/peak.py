"""How many operations a second this machine can do at best: what speeds are held against.

The flat part of the roofline (Williams, Waterman, Patterson 2009, doi 10.1145/1498765.1498785),
measured: large matrix products in ONNX Runtime, whose inputs stay in the caches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

#: Sides of the square matrices; the best counts.
_SIDES: Final = (512, 1024)
_SECONDS: Final = 0.4


@dataclass(frozen=True)
class Peak:
    """Operations a second; a multiply-add is two."""

    float32: float
    int8: float


@cache
def matmul_peak(threads: int) -> Peak | None:
    """The best that was seen with so many threads; None where onnx isn't installed."""
    try:
        import onnx
    except ImportError:
        return None
    floats, ints = onnx.TensorProto.FLOAT, (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
    return Peak(
        max(_rate(onnx, "MatMul", (floats, floats), side, threads) for side in _SIDES),
        max(_rate(onnx, "MatMulInteger", ints, side, threads) for side in _SIDES),
    )


def _rate(onnx: Any, operator: str, kinds: tuple[int, int], side: int, threads: int) -> float:
    import onnxruntime as ort

    helper = onnx.helper
    rng = np.random.default_rng(0)
    # Weights within 7 bits, so that no processor saturates and none is flattered.
    types = [helper.tensor_dtype_to_np_dtype(kind) for kind in kinds]
    a, b = (rng.integers(0, 64, (side, side)).astype(dtype) for dtype in types)
    result = onnx.TensorProto.FLOAT if operator == "MatMul" else onnx.TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("a", kinds[0], [side, side])],
        [helper.make_tensor_value_info("y", result, [side, side])],
        # As weights are: known beforehand, so that they are packed once.
        [onnx.numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    session.run(None, {"a": a})
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while (begin := time.perf_counter()) < end:
        session.run(None, {"a": a})
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best

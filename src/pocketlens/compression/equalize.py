"""Cross-layer equalisation: the same network, with channels of like size, so that INT8 loses less.

Nagel et al. (2019), "Data-Free Quantization Through Weight Equalization and Bias Correction": where
a ReLU or nothing stands between two layers, a channel's weights may be divided by s in the first
and multiplied by s in the second, and the answers stay. s = sqrt(r1 / r2) makes both ranges equal.
It is done before `onnx-static` or `lsq`: --method equalize,onnx-static.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._onnx import load_model, session_of
from pocketlens.compression._step import Context, finish
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say

EXTRA = "onnx"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "float32")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = False

#: Largest share by which answers to noise may differ afterwards: rounding of float32.
_TOLERANCE: Final = 1e-3
_SETTLED: Final = 1e-3


@dataclass(frozen=True)
class Config:
    """How to equalise."""

    rounds: int = 40
    """Passes over all pairs of layers; fewer, if nothing moves any more."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UserError("--rounds must be at least 1")


class Pair(NamedTuple):
    """Names of two layers' weights and of the first one's bias; is the second depthwise?"""

    first: str
    bias: str | None
    second: str
    depthwise: bool


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Equalise all pairs of layers for which that is exact.

    Raises:
        UserError: there is no such pair.
    """
    onnx = require("onnx", extra=EXTRA)
    model = load_model(bundle.file("model.onnx"))
    pairs = find_pairs(model)
    if not pairs:
        raise UserError(
            "no two layers of this network can be equalised exactly: between all there is more "
            "than a ReLU (such as ReLU6, SiLU or a branch); exchange the activations first "
            "(--method activation-exchange --to relu), or leave equalize out"
        )
    values = {t.name: onnx.numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    before = _ratio(values, pairs)
    for _ in range(config.rounds):
        if max(_equalize(values, pair) for pair in pairs) < _SETTLED:
            break
    say(
        f"{len(pairs)} pairs of layers were equalised: channels' ranges differed {before:.1f} "
        f"times, now {_ratio(values, pairs):.1f} times (median of the largest to the median one)"
    )
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    content = model.SerializeToString(deterministic=True)
    _refuse_other_answers(bundle, content)
    return finish(
        bundle,
        context,
        "equalize",
        config,
        {"model.onnx": content},
        runtime="onnx",
        precision="float32",
        facts={"num_pairs": len(pairs)},
        packages=("onnx",),
    )


def find_pairs(model: Any) -> list[Pair]:
    """Convolutions of which one reads the other's output, with nothing or a ReLU between."""
    graph = model.graph
    values = {t.name: t for t in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {tensor.name for tensor in graph.output}
    pairs = []
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in values:
            continue
        following = _only_reader(node, readers, outputs)
        if following is not None and following.op_type == "Relu":
            following = _only_reader(following, readers, outputs)
        if following is None or following.op_type != "Conv" or following.input[1] not in values:
            continue
        groups = next((a.i for a in following.attribute if a.name == "group"), 1)
        channels = values[node.input[1]].dims[0]
        depthwise = groups == channels == values[following.input[1]].dims[0]
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        own = [node.input[1], following.input[1], *([bias] if bias else [])]
        shared = any(len(readers[name]) > 1 or name not in values for name in own)
        if not shared and (depthwise or groups == 1):
            pairs.append(Pair(node.input[1], bias, following.input[1], depthwise))
    return pairs


def _only_reader(node: Any, readers: dict[str, list[Any]], outputs: set[str]) -> Any | None:
    found = readers.get(node.output[0], [])
    return found[0] if len(found) == 1 and node.output[0] not in outputs else None


def _ranges(
    values: dict[str, NDArray[Any]], pair: Pair
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Largest absolute weight of each channel between the two, in the first and in the second."""
    first, second = np.abs(values[pair.first]), np.abs(values[pair.second])
    axes = (1, 2, 3) if pair.depthwise else (0, 2, 3)
    return first.max(axis=(1, 2, 3)), second.max(axis=axes)


def _equalize(values: dict[str, NDArray[Any]], pair: Pair) -> float:
    """Scale the channels between two layers; gives how far they were from equal."""
    first, second = _ranges(values, pair)
    alive = (first > 0) & (second > 0)
    scale = np.ones_like(first)
    scale[alive] = np.sqrt(first[alive] / second[alive])
    values[pair.first] /= scale[:, None, None, None]
    if pair.bias is not None:
        values[pair.bias] /= scale
    shape = (-1, 1, 1, 1) if pair.depthwise else (1, -1, 1, 1)
    values[pair.second] *= scale.reshape(shape)
    return float(np.abs(np.log(scale)).max())


def _ratio(values: dict[str, NDArray[Any]], pairs: list[Pair]) -> float:
    """Over the pairs, the median of the largest channel's range over the median one's."""
    ratios = []
    for pair in pairs:
        first, _ = _ranges(values, pair)
        ratios.append(float(first.max() / max(float(np.median(first)), 1e-12)))
    return float(np.median(ratios))


def _refuse_other_answers(bundle: Bundle, content: bytes) -> None:
    spec = bundle.manifest.preprocess
    noise = np.random.default_rng(0).normal(size=(2, 3, spec.height, spec.width))
    given = noise.astype(np.float32)
    models = (bundle.file("model.onnx").read_bytes(), content)
    before, after = (session_of(model)(given) for model in models)
    if not np.abs(after - before).max() <= _TOLERANCE * max(1.0, float(np.abs(before).max())):
        raise UserError(
            "the equalised network answers otherwise: its channels differ too much in size for "
            "float32; leave equalize out"
        )

"""Learned step size: trains the quantized file itself, in 8, 4, 3 or 2 bits, and ships it.

Esser et al. (2020), "Learned Step Size Quantization". Batch norm is part of the convolutions from
the beginning, so there is nothing to freeze late. In 8 bits training begins with the ranges of
`onnx-static`; below, steps begin where the squared error is least, the first convolution and the
classifier stay in 8 bits, and sums (the residual paths) do.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pocketlens.compression._onnx import last_layers, load_model, quiet, session_of
from pocketlens.compression._static import (
    StaticConfig,
    check_static,
    find_ranges,
    quantize,
    reduces,
)
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.compression._tuning import Tuning, check_tuning
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say, warn

if TYPE_CHECKING:
    from pocketlens.compression._graph import Graph

EXTRA = "train"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = True


#: Share of photos that the file may answer otherwise than the network that was trained: where two
#: classes are near each other, a rounding decides. A network that quantization shakes much has more
#: of them, which is said; beyond the second share the file isn't what was trained.
_MAY_DIFFER: Final = 0.02
_ANOTHER: Final = 0.1


@dataclass(frozen=True)
class Config(Tuning, StaticConfig):
    """How to quantize and train."""

    bits: Literal[8, 4, 3, 2] = 8
    """Of the weights. Below 8, processors compute in float: the file is smaller, not faster."""

    activation_bits: Literal[8, 4, 3, 2] | None = None
    """Of the activations; default: as the weights."""

    keep_float: Literal["first", "none"] = "none"
    """Leave the first convolution in float; it learns to do with 8 bits."""

    ranges: Literal["minmax", "mse", "percentile", "entropy"] = "mse"
    """Where the steps of 8 bits begin: see onnx-static."""

    first_and_last: Literal["8", "same"] = "8"
    """Bits of the first convolution and the classifier."""

    def __post_init__(self) -> None:
        check_tuning(self)
        check_static(self)


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Train the quantized network, taught by the float one, and write it.

    Raises:
        UserError: no photos, or a network with operations that can't be trained so.
    """
    require("onnx", extra="onnx")
    torch = require("torch", extra=EXTRA)
    torch.manual_seed(config.seed)
    calibration = context.calibration(config.num_images, config.seed)
    with tempfile.TemporaryDirectory() as folder, quiet():
        graph, num_used = start_graph(bundle, config, context, calibration, Path(folder))
    start, state = _written(graph), {k: v.clone() for k, v in graph.state_dict().items()}
    tuned = context.train(graph, config)
    content = _written(graph)
    facts = dict(tuned.facts)
    if not tuned.kept_start:
        # What counts is the file, and integer kernels round otherwise than training did.
        before, after = (context.score(session_of(file)) for file in (start, content))
        facts |= {"start_of_file": before, "file": after}
        if before > after:
            say(f"as a file the start is better ({before:.2f} against {after:.2f}): it stays")
            graph.load_state_dict(state)
            content = start
    multi_label = bundle.manifest.task == "multi_label"
    others, total = _answered_otherwise(graph, content, calibration, multi_label=multi_label)
    agreement = 100 * (1 - others / total)
    what = "labels" if multi_label else "the photos"
    say(f"the file and the network that was trained agree on {agreement:.2f} % of {what}")
    if others > max(1, _ANOTHER * total):
        raise UserError(
            f"{others} of {total} of {what} differ between the file and the network that was "
            "trained; use onnx-static or nncf for this network"
        )
    if others > max(1, _MAY_DIFFER * total):
        warn(
            f"{others} of {total} of {what} lie so near to another answer that rounding "
            "decides; what is scored is the file, as it will be shipped"
        )
    low = min(config.bits, config.activation_bits or config.bits)
    return finish(
        bundle,
        context,
        "lsq",
        config,
        {"model.onnx": content},
        runtime="onnx",
        precision=_precision(config),
        facts={
            "num_calibrated": num_used,
            **facts,
            "agreement_with_trained": agreement,
            **({} if low == 8 else {"simulated": "computed in float: no runtime has such kernels"}),
        },
        packages=("torch", "onnx", "onnxruntime"),
    )


def _precision(config: Config) -> str:
    """int8, int4, or int8-a4 where activations have other bits than weights."""
    activations = config.activation_bits or config.bits
    same = activations == config.bits
    return f"int{config.bits}" if same else f"int{config.bits}-a{activations}"


def start_graph(
    bundle: Bundle, config: Config, context: Context, calibration: Calibration, folder: Path
) -> tuple[Graph, int]:
    """The quantized network before training, and the number of photos its ranges were found on."""
    from onnx import numpy_helper

    from pocketlens.compression._graph import Graph

    source = bundle.file("model.onnx")
    ranges = find_ranges(source, calibration, config, folder)
    model = quantize(source, ranges, config, folder, cpu_flags=context.cpu_flags)
    floats = {t.name: numpy_helper.to_array(t) for t in load_model(source).graph.initializer}
    graph = Graph(model, floats)
    if reduces(config, context.cpu_flags):  # the file only says that it holds 8 bits
        for quantizer in graph.weights.values():
            quantizer.low, quantizer.high = -64, 64
    activation_bits = config.activation_bits or config.bits
    if min(config.bits, activation_bits) < 8:
        from pocketlens.compression._low_bits import lower

        kept = _kept_at_8(graph) if config.first_and_last == "8" else set()
        lower(graph, config.bits, activation_bits, calibration, kept)
    return graph, ranges.num_images


def _written(graph: Graph) -> bytes:
    from pocketlens.compression._graph_file import to_model

    content: bytes = to_model(graph).SerializeToString(deterministic=True)
    return content


def _kept_at_8(graph: Graph) -> set[str]:
    """Outputs of the first convolutions and the classifier."""
    from pocketlens.compression._onnx import first_convolutions

    names = {node.name for node in last_layers(graph.model)}
    names |= set(first_convolutions(graph.model))
    return {node.output[0] for node in graph.model.graph.node if node.name in names}


def _answered_otherwise(
    graph: Graph, content: bytes, calibration: Calibration, *, multi_label: bool
) -> tuple[int, int]:
    """Calibration photos whose largest logit in ONNX Runtime is another than in torch, and all
    photos; of several labels a photo those that one of the two gives, and all that either gives.
    """
    import torch

    session = session_of(content)
    others = total = 0
    for batch in calibration.batches():
        with torch.inference_mode():
            trained = graph.eval()(torch.from_numpy(batch)).numpy()
        found = session(batch)
        if multi_label:
            others += int(np.sum((trained > 0) != (found > 0)))
            total += int(np.sum((trained > 0) | (found > 0)))
        else:
            others += int(np.sum(trained.argmax(1) != found.argmax(1)))
            total += len(batch)
    return others, max(total, 1)

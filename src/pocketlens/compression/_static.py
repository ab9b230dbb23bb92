"""Static INT8 of an ONNX file: ranges from calibration photos, then QuantizeLinear nodes.

What `onnx-static` does, and what the methods begin with that improve on it.
"""

from __future__ import annotations

import contextlib
import io
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._onnx import first_convolutions, fixed_batch, load_model, quiet
from pocketlens.compression._step import Calibration
from pocketlens.compression._tuning import check_num_images
from pocketlens.core.errors import DataError, UserError

#: Batches whose activations are held at a time while histograms are made.
_HELD_BATCHES: Final = 1
_NUM_BINS: Final = 2048
#: Processors that add products of 8-bit numbers without saturating; ARM always does.
_EXACT: Final = ("avx_vnni", "avx512_vnni", "amx_int8")


@dataclass(frozen=True)
class StaticConfig:
    """How to quantize."""

    ranges: Literal["minmax", "mse", "percentile", "entropy"] = "minmax"
    """How activation ranges follow from the calibration photos: their extremes, the range with the
    least squared error, all but rare extremes, or the least information lost."""

    percentile: float = 99.999
    """Share of the values, in percent, that range `percentile` covers."""

    per_channel: bool = True
    """One scale for each output channel of a weight; one for all costs many points."""

    keep_float: Literal["first", "none"] = "first"
    """Leave the first convolution in float: its input, the photo, loses most by 8 bits."""

    float_layers: tuple[str, ...] = ()
    """Further layers to leave in float, by the names of their weights (blocks.0.0.conv_dw), with
    commas between."""

    float_logits: bool = True
    """Leave the answers in float: in 8 bits near ones become equal."""

    activations: Literal["uint8", "int8"] = "uint8"
    """Type of the activations; ONNX Runtime on x86 has fast convolutions for uint8 only."""

    reduce_range: Literal["auto", "yes", "no"] = "auto"
    """Weights in 7 bits, for processors whose 8-bit sums saturate (x86 without VNNI); auto: as this
    one needs."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_static(self)


def check_static(config: StaticConfig) -> None:
    """Refuse settings that are none.

    Raises:
        UserError: one is out of range.
    """
    check_num_images(config.num_images, config.seed)
    if not 50 < config.percentile <= 100:
        raise UserError("--percentile must be above 50 and at most 100")


#: Values of a tensor as counts between edges.
Histogram = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class Ranges:
    """What calibration photos said of the activations.

    Attributes:
        by_tensor: lowest and highest value that is represented, by the tensor's name.
        histograms: of the values; empty for `minmax`.
        num_images: photos that could be read.
    """

    by_tensor: Mapping[str, tuple[float, float]]
    histograms: Mapping[str, Histogram]
    num_images: int


def find_ranges(
    source: Path, calibration: Calibration, config: StaticConfig, folder: Path
) -> Ranges:
    """Ranges of all activations, a few batches at a time so that memory stays flat.

    Raises:
        DataError: no photo can be read.
    """
    from onnxruntime.quantization import calibrate

    options: dict[str, Any] = {}
    if config.ranges != "minmax":
        options = {"symmetric": False}
    if config.ranges in ("mse", "percentile"):
        options |= {"percentile": config.percentile, "num_bins": _NUM_BINS}
    # The calibrator prints its steps to stdout, which belongs to the user's JSON.
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = calibrate.create_calibrator(
            source,
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=_method(config),
            extra_options=options,
        )
        takes = calibrator.infer_session.get_inputs()[0]
        reader = _Reader(calibration.batches(), takes.name, fixed_batch(takes.shape))
        while reader.refill():
            calibrator.collect_data(reader)
        if not reader.num_images:
            raise DataError(f"none of {calibration.num_images} calibration photos can be read")
        found = calibrator.compute_data()
        kept = {} if config.ranges == "minmax" else calibrator.collector.get_histogram_dict()
    histograms = {name: (values[0], values[1]) for name, values in kept.items()}
    by_tensor = {
        name: (float(data.range_value[0].item()), float(data.range_value[1].item()))
        for name, data in found.items()
    }
    if config.ranges == "mse":
        by_tensor = {name: mse_range(found, 256) for name, found in histograms.items()}
    return Ranges(by_tensor, histograms, reader.num_images)


def mse_range(histogram: Histogram, num_levels: int, *, tries: int = 100) -> tuple[float, float]:
    """The range whose levels are nearest to the values, in the mean square.

    The extremes are drawn in together: to `tries` shares of them. Inside the range rounding costs
    a twelfth of the squared step, outside what is cut off.
    """
    counts, edges = histogram
    centres = (edges[1:] + edges[:-1]) / 2
    filled = np.flatnonzero(counts)
    low, high = min(0.0, float(edges[filled[0]])), max(0.0, float(edges[filled[-1] + 1]))
    best, best_error = (low, high), np.inf
    for share in np.linspace(1.0, 1.0 / tries, tries):
        cut = np.clip(centres, low * share, high * share)
        step = (high - low) * share / (num_levels - 1)
        inside = cut == centres
        error = float(np.sum(counts * np.where(inside, step**2 / 12, (centres - cut) ** 2)))
        if error < best_error:
            best, best_error = (low * share, high * share), error
    return best


def _sized(batches: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """The same photos in batches that a file takes; the last of all may be filled up with its own
    first photo, which widens no range.
    """
    left: NDArray[np.float32] | None = None
    for batch in batches:
        left = batch if left is None else np.concatenate((left, batch))
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
    if left is not None and len(left):
        yield np.concatenate((left, np.repeat(left[:1], size - len(left), axis=0)))


class _Reader:
    """What the calibrator reads from: gives a few batches, then pauses until it is refilled."""

    def __init__(self, batches: Iterator[NDArray[np.float32]], name: str, size: int | None) -> None:
        counted = self._count(batches)
        self._batches = counted if size is None else _sized(counted, size)
        self._name = name
        self._next: list[NDArray[np.float32]] = []
        self.num_images = 0

    def _count(self, batches: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            self.num_images += len(batch)
            yield batch

    def refill(self) -> bool:
        """Take up the next batches; False when there are none left."""
        for _ in range(_HELD_BATCHES):
            batch = next(self._batches, None)
            if batch is not None:
                self._next.append(batch)
        return bool(self._next)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch by the input's name, or None at the pause."""
        return {self._name: self._next.pop(0)} if self._next else None


def _method(config: StaticConfig) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "mse": CalibrationMethod.Percentile,  # for its histograms
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }[config.ranges]


def quantize(
    source: Path,
    ranges: Ranges,
    config: StaticConfig,
    folder: Path,
    *,
    cpu_flags: Sequence[str],
    qoperator: bool = False,
) -> Any:
    """The quantized model (QDQ, or integer operators).

    Args:
        folder: for temporary files.
        cpu_flags: of the processor that it is made for.

    Raises:
        UserError: a layer that is to stay in float isn't there.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, calibrate, quantize_static

    model = load_model(source)
    exclude = first_convolutions(model) if config.keep_float == "first" else []
    exclude += nodes_of(model, config.float_layers)
    cache, result = folder / "ranges.json", folder / "quantized.onnx"
    data = {
        name: tuple(np.array(value, np.float32) for value in found)
        for name, found in ranges.by_tensor.items()
    }
    method = calibrate.CalibrationMethod.MinMax
    calibrate.save_tensors_data(calibrate.TensorsData(method, data), cache)
    kinds: dict[str, Any] = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    with quiet():
        quantize_static(
            model,
            result,
            quant_format=QuantFormat.QOperator if qoperator else QuantFormat.QDQ,
            per_channel=config.per_channel,
            reduce_range=reduces(config, cpu_flags),
            activation_type=kinds[config.activations],
            weight_type=QuantType.QInt8,
            nodes_to_exclude=exclude,
            calibrate_method=method,
            calibration_cache_path=cache,
        )
    made = onnx.load(str(result))
    if not _has_integer_layer(made):
        raise UserError(
            "no layer of this network can be quantized: all that could be are its first "
            "convolutions or are named as layers to leave in float (--keep-float none, "
            "--float-layers)"
        )
    if config.float_logits and not qoperator:
        _free_output(made)
    return made


def _has_integer_layer(model: Any) -> bool:
    """Whether a layer's weights are integers."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return any(
        node.op_type in ("QLinearConv", "QLinearMatMul", "QGemm")
        or (node.op_type == "DequantizeLinear" and node.input[0] in matrices)
        for node in model.graph.node
    )


def reduces(config: StaticConfig, cpu_flags: Sequence[str]) -> bool:
    """Whether weights get 7 bits."""
    if config.reduce_range == "auto":
        return _saturates(cpu_flags)
    return config.reduce_range == "yes"


def _saturates(cpu_flags: Sequence[str]) -> bool:
    """Whether sums of 8-bit products are kept in 16 bits, where they overflow."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return x86 and not set(_EXACT) & set(cpu_flags)


def _free_output(model: Any) -> None:
    """Take away the quantization of the graph's output."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    output = graph.output[0].name
    last = made_by[output]
    before = made_by.get(last.input[0]) if last.op_type == "DequantizeLinear" else None
    if before is None or before.op_type != "QuantizeLinear":
        return
    made_by[before.input[0]].output[0] = output
    for node in (last, before):
        graph.node.remove(node)


def layer_names(model: Any) -> list[str]:
    """Layers with weights, in order, by the names of their weights (blocks.0.0.conv_dw)."""
    return list(_nodes_by_layer(model))


def _nodes_by_layer(model: Any) -> dict[str, list[str]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    known: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            known.setdefault(node.input[1].removesuffix(".weight"), []).append(node.name)
    return known


def nodes_of(model: Any, layers: Sequence[str]) -> list[str]:
    """Names of the nodes whose weights belong to these layers.

    Raises:
        UserError: there is no such layer; the message names similar ones.
    """
    import difflib

    known = _nodes_by_layer(model)
    missing = [name for name in layers if name not in known]
    if missing:
        near = difflib.get_close_matches(missing[0], known, n=3, cutoff=0.3) or list(known)[:3]
        raise UserError(
            f"--float-layers: there is no layer {missing[0]!r}; near: {', '.join(near)}"
        )
    return [node for name in layers for node in known[name]]

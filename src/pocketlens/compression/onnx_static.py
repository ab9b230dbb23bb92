"""Static INT8 of the ONNX file: ranges from calibration photos, weights per channel."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._onnx import first_convolutions, load_model, quiet
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import DataError, UserError
from pocketlens.extras import require

EXTRA = "onnx"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
TRAINS: Final = False
NEEDS_CALIBRATION: Final = True

#: Batches whose activations are held at a time while histograms are made.
_HELD_BATCHES: Final = 1


@dataclass(frozen=True)
class Config:
    """How to quantize."""

    quant_format: Literal["qdq", "qoperator"] = "qdq"
    """qdq: pairs of quantize and dequantize nodes, which most runtimes read; qoperator: integer
    operators, a slightly smaller file."""

    ranges: Literal["minmax", "percentile", "entropy"] = "minmax"
    """How activation ranges follow from the calibration photos."""

    percentile: float = 99.999
    """Share of the values, in percent, that range `percentile` covers."""

    per_channel: bool = True
    """One scale for each output channel of a weight; one for all costs many points."""

    keep_float: Literal["first", "none"] = "first"
    """Leave the first convolution in float: its input, the photo, loses most by 8 bits."""

    activations: Literal["uint8", "int8"] = "uint8"
    """Type of the activations; ONNX Runtime on x86 has fast convolutions for uint8 only."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise UserError("--num-images must be at least 1")
        if self.seed < 0:
            raise UserError("--seed must not be negative")
        if not 50 < self.percentile <= 100:
            raise UserError("--percentile must be above 50 and at most 100")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize weights to symmetric INT8 and activations to asymmetric 8 bits.

    Raises:
        UserError: no calibration photos, or the network can't be quantized.
    """
    require("onnx", extra=EXTRA)
    calibration = context.calibration(config.num_images, config.seed)
    source = bundle.file("model.onnx")
    with tempfile.TemporaryDirectory() as folder, quiet():
        cache = Path(folder) / "ranges.json"
        num_used = _find_ranges(source, calibration, config, cache)
        result = Path(folder) / "model.onnx"
        _quantize(source, result, cache, config)
        return finish(
            bundle,
            context,
            "onnx-static",
            config,
            {"model.onnx": result},
            runtime="onnx",
            precision="int8",
            split=calibration.split,
            facts=calibration.facts(num_used),
        )


def _find_ranges(source: Path, calibration: Calibration, config: Config, cache: Path) -> int:
    """Ranges of all activations, a few batches at a time so that memory stays flat.

    Returns:
        Number of photos they were found on.
    """
    from onnxruntime.quantization import calibrate

    options: dict[str, Any] = {} if config.ranges == "minmax" else {"symmetric": False}
    if config.ranges == "percentile":
        options["percentile"] = config.percentile
    augmented = cache.with_name("augmented.onnx")
    # The calibrator prints its steps to stdout, which belongs to the user's JSON.
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = calibrate.create_calibrator(
            source,
            augmented_model_path=str(augmented),
            calibrate_method=_method(config),
            extra_options=options,
        )
        reader = _Reader(calibration.batches(), calibrator.infer_session.get_inputs()[0].name)
        while reader.refill():
            calibrator.collect_data(reader)
        if not reader.num_images:
            raise DataError(f"none of {calibration.num_images} calibration photos can be read")
        ranges = calibrator.compute_data()
    calibrate.save_tensors_data(ranges, cache)
    return reader.num_images


class _Reader:
    """What the calibrator reads from: gives a few batches, then pauses until it is refilled."""

    def __init__(self, batches: Iterator[NDArray[np.float32]], name: str) -> None:
        self._batches = batches
        self._name = name
        self._next: list[NDArray[np.float32]] = []
        self.num_images = 0

    def refill(self) -> bool:
        """Take up the next batches; False when there are none left."""
        for _ in range(_HELD_BATCHES):
            batch = next(self._batches, None)
            if batch is not None:
                self._next.append(batch)
                self.num_images += len(batch)
        return bool(self._next)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch by the input's name, or None at the pause."""
        return {self._name: self._next.pop(0)} if self._next else None


def _method(config: Config) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }[config.ranges]


def _quantize(source: Path, result: Path, cache: Path, config: Config) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = load_model(source)
    exclude = first_convolutions(model) if config.keep_float == "first" else []
    kinds: dict[str, Any] = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    quantize_static(
        model,
        result,
        quant_format=QuantFormat.QDQ if config.quant_format == "qdq" else QuantFormat.QOperator,
        per_channel=config.per_channel,
        activation_type=kinds[config.activations],
        weight_type=QuantType.QInt8,
        nodes_to_exclude=exclude,
        calibrate_method=_method(config),
        calibration_cache_path=cache,
    )

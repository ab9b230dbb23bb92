"""Static INT8 with the layers that cost most left in float, as few as the limit of the drop allows.

Each layer's sensitivity is found both ways (only it quantized; only it in float), in answers and in
time; then the worst go back to float one by one until the score on validation photos is within
`max_drop` of the float model's. `OUT.run` keeps the table (sensitivity.csv) and a chart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pocketlens.compression import _sensitivity
from pocketlens.compression._onnx import quiet, session_of
from pocketlens.compression._static import (
    Ranges,
    StaticConfig,
    check_static,
    find_ranges,
    quantize,
)
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.progress import say

EXTRA = "train"
TAKES: Final = ("onnx", "float32")
GIVES: Final = ("onnx", "int8")
NEEDS_DATA: Final = True
NEEDS_CALIBRATION: Final = True

#: Models that are timed in turns with each other; more would only fill the memory.
_TIMED_TOGETHER: Final = 8


@dataclass(frozen=True)
class Config(StaticConfig):
    """How to quantize, and what may be lost."""

    max_drop: float = 0.5
    """Points of the metric that may be lost on validation photos."""

    max_float: float = 0.5
    """Share of the layers that may go back to float."""

    keep_float: Literal["first", "none"] = "none"
    """`first` leaves the first convolution in float whatever it costs."""

    time_layers: bool = True
    """Measure each layer's time too (some minutes), so that a layer goes back to float for what it
    gains a millisecond; else the answers alone decide."""

    sensitivity_images: int = 64
    """Calibration photos on which answers are compared."""

    def __post_init__(self) -> None:
        check_static(self)
        if not self.max_drop >= 0:
            raise UserError("--max-drop must be a number that is not negative")
        if not 0 <= self.max_float <= 1:
            raise UserError("--max-float must be between 0 and 1")
        if self.sensitivity_images < 1:
            raise UserError("--sensitivity-images must be at least 1")


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Quantize all but the layers that must stay in float.

    Raises:
        UserError: no photos, or the limit can't be kept to with so many layers in INT8.
    """
    require("onnx", extra="onnx")
    require("matplotlib", extra=EXTRA)
    calibration = context.calibration(config.num_images, config.seed)
    source = bundle.file("model.onnx")
    with tempfile.TemporaryDirectory() as folder, quiet():
        ranges = find_ranges(source, calibration, config, Path(folder))
        found = _sensitivity_of(bundle, config, context, calibration, ranges, Path(folder))
        limit = context.score(session_of(source.read_bytes())) - config.max_drop
        order = found.worst_first()
        most = int(config.max_float * len(order))
        for number in range(most + 1):
            chosen = replace(config, float_layers=(*config.float_layers, *order[:number]))
            model = quantize(source, ranges, chosen, Path(folder), cpu_flags=context.cpu_flags)
            content: bytes = model.SerializeToString(deterministic=True)
            score = context.score(session_of(content))
            say(f"{number} of {len(order)} layers in float: {score:.2f}, wanted {limit:.2f}")
            if score >= limit:
                break
        else:
            raise UserError(
                f"with {most} of {len(order)} layers in float {score:.2f} are reached on "
                f"validation photos, {limit:.2f} are wanted: train it (lsq), or allow more by "
                "--max-drop or --max-float"
            )
    return finish(
        bundle,
        context,
        "mixed",
        config,
        {"model.onnx": content},
        runtime="onnx",
        precision="int8",
        facts={"num_calibrated": ranges.num_images, "left_in_float": list(order[:number])},
    )


def _sensitivity_of(
    bundle: Bundle,
    config: Config,
    context: Context,
    calibration: Calibration,
    ranges: Ranges,
    folder: Path,
) -> _sensitivity.Sensitivity:
    same = replace(config, max_drop=0.0, max_float=0.0)
    photos_used = (calibration.pool_hash, calibration.choice)
    key = _sensitivity.key_of(bundle.id, same, photos_used, context.cpu_flags)
    kept_at = context.cache / "sensitivity" / f"{key}.json"
    found = _sensitivity.load_sensitivity(kept_at, key)
    if found is None:
        found = _measured(bundle, config, context, calibration, ranges, folder)
        _sensitivity.store_sensitivity(kept_at, key, found)
    else:
        say(f"the sensitivity of the layers is known already: {kept_at}")
    path = context.work / "sensitivity.json"
    _sensitivity.store_sensitivity(path, key, found)
    _sensitivity.draw_sensitivity(path.with_suffix(".png"), found)
    return found


def _measured(
    bundle: Bundle,
    config: Config,
    context: Context,
    calibration: Calibration,
    ranges: Ranges,
    folder: Path,
) -> _sensitivity.Sensitivity:
    photos, number = [], 0
    for batch in calibration.batches():
        photos.append(batch)
        number += len(batch)
        if number >= config.sensitivity_images:
            break
    return _sensitivity.find_sensitivity(
        bundle.file("model.onnx"),
        ranges,
        config,
        photos,
        folder,
        cpu_flags=context.cpu_flags,
        multi_label=bundle.manifest.task == "multi_label",
        latency=(lambda models: _times(bundle, context, models)) if config.time_layers else None,
    )


def _times(bundle: Bundle, context: Context, models: Mapping[str, Path]) -> dict[str, float]:
    """Milliseconds of one photo, as a multiple of the float model's in the same turns."""
    names = [name for name in models if name != "none"]
    times: dict[str, float] = {}
    for start in range(0, len(names), _TIMED_TOGETHER):
        together = ["none", *names[start : start + _TIMED_TOGETHER]]
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(folder) / str(i) for i, name in enumerate(together)}
            for name, path in paths.items():
                write_bundle(path, bundle.manifest, {"model.onnx": models[name]})
            found = context.latency(paths)
            # The machine's mood differs between groups; the float model is in all of them.
            first = times.setdefault("none", found["none"])
            for name in together[1:]:
                times[name] = found[name] / found["none"] * first
    return times

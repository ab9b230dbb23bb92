"""OpenVINO on the processor, in float32; opens ONNX files, those in INT8 too."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.batches import check_batch, in_fixed_batches
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Activations, Session, SessionOptions
from pocketlens.extras import require, versions
from pocketlens.runtimes._spatial import axes
from pocketlens.runtimes.onnx import MODEL, rewrite

EXTRA = "openvino"
STREAMS: Final = True
#: Runtimes whose bundles can be exported as they are.
EXPORTS_FROM: Final = ("onnx", "openvino")
#: What a bundle holds: an ONNX file, or OpenVINO's own form (two files) where a method made that.
_FILES: Final = (MODEL, "model.xml")
_BF16: Final = "bfloat16"


@dataclass(frozen=True)
class Config:
    """What the ONNX file takes; it is kept as it is by default."""

    batch: int | None = None
    """Photos the file takes at a time; default: as before."""

    embed_preprocess: bool = False
    """Make a file that takes pixels (uint8 NHWC, at the network's size) and normalises them."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What a float file is computed in; bfloat16 where the processor has it."""

    def __post_init__(self) -> None:
        check_batch(self.batch)


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the processor.

    One photo and several are compiled apart, unless the file has a fixed batch: with one OpenVINO
    plans its memory ahead.

    Raises:
        BundleError: OpenVINO can't read the file.
        MissingExtraError: openvino isn't installed.
    """
    ov = require("openvino", extra=EXTRA)
    settings = _settings(bundle, options)
    core = ov.Core()
    if bundle.manifest.precision == _BF16:
        _require_bfloat16(core, bundle.path)
    try:
        model = core.read_model(str(_file(bundle)))
        whole = core.compile_model(model, "CPU", settings)
        batch = model.input(0).get_partial_shape()[0]
        single = core.compile_model(_for_one(model), "CPU", settings) if batch.is_dynamic else whole
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{bundle.path}: OpenVINO can't open it: {first_line}") from error
    free: SimpleQueue[tuple[Any, Any]] = SimpleQueue()  # a request takes one call at a time
    for _ in range(options.streams):
        free.put((whole.create_infer_request(), single.create_infer_request()))

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
        requests = free.get()
        try:
            answer = requests[len(inputs) == 1].infer([np.ascontiguousarray(inputs)])[0]
            # Copied: the next call writes into the same memory.
            logits_NK: NDArray[np.float32] = np.array(answer)
        finally:
            free.put(requests)
        return logits_NK

    whole_run: Session = run if batch.is_dynamic else in_fixed_batches(run, batch.get_length())
    if options.streams > 1:
        # OpenVINO's Python part sets itself up at the first answer, holding a lock of C++ while it
        # waits for Python's: two first answers at once wait for each other for ever.
        _answer_once(bundle, whole_run)
    return whole_run


def _answer_once(bundle: Bundle, run: Session) -> None:
    spec = bundle.manifest.preprocess
    black_HWC = np.zeros((spec.height, spec.width, 3), np.uint8)
    run(np.stack([bundle.manifest.input.of(black_HWC, spec)] * 2))


def _file(bundle: Bundle) -> Path:
    return bundle.file(next((name for name in _FILES if name in bundle.manifest.files), MODEL))


def _settings(bundle: Bundle, options: SessionOptions) -> dict[str, Any]:
    return {
        # Left out, it computes in bfloat16 where the processor can, silently and less exactly.
        "INFERENCE_PRECISION_HINT": "bf16" if bundle.manifest.precision == _BF16 else "f32",
        "INFERENCE_NUM_THREADS": options.threads or available_cores(),
        "NUM_STREAMS": options.streams,
        "PERFORMANCE_HINT": "LATENCY",
    }


def _require_bfloat16(core: Any, where: Path) -> None:
    # Without, OpenVINO would compute in float32 and say nothing.
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BundleError(
            f"{where} is to be computed in bfloat16, which this processor hasn't got; export the "
            "float32 bundle with --precision float32"
        )


def _for_one(model: Any) -> Any:
    single = model.clone()
    shape = single.input(0).get_partial_shape()
    shape[0] = 1
    single.reshape(shape)
    return single


def export(bundle: Bundle, out: Path, config: Config, *, overwrite: bool = False) -> Bundle:
    """The same ONNX file, to be opened by OpenVINO; what it takes can be changed as for `onnx`.

    Raises:
        BundleError: OpenVINO can't read it, or it answers differently when changed.
        MissingExtraError: openvino, or what changing needs, isn't installed.
        UserError: a compressed file was to be computed in bfloat16.
    """
    precision = bundle.manifest.precision
    if config.precision == _BF16:
        if precision != "float32":
            raise UserError(
                f"{bundle.path} is {precision}; --precision bfloat16 is for float32 models"
            )
        precision = _BF16
    content, takes = rewrite(bundle, config.batch, embed=config.embed_preprocess)
    lineage = bundle.child_lineage("export", asdict(config), versions("openvino"))
    metrics = {k: v for k, v in bundle.manifest.metrics.items() if k != "probe"}
    manifest = replace(
        bundle.manifest,
        runtime="openvino",
        backend=None,
        precision=precision,
        input=takes,
        lineage=lineage,
        metrics=metrics,
    )
    with tempfile.TemporaryDirectory() as folder:
        trial = write_bundle(Path(folder) / bundle.path.name, manifest, {MODEL: content})
        open(trial, SessionOptions(1))
    return write_bundle(out, manifest, {MODEL: content}, split=bundle.split, overwrite=overwrite)


def activations(bundle: Bundle, options: SessionOptions) -> Activations:
    """What the last tensor with places holds, as one more output of the model in memory.

    Raises:
        BundleError: OpenVINO can't read the file, or no tensor has places.
        MissingExtraError: openvino isn't installed.
    """
    ov = require("openvino", extra=EXTRA)
    core = ov.Core()
    if bundle.manifest.precision == _BF16:
        _require_bfloat16(core, bundle.path)
    try:
        model = core.read_model(str(_file(bundle)))
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{bundle.path}: OpenVINO can't open it: {first_line}") from error
    batch = model.input(0).get_partial_shape()[0]
    spec = bundle.manifest.preprocess
    size = spec.height, spec.width
    single = _for_one(model) if batch.is_dynamic else model
    last = _last_with_places(single, size)
    if last is None:
        raise BundleError(
            f"{bundle.path}: no tensor of its file tells places of the photo apart; take the "
            "method occlusion"
        )
    behind = axes(tuple(last.get_shape()), size) == (1, 2)
    added = single.add_outputs(last)[0]
    compiled = core.compile_model(single, "CPU", _settings(bundle, options))
    request, place = compiled.create_infer_request(), single.outputs.index(added)

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = np.array(request.infer([np.ascontiguousarray(inputs)])[place])
        return values.transpose(0, 3, 1, 2) if behind else values

    fixed = 1 if batch.is_dynamic else batch.get_length()
    return Activations(in_fixed_batches(run, fixed), last.get_node().get_friendly_name())


def _last_with_places(model: Any, size: tuple[int, int]) -> Any:
    """The last float tensor with places; None where the network goes on with tokens."""
    for node in reversed(model.get_ordered_ops()):
        shape = node.output(0).get_partial_shape() if node.get_output_size() else None
        if shape is None or not shape.is_static or node.get_type_name() == "Constant":
            continue
        sides = tuple(shape.to_shape())
        if len(sides) == 3 and sides[1] > 1 and sides[2] > 1:
            return None
        if axes(sides, size) and node.output(0).get_element_type().is_real():
            return node.output(0)
    return None

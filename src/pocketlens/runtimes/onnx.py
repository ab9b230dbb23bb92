"""ONNX Runtime on the processor; export makes one file with a dynamic batch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Session, SessionOptions
from pocketlens.extras import require, versions
from pocketlens.runtimes._batches import in_fixed_batches
from pocketlens.runtimes._module import restore

EXTRA = ""
MODEL: Final = "model.onnx"
#: Runtimes whose bundles can be exported as they are.
EXPORTS_FROM: Final = ("torch",)

#: Largest difference of logits that an export may bring, relative to the largest logit.
_TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Config:
    """How to export."""

    opset: int = 20
    """ONNX operator set."""

    def __post_init__(self) -> None:
        if self.opset < 18:  # the exporter would silently write 18
            raise UserError("--opset must be at least 18, the oldest that PyTorch exports to")


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the processor."""
    return _session(bundle, str(bundle.file(MODEL)), options)


def features(bundle: Bundle, options: SessionOptions) -> Session:
    """A session that gives what the network's last linear layer reads, instead of logits.

    Raises:
        BundleError: nothing that leads to the logits is a linear layer.
        MissingExtraError: onnx isn't installed.
    """
    onnx = require("onnx", extra="onnx")
    model = onnx.load(str(bundle.file(MODEL)))
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by.get(model.graph.output[0].name)
    # Quantized heads have rescaling nodes behind them.
    while node is not None and node.op_type not in ("Gemm", "MatMul", "QGemm", "QLinearMatMul"):
        node = made_by.get(node.input[0]) if node.input else None
    if node is None:
        raise BundleError(f"{bundle.path}: a network without a linear layer has no features")
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    run = _session(bundle, model.SerializeToString(), options)
    return lambda input_NCHW: run(input_NCHW).reshape(len(input_NCHW), -1).astype(np.float32)


def _session(bundle: Bundle, model: str | bytes, options: SessionOptions) -> Session:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or available_cores()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{bundle.path}: ONNX Runtime can't open it: {first_line}") from error
    tensor = session.get_inputs()[0]
    fixed = tensor.shape[0] if isinstance(tensor.shape[0], int) else None
    channels_last = bundle.manifest.input.layout == "NHWC"

    def run(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        given = input_NCHW.transpose(0, 2, 3, 1) if channels_last else input_NCHW
        logits_NK: NDArray[np.float32] = session.run(None, {tensor.name: given})[0]
        return logits_NK

    return run if fixed is None else in_fixed_batches(run, fixed)


def export(bundle: Bundle, out: Path, config: Config, *, overwrite: bool = False) -> Bundle:
    """Export a torch bundle to one ONNX file, and check that both answer the same.

    Raises:
        BundleError: the bundle is no torch bundle, or the file answers differently.
        MissingExtraError: torch, onnx or onnxscript isn't installed.
    """
    torch = require("torch", extra="train")
    require("onnxscript", extra="onnx")
    module = restore(bundle)
    preprocess = bundle.manifest.preprocess
    rng = np.random.default_rng(0)
    shape = (2, 3, preprocess.height, preprocess.width)
    example = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=config.opset,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
        content = _lean(program.model_proto)
        manifest = _child_manifest(bundle, config)
        trial = write_bundle(Path(folder) / "trial", manifest, {MODEL: content})
        with torch.inference_mode():
            expected = module(example).numpy()
        found = open(trial, SessionOptions())(example.numpy())
    difference = float(np.abs(found - expected).max())
    # Turned round, so that NaN does not pass.
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise BundleError(
            f"{bundle.path}: the ONNX file answers differently from torch (by {difference:.2g}); "
            "this network can't be exported faithfully"
        )
    return write_bundle(out, manifest, {MODEL: content}, split=bundle.split, overwrite=overwrite)


def _lean(model: Any) -> bytes:
    """The file without the exporter's notes: source lines of this machine, and shapes that the
    exporter's own simplifications left stale, at which quantizers stumble.
    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _child_manifest(bundle: Bundle, config: Config) -> Any:
    from dataclasses import replace

    return replace(
        bundle.manifest,
        runtime="onnx",
        lineage=bundle.child_lineage(
            "export", asdict(config), versions("torch", "onnx", "onnxscript", "onnxruntime")
        ),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notices about its own libraries from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

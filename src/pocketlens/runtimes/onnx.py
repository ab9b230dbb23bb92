"""ONNX Runtime on the processor; export makes one file, with a dynamic or a fixed batch."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.batches import check_batch, in_fixed_batches
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.noise import coloured_noise
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Activations, Input, Session, SessionOptions
from pocketlens.extras import require, versions
from pocketlens.progress import say
from pocketlens.runtimes._input_graph import embed_preprocess, fix_batch
from pocketlens.runtimes._module import restore
from pocketlens.runtimes._places import with_places
from pocketlens.runtimes._providers import Backend, check_taken, wanted

EXTRA = ""
STREAMS: Final = True
MODEL: Final = "model.onnx"
#: Runtimes whose bundles can be exported as they are.
EXPORTS_FROM: Final = ("torch", "onnx")

#: Largest difference of logits that an export may bring, relative to the largest logit.
_TOLERANCE: Final = 1e-4
#: As much for INT8: float rounding moves single activations by one of 255 steps.
_STEPS: Final = 0.05

#: Where that is exceeded: times torch's own error in float32 that the file's may be.
_AS_EXACT: Final = 10.0


@dataclass(frozen=True)
class Config:
    """How to export."""

    opset: int = 20
    """ONNX operator set."""

    batch: int | None = None
    """Photos the file takes at a time, 1 for phones; default: any number."""

    embed_preprocess: bool = False
    """Make a file that takes pixels (uint8 NHWC, at the network's size) and normalises them."""

    backend: Backend = "cpu"
    """What computes it: the processor, or an execution provider of ONNX Runtime that is there."""

    def __post_init__(self) -> None:
        check_batch(self.batch)
        if self.backend == "nnapi" and self.batch is None:
            raise UserError("NNAPI takes files of a fixed batch only; add --batch 1")
        if self.opset < 18:  # the exporter would silently write 18
            raise UserError("--opset must be at least 18, the oldest that PyTorch exports to")


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the processor.

    Raises:
        BundleError: ONNX Runtime can't open the file.
    """
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
    return lambda inputs: run(inputs).reshape(len(inputs), -1).astype(np.float32)


def activations(bundle: Bundle, options: SessionOptions) -> Activations:
    """What the last tensor with places holds: one more output of a copy of the graph in memory.

    Where it is in INT8, a node that gives floats is put behind it.

    Raises:
        BundleError: no tensor has places.
        MissingExtraError: onnx isn't installed.
    """
    onnx = require("onnx", extra="onnx")
    model = onnx.load(str(bundle.file(MODEL)))
    return with_places(
        bundle, model, lambda changed: _ort_session(bundle, changed.SerializeToString(), options)
    )


def _session(bundle: Bundle, model: str | bytes, options: SessionOptions) -> Session:
    session = _ort_session(bundle, model, options)
    tensor = session.get_inputs()[0]
    fixed = tensor.shape[0] if isinstance(tensor.shape[0], int) else None

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
        logits_NK: NDArray[np.float32] = session.run(None, {tensor.name: inputs})[0]
        return logits_NK

    return run if fixed is None else in_fixed_batches(run, fixed)


def _ort_session(bundle: Bundle, model: str | bytes, options: SessionOptions) -> Any:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    threads = options.threads or available_cores()
    settings.intra_op_num_threads = max(1, threads // options.streams)
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    backend = bundle.manifest.backend
    providers = wanted(backend, str(bundle.path))
    try:
        session = ort.InferenceSession(model, settings, providers=providers)
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{bundle.path}: ONNX Runtime can't open it: {first_line}") from error
    check_taken(session, backend, str(bundle.path))
    return session


def export(bundle: Bundle, out: Path, config: Config, *, overwrite: bool = False) -> Bundle:
    """Export a torch bundle to one ONNX file, or change what an ONNX file takes.

    What was there before and what is written are checked to answer the same.

    Raises:
        BundleError: the bundle is for another runtime, or the file answers differently.
        MissingExtraError: torch, onnx or onnxscript isn't installed.
        UserError: an ONNX file was to get another operator set.
    """
    mine = bundle.manifest
    if mine.runtime == "onnx" and config.opset != Config.opset:
        raise UserError(
            f"{bundle.path} is an ONNX file already, which keeps its operator set; leave --opset "
            "out, or export the torch bundle that it was made from"
        )
    took_part = versions("onnx", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        whole = bundle
        if mine.runtime != "onnx":
            whole = _from_torch(bundle, config.opset, Path(folder) / "trial")
            took_part = versions("torch", "onnx", "onnxscript", "onnxruntime")
        content, takes = rewrite(whole, config.batch, embed=config.embed_preprocess)
    lineage = bundle.child_lineage("export", asdict(config), took_part)
    backend = None if config.backend == "cpu" else config.backend
    manifest = replace(mine, runtime="onnx", input=takes, lineage=lineage, backend=backend)
    return write_bundle(out, manifest, {MODEL: content}, split=bundle.split, overwrite=overwrite)


def rewrite(bundle: Bundle, batch: int | None, *, embed: bool) -> tuple[bytes, Input]:
    """A bundle's ONNX file for a fixed batch or for pixels, and what it takes then.

    Args:
        batch: photos at a time; None: as many as before.
        embed: make it normalise pixels itself, unless it does so already.

    Raises:
        BundleError: it answers differently then.
        UserError: the bundle holds no ONNX file, or not one for photos.
    """
    takes = bundle.manifest.input
    if MODEL not in bundle.manifest.files:
        raise UserError(
            f"{bundle.path} holds no ONNX file, so what it takes can't be changed; export the "
            "bundle that it was made from"
        )
    file = bundle.file(MODEL)
    if embed and takes.embedded:
        say(f"{bundle.path} takes pixels already")
    if batch is None and (takes.embedded or not embed):
        return file.read_bytes(), takes
    model = require("onnx", extra="onnx").load(str(file))
    try:
        if batch is not None:
            fix_batch(model, batch)
        if embed and not takes.embedded:
            fold = bundle.manifest.precision == "float32"
            embed_preprocess(model, bundle.manifest.preprocess, takes.layout, fold=fold)
            takes = Input("uint8", "NHWC")
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    content: bytes = model.SerializeToString(deterministic=True)
    _refuse_other_answers(bundle, content, takes, batch)
    return content, takes


def _refuse_other_answers(bundle: Bundle, content: bytes, takes: Input, batch: int | None) -> None:
    """Compare a changed file with the bundle's own on made-up photos, in batches that are full."""
    mine = bundle.manifest
    spec, options = mine.preprocess, SessionOptions()
    before, after = open(bundle, options), _session(bundle, content, options)
    share = _TOLERANCE if mine.precision == "float32" else _STEPS
    photos = _made_up(spec.height, spec.width)
    size = batch or 1
    for start in range(0, len(photos), size):
        chosen = [photos[(start + i) % len(photos)] for i in range(size)]
        try:
            expected = before(np.stack([mine.input.of(image, spec) for image in chosen]))
            found = after(np.stack([takes.of(image, spec) for image in chosen]))
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            first_line = str(error).strip().splitlines()[0]
            raise BundleError(
                f"{bundle.path}: its network can't be changed so: {first_line}"
            ) from error
        _refuse_difference(bundle, found, expected, share, "the changed ONNX file", "before")


def _made_up(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Noise of three grains, and black: what is wrong at the border shows most there."""
    rng = np.random.default_rng(0)
    grains = (4, 16, max(height, width))
    noise = (coloured_noise(rng, cells, height, width) for cells in grains)
    return [np.zeros((height, width, 3), np.uint8), *noise]


def _refuse_difference(
    bundle: Bundle,
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    share: float,
    what: str,
    whom: str,
) -> None:
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.nan
    # Turned round, so that NaN does not pass.
    if not difference <= share * max(1.0, float(np.abs(expected).max())):
        raise BundleError(
            f"{bundle.path}: {what} answers differently from {whom} (by {difference:.2g}); "
            "this network can't be exported faithfully"
        )


def _from_torch(bundle: Bundle, opset: int, folder: Path) -> Bundle:
    """A torch bundle's network as an ONNX file that takes any number of photos."""
    torch = require("torch", extra="train")
    require("onnxscript", extra="onnx")
    module = restore(bundle)
    preprocess = bundle.manifest.preprocess
    rng = np.random.default_rng(0)
    shape = (2, 3, preprocess.height, preprocess.width)
    example = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    manifest = replace(bundle.manifest, runtime="onnx")
    made = write_bundle(folder, manifest, {MODEL: _lean(program.model_proto)})
    with torch.inference_mode():
        expected = module(example).numpy()
    found = open(made, SessionOptions())(example.numpy())
    try:
        _refuse_difference(bundle, found, expected, _TOLERANCE, "the ONNX file", "torch")
    except BundleError:
        if not _as_exact_as_torch(module, example, expected, found):
            raise
    return made


def _as_exact_as_torch(
    module: Any, example: Any, expected: NDArray[np.float32], found: NDArray[np.float32]
) -> bool:
    """Whether the file is as near to the network in float64 as torch's own float32 is.

    A badly conditioned network magnifies rounding in every runtime, torch included.
    """
    import torch

    with torch.inference_mode():
        exact = copy.deepcopy(module).double()(example.double()).numpy()
    own, theirs = (float(np.abs(answers - exact).max()) for answers in (expected, found))
    return theirs <= _AS_EXACT * own


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

"""ExecuTorch for phones: one .pte file, lowered for XNNPACK (CPU) or another backend.

The file is made from a float network, or from an INT8 program of `pt2e-static` or `pt2e-qat` with
XNNPACK's quantizer, for a fixed batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.batches import check_batch, in_fixed_batches
from pocketlens.core.bundle import Bundle, Manifest, write_bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Session, SessionOptions
from pocketlens.extras import require, versions
from pocketlens.progress import say
from pocketlens.runtimes import torch_int8
from pocketlens.runtimes._executorch import BACKENDS, NNAPI, fit_biases, lower
from pocketlens.runtimes._module import restore
from pocketlens.runtimes._pte import LOCK, MODEL, Program, set_threads
from pocketlens.runtimes._quiet import first_line, quiet

EXTRA = "executorch"
#: Runtimes whose bundles can be exported as they are.
EXPORTS_FROM: Final = ("torch", "torch-int8")
#: How INT8 for this runtime is made.
INT8_BY: Final = "--method pt2e-static --quantizer xnnpack"

#: Largest difference of logits that an export may bring: of float, relative to the largest logit;
#: of INT8 the root mean square, relative to that of the logits. Integer kernels round otherwise in
#: places, which turns further steps: up to 0.08 was seen on noise where labels were right.
_TOLERANCE: Final = {"float32": 1e-3, "int8": 0.2}
#: Photos of noise for this, and what they are drawn with.
_NUM_CHECKED, _SEED = 5, 0


@dataclass(frozen=True)
class Config:
    """How to export."""

    backend: Literal["xnnpack", "vulkan", "qualcomm", "samsung", "mediatek", "coreml", "nnapi"] = (
        "xnnpack"
    )
    """What computes on the phone: its CPU (xnnpack), its GPU (vulkan), Core ML, a vendor's NPU."""
    batch: int = 1
    """Photos that the file takes at a time."""
    soc: str = ""
    """The phone's chip, for a vendor's NPU: SM8650, E9955, mt6991 and the like."""

    def __post_init__(self) -> None:
        if self.backend == "nnapi":
            raise UserError(NNAPI)
        check_batch(self.batch)


def export(bundle: Bundle, out: Path, config: Config, *, overwrite: bool = False) -> Bundle:
    """Lower a float or pt2e bundle to one .pte file, and check that both answer alike.

    A file for a backend that this machine doesn't have can't be checked; then it is said.

    Raises:
        UserError: INT8 by other rules than XNNPACK's, or a backend whose SDK or chip is missing.
        BundleError: ExecuTorch can't lower the network, or the file answers otherwise.
        MissingExtraError: executorch isn't installed.
    """
    torch = _require()
    if bundle.manifest.runtime == "torch-int8":
        _check_rules(bundle, config.backend)
    with quiet():
        way = BACKENDS[config.backend].ready(config.soc)
    int8 = bundle.manifest.runtime == "torch-int8"
    network = torch_int8.restore(bundle) if int8 else restore(bundle)
    side = bundle.manifest.preprocess
    rng = np.random.default_rng(_SEED)
    shape = (_NUM_CHECKED, 3, side.height, side.width)
    inputs = rng.standard_normal(shape).astype(np.float32)
    example = torch.zeros(config.batch, *shape[1:])
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs)).numpy()
    if int8:
        fit_biases(network)
    try:
        with quiet():
            content, outside = lower(way, network, example)
    except UserError:
        raise
    except Exception as error:  # ExecuTorch and its backends raise whatever they come across
        raise BundleError(
            f"{bundle.path}: ExecuTorch can't lower this network for {config.backend} "
            f"({type(error).__name__}: {first_line(error)}); --runtime onnx may take it"
        ) from error
    if outside:
        names = ", ".join(f"{name} ({number})" for name, number in sorted(outside.items()))
        say(f"{config.backend} leaves to ExecuTorch's own kernels, which are slower: {names}")
    manifest = _child_manifest(bundle, config, outside)
    with tempfile.TemporaryDirectory() as folder:
        trial = write_bundle(Path(folder) / "trial", manifest, {MODEL: content})
        if _runs_here(config.backend):
            _check_answers(bundle, open(trial, SessionOptions())(inputs), expected)
        else:
            say(
                f"this machine has no {config.backend}, so the file's answers are unchecked; score "
                "it on the device"
            )
    return write_bundle(out, manifest, {MODEL: content}, split=bundle.split, overwrite=overwrite)


def _check_rules(bundle: Bundle, backend: str) -> None:
    described = bundle.manifest.model.get("quantization")
    described = described if isinstance(described, Mapping) else {}
    rules = described.get("quantizer", described.get("flow"))
    if rules != "xnnpack":
        raise UserError(
            f"{bundle.path} was quantized by the rules of {rules}, and ExecuTorch needs "
            f"XNNPACK's: compress the float bundle again with {INT8_BY}"
        )
    if backend != "xnnpack":
        raise UserError(
            f"{bundle.path} was quantized by XNNPACK's rules, and {backend} has its own, which "
            "pocketlens doesn't know: export the float bundle, or take --backend xnnpack"
        )


def _check_answers(
    bundle: Bundle, found: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    precision, difference = bundle.manifest.precision, found - expected
    if precision == "int8":
        share = float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected)), 1e-6))
    else:
        share = float(np.abs(difference).max() / max(1.0, float(np.abs(expected).max())))
    if not share <= _TOLERANCE[precision]:  # NaN too
        raise BundleError(
            f"{bundle.path}: the .pte file answers differently from torch (by {share:.2g} of its "
            "logits); this network can't be lowered faithfully, take --runtime onnx"
        )


def _child_manifest(bundle: Bundle, config: Config, outside: Mapping[str, int]) -> Manifest:
    # Another program computes it: what INT8 answered in torch is no longer its answer.
    metrics = {k: v for k, v in bundle.manifest.metrics.items() if k != "probe"}
    return replace(
        bundle.manifest,
        runtime="executorch",
        backend=config.backend,
        metrics=metrics,
        lineage=bundle.child_lineage(
            "export",
            {**asdict(config), "outside_backend": dict(outside)},
            versions("torch", "torchao", "executorch"),
        ),
    )


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the .pte file, for any number of photos.

    Sets the number of threads of ExecuTorch's pool for the whole process, which is the only way it
    knows; sessions that are open already compute with as many from then on.

    Raises:
        BundleError: a damaged file, one of another network, or one that only a device can run.
        MissingExtraError: executorch isn't installed.
    """
    torch = _require()
    backend = bundle.manifest.backend
    if backend is None or backend not in BACKENDS:
        raise BundleError(
            f"{bundle.path}: the manifest names {backend!r} as ExecuTorch's backend, and this "
            f"pocketlens knows {', '.join(BACKENDS)}; copy it again or update pocketlens"
        )
    if not _runs_here(backend):
        raise BundleError(
            f"{bundle.path} is lowered for {backend}, which this machine doesn't have: it can only "
            "be scored on the device; for figures of this machine export with --backend xnnpack"
        )
    program = Program(bundle)
    with LOCK, quiet():
        set_threads(options.threads or available_cores())
        sizes = program.load()

    def run(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        given = torch.from_numpy(np.ascontiguousarray(input_NCHW))
        with LOCK:
            logits_NK: NDArray[np.float32] = program.execute(given).numpy()
        return logits_NK

    return in_fixed_batches(run, sizes[0])


def _require() -> Any:
    """Torch, once everything else is known to be there."""
    torch = require("torch", extra=EXTRA)
    with quiet():
        require("executorch", extra=EXTRA)
        require("executorch.runtime", extra=EXTRA)
        require("executorch.kernels.quantized", extra=EXTRA)  # what INT8 has outside XNNPACK
    return torch


def _runs_here(backend: str) -> bool:
    """Whether the backend itself computes on this machine."""
    from executorch.runtime import Runtime

    known = BACKENDS[backend]
    with quiet():
        return known.local and Runtime.get().backend_registry.is_available(known.delegate)

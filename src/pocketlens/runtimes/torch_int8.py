"""PyTorch INT8: eager mode's integer kernels, or an exported program that imitates them.

A bundle holds 8-bit weights with their scales, and the ranges of the activations. On opening, the
float network is built, prepared and converted again, and these are put into it; nothing that was
stored is executed. `manifest.model["quantization"]` says which way it went:

- `eager`: real integer kernels (of x86's fbgemm and oneDNN, or ARM's QNNPACK).
- `pt2e`: the exported program computes each layer in float between quantize and dequantize steps.
  Its answers are those of integer kernels, its time is worse than the float network's: it is for
  scoring, and what a phone's program is made from.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Session, SessionOptions
from pocketlens.extras import require
from pocketlens.runtimes._module import WEIGHTS, build

if TYPE_CHECKING:
    import torch

EXTRA = "train"

#: Way of quantizing -> the file that knows it.
_FLOWS: Final = {"eager": "_eager_int8", "pt2e": "_pt2e"}


@dataclass(frozen=True)
class Config:
    """No options: what a bundle needs stands in its manifest."""


def flow(name: str) -> Any:
    """How networks of one way are prepared, converted, packed and built again."""
    return importlib.import_module(f"pocketlens.runtimes.{_FLOWS[name]}")


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the quantized network.

    Sets torch's number of threads for the whole process, which is the only way torch knows, and
    for `eager` its INT8 engine too.

    Raises:
        BundleError: the description of how it was quantized is damaged or unknown.
        MissingExtraError: what it was quantized with isn't installed.
    """
    torch = require("torch", extra=EXTRA)
    network = restore(bundle)
    torch.set_num_threads(options.threads or available_cores())
    return session_of(network)


def restore(bundle: Bundle) -> torch.nn.Module:
    """The converted network, with the weights and ranges of the bundle.

    Raises:
        BundleError: the description of how it was quantized is damaged or unknown.
    """
    from safetensors.torch import load_file

    manifest = bundle.manifest
    described = manifest.model.get("quantization")
    named = described.get("flow") if isinstance(described, dict) else None
    if not isinstance(described, dict) or not isinstance(named, str) or named not in _FLOWS:
        raise BundleError(
            f"{bundle.path}: the manifest doesn't say how the network was quantized in a way that "
            f"this pocketlens knows ({', '.join(_FLOWS)}); copy it again or update pocketlens"
        )
    way = flow(described["flow"])
    height, width = manifest.preprocess.height, manifest.preprocess.width
    try:
        skeleton = way.rebuild(build(bundle), manifest.model, described, (height, width))
        network: torch.nn.Module = way.unpack(skeleton, load_file(bundle.file(WEIGHTS)))
    except UserError:
        raise  # it says itself what is wrong, such as an extra that is missing
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise BundleError(
            f"{bundle.path}: its weights don't fit the network that its manifest describes "
            f"({type(error).__name__}: {_first_line(error)}); copy it again, or make it again if "
            "another version of torch or torchao made it"
        ) from error
    return network


def session_of(network: torch.nn.Module) -> Session:
    """A session on a converted network in memory."""
    torch = require("torch", extra=EXTRA)

    def run(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(torch.from_numpy(input_NCHW)).float().numpy()
            return logits

    return run


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200]

"""PyTorch, eager, float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Activations, Session, SessionOptions
from pocketlens.extras import require
from pocketlens.runtimes._module import restore
from pocketlens.runtimes._spatial import Target, find_target

if TYPE_CHECKING:
    import torch

EXTRA = "train"


@dataclass(frozen=True)
class Config:
    """No options: a torch bundle is what training writes."""


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the network in channels_last layout.

    Sets torch's number of threads for the whole process, which is the only way torch knows.
    """
    torch = require("torch", extra=EXTRA)
    module = restore(bundle).to(memory_format=torch.channels_last)
    torch.set_num_threads(options.threads or available_cores())
    return session_of(module)


def session_of(module: torch.nn.Module) -> Session:
    """A session on a module in memory, which must be in evaluation mode."""
    torch = require("torch", extra=EXTRA)
    device = next(module.parameters()).device

    def run(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            tensor = torch.from_numpy(input_NCHW).to(device, memory_format=torch.channels_last)
            logits: NDArray[np.float32] = module(tensor).float().cpu().numpy()
            return logits

    return run


def features(bundle: Bundle, options: SessionOptions) -> Session:
    """A session that gives what the network's last linear layer reads, instead of logits.

    Raises:
        UserError: the network has no linear layer to cut off.
    """
    torch = require("torch", extra=EXTRA)
    module = restore(bundle).to(memory_format=torch.channels_last)
    torch.set_num_threads(options.threads or available_cores())
    linear = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    if not linear:
        raise UserError(f"{bundle.path}: a network without a linear layer has no features to take")
    kept: list[Any] = []
    # The head is the last to be defined in all families; what it is called differs.
    linear[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    run = session_of(module)

    def take(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        kept.clear()
        run(input_NCHW)
        features_NF: NDArray[np.float32] = kept.pop().flatten(1).float().cpu().numpy()
        return features_NF

    return take


def differentiable(bundle: Bundle, options: SessionOptions) -> tuple[torch.nn.Module, Target]:
    """The network for whoever needs gradients, and its last layer with places.

    Raises:
        UserError: no layer has places.
    """
    torch = require("torch", extra=EXTRA)
    module = restore(bundle)
    torch.set_num_threads(options.threads or available_cores())
    size = bundle.manifest.preprocess
    return module, find_target(module, size.height, size.width, str(bundle.path))


def activations(bundle: Bundle, options: SessionOptions) -> Activations:
    """What the network's last layer with places gives.

    Raises:
        UserError: no layer has places.
    """
    module, target = differentiable(bundle, options)
    kept: list[Any] = []
    target.layer.register_forward_hook(lambda _, given, output: kept.append(output.clone()))
    run = session_of(module)

    def take(input_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        kept.clear()
        run(input_NCHW)
        given_NCHW: NDArray[np.float32] = target.to_NCHW(kept.pop()).float().cpu().numpy()
        return given_NCHW

    return Activations(take, target.name)

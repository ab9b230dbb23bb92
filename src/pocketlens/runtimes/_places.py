"""The last tensor of an ONNX graph that still tells places of the photo apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.batches import in_fixed_batches
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError
from pocketlens.core.session import Activations, Session
from pocketlens.runtimes._spatial import axes

#: Nodes before the logits that are looked at: pooling is never further away.
_NEAREST: Final = 120
_FLOATS: Final = "pocketlens_places"


def with_places(bundle: Bundle, model: Any, open_session: Callable[[Any], Any]) -> Activations:
    """A session on a copy of the graph whose output are the activations before pooling.

    Args:
        model: the ONNX model; it is changed.
        open_session: opens a changed model in ONNX Runtime.

    Raises:
        BundleError: no tensor has places.
    """
    spec = bundle.manifest.preprocess
    size = spec.height, spec.width
    names = _before_logits(model)[-_NEAREST:]
    trial = _with_outputs(copy.deepcopy(model), names)
    session = open_session(trial)
    tensor = session.get_inputs()[0]
    fixed = tensor.shape[0] if isinstance(tensor.shape[0], int) else None
    black = np.zeros((spec.height, spec.width, 3), np.uint8)
    inputs = np.stack([bundle.manifest.input.of(black, spec)] * (fixed or 1))
    found = dict(zip(names, session.run(names, {tensor.name: inputs}), strict=True))
    chosen = _last_with_places(names, found, size)
    if chosen is None:
        raise BundleError(
            f"{bundle.path}: no tensor of its file tells places of the photo apart; take the "
            "method occlusion"
        )
    given = chosen if found[chosen].dtype == np.float32 else _as_floats(bundle, model, chosen)
    session = open_session(_with_outputs(model, [given]))
    # Files of channels-last networks keep channels behind.
    behind = axes(found[chosen].shape, size) == (1, 2)

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = session.run([given], {tensor.name: batch})[0]
        return values.transpose(0, 3, 1, 2) if behind else values

    taken: Session = run if fixed is None else in_fixed_batches(run, fixed)
    return Activations(taken, chosen)


def _before_logits(model: Any) -> list[str]:
    """Names of what leads to the first output, as the graph has them in order."""
    made_by = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    pending, wanted = [model.graph.output[0].name], set()
    while pending:
        place = made_by.get(pending.pop())
        if place is not None and place not in wanted:
            wanted.add(place)
            pending += list(model.graph.node[place].input)
    # Other outputs of a node may be left out by name, or hold indices.
    return [model.graph.node[i].output[0] for i in sorted(wanted)]


def _with_outputs(model: Any, names: list[str]) -> Any:
    import onnx

    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


def _last_with_places(
    names: list[str], found: dict[str, NDArray[Any]], size: tuple[int, int]
) -> str | None:
    """The last of these tensors with places; none where the network goes on with tokens."""
    for name in reversed(names):
        shape = found[name].shape
        if len(shape) == 3 and shape[1] > 1 and shape[2] > 1:
            # Attention: what has four sides before is no map, or one that much comes after.
            return None
        if axes(shape, size):
            return name
    return None


def _as_floats(bundle: Bundle, model: Any, name: str) -> str:
    """Put a node behind an integer tensor that gives its values, by its reader's scale."""
    from onnx import helper

    for node in model.graph.node:
        inputs = list(node.input)
        if name in inputs and inputs.index(name) + 2 < len(inputs) and "QLinear" in node.op_type:
            at = inputs.index(name)
            parts = inputs[at : at + 3]
            model.graph.node.append(
                helper.make_node("DequantizeLinear", parts, [_FLOATS], name=_FLOATS)
            )
            return _FLOATS
    raise BundleError(
        f"{bundle.path}: the scale of {name} is not known, so its values aren't; take the method "
        "occlusion"
    )

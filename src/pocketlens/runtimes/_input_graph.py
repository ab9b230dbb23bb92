"""The input's end of an ONNX graph: how many photos it takes, and whether it normalises them.

Shapes: a weight is OIHW (output channels, input channels, height, width), a bias O.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess

#: Name of the input that takes pixels, unless the graph has it for something else.
PIXELS: Final = "pixels"


def photo_input(model: Any) -> Any:
    """The `onnx.ValueInfoProto` of the input that takes photos.

    Args:
        model: an `onnx.ModelProto`.

    Raises:
        UserError: there is none, or nothing is answered. The message begins with a verb; the
            caller knows the file's name.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [tensor for tensor in model.graph.input if tensor.name not in weights]
    if not given or not model.graph.output:
        raise UserError("is no network: it lacks an input or an output")
    if (rank := len(given[0].type.tensor_type.shape.dim)) != 4:
        raise UserError(f"takes an input of {rank} dimensions; photos have four, NCHW or NHWC")
    return given[0]


def fix_batch(model: Any, size: int) -> None:
    """Note in the file, in place, that it takes just so many photos at a time."""
    answers = model.graph.output[0].type.tensor_type.shape.dim
    for dims in (photo_input(model).type.tensor_type.shape.dim, answers):
        if dims:
            dims[0].dim_value = size
    # Noted for any number of photos; runtimes find shapes themselves.
    model.graph.ClearField("value_info")


def embed_preprocess(model: Any, preprocess: Preprocess, layout: str, *, fold: bool) -> None:
    """Change the graph, in place, so that it takes pixels: uint8 NHWC at the network's size.

    Args:
        model: an `onnx.ModelProto` whose input is float32 in `layout`.
        fold: where a float convolution reads the input, put `1 / (255 * std)` into its weights,
            and the mean into its bias if it pads nothing. If it does pad, the mean is subtracted
            before, since the zeros that it pads with stand for the mean and not for black. That
            rounds elsewhere. Without it, and in front of anything but such a convolution, the
            operations are those of `Preprocess.normalize`, to the bit.

    Raises:
        UserError: it is no network for photos; worded as `photo_input` does.
    """
    from onnx import TensorProto, helper

    graph, given = model.graph, photo_input(model)
    taken = _names(graph)
    first = _first_convolution(graph, given.name) if fold and layout == "NCHW" else None
    steps = _steps(preprocess)
    result = given.name  # whatever reads it needs no change
    if first is not None:
        steps = _fold(graph, first, preprocess, taken)
        result = first.input[0] = _free(f"{given.name}_of_pixels", taken)
    pixels = at = _free(PIXELS, taken)
    nodes = []
    if layout == "NCHW":  # at once, while a pixel is one byte
        at = _free(f"{PIXELS}_NCHW", taken)
        nodes.append(helper.make_node("Transpose", [pixels], [at], perm=[0, 3, 1, 2]))
    outputs = [_free(f"{PIXELS}_{i}", taken) for i in range(len(steps))] + [result]
    nodes.append(helper.make_node("Cast", [at], [outputs[0]], to=TensorProto.FLOAT))
    for i, (kind, value_C) in enumerate(steps):
        constant = value_C[:, None, None] if layout == "NCHW" else value_C
        name = _add(graph, f"{PIXELS}_{kind.lower()}", constant, taken)
        nodes.append(helper.make_node(kind, [outputs[i], name], [outputs[i + 1]]))
    size = given.type.tensor_type.shape.dim[0]
    batch = size.dim_value or size.dim_param or "batch"
    shape_NHWC = [batch, preprocess.height, preprocess.width, 3]
    given.CopyFrom(helper.make_tensor_value_info(pixels, TensorProto.UINT8, shape_NHWC))
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])
    graph.ClearField("value_info")


def _steps(preprocess: Preprocess) -> list[tuple[str, NDArray[np.float32]]]:
    """What `Preprocess.normalize` does, in its order, but for what changes nothing."""
    mean, std = (np.asarray(v, np.float32) for v in (preprocess.mean, preprocess.std))
    steps = [("Div", np.full(3, 255, np.float32)), ("Sub", mean), ("Div", std)]
    nothing = {"Sub": 0, "Div": 1}
    return [(kind, value) for kind, value in steps if (value != nothing[kind]).any()]


def _first_convolution(graph: Any, name: str) -> Any:
    """The float convolution that alone reads the input, if its weights can be changed."""
    from onnx import TensorProto

    readers = [node for node in graph.node if name in node.input]
    # A graph within a node may read it too.
    inner = any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute)
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].domain or inner:
        return None
    constant = {tensor.name: tensor for tensor in graph.initializer}
    parts = [constant.get(part) for part in readers[0].input[1:] if part]
    if any(part is None or part.data_type != TensorProto.FLOAT for part in parts):
        return None
    # With groups a weight has fewer input channels than the photo.
    return readers[0] if list(constant[readers[0].input[1]].dims)[1:2] == [3] else None


def _fold(
    graph: Any, node: Any, preprocess: Preprocess, taken: set[str]
) -> list[tuple[str, NDArray[np.float32]]]:
    """Put the normalisation into a convolution; what is left to do before it."""
    from onnx import numpy_helper

    both = (preprocess.mean, preprocess.std)
    mean, std = (np.asarray(v, np.float32).astype(np.float64) for v in both)
    constant = {tensor.name: tensor for tensor in graph.initializer}
    weight_OIHW = numpy_helper.to_array(constant[node.input[1]]) / (255 * std)[:, None, None]
    node.input[1] = _replace(graph, node.input[1], weight_OIHW, taken)
    if not mean.any():
        return []
    if _pads(node):
        return [("Sub", (255 * mean).astype(np.float32))]
    bias_O = -np.einsum("oihw,i->o", weight_OIHW, 255 * mean)
    if len(node.input) > 2 and node.input[2]:
        bias_O += numpy_helper.to_array(constant[node.input[2]])
        node.input[2] = _replace(graph, node.input[2], bias_O, taken)
    else:
        del node.input[2:]
        node.input.append(_add(graph, f"{node.input[1]}_bias", bias_O, taken))
    return []


def _pads(node: Any) -> bool:
    """Whether a convolution reads beyond the photo's edge."""
    attributes = {a.name: a for a in node.attribute}
    if "auto_pad" in attributes and (way := attributes["auto_pad"].s) not in (b"", b"NOTSET"):
        return bool(way != b"VALID")
    return "pads" in attributes and any(attributes["pads"].ints)


def _replace(graph: Any, name: str, value: NDArray[Any], taken: set[str]) -> str:
    """Another value for one reader of a constant; its name, a new one if others read it too."""
    from onnx import numpy_helper

    if sum(list(node.input).count(name) for node in graph.node) > 1:
        return _add(graph, name, value, taken)
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return name


def _add(graph: Any, name: str, value: Any, taken: set[str]) -> str:
    from onnx import numpy_helper

    name = _free(name, taken)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return name


def _names(graph: Any) -> set[str]:
    """Names that are in use in a graph."""
    values = {t.name for t in (*graph.input, *graph.output, *graph.initializer)}
    return values.union(*((*node.input, *node.output) for node in graph.node))


def _free(name: str, taken: set[str]) -> str:
    """A name that nothing has yet, noted as taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found

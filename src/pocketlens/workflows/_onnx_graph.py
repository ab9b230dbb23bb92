"""What is changed in somebody's ONNX graph so that it answers as ours do: in logits."""

from __future__ import annotations

from typing import Any, Final

from pocketlens.core.dataset import Task
from pocketlens.core.errors import UserError

#: Nodes that hand an answer on, in another shape at most.
_PASSES_ON: Final = frozenset(
    ("Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
)
_QUANTIZES: Final = frozenset(("QuantizeLinear", "DequantizeLinear"))
_TASK_OF: Final[dict[str, Task]] = {
    "Softmax": "single_label",
    "LogSoftmax": "single_label",
    "Sigmoid": "multi_label",
}
_MEND: Final[dict[Task, str]] = {
    "single_label": "which shares 1 among the classes; leave --multi-label out",
    "multi_label": "which gives each class a probability of its own; pass --multi-label",
}


def cut_activation(model: Any, task: Task) -> str | None:
    """Take the final softmax or sigmoid out of a graph, in place: probabilities are made later,
    and twice would be wrong.

    Args:
        model: an `onnx.ModelProto`.

    Returns:
        The operator's name, or None where there was none.

    Raises:
        UserError: it does not fit the task, or is quantized. The message begins with a verb; the
            caller knows the file's name.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by.get(model.graph.output[0].name)
    quantized = False
    while node is not None and node.op_type in _PASSES_ON | _QUANTIZES:
        quantized = quantized or node.op_type in _QUANTIZES
        node = made_by.get(node.input[0])
    if node is None or node.domain not in ("", "ai.onnx") or node.op_type not in _TASK_OF:
        return None
    kind = str(node.op_type)
    if _TASK_OF[kind] != task:
        raise UserError(f"ends in a {kind}, {_MEND[_TASK_OF[kind]]}")
    if quantized:
        raise UserError(
            f"ends in a quantized {kind}, which can't be taken out; quantize the network without it"
        )
    # The names stay, so whatever reads this node needs no change; a runtime drops the node.
    node.op_type = "Identity"
    node.ClearField("attribute")
    return kind

"""Whether a phone's accelerators would take an ONNX file, by ONNX Runtime's own check of operators.

It reads lists of operators that come with ONNX Runtime; nothing is run. So "yes" means that it is
worth a measurement on the phone, and never a speed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pocketlens.extras import require

Verdict = Literal["no", "maybe", "yes"]

#: Name in reports -> of ONNX Runtime's list of CoreML's operators.
_COREML: Final = {
    "CoreML NeuralNetwork (iOS)": "coreml_supported_neuralnetwork_ops.md",
    "CoreML MLProgram (iOS)": "coreml_supported_mlprogram_ops.md",
}
NNAPI: Final = "NNAPI (Android)"


@dataclass(frozen=True)
class Accelerator:
    """What one execution provider would take of a file.

    Attributes:
        num_nodes: of the graph after ONNX Runtime's basic simplifications.
        num_supported: those it has the operator for.
        partitions: how many nodes each part has that it would run in one go; between parts, data
            go back to the processor.
        unsupported_ops: operators it lacks, without their domain.
        num_dynamic: nodes it would refuse as their shape changes or is not known.
        verdict: for the file as it is.
        verdict_fixed: if all its shapes were fixed.
    """

    name: str
    num_nodes: int
    num_supported: int
    partitions: tuple[int, ...]
    unsupported_ops: tuple[str, ...]
    num_dynamic: int
    verdict: Verdict
    verdict_fixed: Verdict


@dataclass(frozen=True)
class MobileCheck:
    """What ONNX Runtime's check says of a file.

    Attributes:
        fixed_batch: whether the file says how many photos it takes.
    """

    accelerators: tuple[Accelerator, ...]
    fixed_batch: bool

    @property
    def recommended(self) -> tuple[str, ...]:
        """Names of accelerators that are worth a measurement beside the processor."""
        return tuple(a.name for a in self.accelerators if a.verdict != "no")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"recommended": list(self.recommended)}


def check_mobile(file: Path) -> MobileCheck:
    """What ONNX Runtime's check says of an ONNX file, in float or INT8.

    Raises:
        MissingExtraError: onnx isn't installed.
    """
    require("onnx", extra="onnx")
    from onnxruntime.tools import onnx_model_utils
    from onnxruntime.tools.mobile_helpers import usability_checker

    with tempfile.TemporaryDirectory() as folder:
        simplified = Path(folder) / "model.onnx"
        onnx_model_utils.optimize_model(file, simplified, use_external_initializers=True)
        model = onnx_model_utils.ModelProtoWithShapeInfo(simplified).model_with_shape_info
    checks: dict[str, Callable[[bool], Any]] = {
        NNAPI: lambda fixed: usability_checker.check_nnapi_partitions(model, fixed)
    }
    for name, operators in _COREML.items():
        checks[name] = lambda fixed, operators=operators: (  # type: ignore[misc]
            usability_checker.check_coreml_partitions(model, fixed, operators)
        )
    dynamic, _ = usability_checker.check_shapes(model.graph)
    found = [_accelerator(name, check) for name, check in checks.items()]
    return MobileCheck(tuple(found), fixed_batch=not dynamic)


def _accelerator(name: str, check: Callable[[bool], Any]) -> Accelerator:
    as_is, by_operator = check(True), check(False)
    return Accelerator(
        name,
        num_nodes=by_operator.num_nodes,
        num_supported=by_operator.num_supported_nodes,
        partitions=tuple(map(len, by_operator.supported_groups)),
        unsupported_ops=tuple(sorted(op.split(":")[-1] for op in by_operator.unsupported_ops)),
        num_dynamic=as_is.nodes_unsupported_due_to_dynamic_input,
        verdict=_verdict(as_is),
        verdict_fixed=_verdict(by_operator),
    )


def _verdict(partitioning: Any) -> Verdict:
    name = partitioning.suitability().name.lower()
    assert name in ("no", "maybe", "yes")
    verdict: Verdict = name
    return verdict


def describe_mobile(check: MobileCheck) -> str:
    """The check as a table of a few lines, and what to do."""
    width = max(len(a.name) for a in check.accelerators)
    lines = ["Would a phone's accelerators take it? (ONNX Runtime's check of operators)"]
    lines += [f"  {a.name:{width}}  {a.verdict:5}  {_why(a)}" for a in check.accelerators]
    return "\n".join((*lines, *_advice(check)))


def _why(accelerator: Accelerator) -> str:
    parts = len(accelerator.partitions)
    text = f"{accelerator.num_supported} of {accelerator.num_nodes} nodes"
    if accelerator.num_supported:
        text += f" in {parts} part{'' if parts == 1 else 's'}"
    if accelerator.unsupported_ops:
        text += f"; lacks {', '.join(accelerator.unsupported_ops)}"
    if accelerator.num_dynamic:
        text += f"; {accelerator.num_dynamic} nodes of no fixed shape"
    return text


def _advice(check: MobileCheck) -> list[str]:
    found = []
    better = [a.name for a in check.accelerators if a.verdict_fixed != "no" and a.verdict == "no"]
    if not check.fixed_batch and better:
        found.append(
            f"Fix the batch (--batch 1): then {', '.join(better)} would take it; none takes a file "
            "for any number of photos."
        )
    quantized = {"QuantizeLinear", "QLinearConv", "ConvInteger"}
    if any(quantized & set(a.unsupported_ops) for a in check.accelerators if a.name in _COREML):
        found.append("CoreML takes no INT8 layers: for iOS export the float bundle.")
    if check.recommended:
        found.append(
            f"Worth trying beside the processor: {', '.join(check.recommended)}. Only a "
            "measurement on the phone tells which is faster."
        )
        if NNAPI in check.recommended:
            found.append("Android 15 deprecates NNAPI: keep the processor as the way to fall back.")
    else:
        found.append("As it is, run it on the phone's processor (ONNX Runtime's CPU provider).")
    return found

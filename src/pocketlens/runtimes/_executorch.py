"""ExecuTorch's backends: what each needs, and how a network is lowered for it.

Only XNNPACK, Vulkan and Core ML were lowered for in earnest, and only XNNPACK was run: the others
need a chip, and most of them a vendor's SDK. Their lowering follows the examples of ExecuTorch 1.5.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.runtimes._program import get_tensor

if TYPE_CHECKING:
    import torch

#: Lowers a network for an example of its input; gives what `to_executorch` belongs to.
Lower = Callable[["torch.nn.Module", "torch.Tensor"], Any]

NNAPI: Final = (
    "ExecuTorch has no NNAPI backend, and Android 15 deprecates NNAPI. What there is: --backend "
    "xnnpack (CPU), vulkan (GPU), and the NPUs of qualcomm, samsung and mediatek where their SDK "
    "is installed. For NNAPI make a quantized ONNX file with a fixed batch, for ONNX Runtime's "
    "NNAPI provider: `pocketlens compress BUNDLE --method onnx-static --data DATA --out INT8`, "
    "then `pocketlens export INT8 --runtime onnx --batch 1 --out OUT`; `python -m "
    "onnxruntime.tools.check_onnx_model_mobile_usability OUT/model.onnx` tells how much of it "
    "NNAPI takes"
)

#: Of a bias in 32 bits; as much again is left for what is added to it.
_LARGEST_BIAS: Final = 2.0**30


@dataclass(frozen=True)
class Backend:
    """What computes a program.

    Attributes:
        delegate: its name in the runtime.
        local: whether a machine that isn't a phone may have it. Never for phones' NPUs: a runtime
            that knows their name has a simulation at best.
        ready: finds what lowering needs, for a chip's name; raises a `UserError` that says what is
            missing and where it can be had.
    """

    delegate: str
    local: bool
    ready: Callable[[str], Lower]


def lower(
    way: Lower, network: torch.nn.Module, example: torch.Tensor
) -> tuple[bytes, Mapping[str, int]]:
    """A program for one shape of input, and what the backend left to ExecuTorch's own kernels.

    Returns:
        The .pte file; operation -> how many of it are outside the backend.

    Raises:
        UserError: the backend takes nothing of this network.
    """
    import torch
    from executorch.exir import ExecutorchBackendConfig
    from executorch.exir.delegate import executorch_call_delegate

    with torch.no_grad():
        manager = way(network, example)
    taken, outside = 0, Counter[str]()
    for node in manager.exported_program().graph.nodes:
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", str(node.target))
        if node.target is executorch_call_delegate:
            taken += 1
        elif name != "getitem":
            outside[name] += 1
    if not taken:
        raise UserError(
            "this backend takes none of the network's operations "
            f"({', '.join(sorted(outside))}); choose another --backend"
        )
    program = manager.to_executorch(ExecutorchBackendConfig())
    return bytes(program.buffer), dict(outside)


def fit_biases(program: Any) -> int:
    """Coarser steps for weights whose bias doesn't fit into 32 bits; gives the number of channels.

    XNNPACK counts a bias in steps of its channel's weights times those of the input. Of a dead
    channel, whose weights are next to nothing, these are so small that the bias, which is all that
    the channel says, would be cut off. (torchao's program has its biases in float.)

    Args:
        program: a converted one; its weights and their scales are changed.
    """
    import torch

    changed = 0
    for node in program.graph.nodes:
        if not str(node.target).startswith(("aten.conv", "aten.linear")) or len(node.args) < 3:
            continue
        given, weight, bias = node.args[:3]
        quantized = "_per_tensor" in str(given.target) and "_per_channel" in str(weight.target)
        if bias is None or bias.op != "get_attr" or not quantized:
            continue
        levels = get_tensor(program, weight.args[0].target).detach()
        scale = get_tensor(program, weight.args[1].target).detach()
        least = get_tensor(program, bias.target).detach().abs() / (given.args[1] * _LARGEST_BIAS)
        wider = torch.maximum(scale, least.to(scale.dtype))
        share = (scale / wider).reshape(-1, *[1] * (levels.ndim - 1))
        changed += int((wider > scale).sum())
        levels.copy_((levels * share).round())
        scale.copy_(wider)
    return changed


def _by(partitioner: Any) -> Lower:
    def go(network: torch.nn.Module, example: torch.Tensor) -> Any:
        import torch
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(network, (example,))
        return to_edge_transform_and_lower(exported, partitioner=[partitioner])

    return go


def _xnnpack(soc: str) -> Lower:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return _by(XnnpackPartitioner())


def _vulkan(soc: str) -> Lower:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return _by(VulkanPartitioner())


def _coreml(soc: str) -> Lower:
    advice = "it needs Apple's coremltools: pip install coremltools"
    _find("coremltools", "coreml", advice)
    found = _find("executorch.backends.apple.coreml.partition", "coreml", advice)
    return _by(found.CoreMLPartitioner())


def _qualcomm(soc: str) -> Lower:
    root = os.environ.get("QNN_SDK_ROOT", "")
    if not root or not Path(root).is_dir():
        # Without this variable ExecuTorch would fetch the SDK from the network by itself.
        raise UserError(
            "the backend qualcomm needs the Qualcomm AI Engine Direct SDK (QNN), and QNN_SDK_ROOT "
            "names no directory: get it from "
            "https://www.qualcomm.com/developer/software/qualcomm-ai-engine-direct-sdk, set "
            "QNN_SDK_ROOT to where it is, and add its lib/x86_64-linux-clang to LD_LIBRARY_PATH"
        )
    advice = "it needs executorch for Linux on x86-64 and the QNN SDK in QNN_SDK_ROOT"
    schema = _find("executorch.backends.qualcomm.serialization.qc_schema", "qualcomm", advice)
    utils = _find("executorch.backends.qualcomm.utils.utils", "qualcomm", advice)
    chips = schema.QcomChipset.__members__
    _check_chip("qualcomm", soc, [name for name in chips if not name.startswith("UNKNOWN")])
    specs = utils.generate_qnn_executorch_compiler_spec(
        soc_model=chips[soc], backend_options=utils.generate_htp_compiler_spec(use_fp16=True)
    )

    def go(network: torch.nn.Module, example: torch.Tensor) -> Any:
        return utils.to_edge_transform_and_lower_to_qnn(network, (example,), specs)

    return go


def _samsung(soc: str) -> Lower:
    advice = (
        "it needs executorch built from source with Samsung's Exynos AI LiteCore SDK, which is at "
        "https://soc-developer.semiconductor.samsung.com/global/development/ai-litecore"
    )
    found = _find("executorch.backends.samsung.partition.enn_partitioner", "samsung", advice)
    name = "executorch.backends.samsung.serialization.compile_options"
    options = _find(name, "samsung", advice)
    chips = options.SamsungChipset.__members__
    _check_chip("samsung", soc, [name for name in chips if not name.startswith("UNDEFINED")])
    return _by(found.EnnPartitioner([options.gen_samsung_backend_compile_spec(soc)]))


def _mediatek(soc: str) -> Lower:
    advice = (
        "it needs the wheels mtk_converter and mtk_neuron of MediaTek's NeuroPilot Express SDK, "
        "which is at https://neuropilot.mediatek.com/resources/public/npexpress/en/docs/npexpress"
    )
    for wheel in ("mtk_converter", "mtk_neuron"):
        _find(wheel, "mediatek", advice)
    found = _find("executorch.backends.mediatek", "mediatek", advice)
    preprocess = _find("executorch.backends.mediatek.preprocess", "mediatek", advice)
    _check_chip("mediatek", soc, sorted(preprocess.SUPPORTED_PLATFORM_CONFIGS))
    spec = importlib.import_module("executorch.exir.backend.compile_spec_schema").CompileSpec
    return _by(found.NeuropilotPartitioner([spec("platform-config", soc.encode())]))


#: `--backend` -> what is behind it.
BACKENDS: Final[Mapping[str, Backend]] = {
    "xnnpack": Backend("XnnpackBackend", True, _xnnpack),
    "vulkan": Backend("VulkanBackend", True, _vulkan),
    "coreml": Backend("CoreMLBackend", True, _coreml),
    "qualcomm": Backend("QnnBackend", False, _qualcomm),
    "samsung": Backend("EnnBackend", False, _samsung),
    "mediatek": Backend("NeuropilotBackend", False, _mediatek),
}


def _find(module: str, backend: str, advice: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        lacking = getattr(error, "name", None) or str(error).splitlines()[0]
        raise UserError(
            f"the backend {backend} can't be used here ({lacking} is missing): {advice}"
        ) from error


def _check_chip(backend: str, soc: str, known: list[str]) -> None:
    if soc not in known:
        raise UserError(
            f"the backend {backend} makes programs for one chip: name yours with --soc, one of "
            f"{', '.join(known)}" + (f", not {soc!r}" if soc else "")
        )

"""What programs and classes are called in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Runtime -> its own name.
RUNTIMES: Final = {
    "torch": "PyTorch",
    "torch-int8": "PyTorch (INT8)",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch",
    "litert": "LiteRT",
}

#: Where `class_info` has a class's name, the first that is there.
_NAME_KEYS: Final = ("name", "dl_name")


def shown_name(label: str, info: Mapping[str, Any]) -> str | None:
    """What a class is called beside its label, where its `class_info` knows a name."""
    name = next((info[key] for key in _NAME_KEYS if info.get(key)), None)
    return name if isinstance(name, str) and name != label else None

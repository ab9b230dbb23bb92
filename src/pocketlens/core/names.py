"""What programs are called in words."""

from __future__ import annotations

from typing import Final

#: Runtime -> its own name.
RUNTIMES: Final = {
    "torch": "PyTorch",
    "torch-int8": "PyTorch (INT8)",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch",
    "litert": "LiteRT",
}

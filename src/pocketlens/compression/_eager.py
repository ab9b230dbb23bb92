"""What the two methods of PyTorch's eager mode share."""

from __future__ import annotations

from typing import Any

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError


def refuse_others(bundle: Bundle, way: Any, method: str) -> None:
    """Refuse networks that eager mode can't quantize.

    Raises:
        UserError: this is one.
    """
    model = bundle.manifest.model
    if not way.suits(model):
        raise UserError(
            f"{method} needs a network with quantization stubs (compact/*), which {model['name']} "
            "has not; use onnx-static or pt2e-static for it"
        )

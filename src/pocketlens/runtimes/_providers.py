"""ONNX Runtime's execution providers: what computes an ONNX file, and what each needs.

A file is the same for all. Which one a bundle was exported for stands in `manifest.backend`, so
that a processor's figure is never taken for a graphics card's or an NPU's.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from pocketlens.core.errors import BundleError

Backend = Literal["cpu", "cuda", "tensorrt", "directml", "coreml", "nnapi"]


class Provider(NamedTuple):
    """Its name in ONNX Runtime, and how to come by it."""

    name: str
    needs: str


PROVIDERS: Final[dict[str, Provider]] = {
    "cuda": Provider(
        "CUDAExecutionProvider", "an NVIDIA card and pip install onnxruntime-gpu in place of "
        "onnxruntime",
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", "an NVIDIA card, TensorRT and pip install onnxruntime-gpu in "
        "place of onnxruntime",
    ),
    "directml": Provider(
        "DmlExecutionProvider", "Windows and pip install onnxruntime-directml in place of "
        "onnxruntime",
    ),
    "coreml": Provider("CoreMLExecutionProvider", "macOS or iOS, whose onnxruntime has it"),
    "nnapi": Provider("NnapiExecutionProvider", "Android: score the file in an app on the phone"),
}  # fmt: skip


def wanted(backend: str | None, where: str) -> list[str]:
    """Names of the providers to open a session with, the best first.

    Raises:
        BundleError: this machine's ONNX Runtime hasn't got it.
    """
    import onnxruntime as ort

    if backend is None:
        return ["CPUExecutionProvider"]
    if backend not in PROVIDERS:
        raise BundleError(
            f"{where} is made for {backend}, which this pocketlens doesn't know (it knows "
            f"{', '.join(PROVIDERS)}); update pocketlens"
        )
    provider = PROVIDERS[backend]
    if provider.name not in ort.get_available_providers():
        raise BundleError(
            f"{where} is made for {backend}, which ONNX Runtime hasn't got here; it needs "
            f"{provider.needs}"
        )
    return [provider.name, "CPUExecutionProvider"]


def check_taken(session: Any, backend: str | None, where: str) -> None:
    """Refuse a session that fell back to the processor.

    Raises:
        BundleError: it did; ONNX Runtime only warns of it.
    """
    if backend is not None and PROVIDERS[backend].name not in session.get_providers():
        raise BundleError(
            f"{where}: ONNX Runtime has {backend} but couldn't start it and took the processor "
            "instead; see that its driver and libraries fit, or export with --backend cpu"
        )

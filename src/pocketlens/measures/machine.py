"""What machine this is: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Final

from pocketlens.core.predictor import available_cores
from pocketlens.extras import versions

#: Processor features that decide how fast, and how exactly, INT8 and bf16 run.
_RELEVANT: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


def describe_machine(threads: int | None = None) -> dict[str, Any]:
    """Processor, relevant flags, threads used, memory, system and library versions."""
    name, flags = _processor()
    return {
        "cpu": name,
        "cpu_flags": [flag for flag in _RELEVANT if flag in flags],
        "cores": available_cores(),
        "threads": threads or available_cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions("onnxruntime", "torch", "numpy", "pillow"),
    }


def _processor() -> tuple[str, frozenset[str]]:
    info = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags") or fields.get("features") or ""
    return name, frozenset(flags.split())


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None

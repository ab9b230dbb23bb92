"""The machine in words: figures mean nothing without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pocketlens.reports._format import one_line

#: Instructions that 8-bit networks live on: what a reader calls them, and their spellings.
_FLAGS: Final = (
    ("AVX2", ("avx2",)),
    ("AVX-512", ("avx512f", "avx512")),
    ("VNNI", ("avx512_vnni", "avx512vnni", "avx_vnni", "avxvnni", "vnni")),
    ("AMX int8", ("amx_int8",)),
    ("NEON", ("neon", "asimd")),
    ("dot product", ("asimddp", "dotprod")),
    ("i8mm", ("i8mm",)),
    ("SVE", ("sve",)),
)


def instructions(machine: Mapping[str, Any]) -> str:
    """Which of the instructions that matter to 8-bit networks the processor has."""
    flags = {str(flag).lower() for flag in machine.get("cpu_flags") or ()}
    if not flags:
        return ""
    have = [name for name, spellings in _FLAGS if flags & set(spellings)]
    text = ", ".join(have) or "none of those that speed up 8-bit networks"
    if "AVX2" in have and "VNNI" not in have:
        text += "; no VNNI: 8-bit networks gain less here, and may saturate"
    return text


def machine_line(machine: Mapping[str, Any]) -> str:
    """Where it was measured, on one line; nothing where that isn't known."""
    if not machine.get("cpu"):
        return ""
    threads = machine.get("threads")
    parts = [one_line(str(machine["cpu"]), 80)]
    if threads:
        parts.append("1 thread" if threads == 1 else f"{threads} threads")
    if flags := instructions(machine):
        parts.append(flags)
    return f"measured on {', '.join(parts)}"

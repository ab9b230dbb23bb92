"""Which chains of steps `shrink` tries, from cheap to dear.

The search of a later step moves in here: it only has to give candidates in the order in which
they are worth trying.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A chain of one compression step (or none: the float model in another runtime).

    Attributes:
        method: a compression method, or None for a mere export.
        precision: what comes out of it.
        seconds: rough cost on two cores for planning, without scoring.
        family: skipped when another of this family passed already.
    """

    name: str
    runtime: str
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "int8"
    seconds: float = 5.0
    family: str = ""

    def describe(self) -> str:
        """The chain in words."""
        if self.method is None:
            return f"export to {self.runtime}"
        options = "".join(
            f" --{key.replace('_', '-')} {value}" for key, value in self.options.items()
        )
        return f"compress --method {self.method}{options}"


def ladder(num_images: int) -> list[Candidate]:
    """Candidates in the order they are tried.

    Within `static`, the next is tried only when the ones before lost too much: all in 8 bits
    first, since it is the smallest and fastest; then the first convolution in float; then ranges
    that leave out rare extremes.
    """
    static = {"num_images": num_images}
    return [
        Candidate("float-onnx", "onnx", precision="float32"),
        Candidate(
            "int8-static",
            "onnx",
            "onnx-static",
            {"keep_float": "none", **static},
            seconds=0.06 * num_images,
            family="static",
        ),
        Candidate(
            "int8-static-first-float",
            "onnx",
            "onnx-static",
            {"keep_float": "first", **static},
            seconds=0.06 * num_images,
            family="static",
        ),
        Candidate(
            "int8-static-percentile",
            "onnx",
            "onnx-static",
            {"keep_float": "first", "ranges": "percentile", **static},
            seconds=0.25 * num_images,
            family="static",
        ),
        Candidate("int8-dynamic", "onnx", "onnx-dynamic", precision="int8-dynamic"),
    ]

"""The seam to every runtime: what it is given, one small call, and a fake for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess

#: What a network's file may take, as dtype and layout.
_KNOWN: Final = (("float32", "NCHW"), ("float32", "NHWC"), ("uint8", "NHWC"))


@dataclass(frozen=True)
class Input:
    """What a network's file takes; a manifest says it, so that nothing is normalised twice.

    Attributes:
        dtype: `float32`: normalised; `uint8`: pixels, which the network normalises itself.
        layout: `NCHW` or `NHWC`; pixels are always `NHWC`, as they are decoded.
    """

    dtype: str = "float32"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if (self.dtype, self.layout) not in _KNOWN:
            raise UserError(
                f"no network here takes {self.dtype} {self.layout}; known: "
                f"{', '.join(map(' '.join, _KNOWN))}"
            )

    @property
    def embedded(self) -> bool:
        """Whether the file takes pixels and normalises them itself."""
        return self.dtype == "uint8"

    def of(
        self,
        image_HWC: NDArray[np.uint8],
        preprocess: Preprocess,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """What a session is given of one photo at the network's size: a batch without its N.

        Args:
            out: what to write into, and to return: `shape` of `dtype`.
        """
        if self.embedded:
            found: NDArray[Any] = image_HWC
        elif self.layout == "NCHW":
            return preprocess.normalize(image_HWC, out)
        else:
            found = np.ascontiguousarray(preprocess.normalize(image_HWC).transpose(1, 2, 0))
        if out is None:
            return found
        out[...] = found
        return out

    def shape(self, preprocess: Preprocess) -> tuple[int, int, int]:
        """Of what `of` gives."""
        size = preprocess.height, preprocess.width
        return (3, *size) if self.layout == "NCHW" else (*size, 3)


class Session(Protocol):
    """An opened network: a batch as `manifest.input` says it -> `logits_NK` float32."""

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[np.float32]:
        """Run the network on a batch: `input_NCHW` float32, or what else `Input.of` gives."""
        ...


@dataclass(frozen=True)
class Activations:
    """A network's last layer that tells places of the photo apart, opened.

    Attributes:
        run: a batch as a session takes it -> `activations_NCHW` float32.
        layer: the name of the layer, or of its tensor in the network's file.
    """

    run: Session
    layer: str


@dataclass(frozen=True)
class SessionOptions:
    """How a runtime is opened.

    Attributes:
        threads: of the processor, for all calls together; None: as many as this process may use
            cores.
        streams: calls that will be under way at the same time, which share the threads out. Only
            a runtime whose module says `STREAMS = True` takes more than one.
    """

    threads: int | None = None
    streams: int = 1


@dataclass
class FakeSession:
    """A session for tests: answers by a function and remembers the shapes it was given."""

    answer: Callable[[NDArray[Any]], NDArray[np.float32]]

    def __post_init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, inputs: NDArray[Any], /) -> NDArray[np.float32]:
        """Answer for a batch."""
        self.shapes.append(inputs.shape)
        return self.answer(inputs)

"""A .pte file in ExecuTorch's runtime: loaded and run.

Of ExecuTorch 1.5: a method crashes the process once its program is gone, and it keeps the address
of the pool of threads that it was loaded with.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError
from pocketlens.runtimes._quiet import first_line, quiet

if TYPE_CHECKING:
    import torch

MODEL: Final = "model.pte"
#: Held while a program runs or is loaded: neither the pool nor a program is for several callers.
LOCK: Final = threading.Lock()
_LOADED: Final[weakref.WeakSet[Program]] = weakref.WeakSet()


class Program:
    """A .pte file that is loaded while the pool of threads stays as it is."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._content = bundle.file(MODEL).read_bytes()
        # The method is of no use, and no longer safe, without the program that it is of.
        self._program: Any = None
        self._method: Any = None
        _LOADED.add(self)

    def load(self) -> tuple[int, ...]:
        """Load it, and tell the shape of its input.

        Raises:
            BundleError: it is damaged, or another network's.
        """
        from executorch.runtime import Runtime

        with quiet() as last_line:
            try:
                self._program = Runtime.get().load_program(self._content)
                meta = self._program.metadata("forward")
                shapes = (
                    [tuple(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())],
                    [tuple(meta.output_tensor_meta(i).sizes()) for i in range(meta.num_outputs())],
                )
                self._method = self._program.load_method("forward")
            except (RuntimeError, KeyError, IndexError, ValueError) as error:
                raise BundleError(
                    f"{self._bundle.path}: ExecuTorch can't open {MODEL} "
                    f"({last_line() or first_line(error)}); export it again"
                ) from error
        side, classes = self._bundle.manifest.preprocess, self._bundle.manifest.classes
        batch = shapes[0][0][0] if shapes[0] and shapes[0][0] else 0
        if shapes != ([(batch, 3, side.height, side.width)], [(batch, len(classes))]) or not batch:
            raise BundleError(
                f"{self._bundle.path}: {MODEL} takes {shapes[0]} and gives {shapes[1]}, which is "
                "not what the manifest says; export it again"
            )
        return (batch, 3, side.height, side.width)

    def unload(self) -> None:
        """Let go of everything that knows the pool."""
        self._method = self._program = None

    def execute(self, given: torch.Tensor) -> torch.Tensor:
        """Logits of one batch; loads it again if it was unloaded."""
        if self._method is None:
            self.load()
        logits: torch.Tensor = self._method.execute((given,))[0]
        return logits


def set_threads(number: int) -> None:
    """Set the size of ExecuTorch's pool, for the whole process.

    Loaded programs hold the pool's address, and a pool of another size is another one.
    """
    from executorch.extension.pybindings import portable_lib as native

    if native._threadpool_get_thread_count() == number:
        return
    for program in tuple(_LOADED):
        program.unload()
    native._unsafe_reset_threadpool(number)

"""A bundle's answers on an emulated ARM processor: what a phone would say, never how fast.

QEMU's user emulation runs an ARM Python with the runtime's ARM build from a directory that
`examples/arm64_root.sh` makes. The processor is a Neoverse N1 (ARMv8.2 with dot products, like
phones since 2018): with `-cpu max` QEMU 7.2 computed XNNPACK's INT8 wrongly.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Bundle
from pocketlens.core.directory import cache_dir
from pocketlens.core.errors import UserError

#: Runtimes that have ARM builds to be emulated, and their files.
FILES: Final = {"onnx": "model.onnx", "executorch": "model.pte"}
ROOT_VARIABLE: Final = "POCKETLENS_ARM64_ROOT"
_EMULATORS: Final = ("qemu-aarch64-static", "qemu-aarch64")
_PROCESSOR: Final = "neoverse-n1"
_PYTHON: Final = "usr/bin/python3"


def find_root() -> tuple[str, Path]:
    """The emulator and the directory with the ARM Python.

    Raises:
        UserError: one of them is missing.
    """
    emulator = next((path for name in _EMULATORS if (path := shutil.which(name))), None)
    if emulator is None:
        raise UserError("--emulate arm64 needs QEMU: apt-get install qemu-user-static")
    named = os.environ.get(ROOT_VARIABLE)
    root = Path(named) if named else cache_dir() / "arm64"
    if not (root / _PYTHON).exists():
        raise UserError(
            f"{root} has no ARM Python; make it with examples/arm64_root.sh, or name another "
            f"directory by {ROOT_VARIABLE}"
        )
    return emulator, root.resolve()


def emulated_logits(bundle: Bundle, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """`logits_NK` of N inputs in the form that the bundle's file takes.

    Raises:
        UserError: the emulator or its root is missing, or the runtime didn't answer there.
    """
    emulator, root = find_root()
    runtime = bundle.manifest.runtime
    worker = Path(__file__).with_name("_emulated_worker.py")
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder) / "inputs.npy", Path(folder) / "logits.npy"
        np.save(given, inputs)
        # Settings for this processor's libraries would break the other's.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "PYTHON"))}
        done = subprocess.run(
            [
                *(emulator, "-cpu", _PROCESSOR, "-L", str(root), str(root / _PYTHON), "-I", "-c"),
                # Isolated from the user's packages, which are this processor's.
                "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:]; "
                "runpy.run_path(sys.argv[0], run_name='__main__')",
                *(str(root / "site"), str(worker), runtime),
                *(str(bundle.file(FILES[runtime]).resolve()), str(given), str(answered)),
            ],
            capture_output=True,
            text=True,
            env=kept,
        )
        if done.returncode or not answered.exists():
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise UserError(f"{bundle.path.name} gave no answer on emulated arm64: {lines[-1]}")
        logits_NK: NDArray[np.float32] = np.load(answered)
        return logits_NK

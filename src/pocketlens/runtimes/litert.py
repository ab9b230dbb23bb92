"""LiteRT (TensorFlow Lite) for Android, iOS and small boards: one .tflite file, on the processor.

The file is converted from a float network for a fixed batch; INT8 for it is made by
`litert-static`. To open one, `ai-edge-litert` is enough: torch isn't loaded.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.batches import check_batch, in_fixed_batches
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.errors import BundleError
from pocketlens.core.predictor import available_cores
from pocketlens.core.session import Input, Session, SessionOptions
from pocketlens.extras import require, versions
from pocketlens.runtimes._module import restore
from pocketlens.runtimes._quiet import first_line, quiet

if TYPE_CHECKING:
    import torch

EXTRA = "litert"
#: Runtimes whose bundles can be exported as they are.
EXPORTS_FROM: Final = ("torch",)
#: How INT8 for this runtime is made.
INT8_BY: Final = "--method litert-static"

MODEL: Final = "model.tflite"
#: What makes a file of a network, for the lineage.
PACKAGES: Final = ("torch", "litert-torch", "litert-converter", "ai-edge-litert")

#: Largest difference of logits that an export may bring, relative to the largest logit.
_TOLERANCE: Final = 1e-4
#: Photos of noise for this, and what they are drawn with.
_NUM_CHECKED, _SEED = 5, 0


@dataclass(frozen=True)
class Config:
    """How to export."""

    batch: int = 1
    """Photos that the file takes at a time."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the input's axes: NHWC is what Android's image classes and TensorFlow's tools
    give."""

    def __post_init__(self) -> None:
        check_batch(self.batch)


def export(bundle: Bundle, out: Path, config: Config, *, overwrite: bool = False) -> Bundle:
    """Convert a float network to one .tflite file, and check that both answer alike.

    Raises:
        BundleError: LiteRT can't convert the network, or the file answers otherwise.
        MissingExtraError: LiteRT's converter isn't installed.
    """
    content = convert(bundle, batch=config.batch, layout=config.layout)
    # Another program computes it: what torch answered is no longer its answer to the bit.
    metrics = {k: v for k, v in bundle.manifest.metrics.items() if k != "probe"}
    manifest = replace(
        bundle.manifest,
        runtime="litert",
        backend=None,
        input=Input(layout=config.layout),
        metrics=metrics,
        lineage=bundle.child_lineage("export", asdict(config), versions(*PACKAGES)),
    )
    return write_bundle(out, manifest, {MODEL: content}, split=bundle.split, overwrite=overwrite)


def convert(bundle: Bundle, *, batch: int, layout: str) -> bytes:
    """The .tflite file of a float torch bundle, which was seen to answer as the network does.

    Raises:
        BundleError: LiteRT can't convert the network, or the file answers otherwise.
        MissingExtraError: LiteRT's converter isn't installed.
    """
    torch = require("torch", extra=EXTRA)
    with quiet():
        litert_torch = require("litert_torch", extra=EXTRA)
    network = restore(bundle)
    side = bundle.manifest.preprocess
    rng = np.random.default_rng(_SEED)
    shape = (_NUM_CHECKED, 3, side.height, side.width)
    inputs = rng.standard_normal(shape).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs)).numpy()
    example = torch.zeros(batch, *shape[1:])
    if layout == "NHWC":
        network = litert_torch.to_channel_last_io(network, args=[0]).eval()
        example, inputs = example.permute(0, 2, 3, 1).contiguous(), inputs.transpose(0, 2, 3, 1)
    content = _converted(bundle, litert_torch, network, example)
    found = in_fixed_batches(_Interpreter(content, 1).run, batch)(inputs)
    share = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not share <= _TOLERANCE:  # NaN too
        raise BundleError(
            f"{bundle.path}: the .tflite file answers differently from torch (by {share:.2g} of "
            "its logits); this network can't be converted faithfully, take --runtime onnx"
        )
    return content


def _converted(
    bundle: Bundle, litert_torch: Any, network: torch.nn.Module, example: torch.Tensor
) -> bytes:
    try:
        with quiet():
            return bytes(litert_torch.convert(network, (example,)).model_content())
    except Exception as error:  # torch's exporter and MLIR raise whatever they come across
        raise BundleError(
            f"{bundle.path}: LiteRT can't convert this network "
            f"({type(error).__name__}: {first_line(error)}); --runtime onnx may take it"
        ) from error


class _Interpreter:
    """LiteRT's interpreter on a file with one input and one output, for one caller at a time."""

    def __init__(self, content: bytes, threads: int) -> None:
        """Open a file.

        Raises:
            ValueError: it is damaged, or has more inputs or outputs.
            RuntimeError: it has operations that this interpreter doesn't know.
        """
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
        self._lock = threading.Lock()
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.takes = tuple(map(int, inputs[0]["shape"])), np.dtype(inputs[0]["dtype"]).name
        self.gives = tuple(map(int, outputs[0]["shape"])), np.dtype(outputs[0]["dtype"]).name

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of one batch of just the file's size."""
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(inputs))
            self._interpreter.invoke()
            logits_NK: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return logits_NK


def open(bundle: Bundle, options: SessionOptions) -> Session:
    """A session on the .tflite file, for any number of photos.

    Raises:
        BundleError: a damaged file, or one of another network.
        MissingExtraError: ai-edge-litert isn't installed.
    """
    with quiet():
        require("ai_edge_litert.interpreter", extra=EXTRA)
    content = bundle.file(MODEL).read_bytes()
    try:
        if not content:
            raise ValueError("it is empty")
        interpreter = _Interpreter(content, options.threads or available_cores())
    except (ValueError, RuntimeError) as error:
        raise BundleError(
            f"{bundle.path}: LiteRT can't open {MODEL} ({first_line(error)}); export it again"
        ) from error
    manifest = bundle.manifest
    side, layout = manifest.preprocess, manifest.input.layout
    batch = interpreter.takes[0][0] if interpreter.takes[0] else 0
    wanted = {
        "NCHW": (batch, 3, side.height, side.width),
        "NHWC": (batch, side.height, side.width, 3),
    }[layout]
    takes, gives = (wanted, manifest.input.dtype), ((batch, len(manifest.classes)), "float32")
    if (interpreter.takes, interpreter.gives) != (takes, gives) or not batch:
        raise BundleError(
            f"{bundle.path}: {MODEL} takes {interpreter.takes} and gives {interpreter.gives}, "
            "which is not what the manifest says; export it again"
        )
    return in_fixed_batches(interpreter.run, batch)

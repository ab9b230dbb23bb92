"""SegFormer in transformers' format to one ONNX file that says its labels and preprocessing."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.extras import require
from pocketlens.regions._parser import NOTES, read_settings

#: Largest difference of logits from torch's, relative to the largest.
_TOLERANCE: Final = 1e-3
_OPSET: Final = 20


def export(folder: Path, out: Path) -> Path:
    """Write the network of a folder as ONNX, for one photo at a time, checked against torch.

    Args:
        folder: config.json, preprocessor_config.json and model.safetensors.

    Raises:
        UserError: they hold no SegFormer, or the file answers differently.
        MissingExtraError: torch, onnxscript or transformers isn't installed.
    """
    torch = require("torch", extra="faces")
    require("onnxscript", extra="faces")
    transformers = require("transformers", extra="faces")
    labels, spec = read_settings(folder)
    network = _read(transformers, folder)

    class Logits(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: Any) -> Any:
            return self.network(pixel_values=pixel_values, return_dict=True).logits

    module = Logits().eval()
    rng = np.random.default_rng(0)
    shape = (1, 3, spec.height, spec.width)
    example = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        expected = module(example).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["pixel_values"],
            output_names=["logits"],
            verbose=False,
        )
    content = with_notes(_lean(program.model_proto), labels, spec)
    found = _run(content, example.numpy())
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.nan
    # Turned round, so that NaN does not pass.
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise UserError(
            f"{folder}: the ONNX file answers differently from torch (by {difference:.2g}); this "
            "network can't be exported faithfully"
        )
    return write(content, out)


def with_notes(content: bytes, labels: tuple[str, ...], spec: Preprocess) -> bytes:
    """An ONNX file that says what its classes and its input are.

    Raises:
        MissingExtraError: onnx isn't installed.
    """
    onnx = require("onnx", extra="onnx")
    model = onnx.load_from_string(content)
    kept = {prop.key: prop.value for prop in model.metadata_props}
    notes = {"labels": list(labels), "preprocess": spec.to_dict()}
    onnx.helper.set_model_props(model, {**kept, NOTES: json.dumps(notes, ensure_ascii=False)})
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def write(content: bytes, out: Path) -> Path:
    """Write a file that is there whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=out.parent, suffix=".partial", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, out)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return out


def _read(transformers: Any, folder: Path) -> Any:
    """The network with its weights; nothing is fetched, and no program of the folder is run."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "segformer":
        raise UserError(f"{folder} holds a {kind} network; only segformer can be exported here")
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        network, loading = transformers.SegformerForSemanticSegmentation.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # damaged files make it raise whatever comes
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: its weights can't be read: {reason}") from error
    finally:
        transformers.logging.set_verbosity(level)
    # Weights that are missing would be made up at random.
    if missing := sorted(loading.get("missing_keys") or ()):
        raise UserError(f"{folder}: model.safetensors lacks {len(missing)} tensors: {missing[0]}")
    return network.float().eval()


def _run(content: bytes, input_NCHW: Any) -> Any:
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: input_NCHW})[0]


def _lean(model: Any) -> bytes:
    """The file without the exporter's notes, such as this machine's paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    content: bytes = model.SerializeToString(deterministic=True)
    return content

"""Somebody's ONNX file as a bundle: checked before it is believed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, Input, Lineage, Manifest, write_bundle
from pocketlens.core.dataset import check_class_names
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import SessionOptions
from pocketlens.extras import require, versions

PathLike = str | os.PathLike[str]

_INTEGER_OPS = frozenset(
    ("DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
)


def import_onnx(
    model: Path,
    out: Path,
    preprocess: PathLike | None,
    class_names: PathLike | None,
    multi_label: bool,
    *,
    overwrite: bool,
) -> Bundle:
    """Make a bundle of an ONNX file, a preprocessing file and a list of class names.

    The file is opened and run once, so that a bundle that exists also works.

    Raises:
        UserError: something is missing or doesn't fit; the message names the file.
    """
    if preprocess is None or class_names is None:
        raise UserError(
            "an ONNX file says neither how its input is made nor what its outputs mean: pass "
            "--preprocess FILE.yaml and --class-names FILE (one name a line)"
        )
    layout, spec = read_preprocess(Path(preprocess))
    classes = _read_class_names(Path(class_names))
    check_class_names("multi_label" if multi_label else "single_label", classes)
    proto = _read_model(model)
    nodes = {node.op_type for node in proto.graph.node}
    params = sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)
    manifest = Manifest(
        task="multi_label" if multi_label else "single_label",
        classes=classes,
        preprocess=spec,
        input=Input(layout=layout),
        runtime="onnx",
        precision="int8" if nodes & _INTEGER_OPS else "float32",
        model={"family": "onnx", "name": model.stem, "config": {}, "params": params, "macs": None},
        lineage=Lineage(
            method="import", config={"model": model.name}, versions=versions("onnx", "onnxruntime")
        ),
        metrics={"metric": "map" if multi_label else "accuracy"},
    )
    content = proto.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        trial = write_bundle(Path(folder) / "trial", manifest, {"model.onnx": content})
        _run_once(trial, model)
    return write_bundle(out, manifest, {"model.onnx": content}, overwrite=overwrite)


def read_preprocess(path: Path) -> tuple[str, Preprocess]:
    """Layout and preprocessing from a YAML file.

    Raises:
        UserError: no such file, no YAML, or fields that don't fit.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the preprocessing file {path} can't be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold fields such as height, width, mean and std")
    if "size" in values:
        values |= dict.fromkeys(("height", "width"), values.pop("size"))
    layout = str(values.pop("layout", "NCHW"))
    if layout not in ("NCHW", "NHWC"):
        raise UserError(f"{path}: layout must be NCHW or NHWC, not {layout}")
    required = {"height", "width", "resize", "interpolation", "mean", "std"}
    if missing := sorted(required - set(values)):
        # These have defaults for our own networks; of somebody else's nothing may be guessed.
        raise UserError(
            f"{path} lacks {', '.join(missing)}; how the network was trained decides them"
        )
    try:
        return layout, Preprocess.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _read_class_names(path: Path) -> tuple[str, ...]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the class names {path} can't be read: {error}") from error
    names = [name for name in names if name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise UserError(f"{path} {f'names {twice[0]!r} twice' if twice else 'is empty'}")
    return tuple(names)


def _read_model(path: Path) -> Any:
    onnx = require("onnx", extra="onnx")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors, by version
        raise UserError(f"{path} is no ONNX file: {type(error).__name__}") from error
    folder = path.parent.resolve()
    for tensor in onnx.external_data_helper._get_all_tensors(proto):
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        location = next(e.value for e in tensor.external_data if e.key == "location")
        data = (folder / location).resolve()
        if not data.is_relative_to(folder) or (folder / location).is_symlink():
            raise UserError(f"{path} keeps weights outside its own directory ({location}); refused")
        if not data.is_file():
            raise UserError(f"{path} needs the weights file {location} beside it")
    onnx.external_data_helper.load_external_data_for_model(proto, str(folder))
    for tensor in onnx.external_data_helper._get_all_tensors(proto):
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
    return proto


def _run_once(bundle: Bundle, model: Path) -> None:
    spec, classes = bundle.manifest.preprocess, bundle.manifest.classes
    session = plugins.load("runtimes", "onnx").open(bundle, SessionOptions())
    try:
        logits_NK = session(np.zeros((1, 3, spec.height, spec.width), dtype=np.float32))
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{model} does not take {spec.width}x{spec.height} photos as the preprocessing file "
            f"makes them: {reason}"
        ) from error
    if logits_NK.ndim != 2 or logits_NK.shape[1] != len(classes):
        raise UserError(
            f"{model} answers with shape {list(logits_NK.shape)}, but there are {len(classes)} "
            "class names"
        )

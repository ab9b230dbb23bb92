"""Somebody's ONNX file as a bundle: checked before it is believed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, Lineage, Manifest, write_bundle
from pocketlens.core.dataset import Task, check_class_names
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.scored import probabilities
from pocketlens.core.session import Input, Session, SessionOptions
from pocketlens.core.text import one_line
from pocketlens.extras import require, versions
from pocketlens.progress import say
from pocketlens.runtimes._input_graph import fix_batch, photo_input
from pocketlens.workflows._onnx_graph import cut_activation

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

    The file is opened and run, so that a bundle that exists also works. A final softmax or
    sigmoid is taken out of it, and where it can't take several photos at a time that is noted.

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
    original = proto.SerializeToString()
    try:
        photo_input(proto)
        activation = cut_activation(proto, manifest.task)
    except UserError as error:
        raise UserError(f"{model} {error}") from error
    with tempfile.TemporaryDirectory() as folder:

        def opened(content: bytes) -> Session:
            trial = write_bundle(
                Path(folder) / "trial", manifest, {"model.onnx": content}, overwrite=True
            )
            try:
                session: Session = plugins.load("runtimes", "onnx").open(trial, SessionOptions())
            except UserError as error:
                raise UserError(str(error).replace(str(trial.path), str(model))) from error
            return session

        inputs = _trial_inputs(manifest)
        session = opened(proto.SerializeToString())
        logits_NK = _answers(session, inputs, manifest, model)
        if activation is not None:
            expected = _answers(opened(original), inputs, manifest, model)
            _refuse_other_answers(activation, logits_NK, expected, manifest.task, model)
            say(f"{model.name} ends in a {activation}; it is taken out, as pocketlens applies it")
        else:
            _refuse_probabilities(logits_NK, manifest.task, model)
        # Ranges that are found at each run are those of the whole batch.
        exactly = "DynamicQuantizeLinear" not in nodes
        if not _takes_several(session, inputs, logits_NK, exactly=exactly):
            fix_batch(proto, 1)
            say(f"{model.name} takes one photo at a time only, so photos are given one by one")
            _answers(opened(proto.SerializeToString()), inputs, manifest, model)
    content = {"model.onnx": proto.SerializeToString()}
    return write_bundle(out, manifest, content, overwrite=overwrite)


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
        location = next((e.value for e in tensor.external_data if e.key == "location"), None)
        if not location:
            raise UserError(
                f"{path} keeps weights in another file ({one_line(tensor.name)}) and does not say "
                "in which; export it again"
            )
        data = (folder / location).resolve()
        if not data.is_relative_to(folder) or (folder / location).is_symlink():
            raise UserError(f"{path} keeps weights outside its own directory ({location}); refused")
        if not data.is_file():
            raise UserError(f"{path} needs the weights file {location} beside it")
    try:
        onnx.external_data_helper.load_external_data_for_model(proto, str(folder))
    except Exception as error:  # the package's own classes derive from Exception alone
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the weights beside {path} can't be read: {reason}") from error
    for tensor in onnx.external_data_helper._get_all_tensors(proto):
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
    return proto


def _trial_inputs(manifest: Manifest) -> NDArray[np.float32]:
    """A plain grey photo and a noisy one, as the file takes them."""
    spec = manifest.preprocess
    grey = np.full((spec.height, spec.width, 3), 127, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, grey.shape, np.uint8)
    return np.stack([manifest.input.of(image, spec) for image in (grey, noise)])


def _answers(
    session: Session, inputs: NDArray[np.float32], manifest: Manifest, model: Path
) -> NDArray[np.float32]:
    """Answers to the trial photos, each asked by itself.

    Raises:
        UserError: the network does not take them, has other answers than there are names, or
            answers the grey one with NaN or infinity.
    """
    spec, classes = manifest.preprocess, manifest.classes
    found = []
    for given in inputs:
        try:
            found.append(np.asarray(session(given[None])))
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{model} does not take {spec.width}x{spec.height} photos as the preprocessing "
                f"file makes them: {reason}"
            ) from error
        if found[-1].shape != (1, len(classes)):
            raise UserError(
                f"{model} answers with shape {list(found[-1].shape)}, but there are "
                f"{len(classes)} class names"
            )
    if not np.isfinite(found[0]).all():
        raise UserError(
            f"{model} answers a plain grey photo with NaN or infinity; its weights are damaged, or "
            "mean and std in the preprocessing file are not those it was trained with"
        )
    return np.concatenate(found)


def _refuse_other_answers(
    activation: str,
    logits_NK: NDArray[np.float32],
    expected_NK: NDArray[np.float32],
    task: Task,
    model: Path,
) -> None:
    if activation == "LogSoftmax":
        expected_NK = np.exp(expected_NK)
    found_NK = probabilities(logits_NK, task)
    if not np.allclose(found_NK, expected_NK, rtol=0.01, atol=1e-4, equal_nan=True):
        raise UserError(
            f"{model} ends in a {activation} that is not one over the classes; export the network "
            "without it"
        )


def _refuse_probabilities(logits_NK: NDArray[np.float32], task: Task, model: Path) -> None:
    shares = logits_NK.shape[1] > 1 and (logits_NK >= 0).all()
    if task == "single_label" and shares and np.allclose(logits_NK.sum(axis=1), 1, atol=1e-3):
        raise UserError(
            f"{model} answers with probabilities (they add up to 1), but does not end in a Softmax "
            "that could be taken out; export the network so that it answers with logits"
        )


def _takes_several(
    session: Session, inputs: NDArray[np.float32], logits_NK: NDArray[np.float32], *, exactly: bool
) -> bool:
    """Whether photos that are given together are answered as they are one by one.

    An exporter may note any number of photos and yet write the one it was shown into a shape.
    """
    try:
        together = np.asarray(session(inputs))
    except Exception:  # onnxruntime's own classes derive from Exception alone
        return False
    if together.shape != logits_NK.shape:
        return False
    limit = 1e-3 * max(1.0, float(np.abs(logits_NK).max()))
    return not exactly or np.allclose(together, logits_NK, rtol=0, atol=limit, equal_nan=True)

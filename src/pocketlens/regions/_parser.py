"""A network that gives each pixel a class, by ONNX Runtime: where its files are, and its input."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.directory import cache_dir, expand
from pocketlens.core.errors import UserError
from pocketlens.core.onnx_file import external_location
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.text import one_line
from pocketlens.extras import require
from pocketlens.progress import say

#: Key of an ONNX file's own notes under which its labels and preprocessing stand.
NOTES: Final = "pocketlens.parser"
_CONFIG: Final = "config.json"
_PREPROCESSOR: Final = "preprocessor_config.json"
_WEIGHTS: Final = "model.safetensors"
_ONNX: Final = ("model.onnx", "onnx/model.onnx")
_HUB: Final = re.compile(r"[\w.-]+/[\w.-]+")
#: Pillow's numbers of filters, as preprocessor_config.json has them.
_RESAMPLE: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
HOW: Final = (
    "fetch config.json, preprocessor_config.json and onnx/model.onnx (or model.safetensors) from "
    "https://huggingface.co/jonathandinu/face-parsing into a folder, look at their licence, and "
    "name the folder by --region-model"
)


@dataclass(frozen=True)
class Parser:
    """An opened network.

    Attributes:
        labels: of its K classes; `name` what it is called.
        spec: its preprocessing.
        session: of ONNX Runtime; takes one photo at a time.
    """

    name: str
    labels: tuple[str, ...]
    spec: Preprocess
    session: Any

    def logits(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`logits_KHW` of a photo, at the network's own coarse size."""
        input_CHW = self.spec.normalize(self.spec.fit(image_HWC))
        (tensor,) = self.session.get_inputs()
        logits_NKHW = self.session.run(None, {tensor.name: input_CHW[None]})[0]
        if logits_NKHW.ndim != 4 or logits_NKHW.shape[:2] != (1, len(self.labels)):
            raise UserError(
                f"{self.name} gives {logits_NKHW.shape}, its {len(self.labels)} labels need "
                f"(1, {len(self.labels)}, height, width): they don't belong together"
            )
        logits_KHW: NDArray[np.float32] = logits_NKHW[0].astype(np.float32, copy=False)
        return logits_KHW


def open_parser(model: str, *, threads: int, keep_at: str = "") -> Parser:
    """Find a network's files, export them if they are not ONNX yet, and open them.

    Args:
        model: an ONNX file, a folder, or a hub model.
        keep_at: where to write the ONNX file too.

    Raises:
        UserError: the files can't be had or used.
        MissingExtraError: an export is needed, and what makes it isn't installed.
    """
    if not model:
        raise UserError(f"--region face-skin needs a network: {HOW}")
    path, name = expand(model), Path(model).name
    if path.is_file():
        file, name = path, path.stem
    elif path.is_dir():
        file = _onnx_of(path)
    elif _HUB.fullmatch(model):
        file, name = _onnx_of(_fetch(model)), model
    else:
        raise UserError(f"--region-model {one_line(model)} isn't there; {HOW}")
    if file.suffix.lower() != ".onnx":
        raise UserError(
            f"--region-model {file} is no ONNX file; name a folder that holds {_CONFIG} and "
            f"{_WEIGHTS}, or an ONNX file (no pickle, such as .bin or .pth, is ever read)"
        )
    parser = _open(file, one_line(name), threads)
    if keep_at:
        _keep(parser, file, expand(keep_at))
    return parser


def read_settings(folder: Path) -> tuple[tuple[str, ...], Preprocess]:
    """Labels and preprocessing of a folder in transformers' format.

    Raises:
        UserError: a file is missing, or says what this can't do.
    """
    config, size = _json(folder / _CONFIG), _json(folder / _PREPROCESSOR)
    return labels_of(config, folder / _CONFIG), preprocess_of(size, folder / _PREPROCESSOR)


def labels_of(config: dict[str, Any], where: Path) -> tuple[str, ...]:
    """The names of the classes in their order, from `id2label`."""
    given = config.get("id2label")
    if not isinstance(given, dict) or {str(k) for k in given} != set(map(str, range(len(given)))):
        raise UserError(f"{where} has no id2label that names the classes 0, 1, 2 …")
    return tuple(str(given.get(str(i), given.get(i))) for i in range(len(given)))


def preprocess_of(values: dict[str, Any], where: Path) -> Preprocess:
    """transformers' settings of an image processor as a `Preprocess`.

    Raises:
        UserError: they ask for something else than stretching, scaling by 1/255 and normalising.
    """
    size = values.get("size", 512)
    size = {"height": size, "width": size} if isinstance(size, int) else size
    odd = [key for key in ("do_resize", "do_rescale") if values.get(key, True) is not True]
    if abs(float(values.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-3:
        odd.append("rescale_factor")
    if values.get("do_center_crop") or values.get("do_pad"):
        odd.append("do_center_crop or do_pad")
    if not isinstance(size, dict) or set(size) != {"height", "width"}:
        odd.append("size")
    if values.get("resample", 2) not in _RESAMPLE:
        odd.append("resample")
    if odd:
        raise UserError(f"{where}: no network with such a {odd[0]} can be used here")
    normalize = values.get("do_normalize", True)
    mean = values.get("image_mean", (0.485, 0.456, 0.406)) if normalize else (0.0,) * 3
    std = values.get("image_std", (0.229, 0.224, 0.225)) if normalize else (1.0,) * 3
    try:
        return Preprocess(
            size["height"],
            size["width"],
            resize="stretch",
            interpolation=_RESAMPLE[values.get("resample", 2)],  # type: ignore[arg-type]
            mean=tuple(mean),
            std=tuple(std),
        )
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {error}") from error


def _onnx_of(folder: Path) -> Path:
    """A folder's ONNX file; made of its weights, and kept, where it has none."""
    for name in _ONNX:
        if (folder / name).is_file():
            return folder / name
    weights = folder / _WEIGHTS
    if not weights.is_file():
        if pickles := sorted(p.name for p in folder.glob("*.bin")):
            raise UserError(
                f"{folder} has weights only as a pickle ({pickles[0]}), which could run any "
                f"program and is never read; take {_WEIGHTS} or onnx/model.onnx of the same model"
            )
        raise UserError(f"{folder} has neither model.onnx nor {_WEIGHTS}; {HOW}")
    read_settings(folder)  # before anything slow
    digest = hashlib.sha256()
    for path in (folder / _CONFIG, folder / _PREPROCESSOR, weights):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    made = cache_dir() / "regions" / f"{digest.hexdigest()[:32]}.onnx"
    if not made.is_file():
        from pocketlens.regions._export import export

        say(f"{folder.name}: exporting the network to ONNX, once; it is kept in {made.parent}")
        made.parent.mkdir(parents=True, exist_ok=True)
        export(folder, made)
    return made


def _keep(parser: Parser, file: Path, out: Path) -> None:
    """Write the network with its labels and preprocessing into one file."""
    from pocketlens.regions._export import with_notes, write

    if out.suffix.lower() != ".onnx" or out.exists():
        reason = "is there already" if out.exists() else "must end in .onnx"
        raise UserError(f"--region-onnx {out} {reason}; name another file")
    write(with_notes(file.read_bytes(), parser.labels, parser.spec), out)
    say(f"{out}: the network as ONNX; from now on --region-model {out} is enough")


def _open(file: Path, name: str, threads: int) -> Parser:
    import onnxruntime as ort

    try:
        if (elsewhere := external_location(file)) is not None:
            raise UserError(f"{file} keeps weights in another file ({one_line(elsewhere)})")
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        session = ort.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    except UserError:
        raise
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{file}: ONNX Runtime can't open it: {first_line}") from error
    if len(session.get_inputs()) != 1:
        raise UserError(f"{file} takes {len(session.get_inputs())} inputs, not one photo")
    notes = session.get_modelmeta().custom_metadata_map.get(NOTES)
    if notes is not None:
        try:
            values = json.loads(notes)
            labels, spec = tuple(values["labels"]), Preprocess.from_dict(values["preprocess"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{file}: what it says of its classes is damaged; make it again from the model's "
                "folder (--region-onnx)"
            ) from error
    else:
        # As the hub lays them out, the settings lie beside the file or in the folder above.
        folder = next((p for p in file.absolute().parents[:2] if (p / _CONFIG).is_file()), None)
        if folder is None:
            raise UserError(
                f"{file} doesn't say what its classes are: put {_CONFIG} and {_PREPROCESSOR} of "
                "the same model beside it"
            )
        labels, spec = read_settings(folder)
    return Parser(name, labels, spec, session)


def _fetch(model: str) -> Path:
    """A hub model's folder in huggingface_hub's cache, fetched if it isn't there."""
    hub = require("huggingface_hub", extra="faces")
    wanted = [_CONFIG, _PREPROCESSOR, _ONNX[1]]
    try:
        folder = Path(hub.snapshot_download(model, allow_patterns=wanted))
        if not (folder / _ONNX[1]).is_file():
            folder = Path(hub.snapshot_download(model, allow_patterns=[*wanted[:2], _WEIGHTS]))
    except Exception as error:  # whatever a network, a proxy or a hub can raise
        reason = one_line(str(error)).strip()[:200]
        raise UserError(f"{model} can't be fetched from the hub ({reason}); {HOW}") from error
    return folder


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {os.strerror(error.errno or 0)}; {HOW}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold an object")
    return values

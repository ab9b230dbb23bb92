"""`export` and `import`: the same model for another runtime, and ready-trained ones as they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, Lineage, Manifest, write_bundle
from pocketlens.core.directory import refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.extras import require, versions
from pocketlens.plugins import find_family
from pocketlens.progress import say
from pocketlens.workflows._network import describe_model
from pocketlens.workflows.open import BundleLike, as_bundle


def export(
    bundle: BundleLike,
    *,
    runtime: str,
    out: str | os.PathLike[str],
    overwrite: bool = False,
    **options: Any,
) -> Bundle:
    """The same model for another runtime; to its own runtime it is copied.

    Args:
        options: those of the runtime's `Config`. To its own runtime with options, an ONNX file is
            written anew, for a fixed batch or for pixels.

    Raises:
        UserError: the bundle can't be turned into that runtime's form.
    """
    source = as_bundle(bundle)
    target = Path(out)
    refuse_existing(target, overwrite=overwrite, inputs=[source.path])
    plugin = plugins.load("runtimes", runtime)
    config = plugins.configure(plugin, options)
    if source.manifest.runtime == runtime:
        if not options:
            say(f"{source.path} is made for {runtime} already; it is copied as it is")
            return copy_bundle(source, target, overwrite=overwrite)
        if runtime not in plugin.EXPORTS_FROM:
            raise UserError(
                f"{source.path} is made for {runtime} already, and can't be made anew with other "
                "options; export the bundle that it was made from"
            )
    if not hasattr(plugin, "export"):
        raise UserError(
            f"nothing can be exported to {runtime}; it is what {_makers(runtime)}. Runtimes to "
            f"export to: {', '.join(_exporting())}"
        )
    with tempfile.TemporaryDirectory() as folder:
        if source.manifest.runtime not in plugin.EXPORTS_FROM:
            source = _halfway(source, plugin, Path(folder) / "halfway")
        result: Bundle = plugin.export(source, target, config, overwrite=overwrite)
    return result


def _halfway(source: Bundle, plugin: Any, folder: Path) -> Bundle:
    """What a runtime takes, made from a torch bundle."""
    takes, runtime = plugin.EXPORTS_FROM, source.manifest.runtime
    if runtime != "torch":
        made_by = getattr(plugin, "INT8_BY", "")
        int8 = f"; INT8 for it: pocketlens compress BUNDLE {made_by}" if made_by else ""
        raise UserError(
            f"{source.path} is made for {runtime}, and only {' or '.join(takes)} bundles can be "
            f"exported so; export the one that it was made from{int8}"
        )
    return export(source, runtime=takes[0], out=folder)


def copy_bundle(
    bundle: Bundle, out: Path, *, card: str | None = None, overwrite: bool = False
) -> Bundle:
    """The same bundle at another place, with its card as it was edited, or with another."""
    files = {name: bundle.path / name for name in bundle.manifest.files}
    card = bundle.card if card is None else card
    return write_bundle(out, bundle.manifest, files, card=card, overwrite=overwrite)


def import_model(
    model: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] = "auto",
    image_size: int | None = None,
    preprocess: str | os.PathLike[str] | None = None,
    class_names: str | os.PathLike[str] | None = None,
    multi_label: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Make a bundle of a ready-trained network as it is.

    Args:
        model: a timm network's name (its ImageNet head is kept; the classes are WordNet ids), or
            the path of an ONNX file.
        weights: for a name: `auto`, or a file or directory.
        image_size: for a name: another input size than the weights were trained with.
        preprocess: for an ONNX file: a YAML file with the fields of `Preprocess`, and optionally
            `layout: NHWC`.
        class_names: for an ONNX file: a text file with one class a line, in the order of the
            outputs.
        multi_label: for an ONNX file: its outputs are independent.

    Raises:
        UserError: no weights, or files that are missing, damaged or don't fit each other.
    """
    target, model, weights = Path(out), os.fspath(model), os.fspath(weights)
    refuse_existing(
        target, overwrite=overwrite, inputs=[p for p in (model, preprocess, class_names) if p]
    )
    if model.lower().endswith(".onnx"):
        from pocketlens.workflows._import_onnx import import_onnx

        return import_onnx(
            Path(model), target, preprocess, class_names, multi_label, overwrite=overwrite
        )
    if Path(model).suffix in (".pth", ".pt", ".pkl", ".safetensors"):
        raise UserError(
            f"{model} holds weights but no network; name the network and pass --weights {model}"
        )
    return _import_by_name(model, target, weights, image_size, overwrite=overwrite)


def _import_by_name(
    model: str, target: Path, weights: str, image_size: int | None, *, overwrite: bool
) -> Bundle:
    require("torch", extra="train")
    from safetensors.torch import save

    if weights == "none":
        raise UserError("import takes a ready-trained network; --weights none leaves nothing")
    family_name, family = find_family(model)
    wanted = family.defaults(model)
    classes, class_info = family.class_names(wanted["num_classes"])
    config = family.Config()
    module = family.build(model, len(classes), config).eval()
    source = family.load_weights(module, model, weights, config)
    say(f"weights of {model} from {source}")
    size = image_size or wanted["size"]
    spec = Preprocess(
        height=size,
        width=size,
        resize="crop",
        interpolation=wanted["interpolation"],
        crop_pct=wanted["crop_pct"],
        mean=wanted["mean"],
        std=wanted["std"],
    )
    manifest = Manifest(
        task="single_label",
        classes=classes,
        class_info=class_info,
        preprocess=spec,
        runtime="torch",
        precision="float32",
        model=describe_model(family_name, model, {}, module, spec),
        lineage=Lineage(
            method="import",
            config={"model": model, "weights": source},
            versions=versions("torch", "timm", "torchvision"),
        ),
        metrics={"metric": "accuracy"},
    )
    state = {k: v.contiguous() for k, v in module.state_dict().items()}
    return write_bundle(target, manifest, {"model.safetensors": save(state)}, overwrite=overwrite)


def _makers(runtime: str) -> str:
    """What makes bundles of a runtime that nothing is exported to."""
    methods = plugins.names("compression")
    makers = [m for m in methods if plugins.load("compression", m).GIVES[0] == runtime]
    others = [m for m in makers if plugins.load("compression", m).GIVES[1] != "float32"]
    if runtime == "torch" or not others:
        return "training writes"
    return f"compressing makes (pocketlens compress --method {' or '.join(others)})"


def _exporting() -> Sequence[str]:
    names = plugins.names("runtimes")
    return [name for name in names if hasattr(plugins.load("runtimes", name), "export")]

"""Where features come from: a bundle that was named, or a network trained on ImageNet."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input, Session, SessionOptions
from pocketlens.plugins import find_family
from pocketlens.training.config import TrainConfig
from pocketlens.workflows.convert import import_model
from pocketlens.workflows.open import BundleLike, as_bundle


@dataclass(frozen=True)
class Extractor:
    """A network without its last layer, with its own preprocessing."""

    network: str
    weights: str
    preprocess: Preprocess
    input: Input
    session: Session


def of_bundle(bundle: BundleLike, *, threads: int | None = None) -> Extractor:
    """Features of a bundle's network, in its own runtime.

    Raises:
        UserError: its runtime, or its network, gives none.
    """
    opened = as_bundle(bundle)
    manifest = opened.manifest
    runtime = plugins.load("runtimes", manifest.runtime)
    if not hasattr(runtime, "features"):
        able = [n for n in plugins.names("runtimes") if hasattr(_runtime(n), "features")]
        raise UserError(
            f"{opened.path}: features can't be had from {manifest.runtime} files; name a bundle "
            f"for {' or '.join(able)}"
        )
    session = runtime.features(opened, SessionOptions(threads))
    name = str(manifest.model.get("name", opened.path.name))
    return Extractor(name, _source(opened), manifest.preprocess, manifest.input, session)


def pretrained(model: str, weights: str = "auto", *, threads: int | None = None) -> Extractor:
    """Features of a network trained on ImageNet; never of one with random weights.

    Photos are stretched to its input, as `train` does with own photos, so that nothing at the
    border is lost, and boxes are cut out with its margin.

    Raises:
        UserError: no weights can be had, or there is no such network.
    """
    find_family(model)
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = import_model(model, out=Path(folder) / "network", weights=weights)
        except UserError as error:
            # What `import` advises (random weights) is no way out here.
            raise NoWeightsError(str(error).split(" Ways out:")[0]) from error
        found = of_bundle(bundle, threads=threads)
    preprocess = replace(
        found.preprocess, resize="stretch", crop_pct=1.0, box_margin=TrainConfig().box_margin
    )
    return replace(found, preprocess=preprocess)


class NoWeightsError(UserError):
    """No trained weights can be had, so there are no features."""


def _runtime(name: str) -> object:
    found: object = plugins.load("runtimes", name)
    return found


def _source(bundle: Bundle) -> str:
    lineage = bundle.manifest.lineage
    return str(lineage.config.get("weights", "")) if lineage.method == "import" else "the bundle"

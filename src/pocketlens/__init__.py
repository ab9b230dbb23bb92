"""pocketlens: train an image classifier on your own photos, shrink it, prove what it can do.

    import pocketlens as pl
    data = pl.read_dataset("photos/")
    model = pl.train(data, model="mobilenetv3_small_100", out="runs/a")
    table = pl.shrink(model, data, out="runs/b", max_drop=0.5)
    best = pl.load(table.best)
    best.predict(["x.jpg"])[0].label

Importing this loads neither torch nor a runtime; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocketlens.core.errors import UserError as UserError
    from pocketlens.workflows.check import check as check
    from pocketlens.workflows.compare import compare as compare
    from pocketlens.workflows.compress import compress as compress
    from pocketlens.workflows.convert import export as export
    from pocketlens.workflows.convert import import_model as import_model
    from pocketlens.workflows.data import read_dataset as read_dataset
    from pocketlens.workflows.download import download as download
    from pocketlens.workflows.evaluate import evaluate as evaluate
    from pocketlens.workflows.explain import explain_photos as explain_photos
    from pocketlens.workflows.explore import explore as explore
    from pocketlens.workflows.fit import fit as fit
    from pocketlens.workflows.mobile import mobile_check as mobile_check
    from pocketlens.workflows.open import load as load
    from pocketlens.workflows.predict import predict as predict
    from pocketlens.workflows.shrink import shrink as shrink
    from pocketlens.workflows.strip import strip as strip
    from pocketlens.workflows.sweep import sweep as sweep
    from pocketlens.workflows.train import train as train
    from pocketlens.workflows.zoo import zoo as zoo

_HOMES = {
    "UserError": "core.errors",
    "check": "workflows.check",
    "compare": "workflows.compare",
    "compress": "workflows.compress",
    "download": "workflows.download",
    "evaluate": "workflows.evaluate",
    "explain_photos": "workflows.explain",
    "explore": "workflows.explore",
    "export": "workflows.convert",
    "fit": "workflows.fit",
    "import_model": "workflows.convert",
    "load": "workflows.open",
    "mobile_check": "workflows.mobile",
    "predict": "workflows.predict",
    "read_dataset": "workflows.data",
    "shrink": "workflows.shrink",
    "strip": "workflows.strip",
    "sweep": "workflows.sweep",
    "train": "workflows.train",
    "zoo": "workflows.zoo",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pocketlens' has no attribute {name!r}")
    return getattr(import_module(f"pocketlens.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

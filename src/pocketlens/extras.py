"""Optional dependencies: a module, or an error that names the pip command."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from types import ModuleType
from typing import Final

from pocketlens.core.errors import MissingExtraError

#: Extra -> the modules it brings; the first lines of `pocketlens plugins` come from here.
MODULES: Final = {
    "train": ("torch", "torchvision", "timm"),
    "onnx": ("onnx", "onnxscript"),
    "openvino": ("openvino", "nncf"),
    "prune": ("torch_pruning",),
    "torchao": ("torch", "torchao"),
    "executorch": ("torch", "torchao", "executorch"),
    "litert": ("torch", "litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    "track": ("tensorboard", "wandb", "mlflow"),
    "video": ("cv2",),
    "scale": ("optuna", "sqlalchemy", "psycopg"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "sqlalchemy", "alembic", "huey", "fsspec"),
    "postgres": ("psycopg",),
    "redis": ("redis",),
    "s3": ("s3fs",),
    "gcs": ("gcsfs",),
    "ui": ("streamlit", "httpx"),
    "gradcam": ("torch", "pytorch_grad_cam"),
    "faces": ("torch", "onnxscript", "transformers"),
}


def installed(extra: str) -> bool:
    """Whether all modules of an extra can be found; an empty name needs nothing."""
    if not extra:
        return True
    assert extra in MODULES, extra
    return all(importlib.util.find_spec(name) for name in MODULES[extra])


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingExtraError: it isn't installed; the message names the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"this needs {module}, which is not installed: pip install 'pocketlens[{extra}]'"
        ) from error


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, pocketlens first; packages that aren't there are left out."""
    found: dict[str, str] = {}
    for package in ("pocketlens", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

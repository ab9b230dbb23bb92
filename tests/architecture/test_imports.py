"""Importing pocketlens is light: what is heavy is loaded by the verb that needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "torchvision", "timm", "onnxruntime", "onnx", "onnxscript", "sklearn", "scipy",
    "matplotlib", "rich", "safetensors", "jinja2", "tensorboard", "wandb", "mlflow", "optuna",
    "sqlalchemy",
}  # fmt: skip

CASES = {
    "pocketlens": ("import pocketlens; dir(pocketlens)", HEAVY | {"numpy", "PIL"}),
    "plugins": (
        "from pocketlens import plugins\n"
        "for family in plugins.FAMILIES:\n"
        "    for name in plugins.names(family): plugins.describe(family, name)",
        HEAVY | {"numpy", "PIL"},
    ),
    "extras and progress": (
        "import pocketlens.extras, pocketlens.progress",
        HEAVY | {"numpy", "PIL"},
    ),
    "core": (
        "import importlib, pkgutil, pocketlens.core as core\n"
        "for m in pkgutil.iter_modules(core.__path__):\n"
        "    importlib.import_module(f'pocketlens.core.{m.name}')",
        HEAVY,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_light(project: Path, name: str) -> None:
    code, forbidden = CASES[name]
    code += "\nimport sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    loaded = {module.split(".")[0] for module in run.stdout.split()}
    assert "pocketlens" in loaded
    assert not loaded & forbidden

"""A ready-trained network by its name, with weights from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

import pocketlens as pl
from pocketlens.core.errors import UserError


def test_weights_may_be_a_path(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    made = pl.import_model("test_efficientnet", weights=file, out=tmp_path / "bundle")
    assert made.manifest.lineage.config["weights"].endswith("weights.safetensors")
    assert len(made.manifest.classes) == 1000


def test_weights_without_a_name_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the network and pass --weights"):
        pl.import_model(tmp_path / "weights.safetensors", out=tmp_path / "bundle")

"""A bundle's manifest: its form changes only with its schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.fake import fake_imported


def test_manifest(tmp_path: Path, golden: Callable[[str, Any], None]) -> None:
    bundle = fake_imported(tmp_path / "a", ("bars", "disc"))
    golden("manifest", json.loads((bundle.path / "manifest.json").read_text()))

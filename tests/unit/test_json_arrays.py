"""Large JSON read item by item is the same as read whole, wherever a piece ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pocketlens.datasets import _json


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50, 1000])
def test_pieces_of_any_size(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json, "_CHUNK", chunk)
    items = [1.5, 1e5, -0.25e-7, 12345678, "a]},{", [1.0, {"b": 2.5}], None, True, {"c": [1e300]}]
    value = {"skipped": 1.25e10, "images": items, "more": {"x": [1.5]}, "annotations": []}
    text = json.dumps(value).replace("100000.0", "1e5")
    (tmp_path / "x.json").write_text(text)
    keep = {"images": lambda item: item, "annotations": lambda item: item}
    found = _json.read_arrays(str(tmp_path / "x.json"), keep)
    assert found == {"images": items, "annotations": []}

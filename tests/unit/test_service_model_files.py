"""A copy of a model that a disk has spoilt is made anew, from the original or from the storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketlens.core.bundle import read_bundle
from pocketlens.core.errors import BundleError
from pocketlens.service import model_files
from pocketlens.service.storage import open_storage
from support.fake import fake_imported

ID = "a" * 32


def spoil(home: Path) -> None:
    file = model_files.directory_of(home, ID) / "manifest.json"
    file.write_bytes(file.read_bytes()[:-20])


def test_a_spoilt_copy_is_made_anew(tmp_path: Path) -> None:
    fake_imported(tmp_path / "bundle", ("a", "b"))
    given, home = read_bundle(tmp_path / "bundle"), tmp_path / "home"
    storage = open_storage(str(tmp_path / "storage"))
    model_files.keep(given, home, ID, storage)
    spoil(home)  # `serve` refused to start, though it was given the whole bundle
    assert model_files.keep(given, home, ID, storage).id == given.id
    spoil(home)
    assert model_files.fetch(home, ID, storage).id == given.id
    spoil(home)
    storage.delete_private(model_files.packed_name(ID))
    for place in (storage, None):  # nowhere is a better one: what is wrong is said
        with pytest.raises(BundleError, match=r"manifest\.json"):
            model_files.fetch(home, ID, place)
    assert model_files.directory_of(home, ID).exists()
    assert not list((home / "models").glob(".*"))

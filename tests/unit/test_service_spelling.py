"""One name in two Unicode forms is one class: as a Mac spells its folders, and as it is typed."""

from __future__ import annotations

import io
import json
import unicodedata
import zipfile
from pathlib import Path

from pocketlens.core.dataset import Dataset, Sample
from pocketlens.service import _train_process
from pocketlens.workflows.data import Hashed
from support.service import client, photo, settings

TYPED = "알약"
OF_A_MAC = unicodedata.normalize("NFD", TYPED)


def test_an_upload_has_one_class_of_both(tmp_path: Path) -> None:
    pictures = []
    for seed in range(3):
        out = io.BytesIO()
        photo(seed).save(out, "PNG")
        pictures.append(out.getvalue())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("images/0.png", pictures[0])
        made.writestr("labels/0.txt", "0 0.5 0.5 0.9 0.9")
        made.writestr("data.yaml", json.dumps({"names": [OF_A_MAC]}))
    path = "/v1/datasets/pills/images"
    with client(settings(tmp_path)) as api:
        assert api.post(path, files={"archive": archive.getvalue()}).status_code == 201
        files = [("images", data) for data in pictures[1:]]
        answer = api.post(path, files=files, data={"labels": json.dumps([TYPED, OF_A_MAC])})
        assert answer.json()["class_counts"] == {TYPED: 3}


def test_a_training_spells_as_the_model_does() -> None:
    """Else a model of decomposed names could never be trained again: it would miss them all."""
    labels = [(TYPED,), ("a",), (TYPED, OF_A_MAC)]
    samples = [Sample(f"{i}.png", names) for i, names in enumerate(labels)]
    classes = tuple(sorted({"a", TYPED, OF_A_MAC}))
    data = Dataset(Path(), "uploads", "multi_label", classes, samples, {TYPED: {"dl_name": "x"}})
    hashed = Hashed(data, ["0", "1", "2"], ())
    found = _train_process._spelt_as(hashed, ["a", OF_A_MAC]).dataset
    assert found.classes == ("a", OF_A_MAC)
    assert [sample.labels for sample in found.samples] == [(OF_A_MAC,), ("a",), (OF_A_MAC,)]
    assert found.class_info == {OF_A_MAC: {"dl_name": "x"}}
    as_typed = _train_process._spelt_as(hashed, ["a", "other"]).dataset
    assert as_typed.classes == classes  # a class that only the data knows keeps its own

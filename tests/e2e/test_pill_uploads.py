"""Real pill photos of AI-Hub's layout, uploaded to a service whose files lie in a bucket."""

from __future__ import annotations

import io
import logging
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pocketlens.core.dataset import photo_of
from pocketlens.service import datasets, jobs
from pocketlens.service.context import Context
from pocketlens.service.kinds import check
from pocketlens.workflows.data import identities, read_dataset
from support.places import place_url
from support.service import client, settings

pytestmark = pytest.mark.real

#: Photos of each part, so that this takes seconds.
_PHOTOS = 12


def _some_pills(root: Path, folder: Path) -> Path:
    """A few photos of each part with their annotations, in AI-Hub's layout."""
    for part in ("train", "test"):
        for photo in sorted((root / f"{part}_images").iterdir())[:_PHOTOS]:
            for file in (photo, *(root / f"{part}_annotations").glob(f"{photo.stem}_json/*/*")):
                target = folder / file.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    return folder


def test_pills_in_a_bucket(data_dir: Path, tmp_path: Path) -> None:
    root = _some_pills(data_dir / "pill_aihub", tmp_path / "pills")
    local = identities(read_dataset(root))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(root.rglob("*")):
            made.write(path, f"알약/{path.relative_to(root)}")
    upload = [("archive", ("pills.zip", archive.getvalue()))]
    with (
        place_url("s3", tmp_path) as place,
        client(settings(tmp_path, storage=place)) as service,
    ):
        added = service.post("/v1/datasets/pills/images", files=upload).json()
        assert (added["added"], added["rejected"]) == (len(local.dataset), [])
        assert added["class_counts"] == local.dataset.class_counts()
        again = service.post("/v1/datasets/pills/images", files=upload).json()
        assert (again["added"], again["duplicates"]) == (0, len(local.dataset))

        opened = service.app.state.service  # type: ignore[attr-defined]
        with opened.database.connect() as connection:
            kept = datasets.find(connection, "local", "pills")
        assert kept is not None
        hashed = datasets.materialise(opened.database, opened.storage, kept.id, tmp_path / "copy")
        # The same samples to a split, of the same classes, with what is known of the drugs.
        assert sorted(hashed.identities) == sorted(local.identities)
        assert hashed.dataset.class_info == local.dataset.class_info
        labels = dict(zip(local.identities, local.dataset.samples, strict=True))
        for sample, key in zip(hashed.dataset.samples, hashed.identities, strict=True):
            assert (sample.labels, sample.part) == (labels[key].labels, labels[key].part)
        parts = Counter(sample.part for sample in hashed.dataset.samples)
        assert parts["train"] > 0
        assert parts["test"] > 0

        id = service.get("/v1/datasets/pills/check").json()["job_id"]
        with opened.database.begin() as connection:
            job = jobs.claim(connection, id, "w", now=1.0, lease_seconds=60, max_attempts=3)
        assert job is not None
        context = Context(
            *(opened.settings, opened.database, opened.storage, opened.models),
            logging.getLogger("test"),
            lambda _: None,
        )
        found = check.run(job, context)
        assert found["class_counts"] == added["class_counts"]
        photos = {photo_of(key) for key in local.identities}
        assert service.get("/v1/account").json()["num_photos"] == len(photos)
        assert service.delete("/v1/datasets/pills").status_code == 204
        assert list(opened.storage.list_photos()) == []

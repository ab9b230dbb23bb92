"""Archives over HTTP whose annotations hold what no JSON may, or no text."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select

from pocketlens.service import datasets, tables
from pocketlens.service.database import reading
from support.service import client, photo, settings


def _archive(told: str) -> bytes:
    picture, out = io.BytesIO(), io.BytesIO()
    photo(1, 64).save(picture, "PNG")
    image = json.dumps({"file_name": "1.png", "drug_N": "K-000001", "dl_name": "알약"})
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("images/1.png", picture.getvalue())
        notes = '{"images": [%s, "chart": %s}], "annotations": [{"bbox": [1, 1, 9, 9]}]}'
        made.writestr("labels/1.json", notes % (image[:-1], told))
    return out.getvalue()


@pytest.mark.parametrize("told", ["NaN", "-1e999", '"\\ud800"', '[{"a": Infinity}]'])
def test_what_no_json_may_hold_is_left_out(tmp_path: Path, told: str) -> None:
    """It was a 500 in the middle of the archive, or a data set that no job could read."""
    with client(settings(tmp_path)) as api:
        answer = api.post("/v1/datasets/pills/images", files={"archive": ("x", _archive(told))})
        assert (answer.status_code, answer.json()["added"]) == (201, 1), answer.text
        service = api.app.state.service  # type: ignore[attr-defined]
        with reading(service.database) as connection:
            row = connection.execute(select(tables.datasets)).one()
        assert row.class_info == {"K-000001": {"dl_name": "알약"}}
        hashed = datasets.materialise(
            service.database, service.storage, row.id, tmp_path / "copies"
        )
        assert hashed.dataset.classes == ("K-000001",)

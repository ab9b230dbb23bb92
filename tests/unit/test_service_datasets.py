"""Data sets of users: what is taken in, what a split remembers of it, and their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, select

from pocketlens.core.dataset import Box, bytes_hash, identity
from pocketlens.core.decode import decode_image, to_array
from pocketlens.core.errors import DataError
from pocketlens.core.split import make_split
from pocketlens.service import blobs, datasets, tables
from pocketlens.service.database import open_database
from pocketlens.service.intake import OtherTaskError, Outcome, QuotaExceededError, take_in
from pocketlens.service.marks import Incoming, Mark
from pocketlens.service.settings import Settings
from pocketlens.service.storage import Storage, open_storage
from pocketlens.workflows.check import check
from pocketlens.workflows.data import identities, read_dataset
from support.databases import KINDS, database_url
from support.places import place_url

Encode = Callable[..., bytes]


@pytest.fixture(params=KINDS)
def database(request: Any, tmp_path: Path) -> Iterator[Engine]:
    with database_url(request.param, tmp_path) as url:
        engine = open_database(Settings(bundle=None, home=tmp_path, database=url).database_url)
        tables.metadata.create_all(engine)
        yield engine
        engine.dispose()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "files"))


def _photo(encode: Encode, number: int, format: str = "PNG", **options: Any) -> bytes:
    rng = np.random.default_rng(number)
    return encode(rng.integers(0, 256, size=(20, 30, 3), dtype=np.uint8), format, **options)


def _take(engine: Engine, storage: Storage, photos: list[Incoming], **given: Any) -> Outcome:
    options: dict[str, Any] = {
        **{"owner": "ann", "dataset": "pills", "task": "single_label"},
        **{"max_pixels": 10_000, "quota_bytes": None, "now": 1.0},
        **given,
    }
    owner, dataset = options.pop("owner"), options.pop("dataset")
    return take_in(engine, storage, owner, dataset, photos, **options)


def _one(data: bytes, *labels: str, name: str = "x.jpg", box: Box | None = None) -> Incoming:
    return Incoming(name, data, (Mark(labels, box=box),))


def _find(engine: Engine, owner: str = "ann", name: str = "pills") -> datasets.Kept | None:
    with engine.connect() as connection:
        return datasets.find(connection, owner, name)


def test_photos_are_taken_in_once(database: Engine, storage: Storage, encode: Encode) -> None:
    first, second = _photo(encode, 1), _photo(encode, 2, "JPEG")
    done = _take(database, storage, [_one(first, "a"), _one(second, "b"), _one(first, "a")])
    assert (done.added, done.duplicates, done.rejected) == (2, 1, [])
    again = _take(database, storage, [_one(first, "a"), _one(second, "a", name="../é\0.jpg")])
    assert (again.added, again.duplicates) == (0, 1)
    (refused,) = again.rejected
    assert (refused.name, refused.code) == ("../é.jpg", "labelled_otherwise")
    kept = _find(database)
    assert kept is not None
    assert (kept.num_samples, kept.version, kept.task) == (2, 2, "single_label")
    with database.connect() as connection:
        assert datasets.class_counts(connection, kept.id) == {"a": 1, "b": 1}
        assert blobs.used_bytes(connection, "ann")[0] == 2
    assert _find(database, "bob") is None


def test_a_wrong_label_is_mended(database: Engine, storage: Storage, encode: Encode) -> None:
    first, second, other = _photo(encode, 1), _photo(encode, 2), _photo(encode, 3)
    corner = Box(1, 1, 5, 5)
    _take(database, storage, [_one(first, "a"), _one(second, "b"), _one(second, "b", box=corner)])
    same_pixels = _photo(encode, 1, compress_level=0)
    before = _find(database)
    assert before is not None
    photos = [_one(same_pixels, "z"), _one(second, "b"), _one(second, "z", box=corner)]
    refused = _take(database, storage, photos)
    assert {one.code for one in refused.rejected} == {"labelled_otherwise"}
    assert all("replace=true" in one.reason for one in refused.rejected)
    assert _find(database) == before
    with database.connect() as connection:
        used = blobs.used_bytes(connection, "ann")
    done = _take(
        database, storage, [*photos, _one(other, "c")],
        replace=True, quota_bytes=used[1] + 5_000, class_info={"z": {"dl_name": "Z"}},
    )  # fmt: skip
    assert (done.added, done.duplicates, done.replaced, done.rejected) == (1, 1, 2, [])
    kept = _find(database)
    assert kept is not None
    assert (kept.num_samples, kept.version) == (4, before.version + 3)
    assert kept.class_info == {"z": {"dl_name": "Z"}}
    full = _take(database, storage, [_one(first, "a")], replace=True, quota_bytes=1)
    assert (full.replaced, full.rejected) == (1, [])  # nothing new is stored, so no room is needed
    with database.connect() as connection:
        assert datasets.class_counts(connection, kept.id) == {"a": 1, "b": 1, "c": 1, "z": 1}
        assert blobs.used_bytes(connection, "ann")[0] == used[0] + 1
    assert len(list(storage.list_photos())) == used[0] + 1


def test_one_upload_does_not_replace_what_it_said_itself(
    database: Engine, storage: Storage, encode: Encode
) -> None:
    data = _photo(encode, 1)
    _take(database, storage, [_one(data, "a")])
    both = Incoming("x", data, (Mark(("b",)), Mark(("a",))))
    photos = [both, _one(data, "a"), _one(data, "b")]
    done = _take(database, storage, photos, replace=True)
    assert (done.added, done.duplicates, done.replaced) == (0, 1, 1)
    assert [one.code for one in done.rejected] == ["labelled_otherwise"] * 2
    assert all("twice in this upload" in one.reason for one in done.rejected)
    kept = _find(database)
    assert kept is not None
    with database.connect() as connection:
        assert datasets.class_counts(connection, kept.id) == {"b": 1}


def test_one_bad_photo_never_ends_an_upload(
    database: Engine, storage: Storage, encode: Encode
) -> None:
    good = _photo(encode, 1)
    done = _take(
        database,
        storage,
        [
            _one(b"", "a"),
            _one(b"<svg/>", "a"),
            _one(encode(np.zeros((101, 100, 3), np.uint8)), "a"),
            _one(good[: len(good) // 2], "a"),
            _one(good, "a", box=Box(30, 0, 5, 5)),
            _one(good, "a", box=Box(0, 0, 5, -5)),
            _one(good, "a", "b"),
            _one(good, " "),
            _one(good, "x\0y"),
            _one(good, "\ud800"),
            _one(good, "a" * 1001),
            _one(good, "a"),
        ],
    )
    assert [refused.code for refused in done.rejected] == [
        *("empty_image", "svg_image", "too_many_pixels", "damaged_image"),
        *("bad_box", "bad_box", "bad_label", "bad_label", "bad_label", "bad_label", "bad_label"),
    ]
    assert done.added == 1
    assert not _take(database, storage, [_one(b"", "a")], dataset="none").added
    assert _find(database, name="none") is None  # nothing was stored, nothing half-written


def test_names_of_classes_stay_text(database: Engine, storage: Storage, encode: Encode) -> None:
    """FAULTS 12."""
    names = ["..", "CON", "<script>alert(1)</script>", "=cmd()", "x" * 300, "알약 💊", "cat", "Cat"]
    done = _take(database, storage, [_one(_photo(encode, i), name) for i, name in enumerate(names)])
    assert (done.added, done.rejected) == (len(names), [])
    kept = _find(database)
    assert kept is not None
    with database.connect() as connection:
        assert datasets.class_counts(connection, kept.id) == dict.fromkeys(sorted(names), 1)


def test_several_labels(database: Engine, storage: Storage, encode: Encode) -> None:
    photos = [
        Incoming("x", _photo(encode, 1), (Mark(("a", "b")),)),
        Incoming("y", _photo(encode, 2), (Mark(()),)),
        Incoming("z", _photo(encode, 3), (Mark(("a|b",)),)),
    ]
    done = _take(database, storage, photos, task="multi_label")
    assert (done.added, [refused.code for refused in done.rejected]) == (2, ["bad_label"])
    with pytest.raises(OtherTaskError, match="one label a photo"):
        _take(database, storage, photos)


def test_what_a_split_remembers_is_what_was_uploaded(
    database: Engine, storage: Storage, photos: Path, tmp_path: Path
) -> None:
    """Old test photos stay test photos, although what is stored is made anew."""
    local = identities(read_dataset(photos))
    before = make_split(local.dataset.samples, local.identities)
    incoming = [
        _one(Path(local.dataset.file(sample)).read_bytes(), *sample.labels)
        for sample in local.dataset.samples
    ]
    done = _take(database, storage, incoming, class_info={"disc": {"dl_name": "Disc"}})
    assert done.added == len(local.dataset)
    kept = _find(database)
    assert kept is not None
    hashed = datasets.materialise(database, storage, kept.id, tmp_path / "work")
    assert sorted(hashed.identities) == sorted(local.identities)
    known = before.part_of()
    for part, key in zip(before.parts_of(hashed.identities), hashed.identities, strict=True):
        assert part == known[key]
    assert hashed.dataset.classes == local.dataset.classes
    assert hashed.dataset.class_info["disc"] == {"dl_name": "Disc"}
    assert datasets.num_photos(hashed) == dict.fromkeys(("bars", "disc", "square"), 20)
    originals = {
        key: Path(local.dataset.file(sample)).read_bytes()
        for sample, key in zip(local.dataset.samples, local.identities, strict=True)
    }
    for sample, key in zip(hashed.dataset.samples, hashed.identities, strict=True):
        copy = to_array(decode_image(Path(hashed.dataset.file(sample)).read_bytes())).astype(int)
        whole = to_array(decode_image(originals[key])).astype(int)
        assert np.abs(copy - whole).mean() < (3 if sample.path.endswith(".jpg") else 1e-9)
    again = datasets.read_materialised(tmp_path / "work")
    assert again == hashed
    assert check(again.dataset).num_classes == 3


def test_boxes_of_one_photo_and_its_other_files_stay_together(
    database: Engine, storage: Storage, encode: Encode, tmp_path: Path
) -> None:
    first = _photo(encode, 1)
    other = _photo(encode, 1, compress_level=0)  # the same pixels in another file
    assert first != other
    marks = tuple(Mark((label,), Box(x, 1, 5, 5), "p1") for label, x in (("a", 1), ("b", 9)))
    _take(database, storage, [Incoming("x", first, marks)])
    done = _take(database, storage, [_one(other, "a", box=Box(20, 1, 5, 5)), _one(other, "b")])
    assert done.added == 2
    done = _take(database, storage, [_one(other, "b", box=Box(9, 1, 5, 5))])
    assert (done.added, done.duplicates) == (0, 1)
    kept = _find(database)
    assert kept is not None
    hashed = datasets.materialise(database, storage, kept.id, tmp_path / "work")
    photo = bytes_hash(first)
    assert set(hashed.identities) == {
        photo,
        *(identity(photo, Box(x, 1, 5, 5)) for x in (1, 9, 20)),
    }
    assert {sample.group for sample in hashed.dataset.samples} == {"p1", None}


def test_a_quota_ends_an_upload_but_keeps_what_fitted(
    database: Engine, storage: Storage, encode: Encode
) -> None:
    incoming = [_one(_photo(encode, number), "a") for number in range(5)]
    with pytest.raises(QuotaExceededError):
        _take(database, storage, incoming, quota_bytes=100)
    assert _find(database) is None
    done = _take(database, storage, incoming, quota_bytes=5000)
    assert 0 < done.added < 5
    assert [refused.code for refused in done.rejected] == ["quota_exceeded"] * (5 - done.added)
    with database.connect() as connection:
        number, size = blobs.used_bytes(connection, "ann")
    assert number == done.added
    assert size <= 5000


def test_deleting_spares_photos_of_another_data_set(
    database: Engine, storage: Storage, encode: Encode, tmp_path: Path
) -> None:
    both, alone = _photo(encode, 1), _photo(encode, 2)
    _take(database, storage, [_one(both, "a"), _one(alone, "b")])
    _take(database, storage, [_one(both, "z")], dataset="others")
    _take(database, storage, [_one(both, "z")], owner="bob")
    assert not datasets.remove(database, storage, "bob", "others", now=2.0)
    kept = _find(database)
    assert kept is not None
    assert datasets.remove(database, storage, "ann", "pills", now=2.0)
    assert not datasets.remove(database, storage, "ann", "pills", now=2.0)
    with database.connect() as connection:
        assert blobs.used_bytes(connection, "ann")[0] == 1
        assert [found.name for found in datasets.list_all(connection, "ann")] == ["others"]
        (line,) = connection.execute(select(tables.deletions)).mappings()
    assert (line["owner"], line["what"], line["why"], line["count"]) == (
        *("ann", "photos", "request", 1),
    )
    assert line["size_bytes"] > 0
    assert len(list(storage.list_photos())) == 2
    with pytest.raises(DataError, match="deleted"):
        datasets.materialise(database, storage, kept.id, tmp_path / "work")


def test_a_photo_that_is_gone_is_left_out_of_the_copy(
    database: Engine, storage: Storage, encode: Encode, tmp_path: Path
) -> None:
    _take(database, storage, [_one(_photo(encode, number), "a") for number in range(3)])
    kept = _find(database)
    assert kept is not None
    with database.connect() as connection:
        blob = connection.scalars(select(tables.samples.c.blob)).first()
    assert blob is not None
    storage.delete_photos("ann", [blob])
    hashed = datasets.materialise(database, storage, kept.id, tmp_path / "work")
    assert len(hashed.dataset) == len(hashed.identities) == 2
    assert len(hashed.unreadable) == 1


def test_the_same_upload_twice_at_once(database: Engine, storage: Storage, encode: Encode) -> None:
    incoming = [_one(_photo(encode, number), "a") for number in range(8)]
    done: list[Outcome] = []

    def upload() -> None:
        done.append(_take(database, storage, incoming))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(one.added for one in done) == 8
    assert sum(one.duplicates for one in done) == 24
    with database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.samples)) == 8
        assert blobs.used_bytes(connection, "ann")[0] == 8


def test_copies_from_a_bucket(tmp_path: Path, encode: Encode) -> None:
    with database_url("sqlite", tmp_path) as url, place_url("s3", tmp_path) as place:
        database, bucket = open_database(url), open_storage(place)
        tables.metadata.create_all(database)
        done = _take(database, bucket, [_one(_photo(encode, n), "a") for n in range(4)])
        assert done.added == 4
        kept = _find(database)
        assert kept is not None
        hashed = datasets.materialise(database, bucket, kept.id, tmp_path / "work")
        assert sorted(hashed.identities) == sorted(bytes_hash(_photo(encode, n)) for n in range(4))
        assert check(hashed.dataset).num_samples == 4
        assert datasets.remove(database, bucket, "ann", "pills", now=2.0)
        assert list(bucket.list_photos()) == []
        database.dispose()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a/b", "a\\b", "a\nb", "a\0b", "\u202eabc"])
def test_names_that_data_sets_cannot_have(name: str) -> None:
    assert datasets.name_fault(name)


@pytest.mark.parametrize("name", ["pills", "알약 2026", "..", "CON", "<b>", "x" * 100])
def test_names_that_they_can(name: str) -> None:
    assert datasets.name_fault(name) is None

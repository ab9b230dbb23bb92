"""Photos kept on disk between epochs: the same pixels, never another photo's, and no room lost."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import pocketlens as pl
from pocketlens.core.dataset import Box, file_hash, identity
from pocketlens.core.errors import ImageError
from pocketlens.core.predictor import Request
from pocketlens.core.preprocess import Preprocess
from pocketlens.training import photos as module
from pocketlens.training.photos import Photos, kept_photos
from support.tiny import CONFIG

SPEC = Preprocess(24, 32, resize="pad")


def requests(folder: Path) -> list[tuple[Request, str]]:
    found = []
    for path in sorted(folder.rglob("*.*"))[:7]:
        digest = file_hash(str(path))
        found += [
            (Request(str(path), box), identity(digest, box)) for box in (None, Box(3, 4, 20, 18))
        ]
    return found


def plain(request: Request) -> np.ndarray:
    return SPEC.fit(SPEC.decode(Path(str(request.source)).read_bytes(), request.box))


def missing(photos: Photos) -> int:
    """How many are not in the file that is there."""
    assert photos.folder is not None
    there = np.fromfile(photos.folder / "index.bin", np.dtype([("key", "V16"), ("sum", "<u4")]))
    keys = {record["key"].tobytes() for record in there}
    return sum(key not in keys for key, _ in photos.places.values())


def fill(wanted: list[tuple[Request, str]], root: Path) -> Photos:
    with kept_photos(SPEC, wanted, root) as photos:
        for request, _ in wanted:
            np.testing.assert_array_equal(photos(request), plain(request))
        assert missing(photos) == 0
        return photos


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing can be decoded."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Preprocess, "decode", fail)


def test_kept_between_runs_and_in_any_order(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = requests(photos)
    expected = {request: plain(request) for request, _ in wanted}
    fill(wanted[:9], tmp_path)
    fill(wanted, tmp_path)
    unreadable(monkeypatch)
    with kept_photos(SPEC, reversed(wanted), tmp_path) as kept:
        for request, _ in wanted:
            np.testing.assert_array_equal(kept(request), expected[request])
            assert not kept(request).flags.writeable
        elsewhere: Photos = copy.deepcopy(kept)  # as another process gets it
        np.testing.assert_array_equal(elsewhere(wanted[0][0]), expected[wanted[0][0]])


def test_another_content_or_geometry_is_another_photo(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "photos", per_class=3)
    wanted = requests(folder)
    fill(wanted, tmp_path / "cache")
    first, second = (Path(str(r.source)) for r, _ in (wanted[0], wanted[2]))
    first.write_bytes(second.read_bytes())
    fill(requests(folder), tmp_path / "cache")
    other = replace(SPEC, resize="crop")
    with kept_photos(other, wanted, tmp_path / "cache") as kept:
        assert missing(kept) == len(wanted)


def test_a_file_replaced_while_the_run_goes_on_is_not_kept_as_the_old(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "photos", per_class=3)
    wanted = requests(folder)
    first, second = (Path(str(r.source)) for r, _ in (wanted[0], wanted[2]))
    old = first.read_bytes()
    with kept_photos(SPEC, wanted, tmp_path / "cache") as kept:
        first.write_bytes(second.read_bytes())
        with pytest.raises(ImageError, match="replaced after this run had begun"):
            kept(wanted[0][0])
    first.write_bytes(old)
    fill(wanted, tmp_path / "cache")


def test_damage_is_noticed(photos: Path, tmp_path: Path) -> None:
    wanted = requests(photos)
    folder = fill(wanted, tmp_path).folder
    assert folder is not None
    pixels = np.memmap(folder / "pixels.u8", mode="r+")
    pixels[5] ^= 255
    pixels.flush()
    fill(wanted, tmp_path)  # and mended
    (folder / "index.bin").write_bytes((folder / "index.bin").read_bytes()[:-13])
    fill(wanted, tmp_path)


def test_cut_off_while_writing(photos: Path, tmp_path: Path) -> None:
    wanted = requests(photos)
    with kept_photos(SPEC, wanted, tmp_path) as kept:  # places are given, nothing is in them
        assert missing(kept) == len(wanted)
    places = {place for _, place in fill(wanted, tmp_path).places.values()}
    assert places == set(range(len(wanted)))


def test_a_full_disk_ends_keeping_not_training(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # FAULTS 26
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    wanted = [request for request, _ in requests(photos)]
    with kept_photos(SPEC, requests(photos), tmp_path) as kept, ThreadPoolExecutor(8) as pool:
        for request, found in zip(wanted * 9, pool.map(kept, wanted * 9), strict=True):
            np.testing.assert_array_equal(found, plain(request))
    assert capsys.readouterr().err.count("No space left") == 1


def test_no_room(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = requests(photos)
    old = fill(wanted[:4], tmp_path).folder
    assert old is not None
    monkeypatch.setattr(module, "LIMIT_BYTES", 6 * 4096)
    with kept_photos(replace(SPEC, height=20), wanted[:8], tmp_path) as kept:
        assert kept.folder is not None  # what was used longest ago made room
        assert not old.exists()
        store = kept.folder
    monkeypatch.setattr(module, "LIMIT_BYTES", 4096)
    with kept_photos(replace(SPEC, height=28), wanted, tmp_path) as kept:
        assert kept.folder is None
        np.testing.assert_array_equal(kept(wanted[0][0]).shape, (28, 32, 3))
        assert store.exists()  # nothing was gained by removing it


def test_no_room_but_in_place_of_others(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = requests(photos)
    fill(wanted[:6], tmp_path)
    monkeypatch.setattr(module, "LIMIT_BYTES", 4096)
    with kept_photos(SPEC, wanted[4:], tmp_path) as kept:
        for _ in range(2):
            for request, _ in wanted[4:]:
                np.testing.assert_array_equal(kept(request), plain(request))
        assert kept.num_kept == 4
        assert missing(kept) == len(wanted) - 4 - 2 - 4
    with kept_photos(SPEC, wanted[4:6], tmp_path) as kept:
        assert missing(kept) == 0


def test_two_runs_at_once(photos: Path, tmp_path: Path) -> None:
    wanted = requests(photos)
    with (
        kept_photos(SPEC, wanted, tmp_path) as first,
        kept_photos(SPEC, wanted, tmp_path) as second,
    ):
        for photos_of in (second, first, second):
            np.testing.assert_array_equal(photos_of(wanted[0][0]), plain(wanted[0][0]))
        assert first.num_kept == 1
    fill(wanted, tmp_path)
    with kept_photos(SPEC, wanted, tmp_path), kept_photos(SPEC, wanted, tmp_path) as second:
        assert (missing(second), second.is_writer) == (0, False)
        np.testing.assert_array_equal(second(wanted[3][0]), plain(wanted[3][0]))


def test_a_photo_that_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"text")
    with kept_photos(SPEC, [(Request(str(path)), "a")], tmp_path / "cache") as kept:
        for _ in range(2):
            with pytest.raises(ImageError):
                kept(Request(str(path)))
        assert missing(kept) == 1


def test_training_is_the_same_with_and_without(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))
    config = replace(CONFIG, epochs=2)
    bundles = [
        pl.train(photos, out=tmp_path / name, config=replace(config, photo_cache=on))
        for name, on in (("without", False), ("filling", True), ("kept", True))
    ]
    one, *others = (load_file(b.path / "model.safetensors") for b in bundles)
    for other in others:
        assert all((one[name] == other[name]).all() for name in one)
    (store,) = (tmp_path / "cache" / "photos").iterdir()
    # All but those to test on, which are looked at once.
    assert (store / "index.bin").stat().st_size == 51 * 20

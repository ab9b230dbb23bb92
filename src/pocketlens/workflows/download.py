"""`download`: a public data set in its usual layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import filelock

from pocketlens.core.directory import DATA, MARKER, new_directory, refuse_existing
from pocketlens.core.errors import UserError
from pocketlens.progress import say
from pocketlens.workflows._fetch import Archive, check_room, fetch
from pocketlens.workflows._unpack import unpack

#: The data set's own addresses and what is known of its files. The server has no valid
#: certificate for this name, so what comes is trusted for its checksum alone.
_COCO: Final = "http://images.cocodataset.org"
_SHA_VAL: Final = "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"
_SHA_LABELS: Final = "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"
_MD5_TRAIN: Final = "cced6f7f71b7629ddf16f17bbcfab6b2"


def _coco_labels(split: str) -> Archive:
    url = f"{_COCO}/annotations/annotations_trainval2017.zip"
    keep = (f"annotations/instances_{split}2017.json",)
    return Archive(url, 252_907_541, 600_000_000, f"sha256:{_SHA_LABELS}", keep)


def _coco_photos(split: str, size: int, digest: str) -> Archive:
    # JPEGs hardly shrink in an archive, so it unpacks to about its own size.
    return Archive(f"{_COCO}/zips/{split}2017.zip", size, int(size * 1.05), digest)


#: Name -> part -> what to fetch.
SETS: Final[Mapping[str, Mapping[str, tuple[Archive, ...]]]] = {
    "coco": {
        "val": (_coco_labels("val"), _coco_photos("val", 815_585_330, f"sha256:{_SHA_VAL}")),
        "train": (
            _coco_labels("train"),
            _coco_photos("train", 19_336_861_798, f"md5:{_MD5_TRAIN}"),
        ),
    }
}


def download(
    name: str,
    *,
    split: str = "val",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Fetch a public data set, check it and unpack it; the directory appears whole or not at all.

    Archives are kept in `OUT.download` until all is unpacked, so that a run that was cut off
    goes on where it stopped.

    Args:
        name: one of `SETS`.
        split: the part of it.
        out: the directory to make; by default the set's name with the part's.

    Raises:
        UserError: no such set or part, no network, too little room, or damaged files.
    """
    if name not in SETS:
        raise UserError(f"no data set is called {name!r}: choose from {', '.join(SETS)}")
    if split not in SETS[name]:
        parts = ", ".join(SETS[name])
        raise UserError(f"{name} has no part {split!r}: choose --split from {parts}")
    target = Path(out if out is not None else f"{name}-{split}")
    refuse_existing(target, overwrite=overwrite)
    archives = list(SETS[name][split])
    folder = target.with_name(f"{target.name}.download")
    check_room(folder, archives)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"can't write to {folder.parent}: {error.strerror}") from error
    try:
        with (
            filelock.FileLock(folder / ".lock", blocking=False),
            new_directory(target, overwrite=overwrite) as made,
        ):
            (made / MARKER).write_text(DATA, encoding="utf-8")
            for archive in archives:
                path = fetch(archive, folder)
                unpack(path, made, keep=archive.keep, max_bytes=archive.unpacked_bytes)
    except filelock.Timeout:
        raise UserError(f"another run downloads to {folder} at this moment") from None
    except BaseException:
        if not any(p.name != ".lock" for p in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)  # nothing worth going on with
        raise
    shutil.rmtree(folder, ignore_errors=True)
    say(f"{name} ({split}) is in {target}")
    return target

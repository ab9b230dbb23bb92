"""A large file from the network: resumed where it was cut off, checked, never half there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from pocketlens.core.errors import UserError
from pocketlens.core.text import one_line
from pocketlens.extras import versions
from pocketlens.progress import Advance, bar, say

_CHUNK: Final = 1 << 20
_TIMEOUT_S: Final = 30
#: Attempts without a single new byte after which it is given up.
_MAX_IDLE: Final = 4
_PAUSE_S: Final = 1.0
#: Answers after which asking again may help.
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Archive:
    """A file to fetch.

    Attributes:
        size_bytes: of the file.
        unpacked_bytes: at most so much is unpacked from it.
        digest: `ALGORITHM:HEX`, by which it is checked.
        keep: what the entries to unpack begin with; all where empty.
    """

    url: str
    size_bytes: int
    unpacked_bytes: int
    digest: str
    keep: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def check_room(folder: Path, archives: list[Archive]) -> None:
    """Refuse before anything is fetched when the disk can't hold archives and contents.

    Raises:
        UserError: there is too little room, with how much is needed.
    """
    there = sum(_size(folder / a.name) + _size(_part(folder, a)) for a in archives)
    needed = sum(a.size_bytes + a.unpacked_bytes for a in archives) - there
    place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.1f} GB left, {needed / 1e9:.1f} GB are needed; make "
            "room or name another --out"
        )


def fetch(archive: Archive, folder: Path) -> Path:
    """The file in `folder`, checked; what an earlier run fetched of it is not fetched again.

    Raises:
        UserError: no network, the server doesn't have it, it is not what it should be, or the
            disk is full. What was fetched stays, but for a file with a wrong checksum.
    """
    target, part = folder / archive.name, _part(folder, archive)
    if not target.exists():
        with _room(target):
            folder.mkdir(parents=True, exist_ok=True)
            if _size(part) > archive.size_bytes:
                part.unlink()
            _fetch_parts(archive, part)
            part.rename(target)
    with bar(f"checking {archive.name}", archive.size_bytes // _CHUNK) as advance:
        found = _digest(target, archive.digest.partition(":")[0], advance)
    if found != archive.digest.partition(":")[2]:
        target.unlink()
        raise UserError(
            f"{archive.name} is damaged or not what it should be (its checksum is wrong), so it "
            "was removed; run the command again"
        )
    return target


def _fetch_parts(archive: Archive, part: Path) -> None:
    """Connect again as long as each connection brings at least a byte."""
    idle, first = 0, _size(part)
    with bar(f"fetching {archive.name} (MB)", archive.size_bytes // _CHUNK) as advance:
        advance(_size(part) // _CHUNK)
        while (before := _size(part)) < archive.size_bytes:
            try:
                _fetch_on(archive, part, advance)
                reason, offline = "the connection was cut", False
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                reason = _reason(error, archive)
                offline = type(error) is urllib.error.URLError
            idle = idle + 1 if _size(part) <= before else 0
            if _size(part) >= archive.size_bytes:
                return
            # Without a network from the beginning, waiting for it is of no use.
            if idle >= _MAX_IDLE or (offline and _size(part) == first):
                kept = f"; {_size(part) / 1e6:.0f} MB of it are kept" if _size(part) else ""
                raise UserError(
                    f"{archive.name} can't be fetched: {reason}{kept}. Run the command again when "
                    "there is a network"
                )
            say(f"{reason}; going on at {_size(part) / 1e6:.0f} MB")
            time.sleep(_PAUSE_S * 2**idle)


def _fetch_on(archive: Archive, part: Path, advance: Advance) -> None:
    start = _size(part)
    headers = {"User-Agent": f"pocketlens/{versions()['pocketlens']}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(archive.url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        resumed = _starts_at(answer) == start
        # A server that knows no ranges sends everything again.
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, archive.size_bytes - (start if resumed else 0), advance)


def _copy(answer: Any, file: IO[bytes], limit: int, advance: Advance) -> None:
    """Copy at most `limit` bytes; a server that sends more sends something else."""
    while limit > 0:
        # `read1`, so that what came before a cut is not lost.
        chunk = answer.read1(min(_CHUNK, limit))
        if not chunk:
            return
        file.write(chunk)
        before = limit // _CHUNK
        limit -= len(chunk)
        advance(before - limit // _CHUNK)


def _starts_at(answer: Any) -> int:
    """First byte of the answer within the file."""
    if answer.status != 206:
        return 0
    given = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(given) if given.isdigit() else -1


def _reason(error: Exception, archive: Archive) -> str:
    """Why a connection failed, in words.

    Raises:
        UserError: asking again can't help.
    """
    host = archive.url.split("/")[2]
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.closing(error):
            if error.code not in _PASSING:
                raise UserError(
                    f"{host} doesn't give {archive.name}: it answers {error.code} "
                    f"{one_line(str(error.reason))}"
                )
            return f"{host} answers {error.code}"
    if isinstance(error, urllib.error.URLError):
        return f"there is no network, or {host} can't be reached ({one_line(str(error.reason))})"
    return f"the connection to {host} was cut ({one_line(str(error)) or type(error).__name__})"


@contextmanager
def _room(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full; what was fetched of {target.name} is kept: make room and run "
                "the command again"
            ) from error
        raise UserError(f"can't write to {target.parent}: {error.strerror}") from error


def _digest(path: Path, algorithm: str, advance: Advance) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            advance()
    return digest.hexdigest()


def _part(folder: Path, archive: Archive) -> Path:
    return folder / f"{archive.name}.part"


def _size(path: Path) -> int:
    return os.path.getsize(path) if path.exists() else 0

"""What was read from many small files, kept in the user's cache directory between runs.

It lies outside the user's data, is text that is checked when it is read, and may vanish or be
damaged at any moment: then the files are read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pocketlens.core.directory import cache_dir


def cache_file(kind: str, root: Path) -> Path:
    """The file for one data set, by its place."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return cache_dir() / kind / f"{digest}.jsonl"


class CachedLines:
    """What was known of each file when it was last read, kept for the next time.

    Lines go in the order of the files, so that memory holds one of them, not all. From the first
    that differs a new file is written, which takes the old one's place when the `with` block is
    left in peace; where it can't be written, nothing is lost but time.
    """

    def __init__(self, path: Path, header: object) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._header = header
        self._old = self._lines()
        self._waiting: dict[str, Any] = {}  # passed over on the way to one further down
        self._new: IO[str] | None = None
        self._differs = False
        self._num_put = 0
        self._read_on()
        self.is_empty = not self._waiting

    def __enter__(self) -> CachedLines:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and not self._differs and (self._waiting or self._read_on()):
            self._begin()
        self._old.close()
        if self._new is None:
            return
        if kind is not None:
            self._give_up()
            return
        try:
            self._new.close()
            self._temporary.replace(self._path)
        except OSError:
            self._give_up()

    def get(self, key: str) -> Any:
        """The value that was put for a key last time, or None."""
        while key not in self._waiting:
            if not self._read_on():
                return None
        return self._waiting.pop(key)

    def put(self, key: str, value: object, *, fresh: bool) -> None:
        """What is known now; `fresh` where it isn't what `get` gave."""
        if not self._differs and (fresh or self._waiting):
            self._begin()
        self._num_put += 1
        if self._new is not None:
            try:
                self._new.write(f"{json.dumps([key, value])}\n")
            except OSError:  # the disk is full
                self._give_up()

    def _begin(self) -> None:
        """A new file, which so far is as the old one."""
        self._differs = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # ASCII, so that file names whose bytes are no UTF-8 come back as they were.
            self._new = self._temporary.open("w", encoding="ascii")
            self._new.write(f"{json.dumps(self._header)}\n")
            if self._num_put:
                with self._path.open(encoding="utf-8") as old:
                    self._new.writelines(islice(old, 1, 1 + self._num_put))
        except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home directory
            self._give_up()

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            if self._new is not None:
                self._new.close()
        self._new = None
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _read_on(self) -> bool:
        line = next(self._old, None)
        if line is not None:
            self._waiting[line[0]] = line[1]
        return line is not None

    def _lines(self) -> Generator[tuple[str, Any], None, None]:
        """Key and value of each line; it ends early where the file is damaged."""
        try:
            with self._path.open(encoding="utf-8") as file:
                if json.loads(file.readline() or "null") != self._header:
                    return
                for line in file:
                    key, value = json.loads(line)
                    if not isinstance(key, str):
                        return
                    yield key, value
        except (OSError, ValueError, TypeError, RecursionError):
            return

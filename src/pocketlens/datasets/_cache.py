"""What was read from many small files, kept in the user's cache directory between runs.

It lies outside the user's data, is text that is checked when it is read, and may vanish or be
damaged at any moment: then the files are read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def cache_dir() -> Path:
    """`$POCKETLENS_CACHE`, else `pocketlens` in the system's directory for caches."""
    if given := os.environ.get("POCKETLENS_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "pocketlens"


def cache_file(kind: str, root: Path) -> Path:
    """The file for one data set, by its place."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return cache_dir() / kind / f"{digest}.jsonl"


def load_lines(path: Path, header: object) -> Iterator[Any]:
    """The values that `store_lines` wrote; none if it wrote them under another header.

    It ends early where the file is damaged.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if json.loads(file.readline() or "null") != header:
                return
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError, RecursionError):
        return


def store_lines(path: Path, header: object, values: Iterable[object]) -> bool:
    """Write values whole or not at all; False where that can't be done, which harms nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f"{json.dumps(header)}\n")
            # ASCII, so that file names whose bytes are no UTF-8 come back as they were.
            file.writelines(f"{json.dumps(value)}\n" for value in values)
        temporary.replace(path)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True

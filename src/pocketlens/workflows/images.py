"""Image files that a path, a folder or a pattern stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from pocketlens.core.decode import SUFFIXES
from pocketlens.core.directory import is_output
from pocketlens.core.errors import UserError

PathLike = str | os.PathLike[str]


def find_images(given: Iterable[PathLike]) -> list[str]:
    """Image files in the order they were named; folders and patterns in sorted order.

    Raises:
        UserError: a path doesn't exist, or holds no image.
    """
    files: list[str] = []
    for path in (os.fspath(p) for p in given):
        if os.path.isdir(path):
            found = sorted(_walk(path))
        elif os.path.exists(path) or os.path.islink(path):
            found = [path]
        else:
            matches = sorted(glob.glob(path, recursive=True))
            found = [m for m in matches if os.path.isfile(m)]
            if not found:
                raise UserError(f"no image is found at {path}; check the path or the pattern")
        if not found:
            raise UserError(f"{path} holds no image ({', '.join(sorted(SUFFIXES)[:6])} …)")
        files += found
    return files


def _walk(folder: str) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not is_output(os.path.join(root, name))
        ]
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield os.path.join(root, name)

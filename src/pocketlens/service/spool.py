"""What a request came with, kept until its job has ended: private files that are never served.

They lie in the storage, so that a worker on another machine finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class PrivateFiles(Protocol):
    """What of the storage is used here."""

    def put_private(self, name: str, data: bytes) -> None:
        """Write a file as a whole."""

    def get_private(self, name: str) -> bytes:
        """Read one; FileNotFoundError where it isn't."""

    def delete_private(self, name: str) -> None:
        """Remove a file, or a folder with all in it."""


def put(storage: PrivateFiles, job_id: str, files: Sequence[bytes]) -> list[str]:
    """Keep a request's files; call it before the row is there, so that no worker misses them.

    Returns:
        Their names, for the job's `request`.
    """
    names = [f"spool/{job_id}/{number}" for number in range(len(files))]
    for name, data in zip(names, files, strict=True):
        storage.put_private(name, data)
    return names


def read(storage: PrivateFiles, names: Sequence[str]) -> list[bytes]:
    """The files' bytes, as they were uploaded.

    Raises:
        FileNotFoundError: the job has ended or was deleted meanwhile.
    """
    return [storage.get_private(name) for name in names]


def drop(storage: PrivateFiles, job_id: str) -> None:
    """Remove all that a job's request came with; nothing there is no fault."""
    storage.delete_private(f"spool/{job_id}")

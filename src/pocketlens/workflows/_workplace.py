"""An output that grows over a long run: one run at a time, resumable, nothing of before lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from pocketlens.core.directory import (
    MARKER,
    WORTH_KEEPING,
    aside,
    refuse_existing,
    remove,
    sweep,
)
from pocketlens.core.errors import UserError


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file in a directory for as long as the block runs.

    Raises:
        UserError: another run holds it, or it can't be made.
    """
    lock = filelock.FileLock(file)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UserError(
            f"another run writes to {file.parent} at this moment; name another --out"
        ) from None
    except OSError as error:
        raise UserError(f"can't write to {file.parent}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def workplace(target: Path, *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
    """An output that grows over a long run, so that a killed run can be resumed.

    What is put into it must itself appear whole. If the block fails before anything worth
    resuming lies there (a bundle or a checkpoint), the directory vanishes again, or is what it
    was before; what was there is never removed before its successor has something to show.

    Raises:
        UserError: it exists and neither `resume` nor `overwrite` was asked for, it was not made
            by pocketlens, another run writes to it, or it can't be written to.
    """
    target = Path(os.path.abspath(target))
    sweep(target)
    existed = os.path.lexists(target)
    refuse_existing(target, overwrite=overwrite or resume)
    old = None
    with ExitStack() as locks:
        if existed:  # before anything is moved: it may be the place of a run that goes on
            locks.enter_context(locked(target / MARKER))
        try:
            if existed and not resume:
                old = aside(target)
                target.rename(old)
            target.mkdir(parents=True, exist_ok=existed and resume)
        except OSError as error:
            if old is not None and not os.path.lexists(target):
                old.rename(target)
            raise UserError(f"can't write to {target}: {error.strerror}") from error
        if old is not None or not existed:
            locks.enter_context(locked(target / MARKER))
        try:
            yield
        except BaseException:
            kept = any(any(target.rglob(name)) for name in WORTH_KEEPING)
            if not kept and not (existed and resume):
                shutil.rmtree(target, ignore_errors=True)
                if old is not None:
                    old.rename(target)
                    old = None
            raise
        finally:
            if old is not None:
                remove(old)

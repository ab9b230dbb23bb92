"""A directory that appears whole or not at all, and never in place of somebody's own files."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pocketlens.core.errors import UserError

MANIFEST: Final = "manifest.json"

#: An empty file in an output that grows over a long run.
MARKER: Final = ".pocketlens"

#: What is in that file where the directory is a data set.
DATA: Final = "data"

#: A directory with one of these, or a bundle's manifest, was made by pocketlens and may be
#: overwritten on request.
OURS: Final = ("compare.json", "explore.json", "predictions.json", "maps.json", MARKER)

#: What a run can go on from: a bundle, a checkpoint.
WORTH_KEEPING: Final = (MANIFEST, "*.safetensors")

#: A temporary directory in which nothing happened for so long is nobody's any more.
_UNCHANGED_S: Final = 600

#: Errors of the disk, not of the work.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def new_directory(out: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling that becomes `out` when the block ends well, else vanishes.

    Raises:
        UserError: `out` exists already, or its parent can't be written to.
    """
    # `.` and `..` have no name to make a sibling of; `resolve` would follow a link.
    target = Path(os.path.abspath(out))
    sweep(target)
    refuse_existing(target, overwrite=overwrite)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"can't write to {target.parent}: {error.strerror}") from error
    try:
        yield temporary
        _replace(temporary, target, overwrite=overwrite)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise UserError(f"can't write {target}: {error.strerror}") from error
        raise


def refuse_existing(
    out: Path, *, overwrite: bool = False, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse an `--out` that exists, before any work is done.

    Args:
        inputs: what the work reads; overwriting must not remove it.

    Raises:
        UserError: it exists and may not be overwritten.
    """
    if not (out.exists() or out.is_symlink()):
        return
    if not overwrite:
        raise UserError(f"{out} exists already; name another --out or pass --overwrite")
    # A slip such as `--out photos --overwrite` must not cost anybody their photos.
    if not out.is_dir() or (any(out.iterdir()) and not _is_ours(out)):
        raise UserError(f"{out} was not made by pocketlens, so it is not overwritten; remove it")
    for given in inputs:
        if Path(given).resolve().is_relative_to(out.resolve()):
            raise UserError(f"{given} lies in {out}, which --overwrite would remove; name another")


def is_output(directory: str | os.PathLike[str]) -> bool:
    """Whether pocketlens put a result there, whose pictures are nobody's data.

    Data sets that it downloaded are data: their marker says so.
    """
    place = Path(directory)
    try:
        return _is_ours(place) and (place / MARKER).read_text(encoding="utf-8") != DATA
    except (OSError, ValueError):
        return _is_ours(place)


def _is_ours(directory: Path) -> bool:
    if any((directory / name).exists() for name in OURS):
        return True
    try:  # web pages and browser extensions have a manifest.json too
        return {"schema", "preprocess", "lineage"} <= set(
            json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _replace(temporary: Path, target: Path, *, overwrite: bool) -> None:
    for file in temporary.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    # A directory can't be replaced in one step; the old one is moved aside, so that at no
    # moment half of either stands there.
    old = aside(target)
    try:
        if overwrite and (target.exists() or target.is_symlink()):
            target.rename(old)
        temporary.rename(target)
    except BaseException as error:  # Ctrl-C between the two must not cost the old one either
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{target} was made by another run in the meantime") from error
        raise
    if os.path.lexists(old):
        remove(old)


def aside(target: Path) -> Path:
    """Where what stands at `target` waits until its successor is there."""
    return target.with_name(f".{target.name}.{os.getpid()}.old")


def sweep(target: Path) -> None:
    """Clear away what runs that were killed left beside `target`; what they moved comes back.

    Their process is gone and nothing was changed for minutes: the process of another container
    has a number that is unknown here. What can't be cleared away is left.
    """
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(tmp|old)")
    with suppress(OSError):  # nothing there, or no directory: whoever writes to it will say so
        for sibling in list(target.parent.iterdir()):
            found = pattern.fullmatch(sibling.name)
            if found is None or _is_running(int(found[1])):
                continue
            with suppress(OSError):  # another run sweeps too
                if found[2] == "old" and not os.path.lexists(target):
                    sibling.rename(target)  # killed between its two renames
                elif found[2] == "old" and not any(map(any, map(target.rglob, WORTH_KEEPING))):
                    continue  # its successor has nothing to show yet
                elif time.time() - _last_change(sibling) > _UNCHANGED_S:
                    remove(sibling)


def _last_change(directory: Path) -> float:
    return max(path.lstat().st_mtime for path in (directory, *directory.rglob("*")))


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """A file that is replaced in one step; bytes of file names that are no text are escaped."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove(old: Path) -> None:
    """Remove a directory, a file or a link, whichever it is."""
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink()


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` put in.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{os.fspath(path)}: {str(error).rstrip('.').lower()}") from error


def cache_dir() -> Path:
    """`$POCKETLENS_CACHE`, else `pocketlens` in the system's directory for caches."""
    if given := os.environ.get("POCKETLENS_CACHE"):
        return expand(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "pocketlens"

"""What a call of `compress` was asked for, so that none goes on with another one's work."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pocketlens.core.bundle import Bundle
from pocketlens.core.directory import MANIFEST, WORTH_KEEPING, write_text
from pocketlens.core.errors import UserError
from pocketlens.explain.choice import Choice
from pocketlens.workflows._chain import Step
from pocketlens.workflows.data import Hashed
from pocketlens.workflows.train import data_hash

#: Where the lineage keeps the hash of the call that made a bundle; and the file in `OUT.run`.
CALL: Final = "call"
_FILE: Final = "call.txt"


def call_hash(
    source: Bundle,
    steps: Sequence[Step],
    teacher: Bundle,
    data: Hashed | None,
    calibration: Hashed | None,
    choice: Choice = "random",
    scored: Collection[str] = (),
) -> str:
    """Of all that decides what comes out of a call; it stands in the lineage as `call`."""
    facts = [
        source.id,
        [(step.method, sorted(asdict(step.config).items())) for step in steps],
        teacher.id,
        None if data is None else data_hash(data.dataset, data.identities),
        None if calibration is None else data_hash(calibration.dataset, calibration.identities),
        choice,
        sorted(scored),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def refuse_interrupted(
    work: Path, call: str, *, resume: bool = False, overwrite: bool = False
) -> None:
    """An interrupted call is gone on with only by the same call.

    Raises:
        UserError: it lies there, and this is another one or doesn't say `--resume`.
    """
    if overwrite or not any(any(work.rglob(name)) for name in WORTH_KEEPING):
        return
    if not resume:
        raise UserError(
            f"{work} holds a run that was interrupted; pass --resume to go on, or --overwrite"
        )
    file = work / _FILE
    if not file.is_file() or file.read_text(encoding="utf-8") != call:
        raise UserError(
            f"{work} was begun with another method, other options or other photos; resume with the "
            "same ones, or start anew with --overwrite"
        )


def forget_steps(work: Path) -> None:
    """Of a finished call only tables and charts stay."""
    for manifest in list(work.rglob(MANIFEST)):
        shutil.rmtree(manifest.parent, ignore_errors=True)
    for pattern in ("*.safetensors", "*.npz", "found.json"):
        for file in list(work.rglob(pattern)):
            file.unlink(missing_ok=True)


def remember(work: Path, call: str) -> None:
    """Write into the working directory which call it belongs to."""
    write_text(work / _FILE, call)

"""What a job's code is handed: the shared parts of the service, and the sign of life it gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from pocketlens.service.settings import Settings


class JobFailed(Exception):  # noqa: N818 - the contract's name
    """The job can't be done, for a reason its user may read; it isn't tried again.

    Anything else that a kind raises is a fault of ours: the client sees that there was one, and
    the log has the rest.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Cancelled(BaseException):
    """The job was cancelled, deleted, taken by another worker, or handed back; stop at once.

    No `Exception`, so that a kind's own handling of errors lets it through.
    """


@dataclass(frozen=True)
class Context:
    """For one job.

    Attributes:
        storage: photos, and the private files of jobs.
        models: the model that answers.
        beat: `beat(progress)` says that the job goes on, and shows its progress to who asks; call
            it often, it writes now and then. Raises `Cancelled` where the job is to stop.
    """

    settings: Settings
    database: Engine
    storage: Any
    models: Any
    log: logging.Logger
    beat: Callable[[Mapping[str, Any] | None], None]

"""What clients see of rows, as plain values for JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fastapi import Response

from pocketlens.service.jobs import Job


def json_response(values: Any, status: int = 200, **headers: str) -> Response:
    """An answer of values that are plain already; nothing is checked once more."""
    body = json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(body, status, headers or None, media_type="application/json")


def job_view(job: Job, *, with_result: bool = True) -> dict[str, Any]:
    """A job; lists leave its result out."""
    view = {
        "job_id": job.id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "ended_at": iso(job.ended_at),
        "progress": None if job.progress is None else dict(job.progress),
        "reason": job.reason,
        "code": job.code,
    }
    return view | ({"result": job.result} if with_result else {})


def iso(seconds: float | None) -> str | None:
    """A time in UTC as text."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

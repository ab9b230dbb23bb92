"""The worker beside the API: a process of its own, begun again when it dies, ended with its parent.

Settings reach it through its standard input, so that no password stands in the list of processes.
That pipe is its line of life too: it closes when the parent ends, however that happens.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pocketlens.service.settings import Settings, User

log = logging.getLogger("pocketlens.service")

#: Seconds before a dead worker is begun again: at first and at most.
_PAUSE: Final = (0.5, 30.0)
#: A worker that lived so many seconds died of something new.
_LIVED: Final = 60.0
#: Seconds a worker gets to end its jobs when the service stops.
_GRACE: Final = 25.0


class Supervised:
    """A worker process. Use it in a `with` block."""

    def __init__(self, settings: Settings, command: list[str] | None = None) -> None:
        self._settings = to_json(settings)
        self._command = command or [sys.executable, "-m", "pocketlens.service.worker_process"]
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="worker", daemon=True)

    def __enter__(self) -> Supervised:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            _end(process)
        self._thread.join(_GRACE)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            return self._process.pid if running and self._process is not None else None

    def _watch(self) -> None:
        pause = _PAUSE[0]
        while not self._stopping.is_set():
            begun = time.monotonic()
            code = self._run()
            if self._stopping.is_set():
                return
            if time.monotonic() - begun > _LIVED:
                pause = _PAUSE[0]
            log.error("the worker ended; it is begun again", extra={"code": code, "pause_s": pause})
            self._stopping.wait(pause)
            pause = min(2 * pause, _PAUSE[1])

    def _run(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            process = self._process
        assert process.stdin is not None
        with suppress(OSError):  # it may have died already
            process.stdin.write(self._settings.encode() + b"\n")
            process.stdin.flush()
        return process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask by closing the pipe, then by a signal, then don't ask."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    for last_word, patience in ((process.terminate, _GRACE), (process.kill, _GRACE / 2)):
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            last_word()
    process.wait()


def to_json(settings: Settings) -> str:
    """Settings as one line."""
    values: dict[str, Any] = asdict(settings)
    for name in ("home", "bundle"):
        values[name] = None if values[name] is None else str(values[name])
    return json.dumps(values)


def from_json(text: str) -> Settings:
    """The settings that `to_json` wrote."""
    values = json.loads(text)
    for name in ("home", "bundle"):
        values[name] = None if values[name] is None else Path(values[name])
    values["lanes"] = tuple(values["lanes"])
    values["tokens"] = {key: User(**user) for key, user in values["tokens"].items()}
    return Settings(**values)

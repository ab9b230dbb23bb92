"""Servers as processes of their own: started, asked, weighed with all their children, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@contextmanager
def running(
    command: Sequence[str],
    url: str,
    log: Path,
    environment: Mapping[str, str],
    seconds: float = 120,
) -> Iterator[int]:
    """A server, from its first good answer at `url` on; gives its process id.

    Raises:
        RuntimeError: it ended, or gave no answer within `seconds`.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=dict(environment), start_new_session=True
        )
    try:
        until = time.monotonic() + seconds
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                last = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"{' '.join(command[:4])} doesn't answer: {' | '.join(last)}")
            time.sleep(0.1)
        yield process.pid
    finally:
        started = {one: _begun(one) for one in tree(process.pid)}
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        # What it left behind, also where that made a session of its own.
        for one, begun in started.items():
            if begun is not None and _begun(one) == begun:  # not another of the same number
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def tree(pid: int) -> list[int]:
    """A process and all that it started, as far as they run."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = _stat(int(place.name))
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(place.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, of its children, and of those that ended and were waited for."""
    total = 0
    for one in tree(pid):
        try:
            fields = _stat(one)
        except OSError:  # ended at this moment; its parent has its time
            continue
        total += sum(int(fields[i]) for i in (11, 12, 13, 14))  # utime, stime, cutime, cstime
    return total / _TICK


def settle(pid: int, seconds: float = 30) -> None:
    """Wait until a server and its children have nothing to do: until they have all started up."""
    until = time.monotonic() + seconds
    before = cpu_seconds(pid)
    while time.monotonic() < until:
        time.sleep(1)
        now = cpu_seconds(pid)
        if now - before < 0.05:
            return
        before = now


def memory_mb(pid: int) -> float:
    """Memory of all of them, what they share counted once."""
    total = 0
    for one in tree(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += int(text.split("\nPss:")[1].split()[0])
    return total / 1024


def _begun(pid: int) -> str | None:
    """When a process began, in ticks; None where it has ended."""
    try:
        return _stat(pid)[19]
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, which may hold spaces and brackets: state, ppid…"""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()

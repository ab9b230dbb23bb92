"""A PostgreSQL server of a test's own, which it may stop and start."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Server:
    """A server on a free port of this machine."""

    def __init__(self, place: Path, bin: Path, password: str) -> None:
        self._place, self._bin = place, bin
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql://pocketlens:{password}@127.0.0.1:{self._port}/postgres"

    def control(self, *words: str) -> None:
        run(self._bin / "pg_ctl", "-D", self._place / "data", "-l", self._place / "log", *words)

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1"
        self.control("-w", "-o", f"{options} -c unix_socket_directories={self._place}", "start")

    def stop(self) -> None:
        self.control("-w", "-m", "fast", "stop")


def run(*command: str | Path) -> None:
    """As a user that PostgreSQL accepts: it refuses root."""
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_user, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def private_postgres() -> Iterator[Server]:
    """A new server, which is gone afterwards."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL: no initdb in /usr/lib/postgresql")
    place = Path(tempfile.mkdtemp(prefix="pocketlens-postgres-"))
    try:
        password = secrets.token_hex(8)
        (place / "password").write_text(password)
        if os.geteuid() == 0:
            shutil.chown(place, "postgres")
            shutil.chown(place / "password", "postgres")
        pwfile = f"--pwfile={place / 'password'}"
        made = ("-D", place / "data", "-U", "pocketlens", "-E", "UTF8", "--locale=C")
        run(found[-1], *made, "-A", "scram-sha-256", pwfile)
        server = Server(place, found[-1].parent, password)
        server.start()
        try:
            yield server
        finally:
            if (place / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(place)

"""A whole service on this machine: the API in this process, a worker beside it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress

from filelock import FileLock, Timeout

from pocketlens.core.errors import UserError
from pocketlens.service.api.app import create_app
from pocketlens.service.api.metrics import Metrics
from pocketlens.service.api.server import address_of, listen, server
from pocketlens.service.api.state import open_service
from pocketlens.service.database import is_unavailable
from pocketlens.service.log_lines import set_up
from pocketlens.service.queue import Queue
from pocketlens.service.settings import Settings
from pocketlens.service.supervise import Supervised

log = logging.getLogger("pocketlens.service")


def serve(settings: Settings, *, with_worker: bool = True, tell: Callable[[str], object]) -> None:
    """Serve until a signal ends it.

    Args:
        tell: is given the address, and that of the documentation, when requests are answered.

    Raises:
        UserError: the address is taken, another service has the same home, or a part can't be
            opened.
    """
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"can't make {settings.home}: {error.strerror}; name another --home"
        ) from error
    lock = FileLock(settings.home / "serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another service runs in {settings.home}; end it, or name another --home"
        ) from None
    except OSError as error:
        raise UserError(
            f"can't write to {settings.home}: {error.strerror}; name another --home"
        ) from error
    with ExitStack() as stack:
        stack.callback(lock.release)
        listener = stack.enter_context(listen(settings))
        set_up()
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, _interrupt)
        stack.enter_context(suppress(KeyboardInterrupt))  # it is how a service is ended
        service = stack.enter_context(open_service(settings, Metrics()))
        warn_of(service.queue)
        if with_worker:
            stack.enter_context(Supervised(settings))
        address = address_of(listener)

        def started() -> None:
            tell(f"pocketlens answers at {address}")
            tell(f"Documentation at {address}/docs")

        server(create_app(settings, service), settings, started).run(sockets=[listener])


def warn_of(queue: Queue) -> None:
    """Log that the queue doesn't answer; it may be started a moment after the service."""
    try:
        queue.size()
    except Exception as error:
        if not is_unavailable(error):
            raise
        log.warning("the queue doesn't answer, so jobs stay Pending: start it, or mend --queue")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

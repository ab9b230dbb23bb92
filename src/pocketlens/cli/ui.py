"""`pocketlens ui`."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

#: The page's files on their way to the service are held in memory.
_MAX_MB = 100

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]


def run(
    *,
    service: str = "http://127.0.0.1:8000",
    token: Annotated[str | None, Parameter(env_var="POCKETLENS_TOKEN")] = None,
    host: str = "127.0.0.1",
    port: Port = 8501,
    language: Literal["auto", "en", "ko"] = "auto",
) -> None:
    """A web page for a running service: recognise photos, teach, train, compare.

    Start the service first (`pocketlens serve BUNDLE`). The page talks to it alone, so it may run
    on another machine.

    Example: `pocketlens ui --service http://127.0.0.1:8000 --language ko`

    Parameters
    ----------
    service
        Where the service is.
    token
        Bearer token that the page uses for whoever opens it, so only on this machine; without it
        the page asks each reader. Better set as POCKETLENS_TOKEN, which no list of processes shows.
    host
        Address to listen on. Others than this machine's own are for services with tokens.
    port
        To listen on; 0 takes a free one.
    language
        Of the page, until its reader chooses; `auto` follows the browser.
    """
    from pocketlens.core.errors import UserError
    from pocketlens.extras import require
    from pocketlens.service.settings import is_loopback

    require("httpx", extra="ui")
    bootstrap = require("streamlit.web.bootstrap", extra="ui")
    service = _service(service)
    public = not is_loopback(host)
    if public and token:
        raise UserError(
            f"everybody who can reach {host} would act with this token; leave it out, and the page "
            "asks each reader for one, or use --host 127.0.0.1"
        )
    from pocketlens.ui import style

    port = _free(host, port)
    os.environ.pop("POCKETLENS_TOKEN", None)
    os.environ |= {
        "POCKETLENS_SERVICE": service,
        "POCKETLENS_UI_PUBLIC": "1" if public else "0",
        "POCKETLENS_UI_LANGUAGE": language,
        "POCKETLENS_UI_MAX_MB": str(_MAX_MB),
    }
    if token:
        os.environ["POCKETLENS_TOKEN"] = token
    settings: dict[str, Any] = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.maxUploadSize": _MAX_MB,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "logger.hideWelcomeMessage": True,
        "global.developmentMode": False,
        **style.THEME,
    }
    threading.Thread(target=_tell, args=(host, port, service), daemon=True).start()
    script = Path(style.__file__).with_name("app.py")
    bootstrap.load_config_options(settings)
    bootstrap.run(str(script), False, [], settings)


def _tell(host: str, port: int, service: str) -> None:
    """Print the page's address as soon as somebody answers there."""
    at = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        try:
            socket.create_connection((at, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
            continue
        break
    shown = f"[{host}]" if ":" in host else host
    print(f"pocketlens page on http://{shown}:{port} (service: {service})", flush=True)


def _service(url: str) -> str:
    """The service's URL without a slash at its end."""
    from urllib.parse import urlsplit

    from pocketlens.core.errors import UserError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--service {url!r} is no address; it looks like http://127.0.0.1:8000")
    return url.rstrip("/")


def _free(host: str, port: int) -> int:
    """The port, after trying it; a free one for 0."""
    from pocketlens.core.errors import UserError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"the page can't listen on {host} port {port}: {error.strerror or error}; "
                "choose another --port or --host"
            ) from error
        return int(probe.getsockname()[1])

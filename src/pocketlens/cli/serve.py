"""`pocketlens serve`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from pocketlens.cli._service_options import ServiceOptions, read_tokens

Positive = validators.Number(gt=0)
Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]
Rate = Annotated[int | None, Parameter(validator=validators.Number(gte=1))]


def run(
    bundle: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    tokens: Annotated[Path | None, Parameter(env_var="POCKETLENS_TOKENS")] = None,
    rate: Rate = None,
    max_body_mb: Annotated[float, Parameter(validator=Positive)] = 100,
    max_waiting_mb: Annotated[float, Parameter(validator=Positive)] = 1_000,
    worker: Annotated[bool, Parameter(negative="--no-worker")] = True,
    allow_urls: Annotated[bool, Parameter(negative="")] = False,
    options: ServiceOptions = ServiceOptions(),  # noqa: B008 - it is frozen
) -> None:
    """Serve a bundle over HTTP: photos in, answers out.

    Begins an API and beside it a worker for what takes longer; Ctrl-C ends both. Without --tokens
    only this machine's own programs are answered. The API is described at /docs.

    Example: `pocketlens serve runs/b/best --port 8000`

    Parameters
    ----------
    bundle
        The bundle that answers; serving another one than the last time makes that the current one.
    host
        Address to listen on; one that others can reach needs --tokens.
    port
        0 takes a free one.
    tokens
        YAML file with a line NAME: TOKEN for each user; NAME: {token: TOKEN, operator: true} may
        promote models.
    rate
        Requests a minute that one user (without tokens: one address) may make.
    max_body_mb
        Larger requests are refused.
    max_waiting_mb
        What one user's photos may come to that wait for their answers.
    worker
        Begin a worker; not where `pocketlens worker` runs elsewhere.
    allow_urls
        Fetch photos that are named by a public address.
    """
    settings = options.settings(
        bundle=bundle,
        host=host,
        port=port,
        tokens=read_tokens(tokens),
        rate=rate,
        max_body_bytes=round(max_body_mb * 1e6),
        max_waiting_bytes=round(max_waiting_mb * 1e6),
        allow_urls=allow_urls,
    )
    from pocketlens.service.serving import serve

    serve(settings, with_worker=worker, tell=partial(print, flush=True))

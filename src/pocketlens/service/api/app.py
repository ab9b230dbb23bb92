"""The ASGI application: everything opened once, every router of `routes/`, and what guards them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from pocketlens.extras import versions
from pocketlens.service.api import problems, routes
from pocketlens.service.api.docs import docs_page
from pocketlens.service.api.limits import Limits
from pocketlens.service.api.logs import Log
from pocketlens.service.api.metrics import Metrics
from pocketlens.service.api.openapi import describe
from pocketlens.service.api.security import Guard
from pocketlens.service.api.state import Service, open_service
from pocketlens.service.settings import Settings

_OFF: Final[Any] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        service: what is opened already, and closed by who opened it; without it the application
            opens all when it starts, and closes it when it ends.
    """
    metrics = Metrics() if service is None else service.metrics

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = open_service(settings, metrics) if service is None else nullcontext(service)
        app.state.service = await run_in_threadpool(opened.__enter__)
        try:
            yield
        finally:
            await run_in_threadpool(opened.__exit__, None, None, None)

    app = FastAPI(
        title="pocketlens",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_OFF,
    )
    for router in routers():
        app.include_router(router)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            version = versions()["pocketlens"]
            document.update(describe(app, with_tokens=bool(settings.tokens), version=version))
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route("/docs", docs_page, include_in_schema=False)
    problems.install(app)
    # The last one added is the first that a request meets.
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Log, metrics=metrics)
    return app


def routers() -> list[APIRouter]:
    """Of all files in `routes/`; routes are tried in this order, so what is asked most is first."""
    modules = pkgutil.iter_modules(routes.__path__)
    names = [module.name for module in modules if not module.name.startswith("_")]
    names.sort(key=lambda name: (name != "predictions", name != "jobs", name))
    return [importlib.import_module(f"{routes.__name__}.{name}").router for name in names]

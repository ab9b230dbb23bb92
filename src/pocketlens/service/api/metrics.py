"""Figures for Prometheus. Labels are words of ours, never what a client sends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from pocketlens.service.database import reading
from pocketlens.service.tables import current, jobs, usage

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
#: Of requests that no route was found for.
NO_ROUTE: Final = "none"


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "pocketlens_requests",
            "Answered requests",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "pocketlens_request_seconds",
            "From a request's head to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._predictions = Counter(
            "pocketlens_predictions",
            "Images and boxes answered by this process",
            ["outcome"],
            registry=self.registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def predicted(self, num: int, num_errors: int) -> None:
        """Count the images of one answer."""
        if num > num_errors:
            self._predictions.labels("answered").inc(num - num_errors)
        if num_errors:
            self._predictions.labels("error").inc(num_errors)

    def text(self, database: Engine) -> bytes:
        """What `/metrics` answers: the counters, and what the database says now."""
        now = CollectorRegistry()
        now.register(_Now(database))
        return generate_latest(self.registry) + generate_latest(now)


class _Now(Collector):
    def __init__(self, database: Engine) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking the database is for `collect` alone."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Figures of the database; `pocketlens_database_up` 0 and no others where it is away."""
        try:
            yield from self._asked()
            up = 1
        except SQLAlchemyError:
            up = 0
        yield GaugeMetricFamily("pocketlens_database_up", "Whether it answers", value=up)

    def _asked(self) -> list[Metric]:
        states = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        waiting = select(func.min(jobs.c.created_at)).where(jobs.c.state == "Pending")
        with reading(self._database) as connection:
            counted = connection.execute(states).all()
            oldest = connection.execute(waiting).scalar()
            stored = connection.execute(select(func.sum(usage.c.size_bytes))).scalar()
            model = connection.execute(select(current.c.model_id)).scalar()
        listed = GaugeMetricFamily(
            "pocketlens_jobs", "Jobs that are kept", labels=["kind", "state"]
        )
        depth = 0
        for kind, state, num in counted:
            listed.add_metric([kind, state], num)
            depth += num if state == "Pending" else 0
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        model_info = GaugeMetricFamily("pocketlens_model", "The model that answers", labels=["id"])
        if model is not None:
            model_info.add_metric([model], 1)
        return [
            listed,
            GaugeMetricFamily("pocketlens_queue_depth", "Jobs that wait", value=depth),
            GaugeMetricFamily(
                "pocketlens_queue_age_seconds", "Of the job waiting longest", value=age
            ),
            GaugeMetricFamily("pocketlens_storage_bytes", "Stored by users", value=stored or 0),
            model_info,
        ]

"""MLflow: the server of MLFLOW_TRACKING_URI, else `mlflow.db` beside the checkpoints."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketlens.extras import require
from pocketlens.loggers._tracker import Tracker

EXTRA = "track"
NEEDS: Final = ("mlflow", "sqlalchemy", "alembic")


@dataclass(frozen=True)
class Config:
    """Nothing to choose: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME do."""


def open(
    run_dir: Path, name: str, settings: Mapping[str, Any], run_id: str | None, config: Config
) -> Tracker:
    """Begin a run, or go on with the one of this id.

    The local store is SQLite: MLflow's own folder of files is refused by its present version.
    """
    # MLflow tells its makers of its use, and waits minutes for a server that is gone.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    require("mlflow", extra=EXTRA)
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    local = f"sqlite:///{(run_dir / 'mlflow.db').resolve()}"
    client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or local)
    if run_id is None:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "pocketlens"
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        run_id = str(client.create_run(place, run_name=name).info.run_id)
        params = [Param(key, str(value)) for key, value in settings.items()]
        client.log_batch(run_id, params=params)
    else:
        client.update_run(run_id, status="RUNNING")
    known = run_id

    def log(row: Mapping[str, float]) -> None:
        now, step = int(1000 * time.time()), int(row["epoch"])
        metrics = [Metric(key, value, now, step) for key, value in row.items() if key != "epoch"]
        client.log_batch(known, metrics=metrics)

    def close(finished: bool) -> None:
        client.set_terminated(known, "FINISHED" if finished else "KILLED")

    return Tracker(known, log, close)

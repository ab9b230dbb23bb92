"""`pocketlens worker`."""

from __future__ import annotations

from pocketlens.cli._service_options import ServiceOptions
from pocketlens.core.errors import UserError


def run(
    *,
    lanes: str | None = None,
    options: ServiceOptions = ServiceOptions(),  # noqa: B008 - it is frozen
) -> None:
    """Work on the jobs of a service: predictions, maps, checks and trainings.

    `pocketlens serve` starts one beside itself; start more where there is more to do, on the same
    or other machines, with the same --database, --queue and --storage. Ctrl-C or SIGTERM lets it
    end the jobs at hand or hand them back; a second one ends it at once.

    Example: `pocketlens worker --storage s3://photos`, with the database's URL and its password in
    POCKETLENS_DATABASE.

    Parameters
    ----------
    lanes
        What it takes, separated by commas: quick (predictions), slow (maps, checks), long
        (trainings, which need torch); default: all. A worker without torch, beside one that has
        it, is given `--lanes quick,slow`.
    """
    chosen = () if lanes is None else tuple(name.strip() for name in lanes.split(","))
    settings = options.settings(lanes=chosen)
    from pocketlens.service import kinds
    from pocketlens.service.worker_process import work

    if unknown := sorted(set(chosen) - set(kinds.LANES)):
        raise UserError(
            f"no lane is called {', '.join(map(repr, unknown))}; known: {', '.join(kinds.LANES)}"
        )
    work(settings)

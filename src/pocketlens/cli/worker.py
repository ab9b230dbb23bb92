"""`pocketlens worker`."""

from __future__ import annotations

from pocketlens.cli._service_options import ServiceOptions


def run(*, options: ServiceOptions = ServiceOptions()) -> None:  # noqa: B008 - it is frozen
    """Work on the jobs of a service: predictions, maps, checks and trainings.

    `pocketlens serve` starts one beside itself; start more where there is more to do, on the same
    or other machines, with the same --database, --queue and --storage. Ctrl-C or SIGTERM lets it
    end the jobs at hand or hand them back; a second one ends it at once.

    Example: `POCKETLENS_DATABASE=postgresql://me:secret@db/lens pocketlens worker --storage s3://photos`
    """
    settings = options.settings()
    from pocketlens.service.worker_process import work

    work(settings)

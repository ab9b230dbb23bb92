"""An account of each job's end that only grows, written by the database itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine, select, text

from pocketlens.service.database import reading
from pocketlens.service.tables import jobs

_SQLITE = (
    "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT, was TEXT, became TEXT)",
    """CREATE TRIGGER audit_ends AFTER UPDATE ON jobs
       WHEN NEW.state IN ('Done', 'Failed') OR OLD.state IN ('Done', 'Failed')
       BEGIN INSERT INTO audit (job_id, was, became) VALUES (NEW.id, OLD.state, NEW.state); END""",
)
_POSTGRES = (
    "CREATE TABLE audit (id BIGSERIAL PRIMARY KEY, job_id TEXT, was TEXT, became TEXT)",
    """CREATE FUNCTION audit_end() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO audit (job_id, was, became) VALUES (NEW.id, OLD.state, NEW.state);
       RETURN NEW; END $$""",
    """CREATE TRIGGER audit_ends AFTER UPDATE ON jobs FOR EACH ROW
       WHEN (NEW.state IN ('Done', 'Failed') OR OLD.state IN ('Done', 'Failed'))
       EXECUTE FUNCTION audit_end()""",
)


@dataclass(frozen=True)
class Ends:
    """How jobs ended.

    Attributes:
        never: jobs without an end.
        twice: jobs that were ended, or changed after their end, more than once.
        tried_again: jobs that more than one worker took up.
        wrong: Done with another answer than was asked for, or Failed for another reason than that
            its workers were killed, each time it was tried.
    """

    done: int
    failed: int
    never: int
    twice: int
    tried_again: int
    wrong: int


def begin_audit(engine: Engine) -> None:
    """Let the database note each change that ends a job, or changes one that has ended."""
    with engine.begin() as connection:
        lines = _POSTGRES if connection.dialect.name == "postgresql" else _SQLITE
        for line in lines:
            connection.execute(text(line))


def num_ended(engine: Engine) -> int:
    """Jobs that have ended."""
    with reading(engine) as connection:
        ended = text("SELECT count(*) FROM jobs WHERE state IN ('Done', 'Failed')")
        return int(connection.execute(ended).scalar_one())


def has_worked(engine: Engine, pid: int) -> bool:
    """Whether a process has taken up a job."""
    with reading(engine) as connection:
        by = jobs.c.worker.like(f"%-{pid}")
        return connection.execute(select(jobs.c.id).where(by).limit(1)).first() is not None


def ends(engine: Engine, answers: dict[str, int], max_attempts: int) -> Ends:
    """The account, of jobs whose ids and right answers these are."""
    with reading(engine) as connection:
        noted = Counter(connection.execute(text("SELECT job_id FROM audit")).scalars())
        rows = connection.execute(
            select(jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.result, jobs.c.code)
        ).all()
    states = {row.id: row.state for row in rows}
    done = [row for row in rows if row.state == "Done"]
    failed = [row for row in rows if row.state == "Failed"]
    return Ends(
        done=len(done),
        failed=len(failed),
        never=sum(states.get(id) not in ("Done", "Failed") or not noted[id] for id in answers),
        twice=sum(count > 1 for count in noted.values()),
        tried_again=sum(row.attempt > 1 for row in rows),
        wrong=sum(row.result != {"answer": answers[row.id]} for row in done)
        + sum((row.code, row.attempt) != ("worker_lost", max_attempts) for row in failed),
    )

"""The study of a sweep: a database of trials that runs on one or many machines add to."""

from __future__ import annotations

import json
import logging
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

import numpy as np

from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.workflows._sweep_space import Range, Space

if TYPE_CHECKING:
    import optuna

#: A trial that was begun and is nobody's: it counts for nothing.
ABANDONED: Final = "abandoned"
#: Trials before the median means something, and the first epoch that is judged by it.
_STARTUP_TRIALS: Final = 5
_FIRST_JUDGED: Final = 2
_TRIES: Final = 4


def check_storage(space: Space, where: Path) -> None:
    """Whether the database's address can be one.

    Raises:
        UserError: it can't; the message doesn't repeat it, since it may hold a password.
    """
    require("optuna", extra="scale")
    if space.storage is None:
        return
    try:
        _url(space.storage).get_dialect().import_dbapi()
    except Exception as error:  # of each driver another
        raise UserError(
            f"{where}: storage is no database that can be used ({type(error).__name__}); write it "
            "as postgresql://USER@HOST/NAME or sqlite:///FILE"
        ) from None


def _url(storage: str) -> Any:
    """The address, with the driver that the extra brings."""
    from sqlalchemy.engine import make_url

    url = make_url(storage)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def masked(storage: str) -> str:
    """The address without its password."""
    return str(_url(storage).render_as_string(hide_password=True))


@contextmanager
def reachable(space: Space) -> Iterator[None]:
    """Errors of the database as one line, without its password.

    Raises:
        UserError: it doesn't answer.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause or error).split())[:200]
        place = "DIR/study.db"
        if space.storage is not None:
            place = masked(space.storage)
            query = _url(space.storage).query
            for secret in (_url(space.storage).password, query.get("password")):
                for text in {str(secret), quote(str(secret)), quote_plus(str(secret))}:
                    reason = reason.replace(text, "***") if secret else reason
        # `from None`: a traceback would show the address
        raise UserError(
            f"the study in {place} doesn't answer: {reason}; go on with --resume when it does"
        ) from None


def open_study(space: Space, target: Path) -> optuna.Study:
    """Make the study, or join the one of this name.

    Raises:
        UserError: it is a search for something else.
    """
    import optuna
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    address = f"sqlite:///{(target / 'study.db').resolve()}"
    if space.storage is not None:
        address = _url(space.storage).render_as_string(hide_password=False)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.startswith("postgresql"):
        # A server that was set up without a language gives bytes unless it is asked for text.
        options["connect_args"] = {"connect_timeout": 15, "client_encoding": "utf8"}
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    pruner = optuna.pruners.MedianPruner(_STARTUP_TRIALS, _FIRST_JUDGED)
    for attempt in range(_TRIES):
        try:
            return optuna.create_study(
                storage=optuna.storages.RDBStorage(address, engine_kwargs=options),
                study_name=space.study,
                direction="minimize" if space.base.metric == "loss" else "maximize",
                pruner=pruner if space.pruner == "median" else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except (
            IntegrityError,
            ProgrammingError,
        ):  # two machines make the same tables at the same time
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.5 * 2**attempt)
    raise AssertionError


def agree(study: optuna.Study, name: str, value: Mapping[str, Any]) -> None:
    """All who add to a study search for the same.

    Raises:
        UserError: others search for something else.
    """
    mine = json.loads(json.dumps(value))
    theirs = study.user_attrs.get(name)
    if theirs is None:
        study.set_user_attr(name, mine)
        return
    differing = [key for key in mine if mine[key] != theirs.get(key)]
    if differing:
        raise UserError(
            f"the study {study.study_name!r} was begun with another {' and '.join(differing)}; "
            "name another `study:` or --out, or start anew with --overwrite"
        )


def counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """All trials but those that nobody wants."""
    return [t for t in study.get_trials(deepcopy=False) if ABANDONED not in t.user_attrs]


def ranked(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Complete trials, the best first; a tie goes to the earlier."""
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    complete = [t for t in counted(study) if t.state.name == "COMPLETE"]
    return sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))


def abandon(study: optuna.Study, trial: optuna.Trial) -> None:
    """Let a trial count for nothing."""
    import optuna

    trial.set_user_attr(ABANDONED, True)
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def unfinished(study: optuna.Study, space: Space, worker: str) -> list[optuna.Trial]:
    """Trials of this output that a killed run left; they go on from their checkpoints."""
    import optuna

    found = []
    for frozen in study.get_trials(deepcopy=False):
        if frozen.state.is_finished() or frozen.user_attrs.get("worker") != worker:
            continue
        trial = optuna.Trial(study, frozen._trial_id)  # `ask` makes new ones only
        if set(frozen.params) == set(space.tried):
            found.append(trial)
        else:
            abandon(study, trial)
    return found


def ask(study: optuna.Study, space: Space, worker: str, host: str) -> optuna.Trial:
    """A new trial. Its values depend on the seed and the trials before, not on interruptions."""
    import optuna

    machine = 0 if space.storage is None else zlib.crc32(worker.encode())
    state = np.random.SeedSequence([space.base.seed, len(counted(study)), machine])
    seed = int(state.generate_state(1)[0])
    study.sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if space.sampler == "random"
        else optuna.samplers.TPESampler(seed=seed, constant_liar=space.storage is not None)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a range that its step doesn't divide ends before
        trial = study.ask()
        trial.set_user_attr("worker", worker)
        trial.set_user_attr("host", host)
        for name, value in space.tried.items():
            _suggest(trial, name, value)
    return trial


def _suggest(trial: optuna.Trial, name: str, value: tuple[Any, ...] | Range) -> None:
    if not isinstance(value, Range):
        trial.suggest_categorical(name, value)
    elif isinstance(value.low, int) and isinstance(value.high, int):
        step = 1 if value.step is None else int(value.step)
        trial.suggest_int(name, value.low, value.high, step=step, log=value.log)
    else:
        trial.suggest_float(name, value.low, value.high, step=value.step, log=value.log)


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each setting in what makes trials good; nothing while there are few."""
    import optuna

    complete = ranked(study)
    if len(complete) < 2 * _STARTUP_TRIALS or len({t.value for t in complete}) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(optuna.importance.get_param_importances(study))
    except (RuntimeError, ValueError):
        return {}

"""What `serve` and `worker` share: flags, environment, file of tokens -> `Settings`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter, validators

from pocketlens.core.errors import UserError
from pocketlens.extras import MODULES, require
from pocketlens.service.settings import Settings, User

_Positive = validators.Number(gt=0)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
#: A token of less could be guessed.
_SHORTEST: Final = 16


@Parameter(name="*")
@dataclass(frozen=True)
class ServiceOptions:
    """Where a service keeps its things, and how it works; API and workers need the same."""

    home: Annotated[Path, Parameter(env_var="POCKETLENS_HOME")] = Path("pocketlens-home")
    """Directory of all that the service keeps: database, photos, models; made where needed."""

    database: Annotated[str | None, Parameter(env_var="POCKETLENS_DATABASE")] = None
    """postgresql://USER:PASSWORD@HOST/NAME, or sqlite:////DIR/FILE.db; default: a file in --home.
    Set it by the environment where it holds a password."""

    queue: Annotated[str | None, Parameter(env_var="POCKETLENS_QUEUE")] = None
    """Where ids of jobs wait: a URL as --database, or redis://HOST:6379/0; default: beside the
    database."""

    storage: Annotated[str | None, Parameter(env_var="POCKETLENS_STORAGE")] = None
    """Where photos are kept: a directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX; default: in
    --home."""

    keep: Annotated[float | None, Parameter(env_var="POCKETLENS_KEEP", validator=_Positive)] = None
    """Days after which answers and uploads are deleted; default: answers after 30, photos for
    training never."""

    quota: Annotated[float | None, Parameter(env_var="POCKETLENS_QUOTA", validator=_Positive)] = (
        None
    )
    """Gigabytes that each user may store; default: no limit."""

    max_megapixels: Annotated[
        float, Parameter(env_var="POCKETLENS_MAX_MEGAPIXELS", validator=_Positive)
    ] = 25
    """Larger photos are refused before they are decoded."""

    threads: Annotated[
        int | None, Parameter(env_var="POCKETLENS_THREADS", validator=validators.Number(gte=1))
    ] = None
    """Processor threads of one call of the network; default: measured at the start."""

    workers: Annotated[
        int | None, Parameter(env_var="POCKETLENS_WORKERS", validator=validators.Number(gte=1))
    ] = None
    """Calls of the network at a time; default: measured at the start."""

    lease: Annotated[float, Parameter(env_var="POCKETLENS_LEASE", validator=_Positive)] = 60
    """Seconds after which a job whose worker gives no sign is taken up by another."""

    max_attempts: Annotated[
        int, Parameter(env_var="POCKETLENS_MAX_ATTEMPTS", validator=validators.Number(gte=1))
    ] = 3
    """A job whose worker was lost so many times has failed."""

    def settings(self, *, bundle: Path | None = None, **more: Any) -> Settings:
        """The settings, with those that only one of the two verbs has.

        Raises:
            UserError: they can't be used together.
            MissingExtraError: the service's libraries aren't installed.
        """
        for module in MODULES["serve"]:
            require(module, extra="serve")
        return Settings(
            bundle=bundle,
            home=self.home.expanduser().absolute(),
            database=self.database,
            queue=self.queue,
            storage=self.storage,
            keep_days=self.keep,
            quota_bytes=None if self.quota is None else round(self.quota * 1e9),
            max_pixels=round(self.max_megapixels * 1e6),
            threads=self.threads,
            workers=self.workers,
            lease_seconds=self.lease,
            max_attempts=self.max_attempts,
            **more,
        )


def read_tokens(path: Path | None) -> dict[str, User]:
    """SHA-256 of each bearer token -> its user, from a YAML file.

    A line is `NAME: TOKEN`, or `NAME: {token: TOKEN, operator: true}`, or with `sha256:` of the
    token in place of it, so that the file holds no secret.

    Raises:
        UserError: the file can't be read or understood; the message repeats no token.
    """
    if path is None:
        return {}
    import yaml

    try:
        found = yaml.safe_load(path.expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the file of tokens {path} can't be read: {error}") from error
    except yaml.YAMLError:  # its message would show a line of the file
        found = None
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} must hold lines of NAME: TOKEN")
    tokens: dict[str, User] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(f"{path}: a user's name is 1 to 64 letters, digits or ._@-")
        digest, operator = _token(path, name, value)
        if digest in tokens:
            raise UserError(f"{path}: {name} and {tokens[digest].name} have the same token")
        tokens[digest] = User(name, operator)
    return tokens


def _token(path: Path, name: str, value: Any) -> tuple[str, bool]:
    given = {"token": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not given.keys() <= {"token", "sha256", "operator"}:
        raise UserError(f"{path}: {name} needs a token, or {{token or sha256, operator}}")
    operator = given.get("operator", False)
    if not isinstance(operator, bool):
        raise UserError(f"{path}: operator of {name} is true or false")
    token, digest = given.get("token"), given.get("sha256")
    if (token is None) == (digest is None):
        raise UserError(f"{path}: {name} needs either token or sha256")
    if digest is not None:
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest.lower()):
            raise UserError(f"{path}: sha256 of {name} is 64 hexadecimal digits")
        return digest.lower(), operator
    if not isinstance(token, str) or len(token) < _SHORTEST or not token.isascii():
        raise UserError(
            f"{path}: the token of {name} needs at least {_SHORTEST} letters or digits; "
            "`openssl rand -hex 32` makes one"
        )
    return hashlib.sha256(token.encode("ascii")).hexdigest(), operator

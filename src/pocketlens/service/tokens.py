"""The file of bearer tokens: who may ask, and who may change what everybody is answered with."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from pocketlens.core.errors import UserError
from pocketlens.service.settings import User

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_SHORTEST: Final = 16


def read_tokens(path: Path) -> dict[str, User]:
    """SHA-256 of each token -> its user.

    A line is `NAME TOKEN`, with `operator` behind it for who may promote models; in place of the
    token its hash may stand, `sha256:HEX`. Empty lines and those that begin with `#` are left out.

    Raises:
        UserError: the file can't be read or a line isn't so; no message repeats a token.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"the tokens in {path} can't be read: {reason}") from error
    found: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        if len(words) not in (2, 3) or words[2:] not in ([], ["operator"]):
            raise UserError(f"{where}: write NAME TOKEN, or NAME TOKEN operator")
        name, token = words[:2]
        if not _NAME.fullmatch(name):
            raise UserError(f"{where}: a name has up to 64 letters, digits and . _ @ -")
        digest = _digest(token, where)
        if digest in found:
            raise UserError(f"{where}: this token stands in the file already")
        found[digest] = User(name, operator=len(words) == 3)
    if not found:
        raise UserError(f"{path} holds no token; write a line NAME TOKEN for each user")
    return found


def _digest(token: str, where: str) -> str:
    hashed = _DIGEST.fullmatch(token)
    if hashed is not None:
        return hashed[1]
    if len(token) < _SHORTEST:
        raise UserError(f"{where}: the token is shorter than {_SHORTEST} letters; make one by "
                        "python -c 'import secrets; print(secrets.token_urlsafe())'")  # fmt: skip
    return hashlib.sha256(token.encode()).hexdigest()

"""What the service gives as a code with values, as sentences in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pocketlens.ui.words import Language, say, say_of


def sentences(language: Language, prefix: str, reasons: object) -> list[str] | None:
    """A sentence a reason, not escaped for any markup.

    Args:
        prefix: of the texts' keys.
        reasons: each has a `code` and `values`.

    Returns:
        None where one can't be said: an older service gives none, a newer one may have others.
    """
    if not isinstance(reasons, Sequence) or not reasons:
        return None
    found = []
    for reason in reasons:
        key, values = f"{prefix}_{reason['code']}", reason["values"]
        try:
            shown = {name: _shown(language, name, value) for name, value in values.items()}
            found.append(say(language, key, **shown))
        except KeyError:
            return None
    return found


def _shown(language: Language, name: str, value: Any) -> str:
    if name in ("task", "current"):
        return say_of(language, "task", value) or str(value)
    if name == "metric":
        return say_of(language, "metric", value) or str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {number}" for key, number in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:z.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

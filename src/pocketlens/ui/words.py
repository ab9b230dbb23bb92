"""The page's texts by key, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pocketlens.ui.texts import common, compare, gate, jobs, recognise, teach, train

Language = Literal["en", "ko"]
LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "ko": "한국어"}

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    **common.TEXTS,
    **recognise.TEXTS,
    **teach.TEXTS,
    **train.TEXTS,
    **compare.TEXTS,
    **jobs.TEXTS,
    **gate.TEXTS,
}
_PLACE: Final[Mapping[Language, int]] = {"en": 0, "ko": 1}


def say(language: Language, key: str, /, **values: object) -> str:
    """The text of `key`, its `{names}` filled in; not escaped for any markup."""
    return TEXTS[key][_PLACE[language]].format(**values)


def say_of(language: Language, prefix: str, kind: str | None) -> str | None:
    """The text of `PREFIX_KIND`, or None where there is none: the service may be newer."""
    key = f"{prefix}_{kind}"
    return TEXTS[key][_PLACE[language]] if key in TEXTS else None


def field(language: Language, name: str) -> str:
    """A field of a class's information; a name that isn't known stays as it is."""
    return recognise.FIELDS[name][_PLACE[language]] if name in recognise.FIELDS else name


def from_locale(locale: str | None) -> Language:
    """Korean for a Korean browser, else English."""
    return "ko" if (locale or "").lower().split("-")[0] == "ko" else "en"

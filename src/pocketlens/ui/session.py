"""What a reader's session holds: language, client, what was asked and answered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from pocketlens.ui.client import Client, Json, Problem, Unreachable
from pocketlens.ui.reasons import sentences
from pocketlens.ui.recent import Recent
from pocketlens.ui.show import plain
from pocketlens.ui.words import LANGUAGES, Language, from_locale, say, say_of

#: States in which a job no longer changes.
ENDED: Final = ("Done", "Failed", "Cancelled")


@dataclass(frozen=True)
class Options:
    """What `pocketlens ui` was started with; handed over in the environment.

    Attributes:
        token: used for every reader; None: the service needs none, or each reader gives one.
        public: others than this machine can reach the page.
        language: `auto` follows the browser.
        max_mb: of one uploaded file.
    """

    service: str
    token: str | None
    public: bool
    language: str
    max_mb: int


def options() -> Options:
    """The options of this process."""
    read = os.environ.get
    return Options(
        service=read("POCKETLENS_SERVICE", "http://127.0.0.1:8000"),
        token=read("POCKETLENS_TOKEN") or None,
        public=read("POCKETLENS_UI_PUBLIC") == "1",
        language=read("POCKETLENS_UI_LANGUAGE", "auto"),
        max_mb=int(read("POCKETLENS_UI_MAX_MB", "100")),
    )


def language() -> Language:
    """The reader's: chosen (kept in the URL), else as the page was started, else the browser's."""
    for wanted in (st.session_state.get("lang"), st.query_params.get("lang"), options().language):
        for code in LANGUAGES:
            if wanted == code:
                return code
    return from_locale(st.context.locale)


def t(key: str, /, **values: object) -> str:
    """A text in the reader's language; the values are shown as they are, whatever they hold."""
    return say(language(), key, **{name: plain(value) for name, value in values.items()})


def raw(key: str, /, **values: object) -> str:
    """As `t`, for places that know no markup (alternative texts, options of a list, HTML)."""
    return say(language(), key, **values)


def client() -> Client:
    """The reader's way to the service."""
    return Client(options().service, st.session_state.get("token") or options().token)


def kept(name: str) -> dict[str, Any]:
    """A dictionary that lives as long as the session, over pages and languages."""
    found = st.session_state.setdefault(f"kept_{name}", {})
    assert isinstance(found, dict)
    return found


def recent(name: str) -> Recent:
    """As `kept`, of things that the service has and that are many: the latest of them."""
    found = st.session_state.setdefault(f"recent_{name}", Recent())
    assert isinstance(found, Recent)
    return found


def trouble(error: Problem) -> str:
    """What the service refused, in the reader's words, as Markdown."""
    return reason(error.code, None if error.status >= 500 else error.detail)


def reason(code: str | None, detail: str | None) -> str:
    """Why something didn't work, as Markdown: our words for the code, else the service's own."""
    known = say_of(language(), "code", code)
    if known is not None:
        return plain(known)
    return t("trouble", detail=detail) if detail else t("trouble_ours")


def said(prefix: str, reasons: object) -> list[str] | None:
    """Sentences for what the service gave as codes, as Markdown; None: it gave none we know."""
    found = sentences(language(), prefix, reasons)
    return None if found is None else [plain(sentence) for sentence in found]


@contextmanager
def told() -> Iterator[None]:
    """Show the service's refusals in plain words.

    A missing token and a service that isn't there are for the whole page to say (`app.py`).
    """
    try:
        yield
    except Problem as error:
        if error.denies:
            raise
        st.error(trouble(error))


def one_of(label: str, options: Mapping[str, str], *, key: str) -> str:
    """One of some ways, by its key; the first until the reader takes another.

    Args:
        options: keys, and what the reader sees of them.
        key: of the choice, which lives as long as the session.
    """
    return st.segmented_control(
        label,
        list(options),
        default=next(iter(options)),
        format_func=lambda name: options[name],
        key=key,
        required=True,
        persist_state="session",
    )


def ask(path: str, **query: object) -> Any:
    """GET as JSON; None, and the reason on the page, where the service refuses."""
    with told():
        return client().get(path, **query)
    return None


def job_of(job_id: str) -> Json:
    """A job as it is now; one that has ended isn't asked for again."""
    ended = recent("jobs")
    job: Json | None = ended.get(job_id)
    if job is None:
        job = client().get(f"/v1/jobs/{job_id}")
        assert job is not None
        if job.get("state") in ENDED:
            ended.put(job_id, job)
    return job


__all__ = ["ENDED", "Options", "Unreachable", "ask", "client", "job_of", "kept", "language"]
__all__ += ["one_of", "options", "raw", "reason", "recent", "said", "t", "told", "trouble"]

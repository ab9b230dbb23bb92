"""Before a screen is drawn: is the service there, and may this reader in?"""

from __future__ import annotations

from typing import Final

import streamlit as st

from pocketlens.ui.client import Client, Problem, Unreachable
from pocketlens.ui.session import client, options, raw, t, trouble

_SECONDS: Final = 3.0
#: What needs a token but little work.
_PATH: Final = "/v1/models"


def passed() -> bool:
    """Whether the screen may be drawn; otherwise the page says what is missing.

    Raises:
        Unreachable: the service doesn't answer.
    """
    known = st.session_state.get("passed") == (client().service, client().token)
    if known:
        _forget()
        return True
    if options().public and _refusal(Client(options().service)) is None:
        st.error(t("open_to_all"))
        return False
    refused = _refusal(client())
    if refused is None:
        st.session_state["passed"] = (client().service, client().token)
        _forget()
        return True
    st.info(t("token_why"))
    if st.session_state.get("token"):
        st.error(trouble(refused))
    with st.form("token_form"):
        given = st.text_input(raw("token"), type="password", autocomplete="off")
        if st.form_submit_button(raw("token_use"), type="primary") and given.strip():
            st.session_state["token"] = given.strip()
            st.rerun()
    return False


def keep_trying() -> None:
    """Say that the service isn't there, and go on by itself when it is."""

    def watch() -> None:
        try:
            _refusal(client())
        except Unreachable:
            st.warning(t("unreachable", service=options().service))
            return
        st.rerun()

    st.fragment(watch, run_every=_SECONDS)()


def _refusal(reader: Client) -> Problem | None:
    """What the service says against a token; None: it is a right one, or none is needed."""
    try:
        reader.get(_PATH)
    except Problem as error:
        return error if error.denies else None
    return None


def _forget() -> None:
    if st.session_state.get("token"):
        with st.sidebar:
            if st.button(raw("token_forget")):
                st.session_state.clear()
                st.rerun()

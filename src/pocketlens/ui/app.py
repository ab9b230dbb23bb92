"""The script that Streamlit runs for each reader: language, token, navigation, screen."""

from __future__ import annotations

import streamlit as st

from pocketlens.ui import gate, session, style
from pocketlens.ui.client import Problem, Unreachable
from pocketlens.ui.screens import compare, jobs, recognise, teach, train
from pocketlens.ui.words import LANGUAGES

_SCREENS = {
    "recognise": (recognise.show, ":material/search:"),
    "teach": (teach.show, ":material/add_photo_alternate:"),
    "train": (train.show, ":material/model_training:"),
    "compare": (compare.show, ":material/table_chart:"),
    "jobs": (jobs.show, ":material/list_alt:"),
}


def _language() -> None:
    """The switch; the choice stands in the URL, so that a link keeps it."""
    if "lang" not in st.session_state:
        st.session_state["lang"] = session.language()
    st.segmented_control(
        session.raw("language"),
        list(LANGUAGES),
        format_func=lambda code: LANGUAGES[code],
        key="lang",
        required=True,
        label_visibility="collapsed",
    )
    if st.query_params.get("lang") != session.language():
        st.query_params["lang"] = session.language()


def _page() -> None:
    pages = {
        name: st.Page(
            screen,
            title=session.raw(f"nav_{name}"),
            icon=icon,
            url_path=name,
            default=name == "recognise",
        )
        for name, (screen, icon) in _SCREENS.items()
    }
    st.set_page_config(page_title="pocketlens", page_icon=style.favicon(), layout="centered")
    page = st.navigation(list(pages.values()), position="sidebar")
    st.html(style.sheet(session.language(), session.options().max_mb))
    st.html(style.spoken(session.language()), unsafe_allow_javascript=True)
    with st.sidebar:
        _language()
    try:
        if gate.passed():
            page.run()
    except Unreachable:
        gate.keep_trying()
    except Problem as error:
        if not error.denies:
            st.error(session.trouble(error))
        else:  # the token was taken back in the meantime
            st.session_state.pop("passed", None)
            st.rerun()


_page()

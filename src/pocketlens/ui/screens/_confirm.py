"""A button that asks once more before it does what can't be undone."""

from __future__ import annotations

import streamlit as st

from pocketlens.ui.session import raw, t


def confirmed(label: str, question: str, *, key: str, primary: bool = False) -> bool:
    """Whether the reader pressed the button and then said yes.

    Args:
        label: key of the button's text.
        question: key of the text that stands above yes and no.
        key: unlike that of every other button of the screen.
    """
    asked = f"ask_{key}"
    if not st.session_state.get(asked):
        if st.button(raw(label), key=f"first_{key}", type="primary" if primary else "secondary"):
            st.session_state[asked] = True
            st.rerun()
        return False
    st.warning(t(question))
    with st.container(horizontal=True):
        yes = st.button(raw("confirm"), key=f"yes_{key}", type="primary")
        no = st.button(raw("back"), key=f"no_{key}")
    if yes or no:
        st.session_state[asked] = False
    if no:
        st.rerun()
    return yes

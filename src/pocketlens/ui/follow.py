"""Following a job without freezing the page: a part of it asks again by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from pocketlens.ui.client import Json, Problem, Unreachable
from pocketlens.ui.session import ENDED, client, job_of, raw, t, told, trouble

_SECONDS: Final = 0.7


def follow(
    job_id: str,
    *,
    working: str,
    progress: Callable[[Json], None] | None = None,
    border: bool = True,
) -> Json | None:
    """The job when it has ended; until then its state is shown, and None is returned.

    Args:
        job_id: of a job of this reader.
        working: what is being done, for the reader (Markdown).
        progress: draws the job's progress, where it has one.
        border: whether the state stands in a box of its own.
    """
    try:
        job = job_of(job_id)
    except Problem as error:
        st.error(trouble(error))
        return None
    if job["state"] in ENDED:
        return job

    first = [job]

    def watch() -> None:
        try:
            now = first.pop() if first else job_of(job_id)
            if now["state"] not in ENDED:
                _state(now, working, progress, border)
                return
        except (Problem, Unreachable):
            pass  # the whole page says what is the matter
        st.rerun()

    st.fragment(watch, run_every=_SECONDS)()
    return None


def _state(job: Json, working: str, progress: Callable[[Json], None] | None, border: bool) -> None:
    with st.container(border=border):
        st.markdown(f":material/hourglass_top: {working} · **{t('state_' + job['state'])}**")
        if progress is not None and job.get("progress"):
            progress(job)
        if st.button(raw("cancel"), key=f"cancel_{job['job_id']}"):
            with told():
                client().post(f"/v1/jobs/{job['job_id']}/cancel")

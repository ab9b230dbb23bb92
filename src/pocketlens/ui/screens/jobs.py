"""Jobs and storage: what was asked, what is kept, what was deleted."""

from __future__ import annotations

from typing import Final

import streamlit as st

from pocketlens.ui import show as text
from pocketlens.ui.client import Json
from pocketlens.ui.session import ENDED, ask, client, kept, language, raw, t, told
from pocketlens.ui.show import plain
from pocketlens.ui.words import say_of

_LISTED: Final = 20
_STATES: Final = ("Pending", "Running", "Done", "Failed")


def show() -> None:
    """The screen."""
    st.title(raw("jobs_title"), anchor=False)
    st.markdown(t("jobs_intro"))
    states = {"": raw("jobs_all")} | {state: raw(f"state_{state}") for state in _STATES}
    state = st.selectbox(
        raw("jobs_state"),
        list(states),
        format_func=lambda state: states[state],
        key="jobs_state",
        persist_state="session",
    )
    here = kept("jobs_page")
    if here.get("state") != state:  # a place in another list is none in this one
        here.clear()
        here["state"] = state
    found = ask("/v1/jobs", state=state or None, limit=_LISTED, after=here.get("after"))
    if found is None:
        return
    if not found["jobs"]:
        st.markdown(t("jobs_none"))
    for job in found["jobs"]:
        _job(job)
    with st.container(horizontal=True):
        st.button(raw("jobs_again"), icon=":material/refresh:")
        if found.get("next") and st.button(raw("jobs_more")):
            here["after"] = found["next"]
            st.rerun()
        if here.get("after") and st.button(raw("jobs_newest")):
            del here["after"]
            st.rerun()
    _account()


def _job(job: Json) -> None:
    when = text.when(job["created_at"])
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        kind = say_of(language(), "kind", job["kind"]) or job["kind"]
        with st.container():
            st.markdown(f"**{plain(kind)}** · {plain(when)}")
            why = f" – {plain(_why(job))}" if job["state"] == "Failed" else ""
            st.caption(f"{t('state_' + job['state'])}{why}")
        if job["state"] not in ENDED:
            if st.button(
                raw("cancel"), key=f"stop_{job['job_id']}", help=t("jobs_cancel", when=when)
            ):
                with told():
                    client().post(f"/v1/jobs/{job['job_id']}/cancel")
                    st.rerun()
        elif st.button(
            raw("delete"), key=f"delete_{job['job_id']}", help=t("jobs_delete", when=when)
        ):
            with told():
                client().delete(f"/v1/jobs/{job['job_id']}")
                st.rerun()


def _why(job: Json) -> str:
    return say_of(language(), "code", job["code"]) or str(job["reason"] or "")


def _account() -> None:
    account = ask("/v1/account")
    if account is None:
        return
    st.subheader(raw("stored"), anchor=False)
    quota = account.get("quota_bytes")
    rows: list[tuple[str, object]] = [
        (raw("stored_bytes"), text.size(account["size_bytes"])),
        (raw("stored_quota"), text.size(quota) if quota else raw("stored_no_quota")),
    ]
    rows += [
        (raw("stored_photos"), account["num_photos"]),
        (raw("stored_datasets"), account["num_datasets"]),
        (raw("stored_jobs"), account["num_jobs"]),
        (
            raw("stored_models"),
            raw(
                "stored_models_of",
                num=account["num_models"],
                most=account["max_models"],
                size=text.size(account["models_bytes"]),
            ),
        ),
        (raw("stored_answers_for"), _days(account["keep_answers_days"])),
        (raw("stored_photos_for"), _days(account["keep_photos_days"])),
    ]
    text.table(rows, name=raw("stored"))
    st.subheader(raw("deletions"), anchor=False)
    gone = account.get("deletions") or []
    if not gone:
        st.markdown(t("deletions_none"))
        return
    header = (raw("when"), raw("what"), raw("count"), raw("size"), raw("reason"))
    text.table(
        [
            (
                text.when(one["at"]),
                say_of(language(), "kind", one["what"]) or one["what"],
                one["count"],
                text.size(one["size_bytes"]),
                say_of(language(), "kind", one["why"]) or one["why"],
            )
            for one in gone
        ],
        header=header,
        name=raw("deletions"),
    )


def _days(days: float | None) -> str:
    return raw("stored_for_ever") if days is None else raw("stored_days", days=f"{days:g}")

"""Teach: labelled photos in, and whether they are ready to be learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from pocketlens.ui import show as text
from pocketlens.ui.client import File, Json, Problem
from pocketlens.ui.follow import follow
from pocketlens.ui.photos import TYPES
from pocketlens.ui.screens._confirm import confirmed
from pocketlens.ui.session import (
    ask,
    client,
    kept,
    language,
    one_of,
    raw,
    reason,
    recent,
    said,
    t,
    told,
)
from pocketlens.ui.words import say_of

_BARS: Final = 30


def show() -> None:
    """The screen."""
    st.title(raw("teach_title"), anchor=False)
    st.markdown(t("teach_intro"))
    found = ask("/v1/datasets")
    if found is None:
        return
    names = [dataset["dataset"] for dataset in found["datasets"]]
    name = st.selectbox(
        raw("dataset"),
        names,
        index=0 if names else None,
        accept_new_options=True,
        placeholder=raw("dataset_new"),
        help=t("dataset_help"),
        key="teach_dataset",
        persist_state="session",
    )
    if not name:
        return
    _add(name)
    known = next((dataset for dataset in found["datasets"] if dataset["dataset"] == name), None)
    dataset = ask(_path(name)) if known else None
    _content(dataset)
    if dataset and dataset["num_samples"]:
        _check(name)
    if known and confirmed("dataset_delete", "dataset_delete_sure", key=f"drop_{name}"):
        with told():
            client().delete_dataset(name)
            recent("checks").drop(name)
            st.toast(t("dataset_deleted"))
            st.rerun()


def _add(name: str) -> None:
    st.subheader(raw("add_title"), anchor=False)
    ways = {"photos": raw("add_photos"), "zip": raw("add_zip")}
    way = one_of(raw("add_how"), ways, key="way")
    # A new key empties the chooser after its files were added.
    turn = kept("teach").setdefault("turn", 0)
    if way == "zip":
        archive = st.file_uploader(
            raw("add_zip"), type=["zip"], help=t("zip_help"), key=f"zip_{turn}"
        )
        st.caption(t("zip_help"))
        files = [(archive.name, archive.getvalue())] if archive else []
        ready = bool(files)
        label = None
    else:
        label = _label()
        chosen = st.file_uploader(
            raw("photos_label"), type=TYPES, accept_multiple_files=True, key=f"teach_{turn}"
        )
        files = [(file.name, file.getvalue()) for file in chosen or []]
        ready = bool(files) and bool(label)
    replace = st.checkbox(raw("replace"), help=t("replace_help"), key=f"replace_{turn}")
    go = st.button(raw("add_go"), type="primary", icon=":material/add:", disabled=not ready)
    if go and ready:
        _send(name, files, label, replace=replace)
    if (done := kept("teach").get("done")) is not None and done["dataset"] == name:
        _added(done)


def _label() -> str | None:
    """A class that the model knows, by its name, or one that is typed."""
    classes = (ask("/v1/classes") or {"classes": []})["classes"]
    called = {
        entry["label"]: f"{entry['name']} ({entry['label']})"
        if entry.get("name") and entry["name"] != entry["label"]
        else entry["label"]
        for entry in classes
    }
    label = st.selectbox(
        raw("add_label"),
        list(called),
        index=None,
        format_func=lambda label: called.get(label, label),
        accept_new_options=True,
        placeholder=raw("add_label_new"),
        help=t("add_label_help"),
        key="label",
        persist_state="session",
    )
    return (label or "").strip() or None


def _send(name: str, files: list[File], label: str | None, *, replace: bool) -> None:
    state = kept("teach")
    with told(), st.spinner(t("adding")):
        try:
            if label is None:
                done = client().add_archive(name, files[0], replace=replace)
            else:
                done = client().add_photos(name, files, label, replace=replace)
        except Problem as error:
            if "rejected" not in error.body:
                raise
            done = {"added": 0, "duplicates": 0, "rejected": error.body["rejected"]}
        called = {f"images[{number}]": file for number, (file, _) in enumerate(files)}
        rejected = [
            one | {"name": called.get(one["name"], one["name"])} for one in done["rejected"]
        ]
        state["done"] = done | {"dataset": name, "rejected": rejected}
        state["turn"] += 1
        recent("checks").drop(name)
        st.rerun()


def _added(done: Json) -> None:
    rejected = done["rejected"]
    words = t(
        "added",
        added=done["added"],
        duplicates=done["duplicates"],
        rejected=done.get("num_rejected", len(rejected)),
    )
    replaced = done.get("replaced", 0)
    words += f" {t('replaced', replaced=replaced)}" if replaced else ""
    good = (done["added"] or replaced) and not rejected
    (st.success if good else st.info)(words)
    if rejected:
        rows = [
            (one["name"], say_of(language(), "code", one["code"]) or one["reason"])
            for one in rejected
        ]
        st.markdown(f"**{t('rejected_title')}**")
        text.table(rows, header=(raw("file"), raw("reason")), name=raw("rejected_title"))


def _content(dataset: Json | None) -> None:
    st.subheader(raw("content_title"), anchor=False)
    if not dataset or not dataset["num_samples"]:
        st.markdown(t("content_none"))
        return
    counts: Mapping[str, int] = dataset["class_counts"]
    st.markdown(t("content", samples=dataset["num_samples"], classes=len(counts)))
    _counts(counts)


def _counts(counts: Mapping[str, int]) -> None:
    """A bar chart of photos a class; long ones are folded."""
    most = max(counts.values(), default=1)
    rows = [(label, count / most, str(count)) for label, count in counts.items()]
    text.bars(rows[:_BARS], name=raw("content_title"))
    if rows[_BARS:]:
        with st.expander(f"+ {len(rows) - _BARS}"):
            text.bars(rows[_BARS:], name=raw("content_title"))


def _check(name: str) -> None:
    st.subheader(raw("check_title"), anchor=False)
    checks = recent("checks")
    if st.button(raw("check_go"), icon=":material/fact_check:"):
        with told():
            checks.put(name, client().check(name))
    found = checks.get(name)
    if found is None:
        return
    if "num_samples" not in found:  # it is being made
        job = follow(found["job_id"], working=t("check_working"))
        if job is None:
            return
        if job["state"] != "Done":
            st.error(reason(job["code"], job["reason"]))
            return
        with told():
            found = client().check(name)
            checks.put(name, found)
        if "num_samples" not in found:
            return
    _findings(found)


def _findings(found: Mapping[str, Any]) -> None:
    if found["ready"]:
        st.success(t("check_ready"))
    else:
        st.warning(t("check_not_ready"))
        lines = said("missing", found.get("reasons"))
        missing = [text.plain(line) for line in found.get("missing") or []]
        st.markdown("\n".join(f"- {line}" for line in lines or missing))
    parts = found.get("splits") or {}
    st.markdown(t("split", **{part: parts.get(part, 0) for part in ("train", "val", "test")}))
    if not found["problems"]:
        st.markdown(t("check_clean"))
        return
    st.markdown(f"**{t('check_found')}**")
    rows = [
        (
            problem["count"],
            say_of(language(), "found", problem["kind"]) or problem["message"],
            "; ".join(problem.get("examples", [])[:3]),
        )
        for problem in found["problems"]
    ]
    header = (raw("count"), raw("check_found"), raw("examples"))
    text.table(rows, header=header, name=raw("check_found"))


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/v1/datasets/{quote(name, safe='')}"

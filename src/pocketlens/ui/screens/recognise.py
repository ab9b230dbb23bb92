"""Recognise: photos in, names and information out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from pocketlens.ui.client import File, Json
from pocketlens.ui.follow import follow
from pocketlens.ui.photos import TYPES, shown
from pocketlens.ui.screens import _answer
from pocketlens.ui.session import client, kept, one_of, raw, reason, t, told
from pocketlens.ui.show import plain

#: Runs whose photos and answers a session keeps in memory.
_MAX_RUNS: Final = 5

Box = tuple[int, int, int, int]


def show() -> None:
    """The screen."""
    st.title(raw("recognise_title"), anchor=False)
    st.markdown(t("recognise_intro"))
    photos = _choose()
    boxes = _parts(photos) if photos else []
    go = st.button(
        raw("recognise_go"), type="primary", icon=":material/search:", disabled=not photos
    )
    if go and photos:
        _send(photos, boxes)
    runs: list[Json] = kept("recognise").setdefault("runs", [])
    for number, run in enumerate(reversed(runs)):
        if number == 0:
            _run(run)
        else:
            when = f"{raw('earlier')}: {', '.join(name for name, _ in run['photos'])}"
            with st.expander(plain(when)):
                _run(run)
    if runs and st.button(raw("recognise_again")):
        runs.clear()
        st.rerun()


def _choose() -> list[File]:
    """Photos from files or the camera; the camera is asked for only when it is chosen."""
    sources = {"files": raw("source_files"), "camera": raw("source_camera")}
    source = one_of(raw("source"), sources, key="source")
    if source == "camera":
        taken = st.camera_input(raw("camera_label"))
        return [("camera.jpg", taken.getvalue())] if taken else []
    files = st.file_uploader(
        raw("photos_label"), type=TYPES, accept_multiple_files=True, key="photos"
    )
    return [(file.name, file.getvalue()) for file in files or []]


def _parts(photos: Sequence[File]) -> list[Box | None]:
    """A frame for each photo, where the reader draws one."""
    chosen: list[Box | None] = [None] * len(photos)
    frames: dict[int, Box] = kept("recognise").setdefault("frames", {})
    with st.expander(t("part_title"), icon=":material/crop:"):
        st.markdown(t("part_intro"))
        which = 0
        if len(photos) > 1:
            names = [f"{number + 1}. {name}" for number, (name, _) in enumerate(photos)]
            which = st.selectbox(
                raw("part_which"), range(len(photos)), format_func=lambda number: names[number]
            )
        name, data = photos[which]
        key = hash(data)
        picture = shown(data)
        if picture is None:
            st.info(t("part_unreadable"))
        else:
            _part(name, data, picture[1], key, frames)
    for number, (_, data) in enumerate(photos):
        chosen[number] = frames.get(hash(data))
    return chosen


def _part(name: str, data: bytes, size: tuple[int, int], key: int, frames: dict[int, Box]) -> None:
    """Two sliders and a picture of what they enclose."""
    width, height = size
    used = st.toggle(raw("part_use"), value=key in frames, key=f"use_{key}")
    if not used or min(size) < 2:
        frames.pop(key, None)
        return
    x, y, w, h = frames.get(key, _middle(width, height))
    across = st.slider(raw("part_across"), 0, width, (x, x + w), key=f"across_{key}")
    down = st.slider(raw("part_down"), 0, height, (y, y + h), key=f"down_{key}")
    left, top = across[0], down[0]
    frames[key] = (left, top, max(1, across[1] - left), max(1, down[1] - top))
    framed = shown(data, frames[key])
    assert framed is not None
    st.image(framed[0], alt=raw("part_alt", name=name), width=360)


def _middle(width: int, height: int) -> Box:
    """A frame to begin with, which things in the middle of a photo fit into."""
    left, top = round(0.15 * width), round(0.15 * height)
    return left, top, width - 2 * left, height - 2 * top


def _send(photos: Sequence[File], boxes: Sequence[Box | None]) -> None:
    runs: list[Json] = kept("recognise").setdefault("runs", [])
    form = [None if box is None else list(box) for box in boxes]
    asked = hash((*(data for _, data in photos), str(form)))
    # A second click while the first is being sent, or its job runs, is the same job.
    key = uuid.uuid4().hex
    for run in runs:
        if run["asked"] == asked and not run.get("ended"):
            key = run["key"]
    sending = kept("recognise").setdefault("sending", {})
    key = sending.setdefault(asked, key)
    with told():
        job = client().predict(photos, form, key)
        if job["job_id"] not in [run["job_id"] for run in runs]:
            runs.append(
                {"job_id": job["job_id"], "photos": list(photos), "asked": asked, "key": key}
            )
        del runs[:-_MAX_RUNS]
    sending.pop(asked, None)


def _run(run: Json) -> None:
    photos: list[File] = run["photos"]
    job = follow(run["job_id"], working=t("working", count=len(photos)))
    if job is None:
        return
    run["ended"] = True
    if job["state"] != "Done":
        st.error(reason(job.get("code"), job.get("reason")))
        return
    answers: list[dict[str, Any]] = job["result"]["predictions"]
    several = job["result"]["task"] == "multi_label"
    drug = False
    for number, answer in enumerate(answers):
        name, data = photos[answer["image"]]
        with st.container(border=True):
            key = f"{run['job_id']}_{number}"
            _answer.show(answer, name, data, several=several, key=key)
        drug = drug or any(field.startswith("dl_") for field in answer.get("info") or {})
    if drug:
        st.caption(t("not_advice"))

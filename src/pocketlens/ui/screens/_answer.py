"""One answer: the photo, the name, how sure, what is known of it, and a map on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import streamlit as st

from pocketlens.ui import show as text
from pocketlens.ui.client import Json
from pocketlens.ui.follow import follow
from pocketlens.ui.photos import shown
from pocketlens.ui.session import client, language, raw, reason, recent, t, told
from pocketlens.ui.texts.recognise import FIELDS
from pocketlens.ui.words import field, say_of

_METHODS: Final = ("auto", "gradcam", "eigencam", "occlusion")


def show(answer: Json, name: str, data: bytes, *, several: bool, key: str) -> None:
    """Draw one entry of a result's `predictions`.

    Args:
        several: a photo may have any number of labels.
        name: of the photo, as its reader calls it.
        data: the photo's bytes.
        key: unlike that of every other answer of this session.
    """
    left, right = st.columns([2, 3], gap="medium")
    box = answer.get("box")
    label = _label(answer)
    with left:
        picture = shown(data, box)
        if picture is not None:
            words = raw("answer_alt_box" if box else "answer_alt", name=name, label=label)
            st.image(picture[0], alt=words, width="stretch")
        st.caption(text.plain(name))
    with right:
        if answer.get("error"):
            text.heading(raw("photo_trouble"))
            st.error(reason(answer.get("code"), answer["error"]))
            return
        _several(answer) if several else _one(answer, label)
        for hint in answer.get("hints") or []:
            known = say_of(language(), "hint", hint["code"])
            st.info(text.plain(known or hint["text"]), icon=":material/lightbulb:")
    _info(answer.get("info") or {})
    _map(answer, name, data, key)


def _label(answer: Json) -> str:
    """The name as its readers call it: the English one for English readers, where there is one."""
    info = answer.get("info") or {}
    if language() == "en" and info.get("dl_name_en"):
        return str(info["dl_name_en"])
    return str(answer.get("name") or answer.get("label") or raw("no_label"))


def _several(answer: Json) -> None:
    text.heading(raw("all_labels"))
    if answer["labels"]:
        text.bars(_rows(answer["labels"]), name=raw("all_labels"), first=True)
    else:
        st.markdown(t("no_label"))
    st.caption(t("top"))
    text.bars(_rows(answer["top"]), name=raw("top"))


def _one(answer: Json, label: str) -> None:
    code = answer["label"]
    text.heading(label, small=code if code != label else None)
    percent = f"{100 * answer['confidence']:.0f}"
    if answer["unsure"]:
        st.badge(raw("unsure"), icon=":material/help:", color="orange")
        st.markdown(f"{t('confidence', percent=percent)}. {t('unsure_why')}")
    else:
        st.markdown(t("confidence", percent=percent))
    st.caption(t("top"))
    text.bars(_rows(answer["top"]), name=raw("top"), first=not answer["unsure"])


def _rows(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, str]]:
    return [
        (_called(entry), entry["probability"], f"{100 * entry['probability']:.1f} %")
        for entry in entries
    ]


def _called(entry: Mapping[str, Any]) -> str:
    name, label = entry.get("name"), str(entry["label"])
    return f"{name} ({label})" if name and name != label else label


def _info(info: Mapping[str, Any]) -> None:
    known = [name for name in FIELDS if name in info]
    rows = [
        (field(language(), name), info[name])
        for name in (*known, *(name for name in info if name not in FIELDS))
        if info[name] not in ("", None, [])
    ]
    with st.expander(t("info"), expanded=True, icon=":material/info:"):
        if rows:
            text.table(rows, name=raw("info"))
        else:
            st.markdown(t("no_info"))


def _map(answer: Json, name: str, data: bytes, key: str) -> None:
    maps = recent("maps")
    methods = {method: raw(f"map_{method}") for method in _METHODS}
    # With a key of its own it stays open when the language, and so its heading, changes.
    with st.expander(t("map_title"), key=f"open_{key}", icon=":material/blur_on:"):
        method = st.selectbox(
            raw("map_method"),
            list(methods),
            format_func=lambda method: methods[method],
            key=f"method_{key}",
        )
        if st.button(raw("map_go"), key=f"map_{key}"):
            with told():
                job = client().explain(
                    (name, data),
                    box=answer.get("box"),
                    class_id=answer.get("class_id"),
                    method=method,
                )
                maps.put(key, job["job_id"])
        if (drawn := maps.get(key)) is not None:
            _drawn(drawn, name)


def _drawn(job_id: str, name: str) -> None:
    job = follow(job_id, working=t("map_working"))
    if job is None:
        return
    if job["state"] != "Done":
        st.error(reason(job.get("code"), job.get("reason")))
        return
    result = job["result"]
    method = result["method_title"]
    for entry in result["maps"]:
        with told():
            picture = _file(entry["overlay"])
            st.image(picture, alt=raw("map_alt", name=name, method=method), width=420)
            if result.get("of_class"):
                st.caption(t("map_caption_class", method=method, label=_called(entry)))
            else:
                st.caption(f"{t('map_caption', method=method)}. {t('map_of_photo')}")


def _file(path: str) -> bytes:
    """A result's picture, fetched once while it is among the latest."""
    files = recent("files")
    found: bytes | None = files.get(path)
    if found is None:
        found = client().picture(path)
        files.put(path, found)
    return found

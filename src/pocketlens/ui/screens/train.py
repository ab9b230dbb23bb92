"""Train: a new model from a data set, and which model answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from pocketlens.ui import show as text
from pocketlens.ui.client import Json
from pocketlens.ui.follow import follow
from pocketlens.ui.screens._confirm import confirmed
from pocketlens.ui.session import ask, client, raw, reason, recent, said, t, told
from pocketlens.ui.show import plain

_LISTED: Final = 5
_SHORT: Final = 8


def show() -> None:
    """The screen."""
    st.title(raw("train_title"), anchor=False)
    st.markdown(t("train_intro"))
    found = ask("/v1/datasets")
    if found is None:
        return
    names = [dataset["dataset"] for dataset in found["datasets"]]
    if names:
        _start(names)
    else:
        st.info(t("train_none"))
    models = ask("/v1/models")
    if models is None:
        return
    st.markdown(t("now_current", model=_short(models["current"])))
    listed = ask("/v1/jobs", kind="train", limit=_LISTED)
    if not listed or not listed["jobs"]:
        return
    st.subheader(raw("trainings"), anchor=False)
    for job in listed["jobs"]:
        with st.container(border=True):
            _training(job["job_id"], models)


def _start(names: list[str]) -> None:
    name = st.selectbox(raw("dataset"), names, key="train_dataset", persist_state="session")
    epochs = st.number_input(raw("epochs"), 1, 1000, 10, key="epochs", persist_state="session")
    with st.expander(t("train_more"), icon=":material/tune:"):
        size = st.number_input(raw("image_size"), 0, 1024, 0, step=32, key="image_size")
        network = st.text_input(raw("network"), key="network")
        drop = st.number_input(raw("max_drop"), 0.0, 100.0, 0.5, step=0.5, key="max_drop")
        shrink = st.toggle(raw("shrink"), value=True, key="shrink")
    if st.button(raw("train_go"), type="primary", icon=":material/model_training:"):
        body: Json = {"dataset": name, "epochs": epochs, "max_drop": drop, "shrink": shrink}
        if size:
            body["image_size"] = size
        if network.strip():
            body["model"] = network.strip()
        with told():
            job = client().post("/v1/trainings", body)
            recent("trainings").put(job["job_id"], name)
            st.rerun()


def _training(job_id: str, models: Json) -> None:
    name = recent("trainings").get(job_id)
    words = t("train_working", dataset=name) if name else t("train_working_other")
    job = follow(job_id, working=words, progress=_progress, border=False)
    if job is None:
        return
    st.caption(f"{plain(text.when(job['created_at']))} {plain(name or '')}")
    if job["state"] != "Done":
        st.error(f"{t('train_failed')} {reason(job['code'], job['reason'])}")
        return
    _result(job["result"], models, job_id)


def _progress(job: Json) -> None:
    """A bar over the rounds, and words on the step, the score and the time left."""
    now: Mapping[str, Any] = job["progress"]
    parts = []
    step = now.get("step")
    if step in ("reading", "training", "finishing", "shrinking", "comparing"):
        parts.append(t(f"step_{step}"))
    epoch, epochs = now.get("epoch"), now.get("epochs")
    share = 0.0
    if epoch is not None and epochs:
        parts.append(t("epoch_of", epoch=epoch, epochs=epochs))
        share = min(epoch / epochs, 1.0)
    if (score := now.get("score")) is not None:
        parts.append(t("score_now", score=f"{score:.1f}"))
    if (left := now.get("seconds_left")) is not None:
        parts.append(
            t("minutes_left", minutes=round(left / 60))
            if left >= 90
            else t("seconds_left", seconds=round(left))
        )
    st.progress(share, text=", ".join(parts) or None)


def _result(result: Mapping[str, Any], models: Json, key: str) -> None:
    model_id = result["model_id"]
    is_current = model_id is not None and model_id == models["current"]
    state_of = {model["id"]: model["state"] for model in models["models"]}
    is_retired = result["state"] == "offered" and state_of.get(model_id) == "retired"
    if is_retired:
        st.info(t("train_retired"))
    elif result["state"] == "offered":
        st.success(t("train_promoted" if is_current else "train_offered"))
    else:
        st.warning(t("train_rejected"))
    known = said("gate", result.get("reasons"))
    if known or result.get("reason"):
        st.markdown(f"{t('why')}: {' '.join(known) if known else plain(result['reason'])}")
    if refused := result.get("not_promoted"):
        st.warning(reason(refused["code"], refused["reason"]))
    scores = _figures(result.get("scores") or {})
    if scores:
        with st.expander(t("scores"), icon=":material/monitoring:"):
            text.table(scores, name=raw("scores"))
    if result["state"] == "offered" and not is_current and not is_retired:
        promote(model_id, models["current"], key=key)


def promote(model_id: str, current: str | None, *, key: str, again: bool = False) -> None:
    """A button that makes a model the one that answers, after asking.

    Args:
        current: the model that answers now, as this reader sees it; another one in the meantime
            is refused by the service.
        again: it was current before.
    """
    label = "roll_back" if again else "promote"
    if confirmed(label, "promote_sure", key=f"{label}_{key}", primary=not again):
        with told():
            body = {"expect_current": current} if current else {}
            done = client().post(f"/v1/models/{model_id}/promote", body)
            st.toast(t("promoted", model=_short(done["current"])))
            st.rerun()


def _figures(scores: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names and values, nested ones with their way before them."""
    rows: list[tuple[str, str]] = []
    for name, value in scores.items():
        if isinstance(value, Mapping):
            rows += _figures(value, f"{before}{name}.")
        elif isinstance(value, float):
            rows.append((before + name, f"{value:z.2f}"))
        elif value is not None and not isinstance(value, list):
            rows.append((before + name, str(value)))
    return rows


def _short(model_id: object) -> str:
    return str(model_id)[:_SHORT]

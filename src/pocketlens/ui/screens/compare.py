"""Compare: which models there are, which one answers, and how they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from pocketlens.ui import show as text
from pocketlens.ui.client import Json, Problem
from pocketlens.ui.screens.train import promote
from pocketlens.ui.session import ask, client, language, raw, recent, t, told
from pocketlens.ui.words import say_of


def show() -> None:
    """The screen."""
    st.title(raw("compare_title"), anchor=False)
    st.markdown(t("compare_intro"))
    models = ask("/v1/models")
    if models is not None:
        _models(models)
    found = ask("/v1/comparisons")
    if found is None:
        return
    st.subheader(raw("comparisons"), anchor=False)
    listed = found["comparisons"]
    if not listed:
        st.markdown(t("comparison_none"))
        return
    names = {one["id"]: f"{text.when(one['created_at'])} {one['name']}" for one in listed}
    chosen = st.selectbox(
        raw("comparison"), list(names), format_func=lambda key: names[key], key="comparison"
    )
    if chosen:
        _comparison(chosen)


def _models(models: Json) -> None:
    st.subheader(raw("models"), anchor=False)
    rows = [
        (
            model["id"][:8],
            raw("model_current")
            if model["current"]
            else say_of(language(), "model", model["state"]) or model["state"],
            text.when(model["created_at"]),
            f"{model['runtime']} {model['precision']}",
            text.size(model["size_bytes"]),
            model["num_classes"],
            _number(_score(model), "{:.1f}"),
        )
        for model in models["models"]
    ]
    header = ("model", "model_state", "made", "runtime", "size", "classes", "score")
    text.table(rows, header=[raw(name) for name in header], name=raw("models"))
    if any(model["state"] == "retired" for model in models["models"]):
        st.caption(t("models_retired"))
    usable = {
        model["id"]: model
        for model in models["models"]
        if not model["current"] and model["state"] not in ("rejected", "retired")
    }
    if not usable:
        return
    chosen = st.selectbox(
        raw("model_other"),
        list(usable),
        format_func=lambda key: key[:8],
        index=None,
        placeholder=raw("model_choose"),
        key="model",
    )
    if chosen:
        model = usable[chosen]
        # What was compared with another model than today's can only have been in use before.
        again = model["state"] != "offered" or model["compared_with"] != models["current"]
        promote(chosen, models["current"], key=chosen, again=again)


def _comparison(comparison_id: str) -> None:
    table = None
    with told():
        try:
            table = client().get(f"/v1/comparisons/{comparison_id}")
        except Problem as error:
            if error.status != 404:
                raise
            st.info(t("comparison_gone"))  # since the list was made
    if table is None:
        return
    rows: Sequence[Mapping[str, Any]] = table["rows"]
    header = ("model", "runtime", "score", "drop", "size", "latency", "verdict", "reason")
    text.table(
        [_row(row) for row in rows], header=[raw(name) for name in header], name=raw("comparison")
    )
    st.caption(t("ratios"))
    try:
        picture = client().picture(f"/v1/comparisons/{comparison_id}/pareto.svg")
        st.image(picture.decode("utf-8"), alt=raw("pareto_alt"), width="stretch")
    except Problem:
        pass  # a comparison without figures has no picture; its table says the same
    reports = recent("reports")
    if (report := reports.get(comparison_id)) is not None:
        st.download_button(raw("report"), report, "report.html", "text/html", type="primary")
    elif st.button(raw("report_get"), icon=":material/description:"):
        with told():
            made = client().picture(f"/v1/comparisons/{comparison_id}/report")
            reports.put(comparison_id, made)
            st.rerun()


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row.get("drop_low"), row.get("drop_high")
    drop = _number(row.get("drop"), "{:z.1f}")
    if low is not None and high is not None:
        drop += f" ({low:z.1f} … {high:z.1f})"
    return (
        str(row["name"]),
        f"{row['runtime']} {row['precision']}",
        _number(row.get("score"), "{:.1f}"),
        drop,
        text.size(row["size_bytes"]) if row.get("size_bytes") else "",
        _number(row.get("latency_ms"), "{:.1f} ms"),
        say_of(language(), "verdict", row.get("verdict")) or str(row.get("verdict") or ""),
        str(row.get("reason") or ""),
    )


def _score(model: Mapping[str, Any]) -> float | None:
    """On test photos: of its own training, else what the gate found of it."""
    own = model.get("score")
    found: float | None = (model.get("scores") or {}).get("score") if own is None else own
    return found


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)

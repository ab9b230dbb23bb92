"""What a session keeps is bounded: the latest stays, and what has gone is asked for again."""

from __future__ import annotations

from textwrap import dedent

import pytest
from streamlit.testing.v1 import AppTest

from pocketlens.ui import session
from pocketlens.ui.recent import Recent
from support.fake_service import Fake, serving


def test_what_was_used_last_stays() -> None:
    recent = Recent(10)
    recent.put("a", b"1234")
    recent.put("b", b"1234")
    assert recent.get("a") == b"1234"
    recent.put("c", b"1234")
    assert [key in recent for key in "abc"] == [True, False, True]
    recent.put("a", b"12")
    recent.put("d", b"1234")
    assert [key in recent for key in "acd"] == [True, True, True]
    recent.drop("c")
    recent.drop("c")
    recent.put("e", b"1234")
    assert [key in recent for key in "ade"] == [True, True, True]
    assert recent.get("c") is None


def test_the_latest_stays_whatever_its_size() -> None:
    recent = Recent(10)
    recent.put("a", b"1")
    recent.put("b", {"long": "x" * 100})
    assert [key in recent for key in "ab"] == [False, True]
    recent.put("c", b"1")
    assert [key in recent for key in "bc"] == [False, True]


def test_a_session_asks_again_for_what_it_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Recent):
        def __init__(self) -> None:
            super().__init__(2_500)

    monkeypatch.setattr(session, "Recent", Small)
    fake = Fake(pending=0)
    a, b, c = (fake.start("predict", {"text": "x" * 800})["job_id"] for _ in range(3))
    with serving(fake) as url:
        monkeypatch.setenv("POCKETLENS_SERVICE", url)
        script = """
            import streamlit as st
            from pocketlens.ui.session import job_of
            assert job_of(st.query_params["job"])["result"]
        """
        page = AppTest.from_string(dedent(script), default_timeout=20)
        for id in (a, b, a, c, a, b):
            page.query_params["job"] = id
            assert not page.run().exception
    asked = [line.rpartition("/")[2] for line in fake.asked]
    assert asked == [a, b, c, b]

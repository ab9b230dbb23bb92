"""`pocketlens ui`: what it refuses in one line, and what it starts Streamlit with."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pocketlens.cli import run
from pocketlens.ui import session


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Streamlit would be started with."""
    from streamlit.web import bootstrap

    found: dict[str, Any] = {}
    monkeypatch.setattr(bootstrap, "load_config_options", found.update)
    monkeypatch.setattr(bootstrap, "run", lambda script, *_: found.update(script=script))
    monkeypatch.setattr("pocketlens.cli.ui._tell", lambda *_: None)
    for name in list(os.environ):
        if name.startswith("POCKETLENS_") and name not in ("POCKETLENS_DATA", "POCKETLENS_CACHE"):
            monkeypatch.delenv(name)
    # What the verb sets is taken back after the test.
    names = ("SERVICE", "TOKEN", "UI_PUBLIC", "UI_LANGUAGE", "UI_MAX_MB")
    for name in names:
        monkeypatch.setenv(f"POCKETLENS_{name}", "")
    return found


def test_how_it_starts(started: dict[str, Any]) -> None:
    line = ["ui", "--service", "http://10.0.0.1:80/", "--port", "0", "--language", "ko"]
    assert run([*line, "--token", "secret"]) == 0
    assert Path(started["script"]).name == "app.py"
    assert started["server.address"] == "127.0.0.1"
    assert started["server.port"] > 0
    assert started["server.enableXsrfProtection"] is True
    assert started["browser.gatherUsageStats"] is False
    assert started["server.fileWatcherType"] == "none"
    assert started["client.showErrorDetails"] == "none"
    given = session.options()
    assert given == session.Options("http://10.0.0.1:80", "secret", False, "ko", 100)


def test_each_setting_is_one_of_streamlits(started: dict[str, Any]) -> None:
    from streamlit import config

    assert run(["ui", "--port", "0"]) == 0
    del started["script"]
    assert set(started) <= set(config._config_options_template)


def test_the_token_may_come_from_the_environment(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETLENS_TOKEN", "of the environment")
    assert run(["ui", "--port", "0"]) == 0
    assert session.options().token == "of the environment"


def test_a_public_page_has_no_token_of_its_own(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:  # Service 47
    assert run(["ui", "--host", "0.0.0.0", "--port", "0", "--token", "secret"]) == 2
    complaint = capsys.readouterr().err
    assert "everybody who can reach 0.0.0.0" in complaint
    assert "secret" not in complaint
    assert started == {}
    assert run(["ui", "--host", "0.0.0.0", "--port", "0"]) == 0
    assert session.options().public


def test_a_port_that_is_taken(started: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run(["ui", "--port", str(port)]) == 2
    complaint = capsys.readouterr().err
    assert f"127.0.0.1 port {port}" in complaint
    assert complaint.count("\n") == 1
    assert started == {}


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x", "http://", "localhost"])
def test_no_address(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert run(["ui", "--service", address]) == 2
    assert "it looks like http://127.0.0.1:8000" in capsys.readouterr().err


def test_a_missing_extra(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "streamlit.web.bootstrap", None)
    monkeypatch.setitem(sys.modules, "streamlit", None)
    assert run(["ui"]) == 2
    assert "pip install 'pocketlens[ui]'" in capsys.readouterr().err

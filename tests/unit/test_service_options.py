"""Flags, environment and the file of tokens of `serve` and `worker`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pocketlens.cli import run
from pocketlens.cli._service_options import ServiceOptions, read_tokens
from pocketlens.core.errors import UserError
from pocketlens.service import worker_process
from pocketlens.service.settings import Settings

LONG = "a-token-of-enough-letters"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    found: list[Settings] = []
    monkeypatch.setattr(worker_process, "work", found.append)
    for name in ("HOME", "DATABASE", "QUEUE", "STORAGE", "LEASE"):
        monkeypatch.delenv(f"POCKETLENS_{name}", raising=False)
    return found


def test_defaults_are_below_one_directory(
    started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["worker"]) == 0
    [settings] = started
    assert settings.home == tmp_path / "pocketlens-home"
    assert settings.database_url == f"sqlite:///{settings.home}/pocketlens.db"
    assert settings.queue_url == f"sqlite:///{settings.home}/queue.db"
    assert (settings.keep_days, settings.quota_bytes, settings.max_pixels) == (
        None,
        None,
        25_000_000,
    )


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETLENS_LEASE", "10")
    monkeypatch.setenv("POCKETLENS_QUOTA", "0.5")
    monkeypatch.setenv("POCKETLENS_DATABASE", "postgresql://me:secret@db/lens")
    config = tmp_path / "service.yaml"
    config.write_text("lease: 20\nkeep: 7\nmax_attempts: 5\n")
    assert run(["worker", "--config", str(config), "--max-attempts", "4"]) == 0
    [settings] = started
    assert (settings.lease_seconds, settings.max_attempts) == (10, 4)
    assert (settings.keep_days, settings.quota_bytes) == (7, 500_000_000)
    assert settings.database_url == "postgresql+psycopg://me:secret@db/lens"
    assert settings.queue_url == settings.database_url


@pytest.mark.parametrize("flag", ["--lease=0", "--workers=0", "--quota=-1", "--max-attempts=0"])
def test_what_makes_no_sense_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", flag]) == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_a_database_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "--home", str(tmp_path), "--database", "mysql://me:secret@db/x"]) == 2
    error = capsys.readouterr().err
    assert "--database" in error
    assert "secret" not in error


def test_a_database_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker_process, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(worker_process.log_lines, "set_up", lambda: None)
    monkeypatch.setattr(worker_process, "_listen", lambda stop: None)
    url = "postgresql://me:secret@127.0.0.1:1/x"
    assert run(["worker", "--home", str(tmp_path), "--database", url]) == 2
    error = capsys.readouterr().err
    assert "can't be reached" in error
    assert "secret" not in error


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    return path


def test_tokens(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"another-long-token").hexdigest()
    path = write(
        tmp_path,
        f"ann: {LONG}\nbob: {{sha256: {digest.upper()}, operator: true}}\n"
        "eve@x.org: {token: the-third-long-token}\n",
    )
    tokens = read_tokens(path)
    users = {user.name: (key, user.operator) for key, user in tokens.items()}
    assert users["ann"] == (hashlib.sha256(LONG.encode()).hexdigest(), False)
    assert users["bob"] == (digest, True)
    assert users["eve@x.org"][1] is False
    assert LONG not in repr(Settings(None, tmp_path, tokens=tokens))
    assert read_tokens(None) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "NAME: TOKEN"),
        ("- a\n- b\n", "NAME: TOKEN"),
        (f"ann: [{LONG}", "NAME: TOKEN"),
        ("ann: short", "at least 16"),
        ("ann: 12345678901234567890", "needs a token"),
        ("ann: {operator: true}", "either token or sha256"),
        (f"ann: {{token: {LONG}, sha256: {'a' * 64}}}", "either token or sha256"),
        ("ann: {sha256: abc}", "64 hexadecimal"),
        (f"ann: {{token: {LONG}, operator: maybe}}", "true or false"),
        (f"ann: {{token: {LONG}, admin: true}}", "needs a token"),
        (f"'../x': {LONG}", "user's name"),
        (f"1: {LONG}", "user's name"),
        (f"ann: {LONG}\nbob: {LONG}", "the same token"),
    ],
)
def test_a_file_of_tokens_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        read_tokens(write(tmp_path, text))
    assert LONG not in str(raised.value)


def test_a_file_of_tokens_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_tokens(tmp_path / "none.yaml")


def test_nobody_else_is_served_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no token is set"):
        ServiceOptions(home=tmp_path).settings(host="0.0.0.0")


def test_settings_reach_a_child_process(tmp_path: Path) -> None:
    from pocketlens.service.supervise import from_json, to_json

    tokens: Any = read_tokens(write(tmp_path, f"ann: {{token: {LONG}, operator: true}}"))
    settings = ServiceOptions(home=tmp_path, quota=2, threads=3).settings(tokens=tokens, rate=9)
    assert from_json(to_json(settings)) == settings

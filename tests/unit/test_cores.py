"""Cores that a process may use: a container's share counts, not the machine's number."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketlens.core import cores


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"": "200000 100000"}, 2),
        ("0::/\n", {"": "150000 100000"}, 2),
        ("0::/\n", {"": "10000 100000"}, 1),
        ("0::/\n", {"": "max 100000"}, 8),
        ("0::/\n", {}, 8),
        ("0::/a/b\n", {"a": "300000 100000", "a/b": "max 100000"}, 3),
        ("0::/a/b\n", {"a": "300000 100000", "a/b": "100000 100000"}, 1),
        ("0::/\n", {"": "9900000 100000"}, 8),  # more than it is bound to
        ("0::/\n", {"": "what?"}, 8),
        ("12:cpu:/docker/1\n", {"": "100000 100000"}, 8),  # version 1 is not looked at
        (None, {"": "100000 100000"}, 8),
    ],
)
def test_a_containers_share(
    own: str | None,
    limits: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if own is not None:
        (tmp_path / "own").write_text(own)
    root = tmp_path / "groups"
    for name in ("", "a", "a/b"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in limits.items():
        (root / name / "cpu.max").write_text(text)
    monkeypatch.setattr(cores, "_OWN", tmp_path / "own")
    monkeypatch.setattr(cores, "_CGROUPS", root)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.available_cores() == expected

"""What is written of the API: every code of an error, and every operation on its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import service as support

#: `Problem(404, "code"`, `JobFailed("code"`, `ArchiveError("code"`, …, `code = "…"`.
_CODES = (
    r'Problem\(\s*\d{3},\s*"([a-z_]+)"',
    r'(?:JobFailed|ArchiveError|PromotionError|TrainingFailedError)\(\s*"([a-z_]+)"',
    r'^    code = "([a-z_]+)"',
    r'"code": "([a-z_]+)"',
)


@pytest.fixture(scope="module")
def written(project: Path) -> str:
    return (project / "docs" / "service.md").read_text("utf-8")


def test_every_code_is_written_of(project: Path, written: str) -> None:
    found: set[str] = set()
    for file in (project / "src" / "pocketlens" / "service").rglob("*.py"):
        text = file.read_text("utf-8")
        for pattern in _CODES:
            found |= set(re.findall(pattern, text, re.MULTILINE))
    assert len(found) > 40
    assert not sorted(code for code in found if f"`{code}`" not in written)


def test_every_operation_is_on_the_page(tmp_path: Path) -> None:
    with support.client(support.settings(tmp_path)) as api:
        page = api.get("/docs").text
        document = api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]
            assert {"403", "413", "429", "500", "503"} <= set(operation["responses"])


def test_the_commands_of_the_guide(written: str) -> None:
    """Addresses that it names are there."""
    from pocketlens.service.api.app import routers

    paths = [route.path for router in routers() for route in router.routes]  # type: ignore[attr-defined]
    patterns = [re.sub(r"\{[a-z_]+\}", "[^/]+", path) for path in paths]
    named = set(re.findall(r"(?:127\.0\.0\.1:8000|GET |POST |DELETE |`)(/[a-zA-Z0-9/]+)", written))
    missing = [name for name in named if not any(re.fullmatch(p, name) for p in patterns)]
    assert sorted(missing) == ["/docs"]

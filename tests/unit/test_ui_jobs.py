"""The screen of jobs and storage, driven as a script against a service of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fake_service import Fake, serving
from support.ui_page import button, open_screen, text_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake(pending=0)
    with serving(fake) as url:
        monkeypatch.setenv("POCKETLENS_SERVICE", url)
        monkeypatch.delenv("POCKETLENS_TOKEN", raising=False)
        yield fake


def test_jobs_are_listed_and_deleted(fake: Fake) -> None:
    ended = fake.start("predict", {"predictions": []})["job_id"]
    fake.look(ended)
    running = fake.start("train", {})["job_id"]
    fake.canned["GET /v1/account"] = {
        "size_bytes": 123_456_789, "quota_bytes": None, "num_photos": 90,
        "num_models": 3, "max_models": 10, "models_bytes": 45_600_000,
        "num_datasets": 1, "num_jobs": 2, "keep_answers_days": 30, "keep_photos_days": None,
        "deletions": [
            {"at": "2026-11-20T02:00:00Z", "what": "answers", "why": "age", "count": 31,
             "size_bytes": 1_234_567},
            {"at": "2026-11-20T02:00:00Z", "what": "comparisons", "why": "quota", "count": 1,
             "size_bytes": 1234},
        ],
    }  # fmt: skip
    page = open_screen("jobs").run()
    shown = text_of(page)
    for part in (
        "Recognise",
        "Training",
        "123.5\u00a0MB",
        "3 of 10 (45.6\u00a0MB)",
        "comparisons",
        "over the limit",
        "none",
        "too old",
        "30 days",
        "until you",
    ):
        assert part in shown
    page.button(key=f"delete_{ended}").click().run()
    assert ended not in fake.jobs
    page.button(key=f"stop_{running}").click().run()
    assert fake.jobs[running]["code"] == "cancelled"
    assert "Failed – It was cancelled." in text_of(page.run())


def test_another_list_of_jobs_begins_at_its_beginning(fake: Fake) -> None:
    for _ in range(45):
        fake.look(fake.start("predict", {})["job_id"])
    failed = fake.start("predict", ("no_model", ""))["job_id"]
    for _ in range(3):
        fake.look(failed)
    page = open_screen("jobs").run()

    def listed() -> list[str]:
        keys = [str(button.key) for button in page.button]
        return [key.partition("_")[2] for key in keys if key.startswith(("delete_", "stop_"))]

    first = listed()
    assert failed in first
    button(page, "Older jobs").click().run()
    assert not set(listed()) & set(first)
    page.selectbox(key="jobs_state").set_value("Failed").run()
    assert listed() == [failed]
    page.selectbox(key="jobs_state").set_value("").run()
    assert listed() == first
    button(page, "Older jobs").click().run()
    button(page, "Newest jobs").click().run()
    assert listed() == first

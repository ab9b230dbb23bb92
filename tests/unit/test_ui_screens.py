"""Teach, Train and Compare, driven as scripts against a service of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from support.fake_service import Fake, model, serving
from support.ui_page import button, open_screen, photo, text_of

HOSTILE = "<script>alert(1)</script> **b** $x$ ![](http://x.example/a.png)"
OFFERED, CURRENT = "b" * 32, "a" * 32


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake(pending=0)
    fake.models = [model(CURRENT, "given"), model(OFFERED, "offered"), model("c" * 32, "rejected")]
    fake.datasets["pills"] = {
        "dataset": "pills", "num_samples": 90, "class_counts": {"K-000001": 60, HOSTILE: 30},
    }  # fmt: skip
    fake.canned["GET /v1/comparisons"] = {"comparisons": []}
    with serving(fake) as url:
        monkeypatch.setenv("POCKETLENS_SERVICE", url)
        monkeypatch.delenv("POCKETLENS_TOKEN", raising=False)
        yield fake


def test_teach_adds_photos(fake: Fake) -> None:
    fake.rejected = [
        {"name": "images[1]", "code": "unknown_image_format", "reason": "x"},
        {"name": HOSTILE, "code": "of_tomorrow", "reason": HOSTILE},
    ]
    page = open_screen("teach").run()
    assert "90 labelled photos or boxes of 2 classes" in text_of(page)
    assert button(page, "Add").disabled
    page.selectbox(key="label").set_value("K-010224")
    page.file_uploader(key="teach_0").set_value([photo(), photo("red")]).run()
    button(page, "Add").click().run()
    shown = text_of(page)
    assert "Added: 2. Already there: 0. Rejected: 2." in shown
    assert re.search(r"red.png +This isn't a photo in a known format", shown)
    assert "K-010224" in shown
    assert shown.count(HOSTILE) == 3  # as a class, as a file, as a reason
    assert json.loads(fake.forms[0]["labels"]) == ["K-010224", "K-010224"]
    assert [name for name, *_ in fake.forms[0]["files"]] == ["images", "images"]
    assert button(page, "Add").disabled  # the files that were sent are no longer chosen


def test_teach_corrects_labels(fake: Fake) -> None:
    fake.rejected = [{"name": "images[0]", "code": "labelled_otherwise", "reason": "x"}]
    page = open_screen("teach").run()
    page.selectbox(key="label").set_value("K-010224")
    page.file_uploader(key="teach_0").set_value([photo()]).run()
    button(page, "Add").click().run()
    assert "tick 'Correct labels that are there'" in text_of(page)
    assert "replace" not in fake.forms[0]
    assert "corrected" not in text_of(page)
    fake.rejected = []
    page.checkbox(key="replace_1").check()
    page.file_uploader(key="teach_1").set_value([photo()]).run()
    button(page, "Add").click().run()
    assert fake.forms[1]["replace"] == "true"
    assert "Added: 0. Already there: 0. Rejected: 0. Labels corrected: 1." in text_of(page)
    assert not page.checkbox(key="replace_2").value  # asked for anew each time


def test_teach_says_why_nothing_was_added(fake: Fake) -> None:
    rejected = [{"name": "images[0]", "code": "damaged_image", "reason": "x"}]
    fake.refuse["POST /v1/datasets/pills/images"] = (422, "no_usable_image", {"rejected": rejected})
    page = open_screen("teach").run()
    page.selectbox(key="label").set_value("K-010224")
    page.file_uploader(key="teach_0").set_value([photo()]).run()
    button(page, "Add").click().run()
    assert "Added: 0. Already there: 0. Rejected: 1." in text_of(page)
    assert "The photo is damaged or cut off." in text_of(page)


def test_teach_adds_a_zip(fake: Fake) -> None:
    fake.datasets.clear()
    assert "What you have" not in text_of(open_screen("teach").run())
    fake.datasets["새 알약"] = {"dataset": "새 알약", "num_samples": 0, "class_counts": {}}
    page = open_screen("teach").run()
    assert "Nothing is in it yet" in text_of(page)
    page.segmented_control(key="way").set_value("zip").run()
    page.file_uploader(key="zip_0").set_value(("a.zip", b"PK", "application/zip")).run()
    button(page, "Add").click().run()
    assert "Added: 1." in text_of(page)
    assert "from the zip" in text_of(page)
    assert "POST /v1/datasets/새 알약/images" in fake.asked
    assert fake.forms[0]["files"] == [("archive", "a.zip", 2)]


def test_teach_says_whether_data_is_ready(fake: Fake) -> None:
    fake.pending = 2
    fake.checked = {
        "ready": False, "num_samples": 90, "splits": {"train": 63, "val": 13, "test": 14},
        "problems": [
            {"kind": "tiny_class", "message": "m", "count": 2, "examples": [HOSTILE]},
            {"kind": "of_tomorrow", "message": "a new finding", "count": 1, "examples": []},
        ],
    }  # fmt: skip
    page = open_screen("teach", lang="ko").run()
    button(page, "확인").click().run()
    assert "모든 사진을 살펴보는 중" in text_of(page)
    for _ in range(3):
        page.run()
    shown = text_of(page)
    for part in (
        "아직 준비되지 않았습니다",
        "시험: 14",
        "열 장보다 적은",
        HOSTILE,
        "a new finding",
    ):
        assert part in shown


def test_teach_deletes_only_after_asking(fake: Fake) -> None:
    page = open_screen("teach").run()
    button(page, "Delete this data set").click().run()
    assert "deleted for good. Really?" in text_of(page)
    button(page, "No, leave it").click().run()
    assert "pills" in fake.datasets
    button(page, "Delete this data set").click().run()
    button(page, "Yes, do it").click().run()
    assert fake.datasets == {}


def trained(state: str = "offered", **changes: object) -> dict[str, object]:
    return {
        "model_id": OFFERED, "state": state, "reason": "it is **not** worse", "promoted": False,
        "comparison_id": None, "scores": {"score": 95.25, "nested": {"drop": -2.1}},
    } | changes  # fmt: skip


def test_train_is_followed_and_promoted(fake: Fake) -> None:
    fake.pending, fake.trained = 3, trained()
    fake.progress = {"step": "training", "epoch": 3, "epochs": 10, "seconds_left": 240}
    page = open_screen("train").run()
    page.number_input(key="epochs").set_value(4).run()
    button(page, "Start training").click().run()
    assert fake.forms[0] == {"dataset": "pills", "epochs": 4, "max_drop": 0.5, "shrink": True}
    seen = [text_of(page)]
    while "passed" not in seen[-1]:
        assert len(seen) < 8
        seen.append(text_of(page.run()))
    assert any("Learning from pills" in shown and "Running" in shown for shown in seen)
    bars = [bar for bar in page.main if bar.type == "progress"]
    assert not bars
    for part in ("Now in use: model aaaaaaaa", "it is **not** worse", "95.25", "nested.drop"):
        assert part in seen[-1]
    button(page, "Use this model").click().run()
    assert fake.current == CURRENT  # not before the reader said yes
    button(page, "Yes, do it").click().run()
    assert fake.current == OFFERED
    assert fake.forms[-1] == {"expect_current": CURRENT}
    assert "The new model passed and answers now." in text_of(page)
    assert [b.label for b in page.button if b.label == "Use this model"] == []


def test_train_shows_how_far_it_is(fake: Fake) -> None:
    fake.pending, fake.trained = 30, trained()
    fake.progress = {"step": "training", "epoch": 3, "epochs": 10, "score": 71.23}
    job = fake.start("train", fake.trained)["job_id"]
    fake.jobs[job]["left"] = 10
    page = open_screen("train").run()
    [bar] = [element for element in page.main if element.type == "progress"]
    assert bar.proto.value == 30
    assert bar.proto.text == "Training, round 3 of 10, score 71\\.2"
    fake.progress = {"step": "finishing"}
    [bar] = [element for element in page.run().main if element.type == "progress"]
    assert bar.proto.text == "Scoring and saving the new model"
    button(page, "Cancel").click().run()
    assert "The training ended without a model. It was cancelled." in text_of(page.run())


def test_a_rejected_training_can_not_be_promoted(fake: Fake) -> None:
    fake.trained = trained("rejected", reason="loses 4.2 points")
    fake.start("train", fake.trained)
    page = open_screen("train").run()
    assert "was rejected" in text_of(page)
    assert "loses 4.2 points" in text_of(page)
    assert "Use this model" not in [b.label for b in page.button]


def test_a_retired_model_can_not_be_promoted(fake: Fake) -> None:
    fake.start("train", trained())
    fake.models[1]["state"] = "retired"
    page = open_screen("train").run()
    assert "was retired since: its files are deleted" in text_of(page)
    assert "Use this model" not in [b.label for b in page.button]
    page = open_screen("compare", lang="ko").run()
    assert "물러남" in text_of(page)
    assert "파일이 삭제되어" in text_of(page)
    assert "model" not in {box.key for box in page.selectbox}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "not_operator", "Only an operator"),
        (409, "stale_comparison", "no longer in use"),
        (409, "changed_meanwhile", "in the meantime"),
        (409, "retired", "its files were deleted"),
    ],
)
def test_promoting_is_refused(fake: Fake, status: int, code: str, words: str) -> None:
    fake.start("train", trained())
    fake.refuse[f"POST /v1/models/{OFFERED}/promote"] = (status, code)
    page = open_screen("train").run()
    button(page, "Use this model").click().run()
    button(page, "Yes, do it").click().run()
    assert words in text_of(page)
    assert fake.current == CURRENT


def test_train_without_data(fake: Fake) -> None:
    fake.datasets.clear()
    assert "Add photos under Teach first" in text_of(open_screen("train").run())


def test_compare_marks_the_current_model(fake: Fake) -> None:
    page = open_screen("compare").run()
    shown = text_of(page)
    assert shown.count("in use") == 1
    assert "rejected" in shown
    assert "no comparison yet" in shown
    offered = page.selectbox(key="model")
    assert len(offered.options) == 1  # neither the current nor the rejected one
    offered.set_value(OFFERED).run()
    button(page, "Use this model").click().run()
    button(page, "Yes, do it").click().run()
    assert fake.current == OFFERED


def test_compare_rolls_back(fake: Fake) -> None:
    fake.current = OFFERED
    page = open_screen("compare").run()
    page.selectbox(key="model").set_value(CURRENT).run()
    button(page, "Go back to this model").click().run()
    button(page, "Yes, do it").click().run()
    assert fake.current == CURRENT


def test_compare_shows_the_table(fake: Fake) -> None:
    row = {
        "name": HOSTILE, "runtime": "onnx", "precision": "int8", "score": 91.46, "drop": 1.65,
        "drop_low": -1.8, "drop_high": 6.0, "size_bytes": 3_800_000, "latency_ms": 0.81,
        "verdict": "less_accurate", "reason": "loses too much",
    }  # fmt: skip
    one = {"id": "d" * 32, "name": "pills", "created_at": "2026-11-22T12:00:00Z"}
    fake.canned["GET /v1/comparisons"] = {"comparisons": [one]}
    empty = dict.fromkeys(row) | {"name": "x", "runtime": "t", "precision": "p"}
    fake.canned[f"GET /v1/comparisons/{'d' * 32}"] = {"rows": [row, empty]}
    shown = text_of(open_screen("compare", lang="ko").run())
    for part in (HOSTILE, "91.5", "1.6 (-1.8 … 6.0)", "3.8\u00a0MB", "0.8 ms", "정확도 낮음"):
        assert part in shown
    assert "번갈아 잰 시간의 비율" in shown, "a ratio isn't the quotient of the two times"
    row |= {"drop": -0.01, "drop_low": -30.7, "drop_high": -0.04}
    shown = text_of(open_screen("compare").run())
    assert "0.0 (-30.7 … 0.0)" in shown
    assert "-0.0" not in shown


def test_compare_shows_the_score_that_the_gate_found(fake: Fake) -> None:
    """A compressed bundle has none of a training of its own."""
    fake.models.append(model("e" * 32, "offered", score=None, scores={"score": 63.57}))
    fake.models.append(model("f" * 32, "offered", score=None, scores=None))
    assert "63.6" in text_of(open_screen("compare").run())


def test_compare_says_that_a_table_is_gone(fake: Fake) -> None:
    """It was deleted between the list and the choice; another trouble is told as such."""
    one = {"id": "d" * 32, "name": "pills", "created_at": "2026-11-22T12:00:00Z"}
    fake.canned["GET /v1/comparisons"] = {"comparisons": [one]}
    fake.refuse[f"GET /v1/comparisons/{'d' * 32}"] = (404, "not_found")
    assert "deleted together with its model" in text_of(open_screen("compare").run())
    fake.refuse[f"GET /v1/comparisons/{'d' * 32}"] = (503, "database_unavailable")
    shown = text_of(open_screen("compare").run())
    assert "deleted together" not in shown
    assert "database can't be reached" in shown


def test_a_screen_says_what_the_service_refuses(fake: Fake) -> None:
    for screen, path in (("teach", "datasets"), ("train", "datasets"), ("jobs", "jobs")):
        fake.refuse = {f"GET /v1/{path}": (503, "database_unavailable")}
        assert "database can't be reached" in text_of(open_screen(screen).run())

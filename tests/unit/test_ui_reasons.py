"""Why the gate decided as it did, and what data lacks: said in both languages, from codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Row
from pocketlens.core.gate import Limits, Reason, objection
from pocketlens.service.kinds.check import nothing
from pocketlens.ui.reasons import sentences
from pocketlens.workflows import _gate_words as words
from support.fake import fake_imported
from support.fake_service import Fake, serving
from support.ui_page import button, open_screen, text_of

HANGUL = re.compile(r"[가-힣]")
ROW = Row(
    "new", "onnx", "int8", "m", "macro_f1", score=91.26, drop=0.1, drop_low=-1.0, drop_high=2.5,
    latency_ms=3.0, speedup_float=1.0,
)  # fmt: skip
WORSE = replace(ROW, val_drop=32.2, val_score=43.54, val_score_reference=75.7)
LIMITS = Limits(0.5)
HOSTILE = "<b>*x*</b>"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake(pending=0)
    fake.datasets["pills"] = {"dataset": "pills", "num_samples": 2, "class_counts": {"a": 2}}
    with serving(fake) as url:
        monkeypatch.setenv("POCKETLENS_SERVICE", url)
        yield fake


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return fake_imported(tmp_path_factory.mktemp("b") / "b", ["a", HOSTILE])


def all_reasons(bundle: Bundle) -> list[Reason]:
    rejected = [
        (replace(ROW, val_drop=1.257), LIMITS),
        (replace(ROW, drop=3.0), LIMITS),
        (replace(ROW, val_drop=0.0, drop_low=1.0), LIMITS),
        (ROW, replace(LIMITS, max_latency_ms=2.5)),
        (replace(ROW, drop=None), LIMITS),
        (replace(ROW, verdict="failed", reason="it can't be timed: no memory"), LIMITS),
    ]
    against = [objection(row, limits) for row, limits in rejected]
    found = [
        words.unfit(bundle, "multi_label", ["a", "b"]),
        words.unfit(bundle, "single_label", ["a"]),
        words.too_few(3, 10),
        words.slower(1.5),
        *against,
        *words.judged(ROW, WORSE, objection(WORSE, LIMITS), 14, 0, LIMITS)[1:2],
        *words.judged(ROW, ROW, None, 14, 1, LIMITS),
        *words.judged(ROW, replace(ROW, proven=True), None, 14, 0, LIMITS),
    ]
    return [reason for reason in found if reason is not None]


def test_each_reason_has_a_sentence(bundle: Bundle, project: Path) -> None:
    made = all_reasons(bundle)
    english = [sentences("en", "gate", [one.to_dict()]) for one in made]
    korean = [sentences("ko", "gate", [one.to_dict()]) for one in made]
    for one, en, ko in zip(made, english, korean, strict=True):
        assert en is not None, one
        assert ko is not None, one
        assert HANGUL.search(ko[0])
        numbers = re.findall(r"\d+(?:\.\d+)?", one.text)
        for number in {f"{float(text):g}" for text in numbers} - {"95"}:
            assert number in re.findall(r"\d+(?:\.\d+)?", en[0]), (one.text, en)
    source = Path(words.__file__).read_text("utf-8")
    source += (project / "src/pocketlens/core/gate.py").read_text("utf-8")
    codes = set(re.findall(r'Reason\(\s*"([a-z_]+)"', source))
    codes |= {f"loses_{how}" for how in re.findall(r'_loses\("([a-z_]+)"', source)}
    # Of the search for a smaller form alone.
    assert codes - {one.code for one in made} == {"too_large", "slower_than_float"}


def test_what_a_check_misses_has_sentences() -> None:
    found = nothing("pills", "single_label", 1)
    assert found["reasons"] == [{"code": "no_photo", "values": {}}]
    few = {"code": "few_photos", "values": {"needed": 3, "num": 7, "classes": {"a": 1, "b": 2}}}
    for reason in (few, *found["reasons"], {"code": "one_class", "values": {}}):
        [said] = sentences("ko", "missing", [reason]) or [""]
        assert HANGUL.search(said)
    assert "a: 1, b: 2" in (sentences("en", "missing", [few]) or [""])[0]


@pytest.mark.parametrize(
    "reasons",
    [
        None,
        [],
        [{"code": "of_tomorrow", "values": {}}],
        [{"code": "slower_than_current", "values": {}}],
        [{"code": "more_classes", "values": {"num": 1}}, {"code": "of_tomorrow", "values": {}}],
    ],
)
def test_what_is_not_known_is_not_said(reasons: Any) -> None:
    assert sentences("ko", "gate", reasons) is None


def rejected(fake: Fake, reasons: Any) -> None:
    fake.trained = {
        "model_id": "b" * 32, "state": "rejected", "reason": "loses 4.2 points *today*",
        "promoted": False, "comparison_id": None, "scores": {}, "reasons": reasons,
    }  # fmt: skip
    fake.look(fake.start("train", fake.trained)["job_id"])


def test_the_gate_speaks_the_readers_language(fake: Fake, bundle: Bundle) -> None:
    gone = words.unfit(bundle, "single_label", ["a"])
    assert gone is not None
    made = (gone, *words.judged(ROW, ROW, words.slower(1.5), 14, 0, LIMITS))
    rejected(fake, [one.to_dict() for one in made])
    shown = text_of(open_screen("train", lang="ko").run())
    for part in (f"예: {HOSTILE}.", "1.5배", "매크로 F1: 새 모델 91.3 %", "14장"):
        assert part in shown
    assert "loses 4.2 points" not in shown
    shown = text_of(open_screen("train", lang="en").run())
    assert "1.5 times as long as today's model." in shown
    assert HOSTILE in shown


def test_an_older_reason_stays_as_it_was(fake: Fake) -> None:
    rejected(fake, None)
    assert "loses 4.2 points *today*" in text_of(open_screen("train", lang="ko").run())


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ([{"code": "one_class", "values": {}}], "두 번째 종류의 사진이 필요합니다"),
        ([{"code": "of_tomorrow", "values": {}}], f"two things: {HOSTILE}"),
        (None, f"two things: {HOSTILE}"),
    ],
)
def test_what_stands_in_the_way_of_training(fake: Fake, reasons: Any, words: str) -> None:
    fake.checked = {
        "ready": False, "num_samples": 2, "splits": {}, "problems": [],
        "missing": [f"two things: {HOSTILE}"], "reasons": reasons,
    }  # fmt: skip
    page = open_screen("teach", lang="ko").run()
    button(page, "확인").click().run()
    assert words in text_of(page.run())

"""Recognise, driven as a script: what a reader sees at each step, against a service of our own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pocketlens.ui.client import Client, Problem, Unreachable
from pocketlens.ui.photos import shown
from support.fake_service import Fake, answer, serving
from support.ui_page import button, open_page, photo, text_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake()
    with serving(fake) as url:
        monkeypatch.setenv("POCKETLENS_SERVICE", url)
        monkeypatch.delenv("POCKETLENS_TOKEN", raising=False)
        yield fake


def ask(page: AppTest, *photos: tuple[str, bytes, str]) -> AppTest:
    page.run()
    page.file_uploader(key="photos").set_value(list(photos)).run()
    label = "알아보기" if "ko" in page.query_params["lang"] else "Recognise"
    return button(page, label).click().run()


def test_a_photo_gets_its_name(fake: Fake) -> None:
    fake.pending = 2
    page = ask(open_page(), photo())
    assert "Pending" in text_of(page)
    page.run()
    assert "Running" in text_of(page)
    shown = text_of(page.run())
    for part in ("Nexium Tab. 40mg", "K-010224", "Confidence 91 %", "91.0 %", "AEI", "pharmacist"):
        assert part in shown
    assert "Imprint, front" in shown
    assert "Imprint, back" not in shown  # nothing is known of it
    assert "Pending" not in shown


def test_in_korean(fake: Fake) -> None:
    fake.pending = 0
    shown = text_of(ask(open_page(lang="ko"), photo()).run())
    for part in ("이것은 무엇인가요?", "넥시움정 40mg", "확신도 91 %", "각인(앞면)", "약사"):
        assert part in shown


def test_answers_stay_when_the_language_or_the_screen_changes(fake: Fake) -> None:
    fake.pending = 0
    page = ask(open_page(), photo()).run()
    page.segmented_control(key="lang").set_value("ko").run()
    assert "넥시움정 40mg" in text_of(page)
    assert page.query_params["lang"] in ("ko", ["ko"])
    asked = list(fake.asked)
    assert "넥시움정 40mg" in text_of(page.run())
    assert fake.asked == asked  # what has ended isn't asked for again


def test_unsure_is_said(fake: Fake) -> None:
    fake.pending, fake.answers = 0, [answer(unsure=True, confidence=0.31)]
    page = ask(open_page(), photo()).run()
    assert "Not sure" in str(page.main) + text_of(page)
    assert "Confidence 31 %. It could be another" in text_of(page)


def test_a_hint_of_an_answer(fake: Fake) -> None:
    hints = [{"code": "box_expected", "text": "t"}, {"code": "of_tomorrow", "text": "*new*"}]
    fake.answers = [answer(hints=hints)]
    fake.pending = 0
    shown = text_of(ask(open_page(), photo()))
    assert "learnt from things cut out of photos" in shown
    assert "*new*" in shown
    shown = text_of(ask(open_page(lang="ko"), photo()))
    assert "잘라 낸 부분으로 학습했습니다" in shown


def test_several_labels(fake: Fake) -> None:
    fake.pending, fake.task = 0, "multi_label"
    fake.answers = [answer(label=None, name=None, confidence=None, class_id=None)]
    assert "Seen on this photo" in text_of(ask(open_page(), photo()).run())
    fake.answers = [answer(label=None, name=None, confidence=None, class_id=None, labels=[])]
    assert "None of the known things" in text_of(ask(open_page(), photo("red")).run())


def test_one_photo_of_two_is_damaged(fake: Fake) -> None:
    bad = answer(1, label=None, error="damaged or cut off", code="damaged_image", top=[], info={})
    fake.pending, fake.answers = 0, [answer(), bad]
    shown = text_of(ask(open_page(), photo(), ("b.png", b"\x89PNG broken", "image/png")).run())
    assert "Nexium" in shown
    assert "The photo is damaged or cut off." in shown
    assert len(fake.forms[0]["files"]) == 2


def test_no_photo_is_usable(fake: Fake) -> None:
    bad = answer(label=None, error="damaged or cut off", code="damaged_image")
    fake.pending, fake.answers = 0, [bad]
    assert "None of the photos can be read." in text_of(ask(open_page(), photo()).run())


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (413, "body_too_large", "more than the service takes at once"),
        (429, "rate_limited", "Too many requests"),
        (503, "database_unavailable", "database can't be reached"),
        (500, "internal", "Something went wrong in the service"),
        (422, "of_tomorrow", "That didn't work: detail of of_tomorrow"),
    ],
)
def test_refusals_in_plain_words(fake: Fake, status: int, code: str, words: str) -> None:
    fake.refuse["POST /v1/predictions"] = (status, code)
    assert words in text_of(ask(open_page(), photo()))


def test_hostile_names_are_text(fake: Fake) -> None:
    name = "<script>alert(1)</script> **b** $x$ :material/delete: ![](http://x.example/a.png)"
    top = [{"label": name, "name": name, "class_id": 0, "probability": 0.9}]
    fake.pending = 0
    fake.answers = [answer(label=name, name=name, top=top, info={name: name, "dl_name": name})]
    page = ask(open_page(), (f"{name}.png".replace("/", "_"), photo()[1], "image/png")).run()
    assert text_of(page).count(name) >= 4
    for element in page.main:
        body = getattr(element.proto, "body", "") or getattr(element.proto, "label", "")
        if element.type == "html":
            assert "<script>alert" not in body
        else:
            assert "![](" not in body
            assert "**b**" not in body


def test_a_double_click_is_one_job(fake: Fake) -> None:
    fake.pending = 50
    page = ask(open_page(), photo())
    button(page, "Recognise").click().run()
    first, second = fake.forms
    assert first["key"] == second["key"]


def test_a_frame_goes_along(fake: Fake) -> None:
    page = open_page().run()
    page.file_uploader(key="photos").set_value([photo(size=(80, 60))]).run()
    page.toggle[0].set_value(True).run()
    page.slider[0].set_value((10, 50)).run()
    button(page, "Recognise").click().run()
    assert json.loads(fake.forms[0]["boxes"]) == [[10, 9, 40, 42]]


def test_a_map_is_named_by_its_method(fake: Fake) -> None:
    fake.pending = 0
    page = ask(open_page(), photo()).run()
    button(page, "Show the map").click().run()
    shown = text_of(page.run())
    assert "Map by EigenCAM: warm places counted most" in shown
    assert "not what speaks for one answer" in shown
    assert fake.forms[-1]["method"] == "auto"
    assert fake.forms[-1]["class_id"] == "0"


def test_the_service_is_not_there(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    url = monkeypatch
    page = open_page()
    url.setenv("POCKETLENS_SERVICE", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 can't be reached" in text_of(page.run())


def test_a_token_is_asked_for(fake: Fake) -> None:
    fake.token = "secret"
    page = open_page().run()
    assert "only those who have a token" in text_of(page)
    page.text_input[0].set_value("wrong")
    page.button[0].click().run()
    assert "doesn't know this token" in text_of(page.run())
    page.text_input[0].set_value("secret")
    page.button[0].click().run()
    assert "What is this?" in text_of(page.run())


def test_too_many_wrong_tokens_open_nothing(fake: Fake) -> None:
    fake.token = "secret"
    fake.refuse["GET /v1/models"] = (429, "too_many_wrong_tokens")
    page = open_page().run()
    page.text_input[0].set_value("secret")
    page.button[0].click().run()
    shown = text_of(page)
    assert "Too many wrong tokens" in shown
    assert "only those who have a token" in shown
    assert "What is this?" not in shown


def test_a_public_page_needs_a_service_with_tokens(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETLENS_UI_PUBLIC", "1")
    assert "asks for no token" in text_of(open_page().run())
    assert not [line for line in fake.asked if "predictions" in line]


def test_the_client_trusts_no_address(fake: Fake) -> None:
    with pytest.raises(Problem):
        Client("http://127.0.0.1:9").picture("http://evil.example/x")
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:9").get("/v1/models")


def test_photos_are_shown_upright_and_small() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3000, 1000), "white").save(out, "JPEG", exif=exif)
    made = shown(out.getvalue(), (100, 300, 500, 900))
    assert made is not None
    data, size = made
    assert size == (1000, 3000)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (333, 1000)
        red, green, _ = image.convert("RGB").getpixel((33, 200))
        assert green > red + 30  # the frame
    assert shown(b"no photo") is None
    assert shown(out.getvalue(), (-5000, -5000, 10, 10)) is not None

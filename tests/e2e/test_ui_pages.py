"""Every screen in a real browser, against canned answers: what unit tests of a script can't see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser import chromium, reader, running
from support.fake_service import Fake, answer, model, serving
from support.ui_page import photo

HOSTILE = "<script>x</script> **b** $x^2$ :material/delete: :smile: ![a](http://e.example/a.png)"
SCREENS = ("", "teach", "train", "compare", "jobs")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def fake() -> Fake:
    fake = Fake(pending=2)
    fake.models = [model("a" * 32, "given"), model("b" * 32, "offered")]
    counts = {HOSTILE: 12, "K-000001": 90}
    fake.datasets["pills"] = {"dataset": "pills", "num_samples": 102, "class_counts": counts}
    row = {
        "name": HOSTILE, "runtime": "onnx", "precision": "int8", "score": 91.5, "drop": 1.6,
        "drop_low": -1.8, "drop_high": 6.0, "size_bytes": 3_800_000, "latency_ms": 0.8,
        "verdict": "less_accurate", "reason": HOSTILE,
    }  # fmt: skip
    one = {"id": "d" * 32, "name": HOSTILE, "created_at": "2026-11-22T12:00:00Z"}
    fake.canned = {
        "GET /v1/comparisons": {"comparisons": [one]},
        f"GET /v1/comparisons/{'d' * 32}": {"rows": [row] * 3},
        "GET /v1/account": {
            "size_bytes": 1,
            "quota_bytes": 2,
            "num_photos": 3,
            "num_datasets": 1,
            "num_jobs": 2,
            "keep_answers_days": 30,
            "keep_photos_days": None,
            "deletions": [],
        },
    }
    return fake


@pytest.fixture(scope="module")
def url(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place: Path = tmp_path_factory.mktemp("ui")
    with serving(fake) as service, running(["ui", "--service", service, "--port", "0"], place) as u:
        yield u


def is_settled(page: Page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize(("lang", "dark", "width"), [("en", False, 1280), ("ko", True, 390)])
def test_screens(browser: Browser, url: str, lang: str, dark: bool, width: int) -> None:
    """In both languages, bright and dark, wide and narrow: nothing sticks out or is English."""
    with reader(browser, width=width, dark=dark) as page:
        for screen in SCREENS:
            page.goto(f"{url}/{screen}?lang={lang}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            is_settled(page)
            assert not scrolls_sideways(page)
            # A script of the page sets it, which may run after the screen is drawn.
            expect(page.locator("html")).to_have_attribute("lang", lang)
            ink = page.evaluate("getComputedStyle(document.querySelector('.stApp')).color")
            assert (ink == "rgb(230, 238, 238)") == dark
            words = page.locator("body").inner_text()
            for theirs in ("Deploy", "Drag and drop", "Choose an option", "per file", "Traceback"):
                assert theirs not in words
            assert all(picture.get_attribute("alt") for picture in page.locator("img").all())


def test_hostile_names_are_text(browser: Browser, url: str, fake: Fake) -> None:
    top = [{"label": HOSTILE, "name": HOSTILE, "class_id": 0, "probability": 0.9}]
    fake.answers = [answer(label=HOSTILE, name=HOSTILE, top=top, info={HOSTILE: HOSTILE})]
    with reader(browser) as page:
        page.goto(f"{url}/?lang=en")
        _, data, mime = photo()
        page.locator("input[type=file]").set_input_files(
            {"name": "**b** :smile: $x^2$.png", "mimeType": mime, "buffer": data}
        )
        page.get_by_role("button", name="Recognise", exact=True).click()
        expect(page.locator(".pl-name")).to_have_text(HOSTILE)
        expect(page.get_by_text("**b** :\u2060smile:\u2060 $x^2$.png")).to_be_visible()
        page.goto(f"{url}/compare?lang=en")
        expect(page.locator("td", has_text=HOSTILE).first).to_be_visible()
        assert page.locator("td img, td script, .katex").count() == 0


def test_the_language_stays(browser: Browser, url: str) -> None:
    """Chosen once it stands in the address, over screens and reloads; a browser's own is used."""
    with reader(browser, locale="ko-KR") as page:
        page.goto(url)
        expect(page.get_by_role("heading", name="이것은 무엇인가요?")).to_be_visible()
        page.get_by_text("English", exact=True).click()
        expect(page.get_by_role("heading", name="What is this?")).to_be_visible()
        page.get_by_role("link", name="Teach").click()
        expect(page.get_by_role("heading", name="Teach it more")).to_be_visible()
        expect(page).to_have_url(f"{url}/teach?lang=en")
        page.reload()
        expect(page.get_by_role("heading", name="Teach it more")).to_be_visible()


def test_what_was_opened_stays_open_in_the_other_language(
    browser: Browser, url: str, fake: Fake
) -> None:
    fake.answers = []
    with reader(browser) as page:
        page.goto(f"{url}/?lang=en")
        _, data, mime = photo()
        sent = {"name": "a.png", "mimeType": mime, "buffer": data}
        page.locator("input[type=file]").set_input_files(sent)
        page.get_by_role("button", name="Recognise", exact=True).click()
        page.get_by_text("Where did it look?").click()
        expect(page.get_by_role("button", name="Show the map")).to_be_visible()
        page.get_by_text("한국어", exact=True).click()
        expect(page.get_by_role("heading", name="이것은 무엇인가요?")).to_be_visible()
        is_settled(page)
        expect(page.get_by_role("button", name="지도 보기")).to_be_visible()


def test_a_service_that_goes_and_comes(browser: Browser, tmp_path: Path) -> None:
    """The page says that nobody answers, and goes on by itself; answers that were there stay."""
    fake = Fake(pending=0)
    with ExitStack() as first:
        service = first.enter_context(serving(fake))
        ui = ["ui", "--service", service, "--port", "0"]
        with running(ui, tmp_path) as url, reader(browser) as page:
            page.goto(f"{url}/?lang=en")
            _, data, mime = photo()
            sent = {"name": "a.png", "mimeType": mime, "buffer": data}
            page.locator("input[type=file]").set_input_files(sent)
            page.get_by_role("button", name="Recognise", exact=True).click()
            expect(page.locator(".pl-name")).to_be_visible()
            first.close()
            page.get_by_role("link", name="Teach").click()
            expect(page.get_by_text("can't be reached")).to_be_visible()
            with serving(fake, int(service.rpartition(":")[2])):
                expect(page.get_by_role("heading", name="Teach it more")).to_be_visible()
                page.get_by_role("link", name="Recognise").click()
                expect(page.locator(".pl-name")).to_be_visible()


def test_by_keyboard_and_camera(browser: Browser, url: str, fake: Fake) -> None:
    fake.answers = []
    with reader(browser) as page:
        page.goto(f"{url}/?lang=en")
        page.get_by_role("radio", name="Camera").focus()
        page.keyboard.press("Space")
        expect(page.get_by_test_id("stCameraInputButton")).to_be_enabled(timeout=20_000)
        # A click before the camera's first picture takes none.
        page.wait_for_function("document.querySelector('video')?.readyState === 4")
        page.get_by_test_id("stCameraInputButton").click()
        go = page.get_by_role("button", name="Recognise", exact=True)
        expect(go).to_be_enabled(timeout=20_000)
        go.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".pl-name")).to_contain_text("Nexium")
        assert fake.forms[-1]["files"][0][1] == "camera.jpg"

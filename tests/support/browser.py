"""A browser, and the processes that it talks to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream "
    "--use-fake-device-for-media-stream"
).split()
START_SECONDS = 60.0


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skips where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def reader(
    browser: Browser, *, width: int = 1280, dark: bool = False, **options: str
) -> Iterator[Page]:
    """A page of a fresh reader; afterwards it has logged no error and asked nobody elsewhere."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        locale=options.get("locale", "en-GB"),
        permissions=["camera"],
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    odd: list[str] = []
    # Streamlit looks for its server below the screen's address first.
    page.on(
        "console",
        lambda said: (
            odd.append(f"{said.text} {said.location['url']}")
            if said.type == "error" and "/_stcore/" not in said.location["url"]
            else None
        ),
    )
    page.on("pageerror", lambda error: odd.append(str(error)))
    page.on("request", lambda asked: odd.append(asked.url) if is_elsewhere(asked.url) else None)
    try:
        yield page
        assert not odd, odd
    finally:
        context.close()


def is_elsewhere(url: str) -> bool:
    """Whether a request leaves this machine."""
    return not re.match(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|(data|blob|about):", url)


@contextmanager
def running(arguments: list[str], place: Path, **environment: str) -> Iterator[str]:
    """`pocketlens …` as a process, until the block is left.

    Gives the first address that it prints; a worker prints none, and nothing is waited for.
    """
    place.mkdir(parents=True, exist_ok=True)
    said, complained = place / "stdout", place / "stderr"
    with said.open("wb") as out, complained.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "pocketlens", *arguments],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
            cwd=place,
        )
    try:
        if arguments[0] == "worker":
            yield ""
            return

        def address() -> str | None:
            assert process.poll() is None, complained.read_text("utf-8", "replace")
            found = re.search(r"http://[\w.]+:\d+", said.read_text("utf-8", "replace"))
            return found[0] if found else None

        yield until(address, START_SECONDS)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def until(find: Callable[[], str | None], seconds: float) -> str:
    """What `find` finds as soon as it does."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.05)
    return found

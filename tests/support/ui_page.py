"""The page as a script, for tests: what it shows as text, and photos in its uploader."""

from __future__ import annotations

import io
import re
from html import unescape
from importlib.util import find_spec
from typing import Any

from PIL import Image
from streamlit.testing.v1 import AppTest


def open_page(**query: str) -> AppTest:
    """The whole page, not run yet; it begins with Recognise."""
    spec = find_spec("pocketlens.ui.app")
    assert spec is not None
    assert spec.origin is not None
    return _with(AppTest.from_file(spec.origin, default_timeout=20), query)


def open_screen(name: str, **query: str) -> AppTest:
    """One screen without navigation and token, not run yet."""
    script = f"from pocketlens.ui.screens import {name}\n{name}.show()"
    return _with(AppTest.from_string(script, default_timeout=20), query)


def button(page: AppTest, label: str) -> Any:
    """The only button with this label."""
    [found] = [button for button in page.button if button.label == label]
    return found


def _with(page: AppTest, query: dict[str, str]) -> AppTest:
    for name, value in query.items():
        page.query_params[name] = value
    return page


def text_of(page: AppTest) -> str:
    """All that is shown, as text: Markdown without its escapes, HTML without its tags."""
    assert not page.exception, page.exception[0].message
    return "\n".join(_text(element) for element in page.main)


def photo(colour: str = "white", size: tuple[int, int] = (80, 60)) -> tuple[str, bytes, str]:
    """A photo as an uploader takes it."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return (f"{colour}.png", out.getvalue(), "image/png")


def _text(element: Any) -> str:
    proto = element.proto
    if element.type == "html":
        body = re.sub(r"<(style|script)>.*?</\1>", "", proto.body, flags=re.DOTALL)
        return unescape(re.sub(r"<[^>]+>", " ", body))
    words = getattr(proto, "body", "") or getattr(proto, "label", "")
    return re.sub(r"\\(.)", r"\1", str(words)).replace("\u2060", "")

"""The page as a script, for tests: what it shows as text, and photos in its uploader."""

from __future__ import annotations

import io
import re
from html import unescape
from importlib.util import find_spec
from typing import Any

from PIL import Image
from streamlit.testing.v1 import AppTest


def open_page(screen: str = "", **query: str) -> AppTest:
    """The page at one of its screens, not run yet."""
    spec = find_spec("pocketlens.ui.app")
    assert spec is not None
    assert spec.origin is not None
    page = AppTest.from_file(spec.origin, default_timeout=20)
    for name, value in query.items():
        page.query_params[name] = value
    if screen:
        page.switch_page(screen)
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

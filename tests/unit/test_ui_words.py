"""The page's texts: both languages have all, none stands elsewhere, and names stay text."""

from __future__ import annotations

import ast
import re
import string
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pocketlens.core.text import one_line
from pocketlens.ui import show, style, words
from pocketlens.ui.texts import recognise
from pocketlens.workflows import _findings

UI = Path(words.__file__).parent
HANGUL = re.compile(r"[가-힣]")
#: Streamlit's arguments that are read by people.
READ = {"label", "body", "help", "caption", "alt", "placeholder", "title", "text", "page_title"}
#: Calls whose first argument is a text for people.
SAYS = {
    "title", "header", "subheader", "markdown", "caption", "text", "write", "info", "warning",
    "error", "success", "button", "download_button", "selectbox", "text_input", "number_input",
    "slider", "toggle", "checkbox", "radio", "segmented_control", "file_uploader", "camera_input",
    "expander", "badge", "toast", "metric", "progress", "spinner", "status", "popover", "dialog",
    "form_submit_button", "multiselect", "text_area", "tabs",
}  # fmt: skip
NAMES_OF_OUR_OWN = {"pocketlens"}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_everything() -> None:
    assert len(words.TEXTS) > 100
    for key, (english, korean) in words.TEXTS.items():
        assert english.strip(), key
        assert korean.strip(), key
        assert fields(english) == fields(korean), key
        assert not HANGUL.search(english), key
        known_abroad = english == korean  # names of methods and measures
        assert known_abroad or HANGUL.search(korean), key


def test_fields_have_both_names() -> None:
    for english, korean in recognise.FIELDS.values():
        assert not HANGUL.search(english)
        assert HANGUL.search(korean)


def calls_with_text(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = [k.value for k in node.keywords if k.arg in READ]
        given += node.args[:1] if node.func.attr in SAYS else []
        for value in given:
            parts = value.values if isinstance(value, ast.JoinedStr) else [value]
            texts = [p.value for p in parts if isinstance(p, ast.Constant)]
            said = " ".join(t for t in texts if isinstance(t, str))
            said = re.sub(r":material/\w+:", "", said)
            if re.search(r"\w", said) and said not in NAMES_OF_OUR_OWN:
                found.append(said)
    return found


def test_no_text_stands_elsewhere() -> None:
    files = [path for path in UI.rglob("*.py") if path.parent.name != "texts"]
    assert len(files) > 10
    for path in files:
        source = path.read_text("utf-8")
        if path.name != "words.py":  # the languages' own names
            assert not HANGUL.search(source), path
        assert calls_with_text(ast.parse(source)) == [], path


def test_that_check_finds_a_text() -> None:
    bad = "st.button('Go')\nst.image(x, alt=f'Photo {name}')\nleft.markdown('**hi**')"
    assert calls_with_text(ast.parse(bad)) == ["Go", "Photo ", "**hi**"]
    assert calls_with_text(ast.parse("st.button(t('go'), icon=':material/add:')")) == []


def test_each_finding_of_check_has_words() -> None:
    kinds = {
        kind
        for name in dir(_findings)
        if name.startswith("_") and name[1:].isupper()
        for kind in getattr(_findings, name)
    }
    assert {"unreadable", "imbalance", "duplicate"} <= kinds
    assert {kind for kind in kinds if words.say_of("ko", "found", kind) is None} == set()


#: What the page never causes: programs do.
_FOR_PROGRAMS = {
    "bad_request", "invalid_request", "bad_multipart", "bad_url", "url_not_public", "cross_site",
    "url_not_fetched", "unsupported_media_type", "head_too_large", "field_too_large",
    "urls_not_allowed", "idempotency_key_reused",
}  # fmt: skip


def test_each_word_of_the_service_has_a_sentence() -> None:
    folder = UI.parent / "service"
    source = "".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.py")))
    said = r'(?:Problem\(\s*\d+,|JobFailed\(|ArchiveError\(|^    code =)\s*"([a-z_]+)"'
    codes = set(re.findall(said, source, re.MULTILINE))
    assert len(codes) > 30
    untold = {code for code in codes if words.say_of("ko", "code", code) is None}
    assert untold == _FOR_PROGRAMS & codes


def test_no_text_is_forgotten() -> None:
    """Each key is used: as it stands in the code, or by its prefix."""
    source = "".join(p.read_text("utf-8") for p in UI.rglob("*.py") if p.parent.name != "texts")
    kinds = ("code_", "state_", "found_", "nav_", "map_", "kind_", "step_", "verdict_", "model_")
    kinds += ("gate_", "missing_", "metric_", "task_", "hint_")
    unused = [key for key in words.TEXTS if not re.search(f"[\"']{key}[\"']", source)]
    assert [key for key in unused if not key.startswith(kinds)] == []


@pytest.mark.parametrize(
    ("locale", "language"),
    [("ko-KR", "ko"), ("ko", "ko"), ("en-GB", "en"), ("kok-IN", "en"), (None, "en"), ("", "en")],
)
def test_language_of_a_browser(locale: str | None, language: str) -> None:
    assert words.from_locale(locale) == language


HOSTILE = (
    "<script>alert(1)</script>", "**bold** _it_ `code`", "$x^2$", ":material/delete: :smile:",
    ":material_delete:", "![a](http://example.com/x.png)", "[a](javascript:alert(1))",
    "http://example.com www.example.com a@example.com", ":red[x]", "# h", "- a", "1. a", "a | b",
    "a -> b <- c -- d >= e", "\\*", "a\n\n# b", "~~x~~", "&lt;b&gt; &amp;", ":streamlit:", "> q",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_escaped(text: str) -> None:
    """Each sign that could be markup has a backslash; what is replaced later is kept apart."""
    escaped = show.plain(text)
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", escaped)
    assert not set(bare) & set(string.punctuation)
    shown = re.sub(r"\\(.)", r"\1", escaped)
    assert shown.replace("\u2060", "") == one_line(text)
    assert not re.search(r":[\w+-]+:|https?://|www\.|@\w|->|<-|--|>=|:material", shown)


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_tables_hold_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(show.st, "html", made.append)
    hostile = '<img src=x onerror=alert(1)>" onload="x'
    show.table([(hostile, hostile)], header=(hostile, hostile), name=hostile)
    show.bars([(hostile, 2.0, hostile)], name=hostile)
    show.heading(hostile, small=hostile)
    for html in made:
        page = _Tags(html)
        assert not set(page.tags) & {"img", "script"}
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert hostile in page.texts
    assert "width:100.0%" in made[1]


def test_streamlits_own_words_are_replaced() -> None:
    english, korean = style.sheet("en", 100), style.sheet("ko", 100)
    assert "100 MB" in english
    assert "파일 선택" in korean
    assert korean.count("{") == korean.count("}")


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2500.0 GB")]
)
def test_sizes(num_bytes: float, text: str) -> None:
    assert show.size(num_bytes).replace("\u00a0", " ") == text

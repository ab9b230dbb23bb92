"""What holds for every HTML page, a new one too: one design, no network, no name that is markup."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache

import pytest

from pocketlens.reports._page import environment
from support.page import Page
from support.pages import HOSTILE, MAKERS, korean

PAGES = sorted(
    name
    for name in environment().list_templates(extensions=["html"])
    if "/" not in name and name != "base.html"
)
#: Tags that would load or send something.
LOADING = {"link", "iframe", "object", "embed", "form", "base", "video", "audio", "source"}
#: Text on its ground: WCAG 2.2's contrast for text of usual size.
CONTRAST = 4.5


@cache
def text_of(template: str) -> str:
    return MAKERS[template]((*HOSTILE, *korean(194)))


def rules(css: str, name: str) -> str:
    """What stands in the blocks of a media query."""
    found, start = "", css.find(name)
    while start >= 0:
        depth, i = 0, css.index("{", start)
        for end in range(i, len(css)):
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            if depth == 0:
                break
        found += css[i + 1 : end]
        start = css.find(name, end)
    return found


def style_of(template: str) -> str:
    return "".join(re.findall(r"<style>(.*?)</style>", text_of(template), re.DOTALL))


def test_every_page_is_made_here() -> None:
    assert set(MAKERS) == set(PAGES), "tests/support/pages.py makes each page that there is"


@pytest.mark.parametrize("template", PAGES)
def test_it_is_well_formed_and_needs_no_network(template: str) -> None:
    page = Page(text_of(template))
    tags = {tag for tag, _ in page.elements}
    assert not LOADING & tags
    assert len(page.all("h1")) == 1
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.elements:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        for key in ("src", "href", "srcset", "action", "xlink:href"):
            assert (attrs.get(key) or "#").startswith(("#", "data:image/")), (tag, attrs)
    for link in page.all("a"):
        assert (link["href"] or "")[1:] in ids, link
    style = style_of(template)
    assert "@import" not in style
    assert set(re.findall(r"url\((.)", style)) <= {"#"}
    policy = next(a["content"] for a in page.all("meta") if "Policy" in (a.get("http-equiv") or ""))
    script = re.findall(r"<script>(.*?)</script>", text_of(template), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert (policy or "").startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in (policy or "")


@pytest.mark.parametrize("template", PAGES)
def test_every_picture_has_an_alternative_text(template: str) -> None:
    page = Page(text_of(template))
    ids = {attrs.get("id") for _, attrs in page.elements}
    assert page.all("img")
    assert [a for a in page.all("img") if not (a.get("alt") or "").strip()] == []
    for attrs in page.all("svg"):
        if attrs.get("aria-hidden") != "true":
            assert attrs.get("role") == "img"
            named = (attrs.get("aria-labelledby") or "").split()
            assert named
            assert set(named) <= ids


@pytest.mark.parametrize("template", PAGES)
def test_tables_have_headings_and_what_they_are_sorted_by(template: str) -> None:
    page = Page(text_of(template))
    for attrs in page.all("th"):
        assert attrs.get("scope") in ("col", "row", None)
    for region in [a for a in page.all("div") if "scroll" in (a.get("class") or "").split()]:
        assert region.get("role") == "region"
        assert region.get("tabindex") == "0", "what scrolls can be scrolled by keys"
        assert region.get("aria-label")
    for table in re.findall(r"<table[^>]*data-sort.*?</table>", text_of(template), re.DOTALL):
        head, body = re.split(r"</thead>", table)
        columns = re.findall(r"<t[hd]\b([^>]*)>(.*?)</t[hd]>", head, re.DOTALL)
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL)
        assert rows
        for row in rows:
            cells = re.findall(r"<t[hd]\b([^>]*)>", row)
            assert len(cells) == len(columns), row
            for (heading, words), cell in zip(columns, cells, strict=True):
                if not words.strip():
                    continue
                key = re.search(r'data-key="([^"]*)"', cell)
                assert key is not None, (words, cell)
                if "num" in heading and key[1]:
                    assert math.isfinite(float(key[1]))


@pytest.mark.parametrize("template", PAGES)
def test_names_that_mean_harm_stay_text(template: str) -> None:
    text = text_of(template)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert HOSTILE[5] in page.text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "None" not in re.sub(r"<(style|script)>.*?</\1>|data:[^\"]*", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("template", PAGES)
def test_it_is_light_dark_printable_and_fits_a_phone(template: str) -> None:
    style = style_of(template)
    assert "--page" in rules(style, "@media (prefers-color-scheme: dark)")
    assert "@page" in rules(style, "@media print")
    assert "--page: #ffffff" in rules(style, "@media print"), "paper is white"
    assert "max-width: 40rem" in style
    metas = {a.get("name"): a.get("content") for a in Page(text_of(template)).all("meta")}
    assert metas["color-scheme"] == "light dark"
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    # Wide tables scroll in a box of their own; bars have no fixed width.
    for before in re.findall(r"(.{60})<table(?! class=\"bars\")", text_of(template), re.DOTALL):
        assert 'tabindex="0">' in before, before


@pytest.mark.parametrize("template", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_its_ground(template: str, scheme: str) -> None:
    style = style_of(template)
    dark, paper = (rules(style, f"@media {q}") for q in ("(prefers-color-scheme: dark)", "print"))
    plain = style.split("@media")[0] + "".join(
        part for part in re.findall(r"^:root \{[^}]*\}", style, re.MULTILINE)
    )
    texts = {"light": plain, "dark": plain + dark, "print": plain + paper}
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", texts[scheme]))
    words = ("ink", "soft", "best", "ok", "reference", "rejected", "unsure")
    for word in [name for name in words if name in colours]:
        for ground in ("page", "panel"):
            found = contrast(colours[word], colours[ground])
            assert found >= CONTRAST, f"{word} on {ground}: {found:.2f}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tint", ["heat", "miss"])
def test_figures_stand_out_from_the_cells_of_a_matrix(scheme: str, tint: str) -> None:
    style = style_of("compare.html")
    dark = rules(style, "@media (prefers-color-scheme: dark)") if scheme == "dark" else ""
    values = dict(re.findall(r"--([a-z-]+): ([^;]+);", style.split("@media")[0] + dark))
    most = float(re.findall(r"--p, 0\) \* ([.\d]+)%", style)[0])
    page = [int(values["page"][i : i + 2], 16) for i in (1, 3, 5)]
    over = [
        round(a + (b - a) * most) for a, b in zip(page, map(int, values[tint].split()), strict=True)
    ]
    assert contrast(values["ink"], "#{:02x}{:02x}{:02x}".format(*over)) >= CONTRAST


def contrast(one: str, other: str) -> float:
    """Of two colours, 1 to 21: WCAG 2.2, "contrast ratio"."""
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)

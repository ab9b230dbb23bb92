"""Reports of odd comparisons: nothing breaks, nothing runs, all say the same."""

from __future__ import annotations

import csv
import io
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape

import pytest

from pocketlens import plugins
from pocketlens.core.comparison import Comparison, Flip, Row
from pocketlens.core.gate import Limits
from pocketlens.reports import _sections as sections
from pocketlens.reports._headline import headline
from support.comparisons import NASTY, compared, float_row, full, nasty, onnx_row, row, small
from support.page import Page


def html(comparison: Comparison) -> str:
    return str(plugins.load("reports", "html").render(comparison))


def failed(name: str, **values: str) -> Row:
    return Row(name, "onnx", "int8", "x", "macro_f1", verdict="failed", reason="it broke", **values)


BAD_DROP = {"score": 60.0, "drop": 26.25, "drop_low": 20.0, "drop_high": 30.0, "val_drop": 25.0}
ODD: dict[str, Comparison] = {
    "empty": compared([]),
    "one row": compared([float_row()]),
    "nothing passed": compared([float_row(), onnx_row(), row("a", **BAD_DROP)]),
    "reference best": compared([float_row(speedup_float=1.0), row("a", **BAD_DROP)]),
    "only failures": compared([failed("a"), failed("b")]),
    "not measured": compared([float_row(latency_ms=None, size_bytes=None, params=None)]),
    "not finite": compared(
        [float_row(), row("a", score=math.nan, drop=math.nan, loss=math.inf, latency_ms=math.inf)]
    ),
    "multi-label": replace(small(), confusion={}, data={"task": "multi_label"}, flips=()),
    "zero flips": replace(small(), flips=(), num_flips={}),
    "no details": replace(
        small(), damage=(), flips=(), confusion={}, machine={}, data={}, config={}, limits={}
    ),
    "sixty rows": replace(full(4, 60), confusion={}, flips=(), damage=()),
    "two rows of one name": compared([float_row(), row("a"), row("a", latency_ms=5.0)]),
    "same place": compared([float_row(), *(row(f"v{i}") for i in range(9))]),
    "wide latencies": compared([float_row(), row("a", latency_ms=0.05)]),
    "nasty": nasty(),
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest) -> Comparison:
    return ODD[request.param]


@pytest.mark.parametrize("name", plugins.names("reports"))
def test_odd_comparisons_have_every_report(odd: Comparison, name: str) -> None:
    text = plugins.load("reports", name).render(odd)
    assert text.endswith("\n") or name == "html"
    text.encode("utf-8")
    assert "None" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)
    assert "\x1b" not in text
    assert "\x00" not in text
    if name != "csv":
        sentence = headline(odd).sentence
        words = Page(text).text if name == "html" else unescape(text.replace("\\", ""))
        assert " ".join(sentence.split())[:40].replace("\\", "") in " ".join(words.split())


def test_page_is_well_formed_and_needs_no_network(odd: Comparison) -> None:
    text = html(odd)
    page = Page(text)
    assert len(page.all("h1")) == 1
    assert len(page.all("script")) == 1
    assert not {"link", "iframe", "object", "embed", "form", "base"} & {t for t, _ in page.elements}
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.elements:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        for key in ("src", "href", "srcset", "action"):
            value = attrs.get(key)
            assert value is None or value.startswith(("#", "data:image/")), (tag, value)
    for href in [attrs["href"] for attrs in page.all("a")]:
        assert href is not None
        assert href[1:] in ids
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_navigation_leads_to_what_the_page_has() -> None:
    for comparison in (full(), small(), compared([])):
        text = html(comparison)
        links = re.search("<nav.*?</nav>", text, re.DOTALL)
        assert links
        targets = re.findall('href="#(.*?)"', links[0])
        assert targets
        assert [t for t in targets if f'id="{t}"' not in text] == []
        assert ("parity" in targets) == bool(comparison.parity)


def test_what_computes_a_row_stands_by_its_runtime() -> None:
    phone = compared([float_row(), row("a", runtime="executorch", backend="xnnpack")])
    for renderer in ("html", "markdown", "terminal"):
        text = str(plugins.load("reports", renderer).render(phone))
        assert "xnnpack" in text, renderer


def test_every_picture_has_an_alternative_text() -> None:
    page = Page(html(full(4)))
    assert page.all("img")
    assert all(attrs.get("alt") for attrs in page.all("img"))
    ids = {attrs.get("id") for _, attrs in page.elements}
    pictures = [a for a in page.all("svg") if a.get("aria-hidden") != "true"]
    assert len(pictures) == 2
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert set((attrs["aria-labelledby"] or "").split()) <= ids


def test_names_that_mean_harm_stay_text() -> None:
    text = html(nasty())
    assert "<script>alert" not in text
    page = Page(text)
    assert NASTY[0] in page.text
    assert "불량 셀 🔥 균열" in page.text
    assert "x" * 300 in page.text
    # The one script that may run is the page's own.
    policy = next(a["content"] for a in page.all("meta") if "Policy" in (a.get("http-equiv") or ""))
    assert policy is not None
    assert "script-src 'sha256-" in policy
    assert "default-src 'none'" in policy


def test_no_flips_is_only_claimed_where_it_is_known() -> None:
    unkept = replace(small(), flips=(), num_flips={})
    assert "No photos are kept" in html(unkept)
    rows = tuple(replace(r, agreement=100.0) for r in unkept.rows)
    assert "every model gives the float model’s answer" in html(replace(unkept, rows=rows))


def test_script_hash_is_that_of_the_script() -> None:
    import base64
    import hashlib

    text = html(small())
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_table_cells_carry_what_they_are_sorted_by() -> None:
    page = Page(html(small()))
    tables = [a for a in page.all("table") if "data-sort" in a]
    assert tables
    numbers = [a for a in page.all("td") if "num" in (a.get("class") or "") and "data-key" in a]
    assert numbers
    for attrs in numbers:
        assert attrs["data-key"] == "" or math.isfinite(float(attrs["data-key"] or 0))


def test_csv_has_the_contracts_columns_and_no_formulas() -> None:
    text = plugins.load("reports", "csv").render(nasty())
    header, *lines = csv.reader(io.StringIO(text))
    assert header[:5] == ["name", "runtime", "precision", "method", "metric"]
    assert header[-2:] == ["verdict", "reason"]
    assert len(lines) == len(nasty().rows)
    assert all(len(line) == len(header) for line in lines)
    assert [line[0] for line in lines if "cmd" in line[0]] == ["'=cmd()"]
    best = dict(zip(header, lines[-2], strict=True))
    assert float(best["drop_low"]) == -0.4


def test_markdown_keeps_its_columns() -> None:
    text = plugins.load("reports", "markdown").render(nasty())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}
    assert "\\<script\\>" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_terminal_keeps_within_its_width(width: int) -> None:
    terminal = plugins.load("reports", "terminal")
    text = terminal.render(full(4), terminal.Config(width=width))
    assert max(len(line) for line in text.splitlines()) <= width
    assert "Ship static-percentile" in text
    assert "\x1b[" in terminal.render(full(4), terminal.Config(width=width, color=True))


def test_terminal_cuts_no_figure_short() -> None:
    terminal = plugins.load("reports", "terminal")
    for width in (45, 60, 80, 100, 140):
        text = terminal.render(full(4), terminal.Config(width=width))
        assert re.search(r"★\s+static-.* 86\.45 .*\b3\.35\b", text), text


SENTENCES = {
    "proven": (compared([float_row(), row("a", drop_high=0.4)]), "proven to stay within"),
    "unproven": (compared([float_row(), row("a")]), "within the limit of 0.5, but not proven"),
    "by chance": (compared([float_row(), row("a", drop=0.7)]), "too few test images"),
    "gain": (compared([float_row(), row("a", drop=-0.3)]), "gains 0.30 points of macro F1"),
    "equal": (compared([float_row(), row("a", drop=-0.001)]), "loses no macro F1"),
    "noisy": (compared([float_row(), row("a", noisy=True)]), "~2.08 times as fast as the float"),
    "nothing": (ODD["nothing passed"], "the one compressed model did not pass"),
    "one": (ODD["one row"], "nothing else was compared"),
    "empty": (ODD["empty"], "no model was compared"),
    "failures": (ODD["only failures"], "none of the 2 models could be measured"),
    "goal": (
        compared(
            [float_row(speedup_float=1.0), row("a", size_bytes=99_000_000)], Limits(goal="size")
        ),
        "the one compressed model that passed is not smaller",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_headline_says(case: str) -> None:
    comparison, words = SENTENCES[case]
    assert words in headline(comparison).sentence


def test_sentence_of_the_best() -> None:
    assert headline(small()).sentence == (
        "Ship int8-static, int8 in ONNX Runtime: 3.52 MB instead of 13.5 MB, 2.08 times as fast as "
        "the float model in its fastest runtime (3.41 times as fast as in PyTorch), and it loses "
        "0.35 points of macro F1 (95 % interval of the loss −0.40 to 1.10: within the limit of "
        "0.5, but not proven)."
    )


def test_reports_load_nothing_heavy_before_they_render() -> None:
    code = (
        "import sys; from pocketlens import plugins\n"
        "for name in plugins.names('reports'): plugins.load('reports', name)\n"
        "print([m for m in ('jinja2', 'rich', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_photos_with_several_labels() -> None:
    base = full()
    name = next(row.name for row in base.rows if row.precision == "int8")
    flips = (
        Flip(name, "a.jpg", "cat | dog", "cat | dog", "cat", 51, 47.25, changed="dog"),
        Flip(name, "b.jpg", "cat | dog", "none", "cat", 40, 60, changed="cat"),
        Flip(name, "c.jpg", "none", "cat", "dog", 50, 61, changed="dog"),
    )
    comparison = replace(base, flips=flips, num_flips={name: 3})
    (group,) = sections.flips(comparison)
    assert [way for _, way in group.flips] == ["lost", "won", "wrong"]
    assert "1 with more wrong labels, 1 with fewer, 1 with as many" in group.summary
    text = html(comparison)
    assert "<dt>taken</dt>" in text
    assert "<bdi>dog</bdi> 51.0 → 47.2 %" in text
    assert "<dt>given</dt>" in text

"""The Pareto front over score, size and latency."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from pocketlens.core.pareto import beaten_by, front
from pocketlens.reports import pareto, pareto_picture
from support.comparisons import compared, float_row, onnx_row, row, small


def variant(name: str, score: float, size: int, latency: float, **values: object):  # type: ignore[no-untyped-def]
    return row(name, score=score, size_bytes=size, latency_ms=latency, verdict="ok", **values)


def test_none_on_the_front_is_beaten_and_all_others_are() -> None:
    rows = [
        variant("accurate", 90.0, 100, 10.0),
        variant("fast", 85.0, 50, 1.0),
        variant("small", 80.0, 10, 5.0),
        variant("beaten", 84.0, 60, 2.0),
        variant("twin", 85.0, 50, 1.0),
        replace(variant("failed", 99.0, 1, 0.1), verdict="failed"),
        replace(variant("unknown", 99.0, 1, 0.1), latency_ms=None),
        variant("no number", float("nan"), 1, 0.1),
    ]
    assert [r.name for r in front(rows)] == ["fast", "twin", "small", "accurate"]
    winner = beaten_by(rows[3], rows)
    assert winner is not None
    assert winner.name in ("fast", "twin")


def test_every_variant_is_on_the_front_or_has_a_story() -> None:
    comparison = small()
    text = pareto.render(comparison)
    for found in comparison.rows:
        assert found.name in text
        if found.verdict in ("slower", "less_accurate", "too_large", "failed", "skipped"):
            assert found.reason.split(",")[0][:30] in text.replace("\\", "")


def test_the_picture_is_xml_whatever_names_hold() -> None:
    comparison = compared([float_row(), replace(onnx_row(), name="<script>&")])
    root = ElementTree.fromstring(pareto_picture.render(comparison))
    assert root.tag.endswith("svg")
    assert "<script>" not in pareto_picture.render(comparison)
    ElementTree.fromstring(pareto_picture.render(compared([])))


def test_the_picture_tells_its_colours_and_what_lies_below() -> None:
    rows = [
        replace(variant("good", 90.0, 100, 10.0), verdict="reference"),
        replace(variant("beaten", 89.0, 100, 11.0), verdict="best"),
        replace(variant("deep", 10.0, 100, 12.0), verdict="less_accurate"),
    ]
    comparison = replace(compared([float_row()]), rows=tuple(rows))
    text = pareto_picture.render(comparison)
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    colour_of = {
        (circle.find(f"{space}title").text or "").split(":")[0]: circle.get("fill")  # type: ignore[union-attr]
        for circle in root.iter(f"{space}circle")
        if circle.find(f"{space}title") is not None
    }
    words = [one.text for one in root.iter(f"{space}text")]
    assert len(set(colour_of.values())) == 3
    for legend in ("best", "none beats it", "rejected"):
        assert legend in words
    assert "another one beats it" not in words, "nothing is drawn in that colour"
    assert "↓ score below the picture" in words
    assert text.count("l4 5l4 -5") == 2, "an arrow in each panel"
    # All sizes are alike, between two round figures: the axis has a number all the same.
    at = words.index("size, MB (logarithmic)")
    assert any(re.fullmatch(r"[\d.]+", word or "") for word in words[at - 1 : at])


def test_what_loses_too_much_is_no_choice_but_has_a_story() -> None:
    rows = [
        variant("kept", 90.0, 100, 10.0),
        replace(variant("wrong", 10.0, 1, 0.1), verdict="less_accurate", reason="loses 80 points"),
    ]
    assert [r.name for r in front(rows)] == ["kept"]
    text = pareto.render(replace(compared([float_row()]), rows=tuple(rows)))  # not judged anew
    assert "Rejected: loses 80 points." in text

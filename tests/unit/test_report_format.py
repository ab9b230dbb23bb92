"""Numbers and words of the reports, and the places of marks and labels."""

from __future__ import annotations

import math

import pytest

from pocketlens.core.area import Area
from pocketlens.core.text import csv_cell
from pocketlens.reports import _axis, _format, _labels, _scatter, _sections
from support.comparisons import compared, float_row, full, row


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.0, "0.00"), (-0.001, "0.00"), (-0.35, "−0.35"), (1234.5, "1,234.50"),
        (math.nan, "NaN"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert _format.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.213, "4.21"), (13.48, "13.5"), (1320.4, "1,320"), (0.0123, "0.0123"), (0, "0")],
)
def test_significant(value: float, text: str) -> None:
    assert _format.significant(value) == text
    assert _format.significant(value, noisy=True) == "~" + text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (999, "999"), (3_370_000, "3.37 M"), (4.1e9, "4.10 G")]
)
def test_count(value: float | None, text: str) -> None:
    assert _format.count(value) == text


def test_one_line_tames_control_characters_and_length() -> None:
    assert _format.one_line("a\nb\tc") == "a b c"
    assert _format.one_line("\x1b[0m\x00\udcff") == "�[0m��"
    assert _format.one_line("x" * 300, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_csv_cell_defuses_formulas(text: str) -> None:
    assert csv_cell(text) == "'" + text
    assert csv_cell("a" + text) == "a" + text


def test_facts_reads_nested_settings() -> None:
    lines = _format.facts({"num_samples": 1234, "a": {"b": [1, 2]}, "c": None, "d": True, "e": 0.5})
    assert lines == [
        ("number of samples", "1,234"), ("a", "b 1, 2"), ("c", "–"), ("d", "yes"), ("e", "0.5"),
    ]  # fmt: skip


def test_instructions_name_what_is_missing() -> None:
    assert _sections.instructions({"cpu_flags": ["avx2", "avx512_vnni"]}) == "AVX2, VNNI"
    assert "no VNNI" in _sections.instructions({"cpu_flags": ["avx2"]})
    assert _sections.instructions({}) == ""


@pytest.mark.parametrize("make", [_axis.linear, _axis.logarithmic])
def test_axis_keeps_order_and_ends(make: object) -> None:
    axis = make(2.0, 90.0, 0.0, 100.0)  # type: ignore[operator]
    assert axis.place(2.0) == pytest.approx(0)
    assert axis.place(90.0) == pytest.approx(100)
    values = [value for value, _ in axis.ticks]
    assert values == sorted(values)
    assert 3 <= len(values) <= 10


@pytest.mark.parametrize("size", [_scatter.WIDE, _scatter.NARROW])
@pytest.mark.parametrize("variants", [6, 12, 60])
def test_labels_keep_apart_and_within(size: _scatter.Size, variants: int) -> None:
    picture = _scatter.scatter(full(2, variants), size)
    assert picture is not None
    areas = [
        Area(
            label.x,
            label.y - 0.95 * size.font,
            label.x + _labels.text_width(label.text, size.font),
            label.y + 0.25 * size.font,
        )
        for label in picture.labels
    ]
    for i, area in enumerate(areas):
        assert not area.leaves(picture.plot)
        assert all(area.shared(other) == 0 for other in areas[i + 1 :])


def test_all_marks_stand_in_the_picture() -> None:
    picture = _scatter.scatter(full(2))
    assert picture is not None
    assert len(picture.points) == 11
    for point in picture.points:
        assert picture.plot.left <= point.x <= picture.plot.right
        assert picture.plot.top <= point.y <= picture.plot.bottom
    assert [point.title.split(":")[0] for point in picture.points if point.below] == ["per-tensor"]


def test_area_is_in_proportion_to_size() -> None:
    rows = [float_row(size_bytes=16_000_000), row("a", size_bytes=4_000_000)]
    picture = _scatter.scatter(compared(rows))
    assert picture is not None
    assert picture.sizes[0][1] == "4.00 MB"
    assert picture.sizes[1][1] == "16.0 MB"


def test_worst_classes_come_first_and_the_rest_is_folded() -> None:
    found, most = _sections.damage(full(30))
    for group in found:
        changes = [item.score - item.score_float for item in (*group.shown, *group.folded)]
        assert changes == sorted(changes)
        assert len(group.shown) == 20
        assert len(group.folded) == 10
    assert most == pytest.approx(9)

"""Names of any script in pictures: a font that has them, or their numbers; never empty boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pocketlens.explain import fonts as module
from pocketlens.explain._cmap import covered
from pocketlens.explain.fonts import Fonts, machine_fonts
from pocketlens.explain.lettering import Line

LATIN = next((file for file in machine_fonts() if file.endswith("DejaVuSans.ttf")), None)
CJK = next((file for file in machine_fonts() if "CJK" in file), None)


def ink(text: str, fonts: Fonts) -> np.ndarray:
    image = Image.new("L", (600, 40), 255)
    Line(fonts, text, 20).draw(ImageDraw.Draw(image), 4, 20, 0)  # type: ignore[arg-type]
    return np.asarray(image) < 128


def words(text: str, fonts: Fonts) -> str:
    return "".join(run.text for run in fonts.runs(text, 16))


def test_what_a_font_has(tmp_path) -> None:
    if LATIN is None or CJK is None:
        pytest.skip("needs fonts: DejaVu Sans and Noto Sans CJK")
    latin, cjk = covered(LATIN), covered(CJK)
    assert latin is not None
    assert cjk is not None
    assert latin.all_of("aÄßЖلا")
    assert not latin.has("가")
    assert cjk.all_of("타이레놀정 500mg 漢字")
    cut = Path(LATIN).read_bytes()[:3000]
    for content in (b"", b"ttcf", b"\0\1\0\0" + b"\xff" * 40, cut):
        (tmp_path / "damaged.ttf").write_bytes(content)
        assert covered(tmp_path / "damaged.ttf") is None
    assert covered(tmp_path / "missing.ttf") is None


def test_korean_is_drawn_where_a_font_has_it() -> None:
    if CJK is None:
        pytest.skip("needs fonts: Noto Sans CJK")
    told: list[str] = []
    fonts = Fonts(told.append)
    assert words("타이레놀정 ER", fonts) == "타이레놀정 ER"
    assert told == []
    # Different letters give different ink: empty boxes would all be alike.
    assert (ink("가", fonts) != ink("힣", fonts)).any()


def test_what_no_font_has_stands_as_numbers_and_is_told_once() -> None:
    told: list[str] = []
    fonts = Fonts(told.append, files=[LATIN] if LATIN else [])
    assert words("알약 pill", fonts) == "[U+C54C][U+C57D] pill"
    assert words("정", fonts) == "[U+C815]"
    assert len(told) == 1
    assert "HANGUL SYLLABLE AL" in told[0]
    assert "Noto Sans CJK" in told[0]
    words("漢", fonts)
    assert len(told) == 2


def test_without_any_font_ascii_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "machine_fonts", tuple)
    told: list[str] = []
    fonts = Fonts(told.append)
    assert words("pill ä", fonts) == "pill [U+00E4]"
    assert ink("pill", fonts).any()


def test_right_to_left_without_a_font_keeps_its_order() -> None:
    fonts = Fonts(lambda _: None, files=[])
    assert words("שלום", fonts) == "U+05E9 U+05DC U+05D5 U+05DD"


def test_no_raqm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_raqm", lambda: False)
    told: list[str] = []
    fonts = Fonts(told.append)
    words("plain", fonts)
    assert told == []
    words("سلام", fonts)
    assert any("Raqm" in text for text in told)


def test_direction_marks_and_control_characters_are_left_out() -> None:
    assert words("a\u202egpj.exe\n\x07b", Fonts(lambda _: None)) == "agpj.exe b"


def test_a_line_keeps_to_its_width() -> None:
    fonts = Fonts(lambda _: None)
    line = Line(fonts, "W" * 300, 16, 120)
    assert 80 < line.width <= 120
    assert Line(fonts, "short", 16, 120).width < 120

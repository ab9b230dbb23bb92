import csv
import io

import pytest

from pocketlens.core.text import csv_cell, one_line, safe_filename

# Data sets, 12: class names of every awkward kind.
NAMES = [
    "..", ".", "CON", "con", "nul.txt", "<script>alert(1)</script>", "=cmd()", "a" * 300,
    "a" * 301, "한국어 🍎", "Cat", "cat", "CAT", "caf\u00e9", "cafe\u0301", "a/b", "a\\b", "a b",
    "a_b", "", " ", "-rf", "x\0y", "x\ny", "\udcff", "cat-1a2b3c4d", "가" * 200, "com1", "é",
]  # fmt: skip


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_csv_cell_disarms_formulas(text):
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["cat", "한국어", "a=b", "", "'x"])
def test_csv_cell_leaves_text(text):
    assert csv_cell(text) == text


def test_safe_filename_is_harmless(tmp_path):
    for text in NAMES:
        name = safe_filename(text)
        file = tmp_path / f"{name}.png"
        file.write_bytes(b"x")
        assert file.parent.resolve() == tmp_path.resolve()
        assert name
        assert not name.startswith((".", "-"))
        assert not set(name) & set('<>:"/\\|?*. \0\n')
        assert len(name.encode()) <= 120
        assert name.lower() not in ("con", "nul", "com1")


def test_safe_filename_is_unique_even_without_case_or_unicode_form():
    import unicodedata

    names = {unicodedata.normalize("NFKC", safe_filename(text)).casefold() for text in NAMES}
    assert len(names) == len(NAMES)


def test_safe_filename_keeps_plain_names_and_letters():
    assert safe_filename("rolled-in_scale") == "rolled-in_scale"
    assert safe_filename("사과") == "사과"
    assert safe_filename("한국어 🍎").startswith("한국어_")


def test_one_line():
    assert one_line("a\nb\tc") == "a b c"
    assert one_line("\x1b[31mred\x07\x9b") == "[31mred"
    assert one_line("safe\u202egpj.exe") == "safegpj.exe"
    assert one_line("한국어 👩‍👩‍👧") == "한국어 👩‍👩‍👧"
    assert one_line("bad\udcffbyte").encode()


def test_csv_cell_survives_the_csv_module():
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell('=1+"2"')])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == ['\'=1+"2"']

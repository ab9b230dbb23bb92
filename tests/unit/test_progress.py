"""Everything that is said goes to stderr."""

import pytest

from pocketlens import progress


def test_stdout_stays_parseable(capsys: pytest.CaptureFixture[str]) -> None:
    items = list(progress.track([1, 2], "[red]a photo[/red]"))
    with progress.bar("x", None) as advance:
        advance(text="[/not a tag]")
    progress.say("[bold] is text, and a long line is not broken " + "x" * 200)
    progress.warn("careful")
    out, err = capsys.readouterr()
    assert items == [1, 2]
    assert out == ""
    assert err.splitlines() == [
        "[bold] is text, and a long line is not broken " + "x" * 200,
        "warning: careful",
    ]


def test_a_service_shows_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal has room for one, and two at once are an error."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert progress.is_terminal()
    with progress.hidden():
        assert not progress.is_terminal()
        with progress.bar("a", 1), progress.bar("b", 1) as advance:
            advance()
    assert progress.is_terminal()

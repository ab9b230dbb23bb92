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


def test_without_a_terminal_a_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((0.0, 10.0, 31.0, 40.0, 62.0, 95.0))
    monkeypatch.setattr("pocketlens.progress.time.monotonic", lambda: next(clock))
    with progress.bar("training", 5) as advance:
        for number in range(1, 6):
            advance(1, f"epoch 1/1, step {number}/5")
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/1, step 2/5: 2 of 5, 31 s so far",
        "epoch 1/1, step 4/5: 4 of 5, 62 s so far",
    ]


def test_a_service_says_nothing_of_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((0.0, 100.0))
    monkeypatch.setattr("pocketlens.progress.time.monotonic", lambda: next(clock))
    with progress.hidden(), progress.bar("training", 5) as advance:
        advance()
    assert capsys.readouterr().err == ""

"""Why a new model may take the current one's place or not, in words and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Row
from pocketlens.core.gate import Limits, Reason, metric_words
from pocketlens.core.text import count_of, one_line

_MAX_NAMED: Final = 5
_LONGEST: Final = 60


def unfit(current: Bundle, task: str, classes: Sequence[str]) -> Reason | None:
    """Why a model for these classes can't replace the current one, however good; None: it may."""
    if task != current.manifest.task:
        text = (
            f"it is made for {task.replace('_', '-')} photos, the current model for "
            f"{current.manifest.task.replace('_', '-')} ones"
        )
        return Reason("other_task", {"task": task, "current": current.manifest.task}, text)
    known, num = set(classes), len(current.manifest.classes)
    if gone := [name for name in current.manifest.classes if name not in known]:
        names = [one_line(name)[:_LONGEST] for name in gone[:_MAX_NAMED]]
        more = f" and {len(gone) - _MAX_NAMED} more" if len(gone) > _MAX_NAMED else ""
        text = (
            f"it doesn't know {len(gone)} of the {num} classes that the "
            f"current model knows ({', '.join(names)}{more}); add photos of them"
        )
        return Reason("classes_missing", {"num": len(gone), "of": num, "classes": names}, text)
    return None


def too_few(num: int, needed: int) -> Reason:
    """Fewer photos can test both models than are needed."""
    text = (
        f"only {count_of(num, 'photo')} can test both models, too few to tell whether "
        f"the new one is as good (at least {needed}); add photos of the classes that are "
        "known"
    )
    return Reason("too_few_test_photos", {"num": num, "needed": needed}, text)


def slower(times: float) -> Reason:
    """It takes so many times as long as the current one."""
    text = f"takes {times:.2f} times as long as the current model"
    return Reason("slower_than_current", {"times": round(times, 2)}, text)


def judged(
    current: Row, new: Row, against: Reason | None, num: int, num_added: int, limits: Limits
) -> tuple[Reason, ...]:
    """All that is to be said of a model that was scored.

    Args:
        against: what rejects it; None: nothing.
        num: test photos that both were scored on.
        num_added: classes that it alone knows.
    """
    assert current.score is not None
    assert new.score is not None
    name = metric_words(new.metric)
    values = {
        "metric": new.metric,
        "score": round(new.score, 1),
        "score_current": round(current.score, 1),
        "num_test": num,
    }
    figures = Reason(
        "scores",
        values,
        f"{name} {new.score:.1f} %, the current model {current.score:.1f} %, on the same "
        f"{num} test photos",
    )
    if against is not None:
        decided = _validation_scores(new) if against.code == "loses_on_validation" else ()
        return against, *decided, figures
    if new.proven:
        text = f"a loss is surely within the limit of {limits.max_drop:g} points"
        sure = Reason("loss_within_limit", {"limit": limits.max_drop}, text)
    else:
        high = max(new.drop_high or 0.0, new.drop_unseen or 0.0)
        text = f"so few photos can't exclude a loss of up to {high:.1f} points"
        sure = Reason("loss_not_excluded", {"points": round(high, 1)}, text)
    if not num_added:
        return figures, sure
    noun = "class" if num_added == 1 else "classes"
    more = Reason("more_classes", {"num": num_added}, f"it knows {num_added} {noun} more")
    return figures, sure, more


def _validation_scores(new: Row) -> tuple[Reason, ...]:
    """The scores that decided, where validation photos did; none where they aren't known."""
    if new.val_score is None or new.val_score_reference is None:
        return ()
    values = {
        "metric": new.metric,
        "score": round(new.val_score, 1),
        "score_current": round(new.val_score_reference, 1),
    }
    text = (
        f"on validation photos {metric_words(new.metric)} {new.val_score:.1f} %, the current model "
        f"{new.val_score_reference:.1f} %"
    )
    return (Reason("validation_scores", values, text),)


def sentence(reasons: Sequence[Reason], *, offered: bool) -> str:
    """All reasons in one line: what rejects first, with the figures behind it."""
    texts = [reason.text for reason in reasons]
    if offered or len(texts) == 1:
        return "; ".join(texts)
    return f"{texts[0]} ({'; '.join(texts[1:])})"

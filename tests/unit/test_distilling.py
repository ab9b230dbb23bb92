"""Learning from a teacher: the formula, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pocketlens as pl
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.training.distilling import answers_of, distillation_loss, load_answers
from pocketlens.training.mixing import Batch
from support.tiny import CONFIG

RNG = np.random.default_rng(0)
STUDENT = torch.from_numpy(RNG.normal(0, 2, (7, 4)))
TEACHER = torch.from_numpy(RNG.normal(0, 2, (7, 4)))
TINY = replace(CONFIG, epochs=2)


def test_softened_answers_by_hand() -> None:
    total = 0.0
    for student, teacher in zip(STUDENT, TEACHER, strict=True):
        p, q = ((x / 3).softmax(0) for x in (teacher, student))
        total += float((p * (p.log() - q.log())).sum())
    found = distillation_loss(STUDENT, TEACHER, "single_label", 3.0)
    assert float(found) == pytest.approx(9 * total / 7)


def test_several_labels_by_hand() -> None:
    p, q = ((x / 3).sigmoid() for x in (TEACHER, STUDENT))
    both = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    found = distillation_loss(STUDENT, TEACHER, "multi_label", 3.0)
    assert float(found) == pytest.approx(9 * float(both.mean()))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_student_like_its_teacher_has_nothing_to_learn(task: object) -> None:
    student = TEACHER.clone().requires_grad_()
    loss = distillation_loss(student, TEACHER, task, 2.0)  # type: ignore[arg-type]
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-9


def test_mixed_photos_have_mixed_answers() -> None:
    teacher_NK = RNG.normal(size=(5, 3)).astype(np.float32)
    batch = Batch(np.zeros((2, 3, 4, 4), np.float32), np.arange(2), rows=np.array([4, 1]))
    np.testing.assert_array_equal(answers_of(batch, teacher_NK), teacher_NK[[4, 1]])
    mixed = batch._replace(share=0.25, partner_rows=np.array([0, 2]))
    expected = 0.25 * teacher_NK[[4, 1]] + 0.75 * teacher_NK[[0, 2]]
    np.testing.assert_allclose(answers_of(mixed, teacher_NK), expected, rtol=1e-6)


def test_a_student_is_trained_and_gone_on_with(
    tiny: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = replace(TINY, teacher=str(tiny.path), teacher_weight=1.0, mixup=0.2)
    a = pl.train(photos, out=tmp_path / "a", config=taught)
    alone = pl.train(photos, out=tmp_path / "b", config=replace(TINY, mixup=0.2))
    assert a.id != alone.id
    with np.load(tmp_path / "a.run" / "teacher.npz") as content:
        kept = dict(content)
    assert [kept[name].shape for name in kept if name != "key"] == [(42, 3)]
    capsys.readouterr()
    again = pl.train(photos, out=tmp_path / "a", config=taught, overwrite=True)
    assert "are there already" in capsys.readouterr().err
    assert again.id == a.id
    assert load_answers(tmp_path / "a.run" / "teacher.npz", "of another teacher") is None
    (tmp_path / "a.run" / "teacher.npz").write_bytes(b"damaged")
    assert load_answers(tmp_path / "a.run" / "teacher.npz", str(kept["key"])) is None


def test_teachers_of_something_else(
    tiny: Bundle, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", per_class=6)
    (photos / "disc").rename(photos / "ring")
    with pytest.raises(UserError, match="doesn't know 1 classes, such as ring"):
        pl.train(photos, out=tmp_path / "a", config=replace(TINY, teacher=str(tiny.path)))
    with pytest.raises(UserError, match="does not exist"):
        pl.train(photos, out=tmp_path / "a", config=replace(TINY, teacher="nothing"))
    assert not list(tmp_path.glob("a*"))


def test_a_teacher_that_has_seen_the_test_photos_is_told(
    tiny: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(TINY, epochs=1, teacher=str(tiny.path))
    pl.train(photos, out=tmp_path / "a", config=config)
    assert "flatters its student" not in capsys.readouterr().err
    pl.train(photos, out=tmp_path / "b", config=replace(config, seed=5))
    assert "flatters its student" in capsys.readouterr().err

"""The engine: many callers, bounded waiting, nothing answered twice, the loop never blocked."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.predictor import Prediction, Predictor, Request
from pocketlens.core.session import FakeSession
from pocketlens.service.engine import Engine, EngineClosedError, EngineFullError
from pocketlens.service.plan import Plan
from support.halves import manifest

#: Enough for any of these tests on a busy machine; none of them waits for it to pass.
LONG = 60.0


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, value)).save(file, "PNG")
    return file.getvalue()


DARK, BRIGHT = Request(png(10)), Request(png(240))


def bright(inputs: Any) -> Any:
    level = inputs.mean(axis=(1, 2, 3))
    return np.stack([-level, level], axis=1).astype(np.float32)


class Gate:
    """A network that answers only while it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, inputs: Any) -> Any:
        self.begun.release()
        assert self.open.wait(LONG)
        return bright(inputs)


Make = Callable[..., tuple[Engine, FakeSession]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Engine] = []

    def _make(
        answer: Any = bright, workers: int = 1, batch: int = 1, **kw: Any
    ) -> tuple[Engine, FakeSession]:
        session = FakeSession(answer)
        predictor = Predictor(manifest("onnx"), session, batch_size=batch)
        made.append(Engine(predictor, Plan(1, workers, batch), **kw))
        return made[-1], session

    yield _make
    for engine in made:
        engine.close()


def labels(found: list[Prediction]) -> list[str | None]:
    return [one.label for one in found]


def test_answers_are_the_predictors_own(make: Make) -> None:
    engine, _ = make(workers=2)
    requests = [DARK, BRIGHT, Request(b"no photo"), BRIGHT]
    found = asyncio.run(engine.answer(requests))
    assert labels(found) == ["dark", "bright", None, "bright"]
    assert "not an image" in found[2].error
    assert labels(engine.answer_now(requests)) == labels(found)
    plain = engine.predictor.predict([request.source for request in requests])
    for ours, theirs in zip(found, plain, strict=True):
        assert ours.error == theirs.error
        if theirs.probabilities_K is not None:
            np.testing.assert_array_equal(ours.probabilities_K, theirs.probabilities_K)


def test_nothing_asked_is_answered_at_once(make: Make) -> None:
    engine, session = make()
    assert asyncio.run(engine.answer([])) == []
    assert not session.shapes


def test_the_loop_goes_on_while_the_network_works(make: Make) -> None:
    gate = Gate()
    engine, _ = make(gate)

    async def run() -> list[Prediction]:
        task = asyncio.create_task(engine.answer([DARK], timeout=LONG))
        while not gate.begun.acquire(blocking=False):
            await asyncio.sleep(0)
        gate.open.set()  # by the loop, which the network waits for
        found: list[Prediction] = await task
        return found

    assert labels(asyncio.run(run())) == ["dark"]


def test_what_belongs_behind_the_answer_runs_in_the_same_thread(make: Make) -> None:
    engine, _ = make(workers=2)
    seen: list[str] = []

    def then(found: list[Prediction]) -> int:
        seen.append(threading.current_thread().name)
        return len(found)

    assert asyncio.run(engine.answer([DARK, BRIGHT], then=then)) == 2
    assert [name.startswith("engine-") for name in seen] == [True]


def test_an_error_behind_the_answer_is_its_callers(make: Make) -> None:
    engine, _ = make()

    def then(_: list[Prediction]) -> None:
        raise KeyError("row")

    with pytest.raises(KeyError, match="row"):
        asyncio.run(engine.answer([DARK], then=then))
    assert labels(engine.answer_now([DARK])) == ["dark"]  # the thread lives


def test_a_network_that_fails_fails_its_callers_only(make: Make) -> None:
    broken = threading.Event()
    broken.set()

    def answer(inputs: Any) -> Any:
        if broken.is_set():
            raise RuntimeError("out of memory")
        return bright(inputs)

    engine, _ = make(answer, workers=2)
    with pytest.raises(RuntimeError, match="out of memory"):
        asyncio.run(engine.answer([DARK, DARK, DARK]))
    broken.clear()
    assert labels(engine.answer_now([BRIGHT])) == ["bright"]


def test_too_late_is_never_finished(make: Make) -> None:
    """Otherwise a job made in its place would be there twice."""
    gate, finished = Gate(), []
    engine, session = make(gate)

    async def late() -> None:
        with pytest.raises(TimeoutError):
            await engine.answer([DARK, DARK], timeout=0.05, then=finished.append)

    asyncio.run(late())
    gate.open.set()
    assert labels(engine.answer_now([BRIGHT])) == ["bright"]
    assert finished == []
    assert len(session.shapes) == 2  # the first was under way; the second was not begun


def test_what_is_being_finished_is_waited_for(make: Make) -> None:
    engine, _ = make()
    finishing, may_end = threading.Event(), threading.Event()

    def then(_: list[Prediction]) -> str:
        finishing.set()
        assert may_end.wait(LONG)
        return "written"

    async def run() -> Any:
        task = asyncio.create_task(engine.answer([DARK], timeout=0.2, then=then))
        assert await asyncio.to_thread(finishing.wait, LONG)
        asyncio.get_running_loop().call_later(0.5, may_end.set)  # after the time is over
        return await task

    assert asyncio.run(run()) == "written"


def test_a_caller_who_goes_away_takes_the_work_along(make: Make) -> None:
    gate, finished = Gate(), []
    engine, session = make(gate)

    async def run() -> None:
        tasks = [asyncio.create_task(engine.answer([DARK], then=finished.append)) for _ in range(3)]
        while not gate.begun.acquire(blocking=False):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    gate.open.set()
    engine.answer_now([BRIGHT])
    assert finished == []
    assert len(session.shapes) == 2  # the one under way, and the last


def test_waiting_is_bounded(make: Make) -> None:
    gate = Gate()
    engine, _ = make(gate, room=2)

    async def run() -> None:
        first = asyncio.create_task(engine.answer([DARK]))
        while not gate.begun.acquire(blocking=False):
            await asyncio.sleep(0)
        assert engine.has_room(2)
        assert not engine.has_room(3)
        second = asyncio.create_task(engine.answer([DARK, BRIGHT]))
        await asyncio.sleep(0)
        assert not engine.has_room()
        with pytest.raises(EngineFullError):
            await engine.answer([DARK])
        with pytest.raises(TimeoutError):
            engine.answer_now([DARK], timeout=0.01)
        gate.open.set()
        assert labels(await first) == ["dark"]
        assert labels(await second) == ["dark", "bright"]
        assert engine.has_room(2)

    asyncio.run(run())


def test_a_thread_waits_for_room(make: Make) -> None:
    gate = Gate()
    engine, _ = make(gate, room=1)
    results: list[list[Prediction]] = []
    threads = [
        threading.Thread(target=lambda: results.append(engine.answer_now([DARK] * 5)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    gate.begun.acquire(timeout=LONG)
    gate.open.set()
    for thread in threads:
        thread.join(LONG)
    assert [labels(found) for found in results] == [["dark"] * 5] * 3


def test_a_batch_is_what_waits_already(make: Make) -> None:
    gate = Gate()
    engine, session = make(gate, batch=4)
    first = threading.Thread(target=engine.answer_now, args=([DARK],))
    first.start()
    gate.begun.acquire(timeout=LONG)  # alone: no second photo was waited for
    more = threading.Thread(target=engine.answer_now, args=([Request(b""), *[DARK] * 5],))
    more.start()
    until = time.monotonic() + LONG
    while engine.has_room(11) and time.monotonic() < until:
        time.sleep(0.001)
    gate.open.set()
    for thread in (first, more):
        thread.join(LONG)
    assert [shape[0] for shape in session.shapes] == [1, 3, 2]  # the unreadable one isn't asked


def test_closing_answers_what_waits_and_refuses_the_rest(make: Make) -> None:
    gate = Gate()
    engine, _ = make(gate)
    found: list[list[Prediction]] = []
    caller = threading.Thread(target=lambda: found.append(engine.answer_now([DARK, BRIGHT])))
    caller.start()
    gate.begun.acquire(timeout=LONG)
    closing = threading.Thread(target=engine.close)
    closing.start()
    until = time.monotonic() + LONG
    while engine.has_room() and time.monotonic() < until:
        time.sleep(0.001)
    with pytest.raises(EngineClosedError):
        asyncio.run(engine.answer([DARK]))
    with pytest.raises(EngineClosedError):
        engine.answer_now([DARK])
    gate.open.set()
    for thread in (caller, closing):
        thread.join(LONG)
        assert not thread.is_alive()
    assert [labels(one) for one in found] == [["dark", "bright"]]


def test_all_workers_work_at_once(make: Make) -> None:
    together = threading.Barrier(3)

    def answer(inputs: Any) -> Any:
        together.wait(LONG)  # broken unless three come
        return bright(inputs)

    engine, _ = make(answer, workers=3)
    assert labels(engine.answer_now([BRIGHT] * 3)) == ["bright"] * 3


def test_each_thread_uses_its_memory_again(make: Make) -> None:
    places = set()

    def answer(inputs: Any) -> Any:
        places.add(inputs.__array_interface__["data"][0])
        return bright(inputs)

    engine, _ = make(answer, workers=2)
    engine.answer_now([DARK] * 20)
    assert len(places) <= 2


def test_photos_beyond_the_limit_are_refused_before_they_are_decoded(make: Make) -> None:
    engine, session = make(max_pixels=100)
    found = engine.answer_now([DARK])
    assert "above the limit" in (found[0].error or "")
    assert not session.shapes


def test_an_engine_that_nobody_has_ends_its_threads() -> None:
    """As a model does that was replaced, when the last call lets go of it."""
    engine = Engine(Predictor(manifest("onnx"), FakeSession(bright), batch_size=1), Plan(1, 2))
    threads = engine._threads
    assert labels(engine.answer_now([DARK])) == ["dark"]
    assert all(thread.is_alive() for thread in threads)
    del engine
    gc.collect()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()

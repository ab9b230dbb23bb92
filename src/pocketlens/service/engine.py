"""The network, asked by many at once: threads that take a photo from its bytes to the answer.

Each thread decodes, runs the network and finishes what belongs behind it, so a call from the event
loop costs one hop there and one back. What waits is bounded; callers look for room and otherwise
leave the work to a durable job.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from numpy.typing import NDArray

from pocketlens.core.predictor import Prediction, Predictor, Request
from pocketlens.service.plan import Plan, plan_for
from pocketlens.service.settings import MAX_PIXELS, Settings
from pocketlens.workflows.open import BundleLike, as_bundle, load

#: Images that may wait for each thread: about a second's work of a small network.
_WAITING: Final = 16


class EngineFullError(RuntimeError):
    """There is no room for so many images now."""


class EngineClosedError(RuntimeError):
    """The engine answers no more calls; its model was replaced, or the service stops."""


def open_engine(bundle: BundleLike, settings: Settings) -> Engine:
    """Open a bundle for many callers, as the settings say or as was measured on this machine.

    Raises:
        BundleError: no bundle, or a damaged or altered one.
        MissingExtraError: its runtime isn't installed.
    """
    opened = as_bundle(bundle)
    plan = plan_for(opened, settings)
    predictor = load(
        opened,
        threads=plan.threads * plan.workers,
        streams=plan.workers,
        batch_size=plan.batch,
    )
    return Engine(predictor, plan, max_pixels=settings.max_pixels)


class Engine:
    """An opened predictor and its threads: until `close`, or until nobody has it any more."""

    def __init__(
        self,
        predictor: Predictor,
        plan: Plan,
        *,
        max_pixels: int = MAX_PIXELS,
        room: int | None = None,
    ) -> None:
        """Start the threads.

        Args:
            room: images that may wait; by default 16 a thread.
        """
        assert predictor.batch_size >= plan.batch
        self.predictor = predictor
        self.plan = plan
        self._line = _Line(room or _WAITING * plan.workers)
        # The threads know the line and the predictor, not the engine: where another model has
        # taken its place, the last call that lets go of it ends them.
        weakref.finalize(self, self._line.close)
        self._threads = [
            threading.Thread(
                target=_work,
                args=(self._line, predictor, plan.batch, max_pixels),
                name=f"engine-{i}",
                daemon=True,
            )
            for i in range(plan.workers)
        ]
        for thread in self._threads:
            thread.start()

    def has_room(self, num: int = 1) -> bool:
        """Whether `num` images more may wait."""
        return self._line.has_room(num)

    async def answer(
        self,
        requests: Sequence[Request],
        *,
        timeout: float | None = None,
        then: Callable[[list[Prediction]], Any] | None = None,
    ) -> Any:
        """Predictions in order, or what `then` makes of them; the event loop goes on meanwhile.

        Args:
            timeout: seconds.
            then: called with the predictions in the thread that made the last of them.

        Raises:
            TimeoutError: not answered in time; `then` neither ran nor will. Where it runs already,
                it is waited for.
            EngineFullError: no room.
            EngineClosedError: closed.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()

        def tell(result: Any, error: BaseException | None) -> None:
            if answered.done():  # the caller has gone
                return
            if error is None:
                answered.set_result(result)
            else:
                answered.set_exception(error)

        def done(result: Any, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits there any more
                loop.call_soon_threadsafe(tell, result, error)

        call = _Call(requests, then, done)
        self._line.enter(call, until=None)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(answered)
        except TimeoutError:
            if call.give_up():
                raise
            return await answered
        except asyncio.CancelledError:
            call.give_up()
            raise

    def answer_now(
        self, requests: Sequence[Request], *, timeout: float | None = None
    ) -> list[Prediction]:
        """Predictions in order, for a thread that may wait, also for room.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
            EngineClosedError: closed.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        answered: Future[list[Prediction]] = Future()

        def done(result: Any, error: BaseException | None) -> None:
            if error is None:
                answered.set_result(result)
            else:
                answered.set_exception(error)

        call = _Call(requests, None, done)
        self._line.enter(call, until=until)
        try:
            return answered.result(None if timeout is None else until - time.monotonic())
        except TimeoutError:
            if call.give_up():
                raise
            return answered.result()

    def close(self) -> None:
        """Answer what waits already, then let go of threads and network."""
        self._line.close()
        for thread in self._threads:
            thread.join()
        self.predictor.close()


def _work(line: _Line, predictor: Predictor, batch: int, max_pixels: int) -> None:
    """A thread's life: answer what waits, until the line is closed and empty."""
    memory = predictor.buffer()  # new memory for each batch is slow
    while _answer_some(line, predictor, batch, max_pixels, memory):
        pass


def _answer_some(
    line: _Line, predictor: Predictor, batch: int, max_pixels: int, memory: NDArray[Any]
) -> bool:
    """Wait for work and do it; False: the line is closed. Keeps nothing of a call afterwards."""
    taken = line.take(batch)
    if wanted := [(call, i) for call, i in taken if call.is_open]:
        try:
            requests = [call.requests[i] for call, i in wanted]
            answers = predictor.answer_batch(requests, max_pixels, memory)
            found = [predictor.prediction(answer) for answer in answers]
        except Exception as error:  # whatever the runtime raises is the callers' to know
            for call, _ in wanted:
                call.fail(error)
        else:
            for (call, i), prediction in zip(wanted, found, strict=True):
                call.put(i, prediction)
    return bool(taken)


class _Line:
    """Images that wait, in order; as many as there is room for."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: deque[tuple[_Call, int]] = deque()  # a call, and which of its requests
        self._closed = False
        # One that can be taken twice by a thread: a finalizer runs wherever memory is freed.
        lock = threading.RLock()
        self._work_there, self._room_there = threading.Condition(lock), threading.Condition(lock)

    def has_room(self, num: int) -> bool:
        return not self._closed and len(self._waiting) + num <= self._room

    def enter(self, call: _Call, *, until: float | None) -> None:
        """Put a call's images behind those that wait; with a time (monotonic), wait for room."""
        num = len(call.requests)
        with self._room_there:
            # However many they are, they may wait alone.
            while not self._closed and self._waiting and len(self._waiting) + num > self._room:
                if until is None:
                    raise EngineFullError(f"{len(self._waiting)} images wait already")
                left = until - time.monotonic()
                if not self._room_there.wait(None if left == float("inf") else max(0.0, left)):
                    raise TimeoutError
            if self._closed:
                raise EngineClosedError("this engine is closed")
            self._waiting.extend((call, i) for i in range(num))
            self._work_there.notify(num)
        if not num:
            call.finish()

    def take(self, most: int) -> list[tuple[_Call, int]]:
        """What waits, at most so many: never waits for a batch to become full. Empty: the end."""
        with self._work_there:
            while not self._waiting and not self._closed:
                self._work_there.wait()
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._room_there.notify_all()
            return taken

    def close(self) -> None:
        with self._work_there:
            self._closed = True
            self._work_there.notify_all()
            self._room_there.notify_all()


class _Call:
    """One caller's requests, and who is told of their answers, once."""

    def __init__(
        self,
        requests: Sequence[Request],
        then: Callable[[list[Prediction]], Any] | None,
        done: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.requests = requests
        self.is_open = True  # somebody waits for it
        self._then = then
        self._done = done
        self._found: list[Prediction | None] = [None] * len(requests)
        self._left = len(requests)
        self._lock = threading.Lock()

    def give_up(self) -> bool:
        """The caller doesn't wait any more. False: the answer is being finished already."""
        with self._lock:
            was_open, self.is_open = self.is_open, False
            return was_open

    def put(self, i: int, prediction: Prediction) -> None:
        """An answer; the last one finishes the call."""
        with self._lock:
            self._found[i] = prediction
            self._left -= 1
            last = self._left == 0
        if last:
            self.finish()

    def finish(self) -> None:
        """Do what belongs behind the answers, and tell the caller."""
        if not self.give_up():
            return
        try:
            found: list[Any] = self._found
            result = found if self._then is None else self._then(found)
        except Exception as error:  # of `then`: its caller knows what it means
            self._done(None, error)
        else:
            self._done(result, None)

    def fail(self, error: Exception) -> None:
        """Tell the caller what went wrong."""
        if self.give_up():
            self._done(None, error)

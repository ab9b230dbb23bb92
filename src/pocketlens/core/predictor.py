"""Preprocessing + session + classes -> predictions.

The command line, the service, the page, the measures and the comparison all use this.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.bundle import Manifest
from pocketlens.core.cores import available_cores as available_cores
from pocketlens.core.dataset import Box
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.scored import Floats, probabilities
from pocketlens.core.session import Session
from pocketlens.core.stream import batched, run_ahead

#: A path, an encoded file's bytes, or decoded upright RGB pixels `image_HWC` uint8.
ImageSource = str | os.PathLike[str] | bytes | NDArray[np.uint8]


class Request(NamedTuple):
    """One thing to classify: an image, or a box of it."""

    source: ImageSource
    box: Box | None = None


class Answer(NamedTuple):
    """What the network said: `logits_K`, or the reason why it was not asked."""

    request: Request
    logits_K: NDArray[np.float32] | None
    error: str | None
    not_finite: bool = False


NOT_FINITE: Final = "the network answered with NaN or infinity"

#: Gives `image_HWC` uint8 of a request at the network's size, from where it is kept already.
Fitted = Callable[[Request], NDArray[np.uint8]]


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or box.

    Attributes:
        filename: as it was given; empty for bytes and pixels.
        label: the most probable class; None for multi-label answers and for errors.
        confidence: its probability, 0 to 1 (multi-label: of the most probable class).
        labels: multi-label: the classes above their threshold, the most probable first.
        probabilities_K: of all classes, in the order of `classes`.
        info: what the bundle knows of the label; multi-label: of each label, by its name.
        error: why there is no answer, or None.
    """

    filename: str
    classes: tuple[str, ...] = field(repr=False)
    label: str | None = None
    confidence: float | None = None
    labels: tuple[str, ...] = ()
    probabilities_K: Floats | None = field(default=None, repr=False)
    box: Box | None = None
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: str | None = None

    @property
    def index(self) -> int | None:
        """Number of `label` in `classes`."""
        return None if self.label is None else self.classes.index(self.label)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable classes with their probabilities."""
        if self.probabilities_K is None:
            return []
        probs = self.probabilities_K
        if 0 < k < len(probs):  # to sort a thousand classes takes as long as a tenth of a network
            least = np.partition(probs, len(probs) - k)[len(probs) - k]
            among = np.flatnonzero(probs >= least)
        else:
            among = np.arange(len(probs))
        order = among[np.argsort(-probs[among], kind="stable")][:k]
        return [(self.classes[i], float(probs[i])) for i in order]


class Predictor:
    """An opened bundle. Close it, or use it in a `with` block, to free the runtime."""

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        *,
        batch_size: int = 8,
        streams: int = 1,
        fitted: Fitted | None = None,
    ) -> None:
        """Open for use.

        Args:
            streams: calls that the session takes at a time. With several, each thread takes a
                batch all the way from the file to the logits, so that no core waits for another.
            fitted: gives what `decode` and `fit` of the preprocessing would, from where it is
                kept already.
        """
        assert min(batch_size, streams) >= 1
        self.streams = streams
        self.manifest = manifest
        self.batch_size = batch_size
        self._fitted = fitted
        self._session: Session | None = session
        per_class = manifest.thresholds or {}
        self.thresholds_K = np.array([per_class.get(name, 0.5) for name in manifest.classes])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.manifest.classes

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runtime's session."""
        self._session = None

    def with_fitted(self, fitted: Fitted) -> Predictor:
        """The same network and session, asked of pixels that come from elsewhere."""
        if self._session is None:
            raise UserError("this predictor is closed; load the bundle again")
        other = copy(self)
        other._fitted = fitted
        return other

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        boxes: Sequence[Box | Sequence[float] | None] | None = None,
    ) -> list[Prediction]:
        """Predictions for images, in order.

        Args:
            images: one or many paths, bytes or RGB arrays HWC uint8.
            boxes: one `(x, y, width, height)` or None an image, in pixels of the upright photo;
                name an image twice to ask for two of its boxes.

        Raises:
            UserError: the number of boxes isn't that of the images. An image that can't be
                read raises nothing: its prediction has an `error`.
        """
        single = isinstance(images, str | os.PathLike | bytes | np.ndarray)
        sources: list[ImageSource] = [images] if single else list(images)  # type: ignore[list-item,arg-type]
        if boxes is not None and len(boxes) != len(sources):
            raise UserError(f"{len(sources)} images need as many boxes, not {len(boxes)}")
        chosen = [None if b is None else Box(*b) for b in boxes or [None] * len(sources)]
        return list(self.stream(map(Request, sources, chosen)))

    def stream(
        self, requests: Iterable[Request], *, max_pixels: int = MAX_PIXELS
    ) -> Iterator[Prediction]:
        """Predictions for any number of requests, decoding ahead; memory stays flat."""
        for answer in self.answers(requests, max_pixels=max_pixels):
            yield self.prediction(answer)

    def answers(
        self, requests: Iterable[Request], *, max_pixels: int = MAX_PIXELS
    ) -> Iterator[Answer]:
        """Logits for any number of requests, in order, decoding ahead in threads."""

        if self.streams > 1:
            batches = batched(requests, self.batch_size)
            # Each thread writes its batches into the same memory: new memory is slow.
            own = threading.local()

            def work(batch: list[Request]) -> list[Answer]:
                if not hasattr(own, "inputs"):
                    own.inputs = self.buffer()
                return self.answer_batch(batch, max_pixels=max_pixels, out=own.inputs)

            for answers in run_ahead(work, batches, workers=self.streams, depth=2 * self.streams):
                yield from answers
            return

        def prepare(request: Request) -> tuple[Request, NDArray[Any] | str]:
            try:
                return request, self.prepare(request, max_pixels=max_pixels)
            except ImageError as error:
                return request, str(error)

        workers = max(2, available_cores())
        ahead = run_ahead(prepare, requests, workers=workers, depth=2 * self.batch_size + workers)
        for found in batched(ahead, self.batch_size):
            inputs = [value for _, value in found if not isinstance(value, str)]
            yield from self._answer(
                [request for request, _ in found],
                [value if isinstance(value, str) else None for _, value in found],
                np.stack(inputs) if inputs else self.buffer()[:0],
            )

    def answer_batch(
        self,
        requests: Sequence[Request],
        max_pixels: int = MAX_PIXELS,
        out: NDArray[Any] | None = None,
    ) -> list[Answer]:
        """Logits for up to `batch_size` requests, by the calling thread; `out` holds the inputs."""
        inputs = self.buffer() if out is None else out
        errors: list[str | None] = []
        for request in requests:
            place = inputs[errors.count(None)]
            try:
                self.prepare(request, max_pixels=max_pixels, out=place)
                errors.append(None)
            except ImageError as error:
                errors.append(str(error))
        return self._answer(requests, errors, inputs[: errors.count(None)])

    def _answer(
        self, requests: Sequence[Request], errors: Sequence[str | None], inputs: NDArray[Any]
    ) -> list[Answer]:
        """What the network says of a batch, whose inputs are those of requests without error."""
        logits: Iterator[NDArray[np.float32]]
        logits = iter(self.logits(inputs) if len(inputs) else ())
        answers = []
        for request, error in zip(requests, errors, strict=True):
            if error is not None:
                answers.append(Answer(request, None, error))
                continue
            row = next(logits)
            finite = bool(np.isfinite(row).all())
            answers.append(
                Answer(request, row, None) if finite else Answer(request, None, NOT_FINITE, True)
            )
        return answers

    def buffer(self) -> NDArray[Any]:
        """Room for the inputs of a batch; new memory for each batch is slow."""
        spec, takes = self.manifest.preprocess, self.manifest.input
        return np.empty((self.batch_size, *takes.shape(spec)), takes.dtype)

    def prepare(
        self,
        request: Request,
        *,
        max_pixels: int = MAX_PIXELS,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """What the session is given of one request: `input_CHW`, or else as `manifest.input` says.

        Args:
            out: what to write it into.

        Raises:
            ImageError: the file or the image can't be read.
        """
        image_HWC = self.fit(request, max_pixels=max_pixels)
        return self.manifest.input.of(image_HWC, self.manifest.preprocess, out)

    def fit(self, request: Request, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        """One request's pixels at the network's size, `image_HWC`: what the network sees.

        Raises:
            ImageError: the file or the image can't be read.
        """
        if self._fitted is not None:
            return self._fitted(request)
        preprocess = self.manifest.preprocess
        source, box = request
        if not isinstance(source, np.ndarray):
            return preprocess.read(read_bytes(source), box, max_pixels=max_pixels)
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            raise ImageError("pixels must be an RGB array HWC of uint8")
        if not source.size:
            raise ImageError("the array has no pixels")
        return preprocess.fit(source if box is None else preprocess.crop(source, box))

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """`logits_NK` of a batch of prepared inputs."""
        if self._session is None:
            raise UserError("this predictor is closed; load the bundle again")
        logits_NK = self._session(inputs)
        expected = (len(inputs), len(self.classes))
        if logits_NK.shape != expected:
            raise UserError(
                f"the network gave logits of shape {logits_NK.shape}, the bundle's classes need "
                f"{expected}; its class names don't belong to this network"
            )
        return logits_NK

    def prediction(self, answer: Answer) -> Prediction:
        """What an answer says of the classes."""
        source, box = answer.request
        filename = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
        if answer.logits_K is None:
            return Prediction(filename, self.classes, box=box, error=answer.error)
        task = self.manifest.task
        probs = probabilities(answer.logits_K, task)
        top = int(probs.argmax())
        labels: tuple[str, ...] = ()
        if task == "multi_label":
            order = np.argsort(-probs, kind="stable")
            labels = tuple(self.classes[i] for i in order if probs[i] >= self.thresholds_K[i])
        label = self.classes[top] if task == "single_label" else None
        known = self.manifest.class_info
        info = known.get(label, {}) if label else {n: known[n] for n in labels if known.get(n)}
        return Prediction(
            filename,
            self.classes,
            label=label,
            confidence=float(probs[top]),
            labels=labels,
            probabilities_K=probs,
            box=box,
            info=info,
        )


def read_bytes(source: str | os.PathLike[str] | bytes) -> bytes:
    """A file's bytes.

    Raises:
        ImageError: it can't be read.
    """
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"can't be read: {reason}") from error

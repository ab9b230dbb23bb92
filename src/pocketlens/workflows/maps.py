"""Maps of where on its photo an answer comes from, whatever runtime gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, Manifest
from pocketlens.core.decode import MAX_PIXELS
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.predictor import Answer, Prediction, Predictor, Request
from pocketlens.core.session import SessionOptions
from pocketlens.core.stream import batched
from pocketlens.progress import say

#: What `--map-method` takes.
MapMethod = Literal["auto", "gradcam", "gradcam++", "eigencam", "occlusion"]

#: From the one that says most of a class to the one that every runtime can do.
METHODS: Final = ("gradcam", "gradcam++", "eigencam", "occlusion")
TITLES: Final = {
    "gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "eigencam": "EigenCAM",
    "occlusion": "occlusion",
}  # fmt: skip
_BATCH: Final = 8
#: Cells a side below which a map says hardly more than which corner of the photo it was.
_FEW_CELLS: Final = 5
#: Where formats put the name of a class.
_NAME_KEYS: Final = ("name", "dl_name")
#: Labels of a photo that get a map of their own.
TOP_LABELS: Final = 3


@dataclass(frozen=True)
class Map:
    """One map.

    Attributes:
        index: the class that it is of; `label` its name, `probability` what it got.
        called: what people call the class, where its name is a code.
        map_HW: 0 to 1, at the network's size; 0 everywhere where nothing speaks for the class.
    """

    index: int
    label: str
    probability: float
    map_HW: NDArray[np.float32]
    called: str


@dataclass(frozen=True)
class Mapped:
    """A photo, or a box of it, with its maps.

    Attributes:
        image_HWC: what the network saw; None where it couldn't be read.
        maps: of the class asked for, else of the answer; of several labels up to three.
    """

    prediction: Prediction
    image_HWC: NDArray[np.uint8] | None = None
    maps: tuple[Map, ...] = ()


class Maps:
    """A bundle opened for maps by one method."""

    def __init__(
        self, bundle: Bundle, predictor: Predictor, method: str = "auto", *,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        """Open.

        Raises:
            MissingExtraError: what the method needs isn't installed.
            UserError: the method can't be had of this bundle; the message says what can.
        """
        self.bundle = bundle
        self.method = choose(method, [bundle])
        self.predictor = predictor
        plugin: Any = plugins.load("maps", plugin_name(self.method))
        options = SessionOptions(threads)
        self._mapper = plugin.open(bundle, predictor.logits, options, plugin.Config())

    @property
    def layer(self) -> str:
        """The layer that maps are taken from; empty for occlusion."""
        return str(self._mapper.layer)

    @property
    def of_class(self) -> bool:
        """Whether a map tells of one class, rather than of the photo."""
        return bool(self._mapper.of_class)

    @property
    def coarse(self) -> str:
        """What to keep in mind of maps of very few cells; empty where they have more."""
        cells = self._mapper.cells
        if cells is None or min(cells) >= _FEW_CELLS:
            return ""
        spec = self.bundle.manifest.preprocess
        return (
            f"Maps of {self.bundle.path.name} have {cells[0]}x{cells[1]} cells only: at "
            f"{spec.width}x{spec.height} pixels its network leaves no more, so a map shows the "
            "region, not the thing. A larger --image-size in training gives finer maps."
        )

    @property
    def words(self) -> str:
        """Method, layer and settings in a line."""
        parts = [TITLES[self.method], self.layer and f"at {self.layer}", self._mapper.detail]
        return ", ".join(part for part in parts if part).replace(", at ", " at ", 1)

    def of(
        self,
        requests: Iterable[Request],
        *,
        classes: Iterable[int | None] | None = None,
        top: int = TOP_LABELS,
        max_pixels: int = MAX_PIXELS,
    ) -> Iterator[Mapped]:
        """Maps for any number of requests, in order; memory stays flat.

        Args:
            classes: for each request the class to map, or None for the answer.
            top: labels of a photo that get a map, where it can have several.
        """
        asked: Iterable[tuple[Request, int | None]]
        asked = ((r, None) for r in requests) if classes is None else zip(requests, classes)  # noqa: B905
        for batch in batched(asked, _BATCH):
            yield from self._batch(batch, top, max_pixels)

    def _batch(
        self, batch: Sequence[tuple[Request, int | None]], top: int, max_pixels: int
    ) -> Iterator[Mapped]:
        manifest = self.predictor.manifest
        images: dict[int, NDArray[np.uint8]] = {}
        answers = [Answer(request, None, "") for request, _ in batch]
        for i, (request, _) in enumerate(batch):
            try:
                images[i] = self.predictor.fit(request, max_pixels=max_pixels)
            except ImageError as error:
                answers[i] = Answer(request, None, str(error))
        if images:
            inputs = [manifest.input.of(image, manifest.preprocess) for image in images.values()]
            for i, row in zip(images, self.predictor.logits(np.stack(inputs)), strict=True):
                ok = bool(np.isfinite(row).all())
                reason = None if ok else "the network answered with NaN or infinity"
                answers[i] = Answer(batch[i][0], row if ok else None, reason, not ok)
        predictions = [self.predictor.prediction(answer) for answer in answers]
        wanted = [
            (i, index)
            for i, (prediction, (_, given)) in enumerate(zip(predictions, batch, strict=True))
            if prediction.error is None
            for index in ([given] if given is not None else self._answered(prediction, top))
        ]
        made: dict[int, list[Map]] = {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            stacked = np.stack([images[i] for i, _ in part])
            maps_NHW = self._mapper.make(stacked, [index for _, index in part])
            for (i, index), map_HW in zip(part, maps_NHW, strict=True):
                probs = predictions[i].probabilities_K
                assert probs is not None
                label = manifest.classes[index]
                called = _called(manifest, label)
                one = Map(index, label, float(probs[index]), map_HW, called)
                made.setdefault(i, []).append(one)
        for i, prediction in enumerate(predictions):
            yield Mapped(prediction, images.get(i), tuple(made.get(i, ())))

    def _answered(self, prediction: Prediction, top: int) -> list[int]:
        """Classes to map: the answer, or its first labels; the likeliest where there is none."""
        if prediction.index is not None:
            return [prediction.index]
        named = prediction.labels or (prediction.top(1)[0][0],)
        most = top if self.of_class else 1
        return [prediction.classes.index(name) for name in named[:most]]


def _called(manifest: Manifest, label: str) -> str:
    """The first of the names that the bundle knows for a class, else its label."""
    info = manifest.class_info.get(label, {})
    name = next((str(info[key]) for key in _NAME_KEYS if info.get(key)), label)
    return name.split(",")[0].strip() or label


def plugin_name(method: str) -> str:
    """The file of a method: a name for the command line can't always be one for Python."""
    return method.replace("+", "p")


def possible(bundle: Bundle) -> list[str]:
    """Methods that a bundle's runtime can do."""
    runtime = plugins.load("runtimes", bundle.manifest.runtime)
    found = []
    for method in METHODS:
        needs = plugins.load("maps", plugin_name(method)).NEEDS
        if not needs or hasattr(runtime, needs):
            found.append(method)
    return found


def open_maps(
    bundle: Bundle, predictor: Predictor, method: str, *, threads: int | None = None
) -> Maps:
    """A bundle opened for maps; of `auto` by the first method that can be had here.

    Raises:
        MissingExtraError: what the method needs isn't installed.
        UserError: the method can't be had of this bundle; the message says what can.
    """
    if method != "auto":
        return Maps(bundle, predictor, method, threads=threads)
    choices = possible(bundle)
    for name in choices[:-1]:
        try:
            return Maps(bundle, predictor, name, threads=threads)
        except UserError as error:
            say(f"no {TITLES[name]} maps: {error}")
    return Maps(bundle, predictor, choices[-1], threads=threads)


def choose(method: str, bundles: Sequence[Bundle]) -> str:
    """The method to use: the one asked for, or the first that all bundles can do.

    Raises:
        UserError: there is no such method, or a bundle's runtime can't do it.
    """
    if method not in ("auto", *METHODS):
        raise UserError(f"no map method is called {method!r}: choose auto, {', '.join(METHODS)}")
    able = [possible(bundle) for bundle in bundles]
    if method == "auto":
        return next(name for name in METHODS if all(name in names for names in able))
    for bundle, names in zip(bundles, able, strict=True):
        if method not in names:
            runtime = bundle.manifest.runtime
            raise UserError(
                f"{bundle.path} can't have {method} maps, which need gradients that {runtime} "
                f"doesn't give: choose --map-method {' or '.join(names)}, or name the float torch "
                "bundle that it was made from"
                if method.startswith("gradcam")
                else f"{bundle.path} can't have {method} maps: {runtime} doesn't show what is "
                f"inside; choose --map-method {' or '.join(names)}"
            )
    return method

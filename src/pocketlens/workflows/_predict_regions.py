"""Regions first: each photo's part found and classified, and told beside the whole photo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.dataset import Box
from pocketlens.core.decode import decode_image, to_array
from pocketlens.core.directory import expand
from pocketlens.core.errors import UserError
from pocketlens.core.judged import Judged, Regional
from pocketlens.core.predictor import (
    Prediction,
    Predictor,
    Request,
    available_cores,
    read_bytes,
)
from pocketlens.core.region import (
    Fill,
    Finder,
    Keep,
    NoRegionError,
    RegionContext,
    Regioned,
    cut,
    summarize,
)
from pocketlens.progress import say, warn
from pocketlens.workflows._predict_inputs import Inputs
from pocketlens.workflows.boxes import match_boxes, read_boxes


class _Ask(Request):
    """A request whose region is noted while it is made ready, in whichever thread."""

    region: Regioned | None = None
    missing: bool = False


@dataclass(frozen=True)
class Regions:
    """A way to find regions, opened for a run."""

    kind: str
    finder: Finder
    keep: Keep
    fill: Fill
    options: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """How regions were found, for the record."""
        fill = self.fill if "mask" in self.keep else None
        # Where files lie on this machine is nothing to pass on.
        options = {
            key: Path(value).name if files_of({key: value}) else value
            for key, value in self.options.items()
        }
        found = {"kind": self.kind, "how": self.finder.words, "keep": self.keep, "fill": fill}
        return {**{k: v for k, v in found.items() if v is not None}, **options}

    def predictor(self, plain: Predictor, max_pixels: int) -> Predictor:
        """The same network, asked of regions."""
        spec = plain.manifest.preprocess

        def fitted(request: Request) -> NDArray[np.uint8]:
            source = request.source
            if isinstance(source, np.ndarray):
                image_HWC, name = source, ""
            else:
                data = read_bytes(source)
                image_HWC = to_array(decode_image(data, max_pixels=max_pixels))
                name = "" if isinstance(source, bytes) else os.fspath(source)
            try:
                region = self.finder.find(image_HWC, name)
            except NoRegionError:
                if isinstance(request, _Ask):
                    request.missing = True
                raise
            seen_HWC = spec.fit(cut(image_HWC, region, self.keep, self.fill, spec))
            if isinstance(request, _Ask):
                request.region = summarize(image_HWC, region, spec, seen_HWC)
            return seen_HWC

        return plain.with_fitted(fitted)

    def stream(
        self,
        predictor: Predictor,
        requests: Iterable[Request],
        judged: Callable[[Prediction], Judged],
        *,
        max_pixels: int,
    ) -> Iterator[Judged]:
        """Rows of the regions, each with the row of its whole photo.

        Args:
            judged: puts a prediction beside its truth; called twice a request.
        """
        regional = self.predictor(predictor, max_pixels)
        first, second = tee(requests)
        asks = (_Ask(*request) for request in second)
        answers = regional.answers(asks, max_pixels=max_pixels)
        plains = predictor.stream(first, max_pixels=max_pixels)
        for plain, answer in zip(plains, answers, strict=True):
            ask = cast(_Ask, answer.request)
            found = regional.prediction(answer)
            if ask.region is not None and "crop" in self.keep:
                found = replace(found, box=ask.region.box)
            beside = Regional(judged(plain), ask.region, ask.missing)
            yield judged(found)._replace(regional=beside)


def open_regions(
    bundle: Bundle,
    inputs: Inputs,
    kind: str,
    options: Mapping[str, Any],
    *,
    keep: str | None,
    fill: str,
    threads: int | None,
    streams: bool,
) -> Regions:
    """Open a way to find regions for the photos of a run.

    Args:
        options: of its `Config`, by name.
        keep: `mask`, `crop` or `mask-crop`; None: the way's own.
        streams: whether each core works on photos of its own.

    Raises:
        UserError: an unknown way, option or value; photos that already have boxes; or what the way
            needs can't be had.
        MissingExtraError: what it needs isn't installed.
    """
    plugin = plugins.load("regions", kind)
    config = plugins.configure(plugin, options, prefix="region-")
    keep = plugin.KEEP if keep is None else keep
    if keep not in get_args(Keep):
        raise UserError(f"--region-keep must be one of {', '.join(get_args(Keep))}, not {keep}")
    if fill not in get_args(Fill):
        raise UserError(f"--region-fill must be one of {', '.join(get_args(Fill))}, not {fill}")
    if inputs.has_boxes:
        raise UserError(
            "--region finds the part of a whole photo; these rows have boxes already: leave out "
            "--region, or their boxes"
        )
    if inputs.has_frames and not plugin.FRAMES:
        raise UserError(f"--region {kind} goes by the names of photos; leave out videos")
    if not bundle.manifest.preprocess.box_margin:
        warn(
            f"{bundle.path.name} may have been trained on whole photos; regions of them are "
            "another thing to it: look at how many answers change, and by --truth whether they "
            "get better"
        )

    def boxes(path: str) -> dict[str, list[Box]]:
        names = list(dict.fromkeys(inputs.names()))
        found = match_boxes(names, read_boxes(path)) if names else []
        return dict(zip(names, found, strict=True))

    each = 1 if streams else threads or available_cores()
    finder = plugin.open(config, RegionContext(inputs.names, boxes, each))
    say(f"regions: {finder.words}")
    return Regions(kind, finder, cast(Keep, keep), cast(Fill, fill), options)


def files_of(options: Mapping[str, Any]) -> list[Path]:
    """What options name that is there: an output must not replace it."""
    given = (expand(value) for value in options.values() if isinstance(value, str))
    return [path for path in given if path.exists()]

"""Where on its photo an answer comes from: maps, drawn over what the network saw."""

from __future__ import annotations

import io
from typing import Any, Final

from pocketlens.service import spool
from pocketlens.service.context import Context, JobFailed
from pocketlens.service.jobs import Job

LANE = "slow"

#: Longer side of a picture in pixels.
_SIDE: Final = 640


def run(job: Job, context: Context) -> Any:
    """The result of `request`: `files` (one), `box`, `class_id`, `method`."""
    from pocketlens.core.bundle import read_bundle
    from pocketlens.core.dataset import Box
    from pocketlens.core.errors import BundleError, UserError
    from pocketlens.core.names import shown_name
    from pocketlens.core.predictor import Request
    from pocketlens.explain.heat import overlay
    from pocketlens.service.answers import reason
    from pocketlens.service.database import reading
    from pocketlens.service.promotion import is_retired
    from pocketlens.workflows.maps import TITLES, Maps, possible

    wanted = job.request
    [data] = spool.read(context.storage, wanted["files"])
    model_id, engine = context.models.predictor()
    predictor = engine.predictor
    class_id = wanted.get("class_id")
    if class_id is not None and class_id >= len(predictor.classes):
        raise JobFailed("unknown_class", "the current model has no class of this number")
    try:
        bundle = read_bundle(context.models.directory(model_id))
    except BundleError:
        with reading(context.database) as connection:
            if not is_retired(connection, model_id):
                raise
        # It answers here from memory, since the one that is current can't be opened.
        text = "the model that answers here was retired, so no map of it can be made"
        raise JobFailed("retired", text) from None
    # Gradients are had of torch bundles alone, whose engine has loaded torch already.
    methods = possible(bundle)
    method = wanted.get("method", "auto")
    if method != "auto" and method not in methods:
        able = ", ".join(methods)
        raise JobFailed("method_not_possible", f"the current model can have maps by {able} alone")
    methods = methods if method == "auto" else [method]
    context.beat(None)
    maps = None
    for name in methods:
        try:
            maps = Maps(bundle, predictor, name, threads=context.settings.threads)
            break
        except UserError as error:
            context.log.info("no maps by %s: %s", name, error)
    if maps is None:
        raise JobFailed("method_not_possible", f"{TITLES[methods[-1]]} can't be had of this model")
    box = wanted.get("box")
    request = Request(data, None if box is None else Box(*box))
    [found] = maps.of([request], classes=[class_id], max_pixels=context.settings.max_pixels)
    if found.prediction.error is not None or found.image_HWC is None:
        code, text = reason(found.prediction.error or "")
        raise JobFailed(code, text)
    context.beat(None)
    manifest = predictor.manifest
    entries = []
    for number, made in enumerate(found.maps):
        name = f"map-{number}.png"
        out = io.BytesIO()
        overlay(found.image_HWC, made.map_HW, _SIDE).save(out, "PNG")
        context.storage.put_private(f"results/{job.id}/{name}", out.getvalue())
        info = manifest.class_info.get(made.label, {})
        entries.append(
            {
                "label": made.label,
                "name": shown_name(made.label, info),
                "class_id": made.index,
                "probability": made.probability,
                "overlay": f"/v1/jobs/{job.id}/files/{name}",
                "layer": maps.layer,
                "flat": not bool(made.map_HW.any()),
            }
        )
    return {
        "model_id": model_id,
        "method": maps.method,
        "method_title": TITLES[maps.method],
        "of_class": maps.of_class,
        "words": maps.words,
        "maps": entries,
    }

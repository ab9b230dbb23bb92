"""What the current model tells apart, and what its bundle knows of each class."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from pocketlens.core.bundle import Manifest
from pocketlens.core.names import shown_name
from pocketlens.service.api.access import ServiceDep, UserDep
from pocketlens.service.api.problems import not_found, problems
from pocketlens.service.api.schemas import ClassList, ClassView
from pocketlens.service.api.views import json_response

router = APIRouter(tags=["classes"])


@router.get("/v1/classes", response_model=ClassList, summary="All classes")
def list_classes(service: ServiceDep, user: UserDep) -> Response:
    """The classes of the current model, in the order of their numbers."""
    model_id, engine = service.models.predictor()
    manifest = engine.predictor.manifest
    views = [_view(manifest, number) for number in range(len(manifest.classes))]
    return json_response({"model_id": model_id, "classes": views})


@router.get(
    "/v1/classes/{id}", response_model=ClassView, responses=problems(404), summary="A class"
)
def get_class(
    id: Annotated[int, Path(ge=0, le=1_000_000, description="`class_id` of an answer.")],
    service: ServiceDep,
    user: UserDep,
) -> Response:
    """A class of the current model with its information, such as that of a drug."""
    manifest = service.models.predictor()[1].predictor.manifest
    if id >= len(manifest.classes):
        raise not_found("the current model has no such class")
    return json_response(_view(manifest, id))


def _view(manifest: Manifest, number: int) -> dict[str, Any]:
    label = manifest.classes[number]
    info = dict(manifest.class_info.get(label, {}))
    return {"class_id": number, "label": label, "name": shown_name(label, info), "info": info}

"""Shapes of answers, for the documentation: what is answered is built as plain values."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["Pending", "Running", "Done", "Failed"]
Id = Field(pattern="^[0-9a-f]{32}$", examples=["5f0c7d1e9a3b4c6d8e2f1a0b9c8d7e6f"])


class Accepted(BaseModel):
    """A job that was made; ask for it at the address in `Location`."""

    job_id: str = Id
    state: JobState


class Reason(BaseModel):
    """Why something is as it is, to be said in any language."""

    code: str = Field(examples=["loses_on_validation"])
    values: dict[str, Any] = Field(
        description="What the sentence of this code speaks of.",
        examples=[{"points": 1.25, "limit": 0.5}],
    )


class Scored(BaseModel):
    """A class with its probability."""

    label: str
    name: str | None = Field(description="What people call it, where its label is a code.")
    class_id: int
    probability: float


class Hint(BaseModel):
    """What is to be heeded of an answer."""

    code: str
    text: str


class PredictionEntry(BaseModel):
    """The answer to one image, or to one box of it."""

    image: int = Field(description="Number of the image in the request, from 0.")
    box: list[float] | None = Field(description="x, y, width, height in pixels, upright.")
    label: str | None = Field(description="None where an image can have several labels.")
    name: str | None
    class_id: int | None
    confidence: float | None
    unsure: bool = Field(description="Nearer to guessing than to certainty.")
    labels: list[Scored]
    top: list[Scored]
    info: dict[str, Any] = Field(description="What the bundle knows of the class.")
    hints: list[Hint] = Field([], description="Why the answer may be worth little.")
    error: str | None = Field(description="Why this image can't be used.")
    code: str | None


class PredictionResult(BaseModel):
    """What a prediction came to."""

    model_id: str
    task: Literal["single_label", "multi_label"]
    predictions: list[PredictionEntry]


_SCORED = {"label": "K-000002", "name": "advil", "class_id": 1, "probability": 0.97}
_PREDICTED: dict[str, Any] = {
    "job_id": "5f0c7d1e9a3b4c6d8e2f1a0b9c8d7e6f",
    "state": "Done",
    "result": {
        "model_id": "486a7f55a63b911100119aea9d2e22fe",
        "task": "single_label",
        "predictions": [
            {
                "image": 0,
                "box": [10, 20, 200, 150],
                "label": "K-000002",
                "name": "advil",
                "class_id": 1,
                "confidence": 0.97,
                "unsure": False,
                "labels": [_SCORED],
                "top": [_SCORED],
                "info": {"dl_company": "…"},
                "hints": [],
                "error": None,
                "code": None,
            }
        ],
    },
}


class Predicted(BaseModel):
    """A prediction that was ready in time."""

    model_config = ConfigDict(json_schema_extra={"example": _PREDICTED})

    job_id: str = Id
    state: Literal["Done"]
    result: PredictionResult


class MapEntry(BaseModel):
    """One map over its photo."""

    label: str
    name: str | None
    class_id: int
    probability: float
    overlay: str = Field(description="Address of the picture.")
    layer: str = Field(description="Layer that it is of; empty for occlusion.")
    flat: bool = Field(description="Nothing on the photo speaks for the class.")


class ExplanationResult(BaseModel):
    """Where on its photo an answer comes from."""

    model_id: str
    method: Literal["gradcam", "gradcam++", "eigencam", "occlusion"]
    method_title: str
    of_class: bool = Field(description="Whether a map tells of one class, or of the photo.")
    words: str
    maps: list[MapEntry]


class Explained(BaseModel):
    """An explanation that was ready in time."""

    job_id: str = Id
    state: Literal["Done"]
    result: ExplanationResult


class JobListed(BaseModel):
    """A job as lists have it."""

    job_id: str = Id
    kind: str
    state: JobState
    attempt: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    progress: dict[str, Any] | None
    reason: str | None
    code: str | None


class JobView(JobListed):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": "5f0c7d1e9a3b4c6d8e2f1a0b9c8d7e6f",
                "kind": "predict",
                "state": "Failed",
                "attempt": 1,
                "created_at": "2026-11-22T21:52:45.727+00:00",
                "started_at": "2026-11-22T21:52:45.740+00:00",
                "ended_at": "2026-11-22T21:52:45.790+00:00",
                "progress": None,
                "reason": "the image can't be used: the file is empty",
                "code": "no_usable_image",
                "result": None,
            }
        }
    )

    result: Any = Field(description="Of a Done job, as its kind says; else null.")


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    jobs: list[JobListed]
    next: str | None = Field(description="Give it as `after` for the next page.")


class ClassView(BaseModel):
    """A class of the current model."""

    class_id: int
    label: str
    name: str | None
    info: dict[str, Any]


class ClassList(BaseModel):
    """All classes of the current model."""

    model_id: str
    classes: list[ClassView]


class Health(BaseModel):
    """How a part of the service is."""

    status: Literal["ok", "unavailable"]
    failing: list[str] = []

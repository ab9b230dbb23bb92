"""Shapes of requests and answers about trainings, models and comparisons."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from pocketlens.service.api.schemas import Id, Reason

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ModelState = Literal["given", "offered", "rejected", "retired"]


#: What a new model may lose unless an operator says otherwise; as the gate of `shrink` has it.
MAX_DROP: Final = 0.5


class TrainingRequest(BaseModel):
    """What to train; what isn't named is as the current model was trained."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"dataset": "pills", "epochs": 4, "promote": False}]},
    )

    dataset: str = Field(min_length=1, max_length=100, description="Name of an own data set.")
    epochs: int | None = Field(None, ge=1, le=1000)
    model: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)?$", max_length=100,
        description="Name of a network.",
    )  # fmt: skip
    image_size: int | None = Field(None, ge=16, le=1024, description="Pixels.")
    lr: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    batch_size: int | None = Field(None, ge=1, le=1024)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    max_drop: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = Field(
        MAX_DROP,
        description="Points of the metric that may be lost against the current model; more than "
        "by default, and `max_latency_ms`, are for operators.",
    )
    max_latency_ms: _Positive | None = Field(
        None, description="Longest time for one photo; without, not slower than the current model."
    )
    shrink: StrictBool = Field(True, description="Try compressed forms, and take the best.")
    promote: StrictBool = Field(
        False, description="Let it answer as soon as it has passed; for operators."
    )


class ModelView(BaseModel):
    """A model; scores in percent, None where they are not known."""

    id: str = Id
    state: ModelState
    created_at: str
    current: bool = Field(description="It answers now.")
    runtime: str
    precision: str
    network: str | None
    task: str
    size_bytes: int
    num_classes: int
    metric: str | None
    score: float | None = Field(description="On test photos, of its own training.")
    reason: str | None = Field(description="What the gate said.")
    reasons: list[Reason] | None = Field(
        description="The same for programs; null where it isn't known."
    )
    scores: dict[str, Any] | None = Field(description="What the gate found, of both models.")
    compared_with: str | None = Field(description="Id of the model that was current then.")
    comparison_id: str | None
    job_id: str | None


class ModelList(BaseModel):
    """Models, the newest first."""

    current: str | None
    models: list[ModelView]


class PromoteRequest(BaseModel):
    """What must hold for the change to be made."""

    model_config = ConfigDict(extra="forbid")

    expect_current: str | None = Field(
        None, max_length=100, description="Id of the model that is to be replaced."
    )


class Promoted(BaseModel):
    """Which model answers now, and which one it replaced."""

    current: str
    replaced: str | None = Field(description="null: this model answered already.")


class ComparisonListed(BaseModel):
    """A comparison without its rows."""

    id: str = Id
    name: str
    created_at: str
    job_id: str | None
    num_rows: int
    best: str | None = Field(description="Name of the row to ship.")


class ComparisonList(BaseModel):
    """Comparisons, the newest first."""

    comparisons: list[ComparisonListed]

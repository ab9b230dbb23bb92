"""Shapes of answers about data sets and what is stored, for the documentation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from pocketlens.service.api.schemas import Reason

Task = Literal["single_label", "multi_label"]


class DatasetEntry(BaseModel):
    """A data set as the list has it."""

    dataset: str = Field(description="Its name.", examples=["pills"])
    task: Task
    created_at: str
    version: int = Field(description="Counts changes.")
    num_samples: int


class DatasetView(DatasetEntry):
    """A data set."""

    class_counts: dict[str, int] = Field(description="Samples a class.")


class DatasetList(BaseModel):
    """All data sets of a user."""

    datasets: list[DatasetEntry]


class Rejected(BaseModel):
    """A photo, or an entry of an archive, that isn't used."""

    name: str = Field(description="`images[N]`, or its name in the archive.")
    code: str
    reason: str


class Added(BaseModel):
    """What became of an upload."""

    dataset: str
    added: int = Field(description="New samples: photos, or boxes of them.")
    duplicates: int = Field(description="Samples that were there already.")
    replaced: int = Field(description="Samples that were there and got other labels.")
    rejected: list[Rejected] = Field(description="The first 1,000 of them.")
    num_rejected: int
    num_samples: int
    class_counts: dict[str, int]


class Checked(BaseModel):
    """As `pocketlens check --json`, and whether training can begin."""

    format: str
    task: Task
    num_samples: int
    num_classes: int
    class_counts: dict[str, int]
    splits: dict[str, int]
    sizes: dict[str, list[float]]
    problems: list[dict[str, Any]]
    dataset: str
    version: int
    ready: bool
    missing: list[str] = Field(description="What stands in the way, one line each.")
    reasons: list[Reason] = Field([], description="The same for programs.")


class Deletion(BaseModel):
    """A line of the account of what was deleted."""

    at: str
    what: Literal["answers", "photos", "models", "comparisons"]
    why: Literal["age", "quota", "request"]
    count: int
    size_bytes: int


class Account(BaseModel):
    """What a user stores, and what was deleted."""

    user: str
    operator: bool
    num_photos: int
    size_bytes: int = Field(description="Of stored photos.")
    quota_bytes: int | None = Field(description="How much that may be; null: no limit.")
    num_datasets: int
    num_jobs: int
    num_models: int = Field(description="Own trained ones that have files.")
    models_bytes: int = Field(description="Of those; they don't count for the quota.")
    max_models: int = Field(description="Of more the oldest are retired.")
    keep_answers_days: float
    keep_photos_days: float | None = Field(description="null: until they are deleted.")
    deletions: list[Deletion] = Field(description="The latest 100, the newest first.")

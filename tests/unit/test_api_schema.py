"""Schemathesis makes requests from the OpenAPI document, against a real server with tokens.

Whatever it sends: no fault of ours, and every answer is one that the document describes. The slow
form sends twenty times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from pocketlens.service.api import security
from support import service as support

#: What a document can't say: that a photo is none, a class isn't the current model's, a cursor was
#: never given, a key came with another request before. And what isn't wrong: a parameter in the
#: query that nobody knows, and a missing token, which each request here has.
EXCLUDED = ("positive_data_acceptance", "negative_data_rejection", "missing_required_header")
_PHASES = (Phase.explicit, Phase.generate)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place = tmp_path_factory.mktemp("service")
    # A check sends wrong tokens to each operation, and expects 401 of all.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "WRONG_AT_ONCE", 100_000)
        yield from _described(place)


def _described(place: Path) -> Iterator[Any]:
    with support.running(support.settings(place, tokens=support.with_tokens())) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def ask(operation: Any, mode: GenerationMode, num: int) -> None:
    """Send an operation so many requests, and check each answer."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=num, deadline=None, derandomize=True, database=None, phases=_PHASES,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def send(case: Any) -> None:
        if isinstance(case.query, dict) and isinstance(case.query.get("wait"), int | float):
            case.query["wait"] = min(case.query["wait"], 0.05)  # no worker runs here
        case.call_and_validate(
            headers=support.bearer("op"),
            excluded_checks=CHECKS.get_by_names(EXCLUDED),
            timeout=20,
        )

    send()


def ask_all(described: Any, num: int) -> None:
    operations = [result.ok() for result in described.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        for mode in GenerationMode:
            with suppress(Unsatisfiable):  # there is nothing wrong that could be sent
                ask(operation, mode, num)


def test_every_operation(described: Any) -> None:
    ask_all(described, 5)


@pytest.mark.slow
def test_every_operation_at_length(described: Any) -> None:
    ask_all(described, 100)

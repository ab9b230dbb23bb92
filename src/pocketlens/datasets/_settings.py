"""YAML files that describe data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from pocketlens.core.errors import DataError

_MAX_BYTES: Final = 4_000_000


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file; nothing in it is executed.

    Raises:
        DataError: it can't be read or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise DataError(f"{path} is too large to describe data")
        value = yaml.safe_load(content)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{path} is no YAML: {text}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold `name: value` lines")
    return {str(key): item for key, item in value.items()}

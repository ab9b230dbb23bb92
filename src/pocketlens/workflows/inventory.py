"""`plugins`: what is installed, and what each missing part needs."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Final

from pocketlens import plugins

#: Key of `--json` -> family.
FAMILIES: Final = {
    "datasets": "datasets",
    "models": "models",
    "methods": "compression",
    "runtimes": "runtimes",
    "maps": "maps",
    "regions": "regions",
    "loggers": "loggers",
}


def inventory() -> dict[str, list[dict[str, Any]]]:
    """By family, for each plugin its `name`, `summary`, `installed` and `extra`."""
    return {
        key: [asdict(plugins.describe(family, name)) for name in plugins.names(family)]
        for key, family in FAMILIES.items()
    }


def options(family: str, name: str) -> list[tuple[str, str]]:
    """Flags of a plugin with their defaults."""
    config = plugins.load(family, name).Config
    prefix = "region-" if family == "regions" else ""
    return [
        (f"--{prefix}{field.name.replace('_', '-')}", str(field.default))
        for field in fields(config)
    ]

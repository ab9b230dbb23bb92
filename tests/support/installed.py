"""Plugins that can be tested here."""

from __future__ import annotations

from typing import Final

from pocketlens import plugins

#: Extras that `dev` leaves out; pyproject.toml says why. All others must be there.
APART: Final = ("litert",)


def to_test(family: str) -> list[str]:
    """A family's plugins; those of an extra that stands apart only where it is installed."""
    found = (plugins.describe(family, name) for name in plugins.names(family))
    return [plugin.name for plugin in found if plugin.installed or plugin.extra not in APART]

"""Self-contained pages: the templates that all HTML reports share.

A page is one file without a network: style and script stand in it, pictures are data URLs, and
its content policy lets nothing else load or run.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from pocketlens.reports._format import one_line

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, **values: Any) -> str:
    """A template of `reports/templates` with these values; text is escaped."""
    return environment().get_template(template).render(**values)


@cache
def environment() -> Environment:
    """Where templates come from, and the few functions they call."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("pocketlens.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert env.loader is not None
    script = env.loader.get_source(env, "page.js")[0].strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    env.globals["script"] = script
    # Only this very script may run, whatever a class name tries to smuggle in.
    env.globals["script_hash"] = f"sha256-{digest}"
    env.filters["one_line"] = one_line
    return env

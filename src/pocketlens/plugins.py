"""The folder is the registry: a new file in a family's folder is a new plugin.

A plugin is a module: the first line of its docstring is its summary, `EXTRA` the optional
dependency it needs (empty for none), `Config` its frozen dataclass of options, and one verb.
Names are file names with `-` for `_`; files that begin with `_` are helpers.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pocketlens.core.errors import UserError
from pocketlens.extras import installed

FAMILIES: Final = (
    "datasets", "models", "compression", "runtimes", "maps", "regions", "reports", "loggers"
)  # fmt: skip


#: What a person calls the plugins of a family, where its name is another word.
_CALLED: Final = {
    "datasets": "data formats",
    "models": "model families",
    "compression": "compression methods",
    "maps": "map methods",
    "reports": "report formats",
}


@dataclass(frozen=True)
class Plugin:
    """What `pocketlens plugins` tells of one."""

    name: str
    summary: str
    installed: bool
    extra: str


def names(family: str) -> list[str]:
    """Plugins of a family, by name; nothing is imported but the family's empty package."""
    assert family in FAMILIES, family
    package = importlib.import_module(f"pocketlens.{family}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def load(family: str, name: str) -> Any:
    """The plugin's module.

    Raises:
        UserError: there is none of this name.
    """
    if name not in names(family):
        what = _CALLED.get(family, family)
        raise UserError(f"no {name!r} among the {what}: choose from {', '.join(names(family))}")
    return importlib.import_module(f"pocketlens.{family}.{name.replace('-', '_')}")


def find_family(model: str) -> tuple[str, Any]:
    """The model family that knows a network's name.

    Raises:
        UserError: none does; the message names similar ones.
    """
    similar: list[str] = []
    for name in names("models"):
        family = load("models", name)
        if family.knows(model):
            return name, family
        similar += family.similar(model) if "/" not in model or model.startswith(name) else []
    hint = f"; did you mean {', '.join(similar[:3])}?" if similar else ""
    raise UserError(f"no network is called {model!r}{hint} (timm.list_models() lists all)")


@cache
def describe(family: str, name: str) -> Plugin:
    """Summary and needs of a plugin, read from its source without importing it."""
    spec = find_spec(f"pocketlens.{family}.{name.replace('-', '_')}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").split("\n", 1)[0]
    extra = ""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "EXTRA":
            extra = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return Plugin(name, summary, installed(extra), extra)


def configure(plugin: ModuleType, options: Mapping[str, Any], *, prefix: str = "") -> Any:
    """The plugin's `Config` from options by name; text is turned into the field's type.

    Args:
        prefix: what stands before a name where it is a flag.

    Raises:
        UserError: an option the plugin doesn't have, or a value that doesn't fit.
    """
    config = plugin.Config
    hints = get_type_hints(config)
    known = {field.name for field in fields(config)}
    values: dict[str, Any] = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            flags = (f"--{prefix}{n.replace('_', '-')}" for n in sorted(known))
            choices = ", ".join(flags) or "none"
            flag = f"--{prefix}{key.replace('_', '-')}"
            raise UserError(f"{flag} is no option here; its options: {choices}")
        values[name] = convert(f"--{prefix}{key}", value, hints[name])
    missing = [
        f.name
        for f in fields(config)
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise UserError(f"{plugin.__name__.rsplit('.', 1)[1]} needs --{prefix}{missing[0]}")
    return config(**values)


def convert(option: str, value: Any, hint: Any) -> Any:
    """Text from a flag, or a value from YAML or Python, as the field's type."""
    choices = get_args(hint)
    if get_origin(hint) is Literal:
        for choice in choices:
            if value == choice or value == str(choice):
                return choice
        raise UserError(f"{option} must be one of {', '.join(map(str, choices))}, not {value!r}")
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        kinds = [kind for kind in choices if kind is not NoneType]
        none = NoneType in choices and (value is None or value == "none")
        return None if none else convert(option, value, kinds[0])
    if get_origin(hint) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise UserError(f"{option} needs a list, not {value!r}")
        return tuple(convert(option, item, choices[0]) for item in items)
    kind = hint
    if kind not in (bool, int, float, str):
        return kind(value) if isinstance(value, str) and isinstance(kind, type) else value
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "yes": True, "false": False, "no": False}[value.lower()]
        if not isinstance(value, str):
            fits = (int, float) if kind is float else kind
            if not isinstance(value, fits) or (isinstance(value, bool) and kind is not bool):
                raise ValueError
        return kind(value)
    except (KeyError, ValueError) as error:
        raise UserError(f"{option} needs a value of kind {kind.__name__}, not {value!r}") from error

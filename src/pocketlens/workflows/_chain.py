"""A chain of compression steps, read and checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

from pocketlens import plugins
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError


@dataclass(frozen=True)
class Step:
    """One method with its options."""

    method: str
    plugin: ModuleType
    config: Any

    @property
    def needs_data(self) -> bool:
        """Whether it learns from labelled photos, or is judged by them as it works."""
        return bool(self.plugin.NEEDS_DATA)


def read_chain(methods: str | Sequence[str], options: Mapping[str, Any]) -> list[Step]:
    """Steps by the names of their methods, with commas between.

    Args:
        options: `ratio` goes to every step that has such an option, `prune:ratio` to the steps of
            that method alone.

    Raises:
        UserError: no such method, or an option that no step has.
    """
    given = [methods] if isinstance(methods, str) else list(methods)
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"name a method: {', '.join(plugins.names('compression'))}")
    found = [plugins.load("compression", name) for name in names]
    known = {
        name: {field.name for field in fields(plugin.Config)}
        for name, plugin in zip(names, found, strict=True)
    }
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for qualified in (False, True):  # the more exact one wins
        for key, value in options.items():
            method, dot, option = key.rpartition(":")
            if bool(dot) is not qualified:
                continue
            takers = [
                name
                for name in names
                if (not dot or name == method) and option.replace("-", "_") in known[name]
            ]
            if not takers:
                raise UserError(_no_option(key, names, known))
            for name in takers:
                own[name][option.replace("-", "_")] = value
    return [
        Step(name, plugin, plugins.configure(plugin, own[name]))
        for name, plugin in zip(names, found, strict=True)
    ]


def check_chain(bundle: Bundle, steps: Sequence[Step]) -> None:
    """Whether each step can take what the one before it gives.

    Raises:
        UserError: one can't; nothing was done yet.
    """
    manifest = bundle.manifest
    if manifest.input.embedded:
        raise UserError(
            f"{bundle.path} normalises its pixels itself, which no method can work on; compress "
            "the bundle that it was made from, and export that with --embed-preprocess last"
        )
    runtime, precision = manifest.runtime, manifest.precision
    what = str(bundle.path)
    for step in steps:
        takes_runtime, takes_precision = step.plugin.TAKES
        if precision != takes_precision:
            hint = "give it the bundle that this one was made from"
            if what != str(bundle.path):
                hint = f"put {step.method} before it"
            raise UserError(
                f"{step.method} takes a {takes_precision} model, {what} is {precision}; {hint}"
            )
        # A torch network can be exported to any other runtime on the way.
        if runtime not in (takes_runtime, "torch"):
            raise UserError(
                f"{step.method} takes a {takes_runtime} bundle, {what} is made for {runtime}; give "
                "it the torch bundle that training wrote"
            )
        runtime, precision = step.plugin.GIVES
        what = f"what {step.method} gives"


def _no_option(key: str, names: Sequence[str], known: Mapping[str, set[str]]) -> str:
    choices = {
        name: ", ".join(f"--{n.replace('_', '-')}" for n in sorted(known[name])) or "none"
        for name in dict.fromkeys(names)
    }
    if len(choices) == 1:
        return f"--{key} is no option here; its options: {next(iter(choices.values()))}"
    listed = "; ".join(f"{name}: {text}" for name, text in choices.items())
    return f"--{key} is no option here. Options of {listed}"

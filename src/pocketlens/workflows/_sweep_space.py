"""What a sweep tries, read from a YAML file and checked to the last value before work starts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from pocketlens.core.directory import expand
from pocketlens.core.errors import UserError
from pocketlens.plugins import convert
from pocketlens.training.config import TrainConfig, settings_of

#: Keys that say how the data is read, as the flags of every verb that reads some.
_READING: Final = ("format", "exclude", "group_column", "labels", "split_groups")
#: Settings that no trial may change, and why.
_REFUSED: Final = {
    "seed": "it decides the split too, and trials are compared on the same photos; name it in "
    "`fixed`",
    "metric": "trials are compared by one metric; name it beside `space`",
    "track": "it changes no result; name it in `fixed`",
    "checkpoint_minutes": "it changes no result; name it in `fixed`",
}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Keys:
    """The keys of the file but for those of reading the data."""

    data: str
    space: dict[str, Any]
    fixed: dict[str, Any] = field(default_factory=dict)
    metric: Literal["macro_f1", "accuracy", "map", "loss"] | None = None
    trials: int = 20
    minutes: float | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"
    storage: str | None = None
    study: str | None = None


@dataclass(frozen=True)
class Space:
    """A search: what is fixed, what is tried, and for how long.

    Attributes:
        reading: options of `read_dataset`.
        base: the fixed settings; those that are tried have their first value.
        tried: setting -> its choices, or a range.
        storage: a database's address where it isn't a file in the output.
    """

    data: Path
    reading: Mapping[str, Any]
    base: TrainConfig
    tried: Mapping[str, tuple[Any, ...] | Range]
    trials: int
    minutes: float | None
    sampler: str
    pruner: str
    storage: str | None
    study: str

    def config(self, params: Mapping[str, Any]) -> TrainConfig:
        """The settings of a trial.

        Raises:
            UserError: they don't go together.
        """
        hints = get_type_hints(TrainConfig)
        return replace(
            self.base, **{name: convert(name, value, hints[name]) for name, value in params.items()}
        )

    def describe(self) -> dict[str, Any]:
        """What must be the same for trials of one study."""
        fixed = {k: v for k, v in settings_of(self.base).items() if k not in self.tried}
        tried = {k: vars(v) if isinstance(v, Range) else list(v) for k, v in self.tried.items()}
        return {"fixed": fixed, "space": tried}


def read_space(path: Path) -> Space:
    """Read and check the file.

    Raises:
        UserError: a key or setting it names doesn't exist, or a value doesn't fit.
    """
    given = _mapping(_load(path), f"{path}")
    hints = get_type_hints(Keys)
    known = [*hints, *_READING]
    for key in given:
        if key not in known:
            raise UserError(f"{path}: no key is called {key!r}; choose from {', '.join(known)}")
    if missing := [key for key in ("data", "space") if given.get(key) is None]:
        raise UserError(f"{path}: `{missing[0]}:` is missing")
    parts: dict[str, Any] = {
        key: _mapping(given.get(key) or {}, f"{path}: {key}") for key in ("fixed", "space")
    }
    if given.get("pruner", "") is None:
        given["pruner"] = "none"
    plain = {k: v for k, v in given.items() if k in hints and k not in parts}
    keys = Keys(**{k: convert(f"{path}: {k}", v, hints[k]) for k, v in plain.items()}, **parts)
    if keys.trials < 1 or (keys.minutes is not None and not 0 < keys.minutes < math.inf):
        raise UserError(f"{path}: trials must be at least 1, minutes more than 0")
    folder = path.absolute().parent
    reading = {key: given[key] for key in _READING if given.get(key) is not None}
    for key, value in reading.items():
        if not isinstance(value, str):
            raise UserError(f"{path}: {key} needs text, not {value!r}")
    if "exclude" in reading:
        reading["exclude"] = folder / expand(reading["exclude"])
    base, tried = _settings(path, keys, folder)
    if keys.pruner != "none" and (base.devices > 1 or "devices" in tried):
        raise UserError(
            f"{path}: a trial of several processes can't be cut short; add `pruner: none`"
        )
    storage = None if keys.storage is None else os.path.expandvars(keys.storage)
    return Space(
        data=folder / expand(keys.data),
        reading=reading,
        base=base,
        tried=tried,
        trials=keys.trials,
        minutes=keys.minutes,
        sampler=keys.sampler,
        pruner=keys.pruner,
        storage=storage,
        study=keys.study or path.stem,
    )


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} doesn't exist; check the path") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must hold `name: value` lines")
    return {str(key).replace("-", "_"): item for key, item in value.items()}


def _settings(
    path: Path, keys: Keys, folder: Path
) -> tuple[TrainConfig, dict[str, tuple[Any, ...] | Range]]:
    known = {f.name for f in fields(TrainConfig)}
    hints = get_type_hints(TrainConfig)
    for part, names in (("fixed", keys.fixed), ("space", keys.space)):
        for name in names:
            if name not in known:
                choices = ", ".join(sorted(known - {"metric"}))
                raise UserError(f"{path}: {part}: no setting is called {name!r}: {choices}")
    if not keys.space:
        raise UserError(f"{path}: space is empty; give a setting a list of values, or low and high")
    if "metric" in keys.fixed:
        raise UserError(f"{path}: fixed: metric: {_REFUSED['metric']}")
    if both := sorted(set(keys.fixed) & set(keys.space)):
        raise UserError(f"{path}: {both[0]} is fixed and in the space; leave one out")
    fixed = {
        name: convert(f"{path}: fixed: {name}", _near(name, value, folder), hints[name])
        for name, value in keys.fixed.items()
    }
    tried: dict[str, tuple[Any, ...] | Range] = {}
    for name, value in keys.space.items():
        if name in _REFUSED:
            raise UserError(f"{path}: space: {name} can't be searched: {_REFUSED[name]}")
        where = f"{path}: space: {name}"
        if isinstance(value, dict):
            tried[name] = _range(value, _kind(hints[name]), where)
        elif isinstance(value, list) and value:
            tried[name] = _choices([_near(name, v, folder) for v in value], hints[name], where)
        else:
            raise UserError(f"{where} needs a list of values, or low and high")
    ends = {name: _ends(value, _kind(hints[name])) for name, value in tried.items()}
    return _first_base(path, {**fixed, "metric": keys.metric}, ends, tried), tried


def _first_base(
    path: Path,
    fixed: Mapping[str, Any],
    ends: Mapping[str, tuple[Any, ...]],
    tried: Mapping[str, tuple[Any, ...] | Range],
) -> TrainConfig:
    """The settings with the first value of each that is tried; each value was built once.

    Settings may need each other, so a value passes if it goes with all first or all last values;
    a trial whose values don't go together fails by itself.
    """
    hints = get_type_hints(TrainConfig)
    typed = {k: tuple(convert(k, v, hints[k]) for v in values) for k, values in ends.items()}
    sides = [{k: values[side] for k, values in typed.items()} for side in (0, -1)]
    refused: UserError | None = None
    found: TrainConfig | None = None
    for side in sides:
        try:
            found = found or TrainConfig(**fixed, **side)
        except UserError as error:
            refused = refused or error
    if found is None:
        raise UserError(f"{path}: fixed or space: {refused}")
    for name, values in typed.items():
        for value in values:
            errors = []
            for side in sides:
                try:
                    TrainConfig(**{**fixed, **side, name: value})
                except UserError as error:
                    errors.append(error)
            if len(errors) == len(sides):
                raise UserError(f"{path}: space: {name} {value}: {errors[0]}")
    return found


def _ends(value: tuple[Any, ...] | Range, kind: Any) -> tuple[Any, ...]:
    return (kind(value.low), kind(value.high)) if isinstance(value, Range) else value


def _kind(hint: Any) -> Any:
    """The type of a setting, without `| None`."""
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _choices(values: list[Any], hint: Any, where: str) -> tuple[Any, ...]:
    found = []
    for value in values:
        if isinstance(value, list | dict):
            raise UserError(f"{where}: {value!r} is no single value; join several by commas")
        typed = convert(where, value, hint)
        found.append(value if isinstance(typed, tuple) else typed)
    return tuple(dict.fromkeys(found))


def _range(value: dict[Any, Any], kind: Any, where: str) -> Range:
    if kind not in (int, float):
        raise UserError(f"{where} is no number; give it a list of values")
    known = ("low", "high", "log", "step")
    if unknown := [key for key in value if key not in known]:
        raise UserError(f"{where}: no key is called {unknown[0]!r}; choose from {', '.join(known)}")
    if missing := [key for key in ("low", "high") if key not in value]:
        raise UserError(f"{where}: `{missing[0]}:` is missing")
    low, high = (convert(f"{where}: {end}", value[end], kind) for end in ("low", "high"))
    log = convert(f"{where}: log", value.get("log", False), bool)
    step = value.get("step")
    step = None if step is None else convert(f"{where}: step", step, kind)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{where}: low must be less than high")
    if log and low <= 0:
        raise UserError(f"{where}: low must be above 0 for log")
    if step is not None and (log or not 0 < step <= high - low):
        raise UserError(f"{where}: step must be above 0, within the range, and without log")
    return Range(low, high, log, step)


def _near(name: str, value: Any, folder: Path) -> Any:
    """A path that lies beside the file."""
    if name in ("teacher", "weights") and isinstance(value, str) and (folder / value).exists():
        return str(folder / value)
    return value

"""Checkpoints: one safetensors file, complete or not there; never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.errors import UserError

if TYPE_CHECKING:
    import torch

NAME: Final = "last.safetensors"
_MODEL, _BEST, _OPTIMIZER, _FURTHER = "model.", "best.", "optimizer.", "further."


@dataclass(frozen=True)
class Checkpoint:
    """The state after a step: enough to go on as if nothing had happened.

    Attributes:
        facts: epoch, history, settings: whatever JSON can hold.
        further: other tensors: the moving average, the state of the random numbers.
    """

    model: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    facts: dict[str, Any]
    further: dict[str, torch.Tensor] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write beside the last one, then replace it in one step.

    Raises:
        UserError: the disk is full or can't be written; the last checkpoint stays whole.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {_MODEL + k: v.contiguous() for k, v in checkpoint.model.items()}
    tensors |= {_BEST + k: v.contiguous() for k, v in checkpoint.best.items()}
    tensors |= {_FURTHER + k: v.contiguous() for k, v in checkpoint.further.items()}
    state = checkpoint.optimizer["state"]
    for index, values in state.items():
        tensors |= {f"{_OPTIMIZER}{index}.{k}": v.contiguous() for k, v in values.items()}
    facts = checkpoint.facts | {"param_groups": checkpoint.optimizer["param_groups"]}
    temporary = folder / f".{NAME}.{os.getpid()}.tmp"
    try:
        # safetensors refuses tensors that share memory; the best epoch's may be the present ones.
        save_file(
            {k: v.clone() for k, v in tensors.items()}, temporary, {"facts": json.dumps(facts)}
        )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(folder / NAME)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the checkpoint can't be saved in {folder}: {error}; the last one is untouched, "
            "go on with --resume after making room"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def keep(folder: Path, epoch: int) -> None:
    """Keep the last checkpoint as that of an epoch, counted from 1.

    Raises:
        UserError: the disk is full or can't be written.
    """
    path = folder / f"epoch-{epoch:03d}.safetensors"
    temporary = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        try:
            os.link(folder / NAME, temporary)  # the next one replaces the name, not the file
        except OSError:
            shutil.copyfile(folder / NAME, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} can't be saved: {error}; make room, or omit --keep-epochs"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def facts_of(folder: Path) -> dict[str, Any] | None:
    """The facts of the last checkpoint without its tensors, or None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    with _opened(path) as file:
        return dict(json.loads(file.metadata()["facts"]))


def load(folder: Path, name: str = NAME) -> Checkpoint | None:
    """The last complete checkpoint, or None if there is none.

    Args:
        name: of another one in the folder.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / name
    if not path.exists():
        return None
    with _opened(path) as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMIZER):
            index, name = key.removeprefix(_OPTIMIZER).split(".", 1)
            state.setdefault(int(index), {})[name] = value
    optimizer = {"state": state, "param_groups": facts.pop("param_groups")}
    return Checkpoint(
        _with(tensors, _MODEL), _with(tensors, _BEST), optimizer, facts, _with(tensors, _FURTHER)
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}; remove it and start anew") from error


def _with(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

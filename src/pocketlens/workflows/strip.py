"""`strip`: a checkpoint's model alone, as a bundle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from pocketlens.core.bundle import Bundle, Manifest, write_bundle
from pocketlens.core.directory import refuse_existing, write_text
from pocketlens.core.errors import UserError
from pocketlens.core.split import Split
from pocketlens.extras import require
from pocketlens.progress import warn
from pocketlens.training import checkpoint
from pocketlens.training.resuming import config_of, refuse_other_settings

#: Beside the checkpoints: the manifest and the split of the bundle that is being trained.
RUN: Final = "run.json"


def describe_run(run_dir: Path, manifest: Manifest, split: Split) -> None:
    """Keep what a checkpoint lacks to be a bundle."""
    values = {"manifest": json.loads(manifest.to_json()), "split": split.to_dict()}
    write_text(run_dir / RUN, json.dumps(values))


def run_hash(manifest: Manifest, split: Split) -> str:
    """Of the samples and their split: a checkpoint belongs to the run with the same."""
    text = json.dumps(split.to_dict())
    return hashlib.sha256(text.encode()).hexdigest() + str(manifest.lineage.data_hash)


def strip(
    checkpoint_path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    last: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Make a bundle of a training run's checkpoint, finished or not.

    Args:
        checkpoint_path: the `.run` directory of a training run, or the checkpoint in it.
        last: the weights of the last step instead of those of the best epoch so far.

    Raises:
        UserError: no checkpoint, a damaged one, or one that no epoch was finished of.
    """
    require("torch", extra="train")
    from safetensors.torch import save

    path = Path(checkpoint_path)
    folder = path if path.is_dir() else path.parent
    target = Path(out)
    refuse_existing(target, overwrite=overwrite, inputs=[folder])
    name = checkpoint.NAME if path.is_dir() else path.name
    saved = checkpoint.load(folder, name)
    if saved is None:
        raise UserError(f"{folder} holds no {name}; name the .run directory of a training")
    manifest, split = _read(folder / RUN)
    if saved.facts.get("data_hash") != run_hash(manifest, split):
        raise UserError(
            f"{path} is of another run than {folder / RUN}, which says what it has learnt; "
            "a run was begun anew there"
        )
    refuse_other_settings(saved.facts["config"], config_of(manifest.lineage.config), folder / name)
    history = saved.facts["history"]
    if not last and not saved.best:
        raise UserError(f"no epoch of {folder} was finished; pass --last for the weights so far")
    scores: dict[str, object] = {"metric": saved.facts["config"]["metric"] or ""}
    if not last:
        best = saved.facts["best_epoch"]
        row = {k.removeprefix("val_"): v for k, v in history[best].items() if k.startswith("val_")}
        scores |= {"best_epoch": best + 1, "val": row}
    if scores["metric"] in ("", "loss"):
        scores.pop("metric")
    if manifest.task == "multi_label":  # they are found when a run has come to its end
        warn(f"{folder} has no thresholds yet: a label is given above 0.5")
    state = saved.model if last else saved.best
    files = {"model.safetensors": save({k: v.contiguous() for k, v in state.items()})}
    manifest = replace(manifest, metrics={**manifest.metrics, **scores})
    return write_bundle(target, manifest, files, split=split, overwrite=overwrite)


def _read(path: Path) -> tuple[Manifest, Split]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Manifest.from_dict(values["manifest"]), Split.from_dict(values["split"])
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: it says which classes the checkpoint knows; strip it where it "
            "was trained"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error

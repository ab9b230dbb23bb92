"""What the methods that train are handed: the photos, the float model's answers, the loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens.compression._step import Train, Tuned
from pocketlens.compression._tuning import Tuning
from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.session import Session
from pocketlens.progress import say
from pocketlens.training.config import TrainConfig
from pocketlens.training.job import Job
from pocketlens.training.loop import train_network
from pocketlens.training.photos import Photos
from pocketlens.training.resuming import config_of
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._photos import photos_of
from pocketlens.workflows._teacher import teach
from pocketlens.workflows._thresholds import with_own_thresholds
from pocketlens.workflows._validate import score_session, validate
from pocketlens.workflows.data import Hashed
from pocketlens.workflows.evaluate import metric_of

if TYPE_CHECKING:
    import torch

#: What is kept of the float model's own training: what labels mean and how photos are varied.
_KEPT: Final = (
    "loss", "focal_gamma", "label_smoothing", "class_weights", "sampler", "augment",
    "augment_only", "weight_decay", "photo_cache",
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """Photos to train and to validate on, for one bundle and what is made from it."""

    bundle: Bundle
    train: Examples
    val: Examples
    photos: Photos

    @property
    def metric(self) -> metrics.Metric:
        """What epochs and candidates are compared by."""
        return metric_of(self.bundle)

    def score(self, session: Session) -> float:
        """On validation photos, in percent.

        Raises:
            UserError: there are none.
        """
        if not len(self.val):
            raise UserError(
                f"{self.bundle.path} remembers no validation photo among these; pass as --data the "
                "photos it was trained on"
            )
        scored = score_session(session, self.bundle.manifest, self.val, self.photos)
        return float(metrics.score(self.metric, with_own_thresholds(scored))[0])


@contextmanager
def material(bundle: Bundle, data: Hashed) -> Iterator[Material]:
    """Training and validation photos by the bundle's split."""
    train, val = (examples_of(bundle, data, part) for part in ("train", "val"))
    with photos_of(bundle.manifest.preprocess, (train, val)) as photos:
        yield Material(bundle, train, val, photos)


def trainer(
    given: Callable[[], Material],
    teacher: Bundle,
    work: Path,
    *,
    threads: int | None = None,
    resume: bool = False,
    call: str = "",
) -> Train:
    """What a method calls to train a module.

    Args:
        given: the photos; raises a `UserError` where no data was named.
        teacher: the float model, whose answers are learnt from.
        work: directory of checkpoints.
        call: hash of all that the step was asked for; a checkpoint of another call is refused.
    """

    def train(
        module: torch.nn.Module,
        tuning: Tuning,
        *,
        before_epoch: Callable[[torch.nn.Module, int], None] | None = None,
        keep_start: bool = True,
        name: str = "",
    ) -> Tuned:
        found = given()
        for part, why in ((found.train, "train"), (found.val, "validate")):
            if not len(part):
                raise UserError(
                    f"there is no photo to {why} on that {found.bundle.path} knows; pass as --data "
                    "the photos it was trained on (an imported model has none: train it first)"
                )
        run_dir = work / name if name else work
        run_dir.mkdir(parents=True, exist_ok=True)
        config = _config(found, teacher, tuning)
        manifest = found.bundle.manifest
        check = partial(validate, manifest=manifest, examples=found.val, photos=found.photos)
        start = metrics.summary(check(module.eval()))
        say(f"before training: {found.metric} {start[found.metric]:.2f} on validation photos")
        # Copied: training changes the very tensors.
        before = {k: v.detach().clone() for k, v in module.state_dict().items()}
        job = Job(
            module,
            found.train,
            found.photos,
            config,
            validate=check,
            run_dir=run_dir,
            resume=resume,
            data_hash=_data_hash(found, name, call),
            teaching=teach(config, found.train, found.bundle.split, run_dir, threads),
            threads=threads,
            before_epoch=before_epoch,
        )
        result = train_network(job)
        best = result.history[result.best_epoch][f"val_{found.metric}"]
        stays = keep_start and start[found.metric] >= best
        if stays:
            say(
                f"no epoch is better than the start ({best:.2f} against "
                f"{start[found.metric]:.2f}): the start stays"
            )
        state = before if stays else result.state
        module.load_state_dict(state)
        module.eval()
        score = start[found.metric] if stays else best
        facts = {
            "trained": {
                "metric": found.metric,
                "start": start[found.metric],
                "best": best,
                "kept": "start" if stays else f"epoch {result.best_epoch + 1}",
                "teacher": {"id": teacher.id, "name": teacher.path.name},
                "recipe": {key: getattr(config, key) for key in _KEPT},
            }
        }
        return Tuned(state, start[found.metric], score, stays, facts)

    return train


def _config(found: Material, teacher: Bundle, tuning: Tuning) -> TrainConfig:
    """As the float model was trained, but for what the method says."""
    origin = config_of(_recipe(found.bundle)) if _recipe(found.bundle) else TrainConfig()
    kept: dict[str, Any] = {key: getattr(origin, key) for key in _KEPT}
    if tuning.augment != "parent":
        kept["augment"] = tuning.augment
    return replace(
        TrainConfig(**kept),
        metric=found.metric,
        epochs=tuning.epochs,
        lr=tuning.lr,
        batch_size=tuning.batch_size,
        teacher=str(teacher.path) if tuning.teacher_weight else None,
        teacher_weight=tuning.teacher_weight or 0.5,
        temperature=tuning.temperature,
        ema=tuning.ema,
        seed=tuning.seed,
        warmup=0.1,
    )


def _recipe(bundle: Bundle) -> Mapping[str, Any]:
    """Settings of the training that the bundle comes from; empty for an imported one."""
    lineage = bundle.manifest.lineage
    if lineage.method == "train":
        return lineage.config
    trained = [p for p in lineage.parents if p.get("method") == "train"]
    config: Mapping[str, Any] = trained[-1].get("config", {}) if trained else {}
    return config


def _data_hash(found: Material, name: str, call: str) -> str:
    facts = [call, found.bundle.id, name, found.train.identities, found.val.identities]
    return hashlib.sha256(repr(facts).encode()).hexdigest()

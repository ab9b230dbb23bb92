"""`train`: labelled photos -> a float bundle."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlens.core import metrics
from pocketlens.core.bundle import Bundle, read_bundle, write_bundle
from pocketlens.core.card_words import TRAINED_ON
from pocketlens.core.dataset import Dataset, Part
from pocketlens.core.directory import MARKER, refuse_existing
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.examples import Examples, make_examples
from pocketlens.core.split import Split, make_split
from pocketlens.progress import say, warn
from pocketlens.training import artifacts, checkpoint
from pocketlens.training.config import TrainConfig
from pocketlens.training.job import Job
from pocketlens.training.loop import train_network
from pocketlens.training.parallel import check_machine
from pocketlens.training.resuming import refuse_other_run, refuse_other_settings
from pocketlens.training.sampling import check_augmented
from pocketlens.workflows._about import about, interval_of_test
from pocketlens.workflows._network import check_network
from pocketlens.workflows._photos import photos_of
from pocketlens.workflows._prepare import prepare, trained_classes
from pocketlens.workflows._teacher import check_teacher, teach
from pocketlens.workflows._thresholds import with_thresholds
from pocketlens.workflows._tracking import EpochCall, check_trackers, tracking
from pocketlens.workflows._validate import outcome_of, score_module, validate
from pocketlens.workflows._workplace import locked
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, data_paths
from pocketlens.workflows.open import BundleLike, as_bundle
from pocketlens.workflows.strip import describe_run, run_hash

if TYPE_CHECKING:
    pass


def train(
    data: DataLike | Hashed,
    *,
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    keep_split: BundleLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: EpochCall | None = None,
    on_trained: Callable[[], object] | None = None,
    test: bool = True,
    **settings: Any,
) -> Bundle:
    """Train a network on labelled photos.

    Args:
        data: a `Dataset`, or a path to one.
        out: the bundle's directory; checkpoints and curves go to `OUT.run` beside it.
        config: all settings; `settings` are those of `TrainConfig` by name.
        keep_split: an earlier bundle whose samples keep their part of the split.
        threads: processor threads; all cores by default.
        resume: go on from the last checkpoint in `OUT.run`.
        on_epoch: is told each epoch's row of figures; what it raises gets out.
        on_trained: is called when no epoch is left; the scoring may still take long.
        test: score the test photos; without, the bundle has validation scores alone.

    Raises:
        UserError: the data, the settings or the output can't be used.
    """
    # Python's users give paths as Path, and settings are stored as JSON.
    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in settings.items()}
    config = replace(config or TrainConfig(), **given)
    target = Path(out)
    if resume and (target / "manifest.json").is_file():
        return _complete(target, config, data)
    read = [*data_paths(data), *([] if keep_split is None else [as_bundle(keep_split).path])]
    refuse_existing(target, overwrite=overwrite, inputs=read)
    run_dir = target.with_name(f"{target.name}.run")
    if (run_dir / checkpoint.NAME).exists() and not (resume or overwrite):
        raise UserError(
            f"{run_dir} holds a run that was interrupted; pass --resume to go on, or --overwrite"
        )
    check_trackers(config)
    check_machine(config)
    if not isinstance(data, Hashed):  # all its photos are about to be read
        check_network(config)
    hashed = as_hashed(data)
    dataset = hashed.dataset
    if config.metric not in (None, "loss"):
        metrics.check_metric(str(config.metric), dataset.task)
    if len(dataset.classes) < 2 and dataset.task == "single_label":
        raise DataError(
            f"all photos are labelled {dataset.classes[0]!r}; a classifier needs two classes"
        )
    check_teacher(config, dataset)
    keep = as_bundle(keep_split).split if keep_split is not None else None
    following = tracking(config, run_dir, target.name, resume=resume, then=on_epoch)
    with _run_directory(run_dir), following as told:
        options = {"resume": resume, "overwrite": overwrite, "test": test}
        return _train(
            hashed, target, run_dir, config, keep, threads,
            on_epoch=told, on_trained=on_trained, **options,
        )  # fmt: skip


def _complete(target: Path, config: TrainConfig, data: DataLike | Hashed) -> Bundle:
    """The bundle of a run that came to its end, if it is what is asked for now.

    Raises:
        UserError: it was trained with other settings or on other photos.
    """
    bundle = read_bundle(target)
    lineage = bundle.manifest.lineage
    refuse_other_settings(lineage.config, config, target)
    hashed = as_hashed(data)
    if lineage.data_hash != data_hash(hashed.dataset, hashed.identities):
        raise UserError(
            f"{target} was trained on other photos or labels; name another --out, or start anew "
            "with --overwrite"
        )
    say(f"{target} is complete already")
    return bundle


@contextmanager
def _run_directory(run_dir: Path) -> Iterator[None]:
    """The directory of checkpoints, for one run at a time; a new one vanishes if there is none."""
    existed = run_dir.exists()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / MARKER).touch()
    except OSError as error:
        raise UserError(f"can't write to {run_dir.parent}: {error.strerror}") from error
    with locked(run_dir / ".lock"):
        for left in run_dir.glob(".*.tmp*"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)
        try:
            yield
        except BaseException:
            if not existed and not (run_dir / checkpoint.NAME).exists():
                shutil.rmtree(run_dir, ignore_errors=True)
            raise


def _train(
    hashed: Hashed,
    target: Path,
    run_dir: Path,
    config: TrainConfig,
    keep: Split | None,
    threads: int | None,
    *,
    resume: bool,
    overwrite: bool,
    on_epoch: EpochCall,
    on_trained: Callable[[], object] | None,
    test: bool,
) -> Bundle:
    dataset = hashed.dataset
    split = make_split(
        dataset.samples,
        hashed.identities,
        seed=config.seed,
        keep=keep,
        groups=dataset.split_groups,
    )
    for note in split.notes:
        warn(note)
    classes = trained_classes(dataset, hashed.identities, split)
    check_augmented(config, classes)  # before weights are loaded
    parts: dict[Part, Examples] = {
        part: make_examples(dataset, hashed.identities, classes, only=frozenset(keys))
        for part, keys in _parts_of(split)
    }
    if not len(parts["val"]):
        raise DataError("no photo is left for validation; add photos, a few of each class")
    multi = dataset.task == "multi_label"
    if multi and not parts["val"].truth.any():
        raise DataError("no validation photo has a label that is trained; add some of each class")
    say(
        f"{len(parts['train'])} photos to train on, {len(parts['val'])} to validate, "
        f"{len(parts['test'])} to test; {len(classes)} classes"
    )
    if test:  # not in each trial of a sweep
        say("exact copies of a photo are kept in one part; `pocketlens check` finds near copies")
    if untested := parts["test"].untested_classes:
        warn(f"no test sample of {len(untested)} classes, such as {', '.join(untested[:5])}")
    module, manifest = prepare(dataset, classes, config)
    lineage = replace(
        manifest.lineage,
        config={**manifest.lineage.config, TRAINED_ON: about(parts)},
        data_hash=data_hash(dataset, hashed.identities),
        seed=config.seed,
    )
    manifest = replace(manifest, lineage=lineage)
    run_id = run_hash(manifest, split)
    if resume and (facts := checkpoint.facts_of(run_dir)) is not None:
        refuse_other_run(facts, config, run_id, run_dir)  # before anything of it is overwritten
    artifacts.write_split(run_dir / "split.csv", dataset, hashed.identities, split)
    describe_run(run_dir, manifest, split)
    artifacts.write_augmented(
        run_dir / "augmentation.png", parts["train"], manifest.preprocess, config
    )
    teaching = teach(config, parts["train"], split, run_dir, threads)
    seen = (parts["train"], parts["val"])
    with photos_of(manifest.preprocess, seen, keep=config.photo_cache) as photos:
        job = Job(
            module,
            parts["train"],
            photos,
            config,
            validate=partial(validate, manifest=manifest, examples=parts["val"], photos=photos),
            run_dir=run_dir,
            resume=resume,
            data_hash=run_id,
            teaching=teaching,
            threads=threads,
            on_epoch=on_epoch,
        )
        result = train_network(job)
    if on_trained is not None:
        on_trained()
    chosen = {"chosen_precision": asdict(result.precision)}
    lineage = replace(lineage, config={**lineage.config, **chosen})
    manifest = replace(manifest, lineage=lineage)
    module.load_state_dict(result.state)
    if multi:
        manifest = with_thresholds(manifest, score_module(module.eval(), manifest, parts["val"]))
    metric = config.metric or metrics.DEFAULT_METRIC[dataset.task]
    artifacts.write_curves(run_dir / "curves.png", result.history, metric)
    shown = metrics.DEFAULT_METRIC[dataset.task] if metric == "loss" else metric
    test_scores: dict[str, float] = {}
    of_test: dict[str, Any] = {}
    if test:
        outcome = outcome_of(module.eval(), manifest, parts["test"])
        tested = outcome.scored
        if multi:
            artifacts.write_classes(run_dir / "classes.csv", tested, classes)
        else:
            artifacts.write_confusion(run_dir / "confusion_matrix.csv", tested, classes)
        test_scores = metrics.summary(tested)
        of_test = {"test": test_scores, "test_interval": interval_of_test(outcome, shown)}
    scores = {
        **manifest.metrics,
        "metric": shown,
        "best_epoch": result.best_epoch + 1,
        "val": _part_of_row(result.history[result.best_epoch]),
        **of_test,
    }
    from safetensors.torch import save

    weights = save({k: v.contiguous() for k, v in result.state.items()})
    bundle = write_bundle(
        target,
        replace(manifest, metrics=scores),
        {"model.safetensors": weights},
        split=split,
        overwrite=overwrite,
    )
    if test:
        say(f"{shown} on test photos: {test_scores[shown]:.2f} %")
    return bundle


def _parts_of(split: Split) -> tuple[tuple[Part, tuple[str, ...]], ...]:
    return (("train", split.train), ("val", split.val), ("test", split.test))


def data_hash(dataset: Dataset, identities: list[str]) -> str:
    """Hash of what was given to learn: identities with their labels, in no order."""
    lines = sorted(
        f"{identity} {'|'.join(sample.labels)}"
        for identity, sample in zip(identities, dataset.samples, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _part_of_row(row: Mapping[str, float]) -> dict[str, float]:
    return {k.removeprefix("val_"): v for k, v in row.items() if k.startswith("val_")}

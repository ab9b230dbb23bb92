"""A network in memory, scored on photos as every bundle is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketlens import plugins
from pocketlens.core.bundle import Manifest
from pocketlens.core.errors import UserError
from pocketlens.core.examples import Examples
from pocketlens.core.predictor import Predictor
from pocketlens.core.scored import Scored
from pocketlens.core.session import Session
from pocketlens.measures.score import Outcome, collect
from pocketlens.training.photos import Photos
from pocketlens.workflows._thresholds import with_own_thresholds

if TYPE_CHECKING:
    import torch


def validate(
    module: torch.nn.Module, *, manifest: Manifest, examples: Examples, photos: Photos
) -> Scored:
    """Answers to validation photos, read with the thresholds that are best for them."""
    return with_own_thresholds(score_module(module, manifest, examples, photos))


def score_module(
    module: torch.nn.Module, manifest: Manifest, examples: Examples, photos: Photos | None = None
) -> Scored:
    """Answers of a network in evaluation mode.

    Raises:
        UserError: it answers with NaN or infinity.
    """
    return outcome_of(module, manifest, examples, photos).scored


def outcome_of(
    module: torch.nn.Module, manifest: Manifest, examples: Examples, photos: Photos | None = None
) -> Outcome:
    """The same, with which examples were answered."""
    session = plugins.load("runtimes", "torch").session_of(module)
    return _outcome(session, manifest, examples, photos)


def score_session(
    session: Session, manifest: Manifest, examples: Examples, photos: Photos | None = None
) -> Scored:
    """Answers of any session.

    Raises:
        UserError: it answers with NaN or infinity.
    """
    return _outcome(session, manifest, examples, photos).scored


def _outcome(
    session: Session, manifest: Manifest, examples: Examples, photos: Photos | None
) -> Outcome:
    outcome = collect(Predictor(manifest, session, batch_size=32, fitted=photos), examples)
    if outcome.num_not_finite:
        raise UserError("the network answers with NaN or infinity; lower --lr")
    return outcome

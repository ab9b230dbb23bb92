"""Open a bundle: `load` gives a `Predictor`."""

from __future__ import annotations

import os

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import BundleError
from pocketlens.core.predictor import Fitted, Predictor
from pocketlens.core.session import SessionOptions
from pocketlens.workflows._probe import warn_where_answers_differ

BundleLike = Bundle | str | os.PathLike[str]


def as_bundle(bundle: BundleLike) -> Bundle:
    """A bundle from itself or from its path."""
    return bundle if isinstance(bundle, Bundle) else read_bundle(bundle)


def load(
    bundle: BundleLike,
    *,
    threads: int | None = None,
    batch_size: int = 8,
    streams: int = 1,
    fitted: Fitted | None = None,
) -> Predictor:
    """Open a bundle for predictions, in the runtime it was made for.

    A compressed one that answers otherwise than where it was made warns of it.

    Args:
        threads: processor threads of the runtime; all cores by default.
        batch_size: images the network is given at a time.
        streams: batches to work on at the same time, which share the threads out; runtimes that
            take one call at a time are given one.
        fitted: see `Predictor`.

    Raises:
        BundleError: no bundle, or a damaged or altered one.
        MissingExtraError: its runtime isn't installed; the message names the pip command.
    """
    opened = as_bundle(bundle)
    runtime = opened.manifest.runtime
    if runtime not in plugins.names("runtimes"):
        raise BundleError(
            f"{opened.path} is made for the runtime {runtime!r}, which this pocketlens doesn't "
            f"have (it has {', '.join(plugins.names('runtimes'))}); update pocketlens"
        )
    plugin = plugins.load("runtimes", runtime)
    streams = streams if getattr(plugin, "STREAMS", False) else 1
    session = plugin.open(opened, SessionOptions(threads, streams))
    predictor = Predictor(
        opened.manifest, session, batch_size=batch_size, streams=streams, fitted=fitted
    )
    warn_where_answers_differ(opened, predictor)
    return predictor

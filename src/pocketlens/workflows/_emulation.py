"""One network on this processor and on an emulated ARM one, answer by answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from pocketlens.core.bundle import Bundle
from pocketlens.core.comparison import Parity
from pocketlens.core.examples import Examples
from pocketlens.core.parity import parity
from pocketlens.measures.emulated import FILES, emulated_logits
from pocketlens.progress import bar
from pocketlens.workflows.open import load

#: Emulation takes about a hundred times as long as the processor itself.
_PHOTOS: Final = 32


def on_arm64(bundles: Mapping[str, Bundle], examples: Examples) -> list[Parity]:
    """A pair for each bundle that ONNX Runtime or ExecuTorch runs; the others have no ARM file.

    Raises:
        UserError: nothing can be emulated here, or a file gave no answer.
    """
    chosen = {n: b for n, b in bundles.items() if b.manifest.runtime in FILES}
    requests = [examples.request(i) for i in range(min(_PHOTOS, len(examples)))]
    names = [sample.path for sample in examples.samples[: len(requests)]]
    found = []
    with bar("answers on emulated arm64", len(chosen)) as advance:
        for name, bundle in chosen.items():
            with load(bundle) as predictor:
                inputs = np.stack([predictor.prepare(request) for request in requests])
                here_NK = np.concatenate([predictor.logits(one[None]) for one in inputs])
                thresholds_K = predictor.thresholds_K
            there_NK = emulated_logits(bundle, inputs)
            rows = (name, f"{name} on arm64")
            task = bundle.manifest.task
            found.append(parity(rows, here_NK, there_NK, names, task, thresholds_K))
            advance()
    return found

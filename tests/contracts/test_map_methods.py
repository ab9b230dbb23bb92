"""What holds for every map method, found through the folder."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from pocketlens import plugins
from pocketlens.cli._options import MapMethod
from pocketlens.core.bundle import Bundle
from pocketlens.core.predictor import Request
from pocketlens.workflows.maps import METHODS, TITLES, Maps, plugin_name
from pocketlens.workflows.open import load

NAMES = plugins.names("maps")


def test_each_can_be_asked_for() -> None:
    assert sorted(map(plugin_name, METHODS)) == NAMES
    assert set(TITLES) == set(METHODS)
    assert get_args(MapMethod) == ("auto", *METHODS)


@pytest.mark.parametrize("name", NAMES)
def test_needs(name: str) -> None:
    module = plugins.load("maps", name)
    runtimes = plugins.names("runtimes")
    able = [r for r in runtimes if not module.NEEDS or hasattr(_runtime(r), module.NEEDS)]
    assert "torch" in able
    assert module.Config() == module.Config()


@pytest.mark.parametrize("method", METHODS)
def test_a_map_for_each_photo_and_class(method: str, tiny: Bundle) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 50, 3)).astype(np.uint8) for _ in range(3)]
    classes = [2, 0, 1]
    with load(tiny) as predictor:
        maps = Maps(tiny, predictor, method, threads=1)
        found = list(maps.of([Request(image) for image in images], classes=classes))
        alone = next(maps.of([Request(images[1])], classes=[0]))
    spec = tiny.manifest.preprocess
    for one, index in zip(found, classes, strict=True):
        (each,) = one.maps
        assert each.index == index
        assert each.map_HW.shape == (spec.height, spec.width)
        assert each.map_HW.dtype == np.float32
        assert 0 <= each.map_HW.min() <= each.map_HW.max() <= 1
    # A map is of its photo, whatever else is in the batch.
    np.testing.assert_allclose(alone.maps[0].map_HW, found[1].maps[0].map_HW, atol=1e-3)


def _runtime(name: str) -> object:
    module: object = plugins.load("runtimes", name)
    return module

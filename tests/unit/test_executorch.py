"""A .pte file answers as what it was made from, and says what it can't."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import SessionOptions
from pocketlens.measures.latency import Timing
from pocketlens.runtimes import executorch, torch_int8
from pocketlens.workflows import _table
from pocketlens.workflows import shrink as shrinking
from pocketlens.workflows._ladder import Candidate, Facts, ladder
from support.small import SIDE, network, noise, pte_bundle, quantized, restoring, small_bundle

if importlib.util.find_spec("executorch") is None:
    pytest.skip("executorch is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("small") / "float")


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle `small`, of no family, is the small network."""
    monkeypatch.setattr(executorch, "restore", restoring(executorch.restore))


@pytest.fixture(scope="module")
def pte(small: Bundle) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executorch, "restore", lambda _: network())
        return pl.export(small, runtime="executorch", out=small.path.with_name("pte"))


@pytest.fixture(scope="module")
def program() -> Any:
    """The small network in INT8, by XNNPACK's rules."""
    import torch

    way = torch_int8.flow("pt2e")
    prepared = way.prepare(network(), (SIDE, SIDE), quantizer="xnnpack")
    prepared(torch.from_numpy(noise(32)))
    return way.convert(prepared)


def answers(bundle: Bundle, inputs: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    found = executorch.open(bundle, SessionOptions(threads))(inputs)
    assert found.dtype == np.float32
    return found


def reference(module: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        found: NDArray[np.float32] = module(torch.from_numpy(inputs)).numpy()
    return found


def test_float_answers_as_torch(pte: Bundle) -> None:
    expected, found = reference(network(), noise(64)), answers(pte, noise(64))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_one_file_that_tells_nothing_of_this_machine(pte: Bundle) -> None:
    assert sorted(pte.manifest.files) == ["model.pte"]
    content = (pte.path / "model.pte").read_bytes()
    words = b"site-packages", b"/src/", str(Path.cwd()).encode()
    assert not [word for word in words if word in content]


def test_the_backend_is_remembered(pte: Bundle) -> None:
    again = read_bundle(pte.path).manifest
    assert (again.runtime, again.backend) == ("executorch", "xnnpack")
    assert again.lineage.config["backend"] == "xnnpack"


def test_int8_answers_as_its_program(
    small: Bundle, program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = quantized(tmp_path / "int8", flow="pt2e", quantizer="xnnpack", training=False)
    monkeypatch.setattr(torch_int8, "restore", lambda _: program)
    made = pl.export(bundle, runtime="executorch", out=tmp_path / "pte")
    expected, found = reference(program, noise(200)), answers(made, noise(200))
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.98
    assert not np.allclose(found, reference(network(), noise(200)), atol=1e-4), "it is in float"
    assert made.manifest.precision == "int8"


def test_a_dead_channel_keeps_its_bias(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights next to nothing have tiny steps, in which a bias would not fit into 32 bits."""
    import torch

    module = network()
    with torch.no_grad():
        module[0].weight[0] = 1e-7
        module[0].bias[0] = 20.0
    way = torch_int8.flow("pt2e")
    prepared = way.prepare(module, (SIDE, SIDE), quantizer="xnnpack")
    prepared(torch.from_numpy(noise(32)))
    program = way.convert(prepared)
    expected = reference(program, noise(50))
    bundle = quantized(tmp_path / "int8", flow="pt2e", quantizer="xnnpack", training=False)
    monkeypatch.setattr(torch_int8, "restore", lambda _: program)
    made = pl.export(bundle, runtime="executorch", out=tmp_path / "pte")
    found = answers(made, noise(50))
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()


def test_a_fixed_batch(small: Bundle, pte: Bundle, tmp_path: Path) -> None:
    made = pl.export(small, runtime="executorch", out=tmp_path / "four", batch=4)
    session = executorch.open(made, SessionOptions(threads=1))
    for num in (1, 4, 6):
        np.testing.assert_allclose(session(noise(num)), answers(pte, noise(num)), atol=1e-5)
    with pytest.raises(UserError, match="--batch must be at least 1"):
        pl.export(small, runtime="executorch", out=tmp_path / "none", batch=0)


def test_sessions_with_different_threads_live_together(pte: Bundle) -> None:
    from executorch.extension.pybindings import portable_lib as native

    expected = answers(pte, noise(3))
    sessions = []
    for threads in (1, 2, 3, 1):
        sessions.append(executorch.open(pte, SessionOptions(threads)))
        assert native._threadpool_get_thread_count() == threads
        for session in sessions:
            np.testing.assert_allclose(session(noise(3)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "damage", ["nothing", "garbage", "half", "another network's", "another size's"]
)
def test_a_damaged_file(damage: str, pte: Bundle, tmp_path: Path) -> None:
    content = (pte.path / "model.pte").read_bytes()
    changes: dict[str, Any] = {}
    if damage == "another network's":
        changes = {"classes": ("a", "b")}
    elif damage == "another size's":
        changes = {"preprocess": Preprocess(8, 8)}
    broken = {
        "nothing": b"",
        "garbage": b"what is this? " * 100,
        "half": content[: len(content) // 2],
    }.get(damage, content)
    bundle = pte_bundle(pte, tmp_path / "x", broken, **changes)
    named = {
        "garbage": "identifier",
        "half": "size is too small",
        "another network's": r"gives \[\(1, 3\)\]",
        "another size's": r"takes \[\(1, 3, 16, 16\)\]",
    }.get(damage, "")
    with pytest.raises(BundleError, match=rf"model\.pte.*{named}.*export it again") as caught:
        pl.load(bundle)
    assert "\n" not in str(caught.value)


def test_other_answers_are_found(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = executorch.lower

    def other(way: Any, module: Any, example: Any) -> Any:
        return real(way, network(seed=1), example)

    monkeypatch.setattr(executorch, "lower", other)
    with pytest.raises(BundleError, match="answers differently"):
        pl.export(small, runtime="executorch", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_lowered(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    class Choice(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    monkeypatch.setattr(executorch, "restore", lambda _: Choice())
    with pytest.raises(BundleError, match="can't lower this network for xnnpack") as caught:
        pl.export(small, runtime="executorch", out=tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_without_executorch_it_names_the_command(
    small: Bundle, pte: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlens\[executorch\]'"):
        pl.load(pte)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlens\[executorch\]'"):
        pl.export(small, runtime="executorch", out=tmp_path / "x")


def test_nothing_is_said_on_opening(pte: Bundle) -> None:
    code = f"""
import numpy as np, sys
from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.session import SessionOptions
session = plugins.load("runtimes", "executorch").open(
    read_bundle({str(pte.path)!r}), SessionOptions(threads=1))
print(session(np.zeros((2, 3, {SIDE}, {SIDE}), np.float32)).shape)
print("afterwards stderr is as before", file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "(2, 3)\n"
    assert run.stderr == "afterwards stderr is as before\n"


@pytest.mark.slow
def test_shrink_tries_a_trained_network_for_a_phone(
    tiny: Bundle,
    photos: Path,
    tmp_path: Path,
    make_photos: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def untimed(bundles: dict[str, Path], *_: object, **__: object) -> dict[str, Timing]:
        return dict.fromkeys(bundles, Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,)))

    def for_phones(facts: Facts) -> list[Candidate]:
        return [c for c in ladder(facts) if c.runtime in ("executorch", "torch-int8")]

    monkeypatch.setattr(shrinking, "ladder", for_phones)
    monkeypatch.setattr(_table, "measure_latency", untimed)
    options = {"target": "phone", "effort": "quick", "num_images": 24, "max_drop": 100.0}
    table = pl.shrink(tiny, photos, out=tmp_path / "s", **options)
    assert {row.name: row.reason for row in table.rows if row.score is None} == {}
    assert "mismatch" not in {row.verdict for row in table.rows}
    files = sorted(make_photos(tmp_path / "others", per_class=30, seed=5).rglob("*.*"))
    labels = {}
    for name in ("float-executorch", "int8-pt2e", "int8-pt2e-executorch"):
        with pl.load(tmp_path / "s" / "variants" / name) as predictor:
            labels[name] = [prediction.label for prediction in predictor.predict(files)]
    with pl.load(tiny) as predictor:
        assert labels["float-executorch"] == [found.label for found in predictor.predict(files)]
    pairs = zip(labels["int8-pt2e"], labels["int8-pt2e-executorch"], strict=True)
    assert sum(a == b for a, b in pairs) >= 0.98 * len(files)

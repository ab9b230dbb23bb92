"""The order in which `shrink` tries things, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.errors import UserError
from pocketlens.measures.latency import Timing
from pocketlens.workflows import _table
from pocketlens.workflows._chain import check_chain, read_chain
from pocketlens.workflows._ladder import Facts, ladder

FACTS = Facts(num_images=256, num_train=2000, macs=200_000_000)
CHAIN = {"activation-exchange:epochs": 1, "lsq:epochs": 1, "batch_size": 16, "num_images": 24}


def test_what_is_cheap_comes_first() -> None:
    candidates = ladder(FACTS)
    dear = [candidate.dear for candidate in candidates]
    assert dear == sorted(dear), "nothing cheap after the first that trains"
    assert sum(not candidate.dear for candidate in candidates) >= 5
    assert len({candidate.name for candidate in candidates}) == len(candidates)


@pytest.mark.parametrize("target", ["cpu", "phone"])
def test_every_chain_of_the_ladder_can_be_made(target: str, tiny: Bundle) -> None:
    for candidate in ladder(replace(FACTS, target=target, litert=True)):
        if candidate.method is not None:
            check_chain(tiny, read_chain(candidate.method, candidate.options))


@pytest.mark.parametrize("target", ["cpu", "phone"])
def test_an_export_comes_after_what_it_is_an_export_of(target: str) -> None:
    seen: set[str] = set()
    for candidate in ladder(replace(FACTS, target=target, litert=True)):
        assert not candidate.of or candidate.of in seen
        seen.add(candidate.name)


def test_a_phone_has_executorch_and_no_openvino() -> None:
    phone = ladder(Facts(256, target="phone"))
    assert {candidate.runtime for candidate in phone} == {"onnx", "executorch", "torch-int8"}
    found = [(c.precision, c.of) for c in phone if c.runtime == "executorch"]
    assert found == [("float32", ""), ("int8", "int8-pt2e")]
    dear = [candidate.dear for candidate in phone]
    assert dear == sorted(dear)
    assert "executorch" not in {candidate.runtime for candidate in ladder(FACTS)}


def test_a_phone_has_litert_where_it_is_installed() -> None:
    found = ladder(Facts(256, target="phone", litert=True))
    names = [candidate.name for candidate in found if candidate.runtime == "litert"]
    assert names == ["float-litert", "int8-litert"]
    dear = [candidate.dear for candidate in found]
    assert dear == sorted(dear)
    assert "litert" not in {candidate.runtime for candidate in ladder(Facts(256, target="phone"))}


def test_estimates_grow_with_photos_and_operations() -> None:
    def seconds(facts: Facts) -> float:
        return sum(c.seconds for c in ladder(facts) if c.dear)

    few = Facts(256, num_train=1000, macs=200_000_000)
    assert seconds(FACTS) > 1.5 * seconds(few)


def test_a_chain_that_was_interrupted_goes_on(
    tiny_efficientnet: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second step, it doesn't make the first one again."""
    from pocketlens.compression import lsq

    out, data = tmp_path / "a", {"data": photos, "out": tmp_path / "a"}
    chain = {"method": "activation-exchange,lsq", **data, **CHAIN}
    real = lsq.start_graph

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lsq, "start_graph", killed)
    with pytest.raises(KeyboardInterrupt):
        pl.compress(tiny_efficientnet, **chain)
    assert not out.exists()
    first = read_bundle(tmp_path / "a.run" / "1-activation-exchange")
    monkeypatch.setattr(lsq, "start_graph", real)
    with pytest.raises(UserError, match="--resume"):
        pl.compress(tiny_efficientnet, **chain)
    made = pl.compress(tiny_efficientnet, **chain, resume=True)
    assert first.id in made.family
    methods = [parent["method"] for parent in made.manifest.lineage.parents]
    assert methods == ["train", "activation-exchange", "export"]
    again = pl.compress(tiny_efficientnet, **chain, resume=True)
    assert again.id == made.id, "what is complete stays"
    with pytest.raises(UserError, match="other options or photos"):
        pl.compress(tiny_efficientnet, **{**chain, "lsq:epochs": 2}, resume=True)


def test_only_the_same_call_is_gone_on_with(
    tiny_onnx: Bundle,
    photos: Path,
    make_photos: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """What lies there may have been made with other options, an earlier step's, or other photos."""
    call = {"method": "equalize,onnx-static", "data": photos, "num_images": 16}
    out = tmp_path / "a"
    made = pl.compress(tiny_onnx, out=out, **call)
    assert pl.compress(tiny_onnx, out=out, resume=True, **call).id == made.id
    others = make_photos(tmp_path / "others", per_class=8, seed=3)
    for other in (
        {"equalize:rounds": 1},
        {"num_images": 8},
        {"calibration": others},
        {"calibration_choice": "k-centre"},
        {"method": "onnx-static"},
    ):
        with pytest.raises(UserError, match="other options or photos"):
            pl.compress(tiny_onnx, out=out, resume=True, **{**call, **other})


def test_a_finished_call_leaves_tables_but_no_networks(
    tiny_efficientnet: Bundle, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a"
    options = {"method": "activation-exchange,onnx-dynamic", "data": photos, "epochs": 1}
    pl.compress(tiny_efficientnet, out=out, num_images=24, batch_size=16, **options)
    left = [path.name for path in (tmp_path / "a.run").rglob("*") if path.is_file()]
    assert "history.csv" in left
    assert not [name for name in left if name.endswith((".safetensors", ".npz", ".onnx"))]


def test_a_teacher_must_know_the_classes(
    tiny: Bundle, make_photos: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    from support.fake import fake_imported

    teacher = fake_imported(tmp_path / "teacher", ["disc", "square"])
    with pytest.raises(UserError, match="doesn't know 1 classes, such as bars"):
        pl.compress(tiny, method="distill", teacher=teacher, data=photos, out=tmp_path / "a")


def test_photos_that_shaped_a_network_are_never_scored(
    tiny_efficientnet: Bundle, photos: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    others = make_photos(tmp_path / "others", per_class=8, seed=3)
    made = pl.compress(
        tiny_efficientnet,
        method="activation-exchange",
        data=photos,
        calibration=others,
        out=tmp_path / "a",
        epochs=1,
        batch_size=16,
        num_images=24,
    )
    assert len(made.split.calibration) == 24
    assert made.manifest.lineage.config["calibrated_on"].endswith("of others")


def test_a_runtime_that_is_not_installed_is_named_once(
    tiny: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocketlens.core.errors import MissingExtraError
    from pocketlens.runtimes import openvino

    def missing(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"this needs {module}: pip install 'pocketlens[{extra}]'")

    def untimed(bundles: dict[str, Path], *_: object, **__: object) -> dict[str, Timing]:
        return dict.fromkeys(bundles, Timing(1.0, 1.0, 0.0, 1.0, 1.0, 1, (1.0,)))

    monkeypatch.setattr(_table, "measure_latency", untimed)
    monkeypatch.setattr(openvino, "require", missing)
    table = pl.shrink(tiny, photos, out=tmp_path / "s", effort="quick", num_images=8)
    rows = [row for row in table.rows if row.runtime == "openvino"]
    assert [(row.name, row.verdict) for row in rows] == [("float-openvino", "skipped")]
    assert "pip install 'pocketlens[openvino]'" in rows[0].reason

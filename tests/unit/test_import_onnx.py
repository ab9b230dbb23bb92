"""Somebody's ONNX file as a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import pocketlens as pl
from pocketlens.core.errors import UserError
from support.fake import PREPROCESS, fake_imported, mean_network


@pytest.fixture
def given(tmp_path: Path) -> Path:
    onnx.save(mean_network(3), tmp_path / "net.onnx")
    (tmp_path / "pre.yaml").write_text(PREPROCESS)
    (tmp_path / "names.txt").write_text("bars\ndisc\nsquare\n")
    return tmp_path


def load(given: Path, **changed: object) -> object:
    options = {"preprocess": given / "pre.yaml", "class_names": given / "names.txt", **changed}
    return pl.import_model(str(given / "net.onnx"), out=given / "out", **options)


def test_it_answers_as_the_file_does(given: Path) -> None:
    bundle = load(given)
    with pl.load(bundle) as predictor:
        grey = predictor.logits(np.full((2, 3, 16, 16), 0.5, np.float32))
    np.testing.assert_allclose(grey, [[0.5, 1.0, 1.5]] * 2, atol=1e-6)


def test_it_goes_through_evaluate_and_compress(given: Path, photos: Path) -> None:
    bundle = load(given)
    assert pl.evaluate(bundle, photos).num_samples == 60, "it has no split, so all are scored"
    small = pl.compress(bundle, method="onnx-dynamic", out=given / "small")
    assert small.manifest.lineage.parents[0]["id"] == bundle.id


@pytest.mark.parametrize("missing", ["preprocess", "class_names"])
def test_nothing_is_guessed(given: Path, missing: str) -> None:
    with pytest.raises(UserError, match=r"--preprocess FILE\.yaml and --class-names FILE"):
        load(given, **{missing: None})


@pytest.mark.parametrize("field", ["size", "resize", "interpolation", "mean", "std"])
def test_preprocess_file_must_be_complete(given: Path, field: str) -> None:
    lines = [line for line in PREPROCESS.splitlines() if not line.startswith(field)]
    (given / "pre.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="lacks"):
        load(given)


def test_number_of_names_must_fit(given: Path) -> None:
    (given / "names.txt").write_text("bars\ndisc\n")
    with pytest.raises(
        UserError, match=r"answers with shape \[1, 3\], but there are 2 class names"
    ):
        load(given)
    assert not (given / "out").exists()


def test_fixed_batch_and_size(given: Path) -> None:
    onnx.save(mean_network(3, batch=2), given / "net.onnx")
    bundle = load(given)
    with pl.load(bundle) as predictor:
        inputs = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 16, 16), "f4")
        np.testing.assert_allclose(predictor.logits(inputs)[:, 0], np.arange(5), atol=1e-5)


def test_external_data_outside_is_refused(given: Path) -> None:
    # FAULTS 19
    (given / "secret.bin").write_bytes(np.ones(9, np.float32).tobytes())
    (given / "inside").mkdir()
    model = mean_network(3)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../secret.bin"), ("length", "36")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    (given / "inside" / "net.onnx").write_bytes(model.SerializeToString())
    for location in ("../secret.bin", str(given / "secret.bin")):
        weight.external_data[0].value = location
        (given / "inside" / "net.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(UserError, match="outside its own directory"):
            pl.import_model(
                str(given / "inside" / "net.onnx"),
                out=given / "out",
                preprocess=given / "pre.yaml",
                class_names=given / "names.txt",
            )


def test_external_data_beside_is_taken_in(given: Path) -> None:
    model = mean_network(3)
    onnx.save(
        model, given / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    bundle = load(given)
    (given / "w.bin").unlink()
    with pl.load(bundle) as predictor:
        assert predictor.logits(np.ones((1, 3, 16, 16), np.float32))[0, 2] == pytest.approx(3)


def test_class_names_that_labels_could_be_joined_of(given: Path) -> None:
    (given / "names.txt").write_text("a|b\nc\nd\n")
    with pytest.raises(UserError, match=r"class name 'a\|b' has a \|"):
        load(given, multi_label=True)
    assert load(given).manifest.classes == ("a|b", "c", "d")


@pytest.mark.parametrize("content", [b"", b"not onnx at all", b"\x80\x04pickle"])
def test_a_file_that_is_no_onnx(given: Path, content: bytes) -> None:
    (given / "net.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"net\.onnx is no (ONNX file|network)"):
        load(given)
    assert not (given / "out").exists()


def test_an_input_that_is_no_photo(given: Path) -> None:
    model = mean_network(3)
    del model.graph.input[0].type.tensor_type.shape.dim[2:]
    onnx.save(model, given / "net.onnx")
    with pytest.raises(UserError, match="input of 2 dimensions"):
        load(given)


def test_an_operator_that_nobody_knows(given: Path) -> None:
    model = mean_network(3)
    model.graph.node[2].op_type = "Wonder"
    onnx.save(model, given / "net.onnx")
    with pytest.raises(UserError, match=r"net\.onnx: ONNX Runtime can't open it") as caught:
        load(given)
    assert "trial" not in str(caught.value)


def test_nan_answers_have_no_score(given: Path, photos: Path) -> None:
    # FAULTS 22
    bundle = fake_imported(given / "nan", ("bars", "disc", "square"), bias=float("nan"))
    with pytest.raises(UserError, match="NaN"):
        pl.evaluate(bundle, photos)
    table = pl.compare(
        [fake_imported(given / "good", ("bars", "disc", "square")), bundle],
        photos,
        out=given / "table",
        reference=given / "good",
    )
    row = table.comparison.row("nan")
    assert (row.verdict, row.score) == ("failed", None)
    assert "NaN" in row.reason

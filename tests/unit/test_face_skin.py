"""Face parsing: the export agrees with transformers, the region is the skin, and serving needs
neither torch nor transformers."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pocketlens.core.directory import cache_dir
from pocketlens.core.errors import UserError
from pocketlens.core.region import NoRegionError, RegionContext
from pocketlens.regions import _parser, face_skin
from pocketlens.regions._export import export
from support.faces import LABELS, draw_face, make_parser

CONTEXT = RegionContext(list, lambda path: {}, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parser(tmp_path_factory.mktemp("faces") / "parser")


@pytest.fixture(scope="module")
def onnx_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(folder, tmp_path_factory.mktemp("faces") / "parser.onnx")


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Intersection over union."""
    return float((found & expected).sum() / (found | expected).sum())


def test_the_export_answers_as_transformers(folder: Path, onnx_file: Path) -> None:
    import torch
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessorPil

    image, _ = draw_face()
    network = SegformerForSemanticSegmentation.from_pretrained(str(folder))
    processor = SegformerImageProcessorPil.from_pretrained(str(folder))
    inputs = processor(image, return_tensors="pt")
    with torch.inference_mode():
        theirs = network(**inputs)
    parser = _parser.open_parser(str(onnx_file), threads=1)
    assert parser.labels == LABELS
    pixels = np.asarray(image)
    input_CHW = parser.spec.normalize(parser.spec.fit(pixels))
    np.testing.assert_allclose(input_CHW, inputs["pixel_values"][0].numpy(), atol=1e-5)
    logits = theirs.logits[0].numpy()
    np.testing.assert_allclose(
        parser.logits(pixels), logits, atol=1e-3 * float(np.abs(logits).max())
    )
    (classes,) = processor.post_process_semantic_segmentation(theirs, [pixels.shape[:2]])
    mask = face_skin.skin_mask(parser, pixels, [1, 2])
    assert overlap(mask, np.isin(classes.numpy(), (1, 2))) > 0.999


def test_the_region_is_the_skin(onnx_file: Path) -> None:
    image, labels = draw_face((240, 320))
    finder = face_skin.open(face_skin.Config(str(onnx_file)), CONTEXT)
    assert finder.words == "skin and nose by parser"
    region = finder.find(np.asarray(image), "x.jpg")
    assert region.mask_HW is not None
    assert overlap(region.mask_HW, np.isin(labels, (1, 2))) > 0.8
    assert not region.mask_HW[labels == LABELS.index("hair")].mean() > 0.2
    hair = face_skin.open(face_skin.Config(str(onnx_file), classes=("hair",)), CONTEXT)
    found = hair.find(np.asarray(image), "x.jpg")
    assert found.mask_HW is not None
    assert overlap(found.mask_HW, labels == LABELS.index("hair")) > 0.6


def test_large_photos_are_looked_at_in_less(onnx_file: Path) -> None:
    image, labels = draw_face((2400, 3200))
    finder = face_skin.open(face_skin.Config(str(onnx_file)), CONTEXT)
    region = finder.find(np.asarray(image), "x.jpg")
    assert region.mask_HW is not None
    assert region.mask_HW.shape == labels.shape
    assert overlap(region.mask_HW, np.isin(labels, (1, 2))) > 0.8


def test_without_a_face_there_is_no_region(onnx_file: Path) -> None:
    finder = face_skin.open(face_skin.Config(str(onnx_file)), CONTEXT)
    sky = np.full((80, 60, 3), (90, 130, 170), np.uint8)
    with pytest.raises(NoRegionError, match="no skin and nose is found on it"):
        finder.find(sky, "x.jpg")
    image, _ = draw_face()
    strict = face_skin.open(face_skin.Config(str(onnx_file), min_share=80), CONTEXT)
    with pytest.raises(NoRegionError, match="at least 80 %"):
        strict.find(np.asarray(image), "x.jpg")


def test_a_folder_is_exported_once_and_the_file_can_be_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.onnx"
    shutil.rmtree(cache_dir() / "regions", ignore_errors=True)
    first = face_skin.open(face_skin.Config(str(folder), onnx=str(kept)), CONTEXT)
    said = capsys.readouterr().err
    assert "exporting the network to ONNX, once" in said
    assert f"--region-model {kept} is enough" in said
    face_skin.open(face_skin.Config(str(folder)), CONTEXT)
    assert "exporting" not in capsys.readouterr().err
    pixels = np.asarray(draw_face()[0])
    alone = face_skin.open(face_skin.Config(str(kept)), CONTEXT).find(pixels, "")
    np.testing.assert_array_equal(alone.mask_HW, first.find(pixels, "").mask_HW)
    with pytest.raises(UserError, match="is there already"):
        face_skin.open(face_skin.Config(str(folder), onnx=str(kept)), CONTEXT)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.onnx"]


def test_a_hub_models_own_onnx_file(folder: Path, onnx_file: Path, tmp_path: Path) -> None:
    """Another's file says nothing of its classes: they stand in the folder's settings."""
    import onnx

    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    (tmp_path / "onnx").mkdir()
    onnx.save(model, tmp_path / "onnx" / "model.onnx")
    with pytest.raises(UserError, match=r"doesn't say what its classes are"):
        _parser.open_parser(str(tmp_path / "onnx" / "model.onnx"), threads=1)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(folder / name, tmp_path)
    for given in (tmp_path, tmp_path / "onnx" / "model.onnx"):
        assert _parser.open_parser(str(given), threads=1).labels == LABELS


SERVE = """
import sys
import numpy as np
from pocketlens.core.region import RegionContext
from pocketlens.regions import face_skin
finder = face_skin.open(face_skin.Config(sys.argv[1]), RegionContext(list, dict, 1))
region = finder.find(np.load(sys.argv[2]), "x.jpg")
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"torch", "transformers", "onnx", "huggingface_hub"}, loaded
print(region.mask_HW.sum())
"""


def test_serving_needs_neither_torch_nor_transformers(onnx_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asarray(draw_face()[0]))
    words = [sys.executable, "-c", SERVE, str(onnx_file), str(tmp_path / "x.npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def test_pickles_are_never_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "model"
    shutil.copytree(folder, made)
    (made / "model.safetensors").unlink()
    (made / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap()))
    for given in (made, made / "pytorch_model.bin"):
        with pytest.raises(UserError, match="pickle"):
            _parser.open_parser(str(given), threads=1)
    assert not Path("trapped").exists()


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "such a size"),
        ("preprocessor_config.json", {"do_rescale": False}, "such a do_rescale"),
        ("preprocessor_config.json", {"resample": 9}, "such a resample"),
        ("preprocessor_config.json", {"size": 10**9}, "at most"),
        ("preprocessor_config.json", {"image_mean": "x"}, "preprocessor_config"),
        ("config.json", {"id2label": {"1": "skin"}}, "id2label"),
        ("config.json", {"model_type": "bert"}, "only segformer"),
        ("config.json", {"hidden_sizes": [8, 32]}, "weights can't be read"),
    ],
)
def test_folders_that_do_not_fit(
    file: str, changes: dict[str, object], reason: str, folder: Path, tmp_path: Path
) -> None:
    made = tmp_path / "model"
    shutil.copytree(folder, made)
    values = json.loads((made / file).read_text("utf-8"))
    (made / file).write_text(json.dumps(values | changes), encoding="utf-8")
    with pytest.raises(UserError, match=reason):
        _parser.open_parser(str(made), threads=1)


def test_what_cannot_be_had_says_how(tmp_path: Path) -> None:
    for given in ("", str(tmp_path / "gone" / "x" / "y"), "jonathandinu/face-parsing"):
        with pytest.raises(UserError, match=r"huggingface\.co/jonathandinu/face-parsing") as told:
            _parser.open_parser(given, threads=1)
        assert "licence" in str(told.value)
        assert "\n" not in str(told.value)
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"x\.onnx"):
        _parser.open_parser(str(tmp_path / "x.onnx"), threads=1)


def test_unknown_classes(onnx_file: Path) -> None:
    with pytest.raises(UserError, match=r"has no 'fur'; it has background, skin"):
        face_skin.open(face_skin.Config(str(onnx_file), classes=("skin", "fur")), CONTEXT)

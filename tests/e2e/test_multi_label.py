"""Several labels a photo: from a table to INT8 and predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import read_bundle
from pocketlens.core.scored import Scored
from pocketlens.core.thresholds import find_thresholds
from pocketlens.measures.score import collect
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows.data import as_hashed
from pocketlens.workflows.open import load
from support.several import SHAPES, make_several

TRAIN = "--model test_byobnet --weights none --image-size 32 --batch-size 8 --lr 3e-3".split()
QUICK = [*TRAIN, *"--epochs 8 --num-images 24 --max-drop 100 --effort quick".split()]
ONE_EPOCH = [*TRAIN, "--epochs", "1"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_several(tmp_path_factory.mktemp("several") / "photos", num=120)


@pytest.fixture(scope="module")
def fitted(several: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "run"
    assert run(["fit", str(several), "--out", str(out), *QUICK]) == 0
    return out


def answers(bundle: Path, several: Path, part: Any) -> Scored:
    opened = read_bundle(bundle)
    with load(opened) as predictor:
        return collect(predictor, examples_of(opened, as_hashed(several), part)).scored


@pytest.mark.parametrize("name", ["model", "variants/int8-static", "variants/int8-dynamic"])
def test_thresholds_are_those_of_the_models_own_answers(
    fitted: Path, several: Path, name: str
) -> None:
    manifest = read_bundle(fitted / name).manifest
    scored = answers(fitted / name, several, "val")
    found = find_thresholds(scored.logits_NK, scored.truth)
    assert manifest.thresholds is not None
    assert list(manifest.thresholds) == sorted(manifest.classes) == list(SHAPES)
    # The last bit depends on how many photos the network is given at a time.
    assert list(manifest.thresholds.values()) == pytest.approx(found.per_class_K, abs=1e-5)
    record = manifest.metrics["thresholds"]
    assert record["global"] == pytest.approx(found.everywhere, abs=1e-5)
    assert (record["found_on"], record["num_images"]) == ("val", len(scored))


def test_a_float_export_keeps_the_thresholds_and_int8_does_not(fitted: Path) -> None:
    model, onnx, int8 = (
        read_bundle(fitted / name).manifest.thresholds
        for name in ("model", "variants/float-onnx", "variants/int8-static")
    )
    assert onnx == model
    assert int8 != model


def test_the_table(fitted: Path) -> None:
    table = json.loads((fitted / "compare.json").read_text("utf-8"))
    rows = {row["name"]: row for row in table["rows"]}
    assert {row["metric"] for row in rows.values()} == {"map"}
    measures = {"map", "accuracy", "num_classes_scored"} | {
        f"{mean}_{name}" for mean in ("micro", "macro") for name in ("precision", "recall", "f1")
    }
    for row in rows.values():
        assert measures <= set(row["metrics"])
        assert row["drop_low"] <= row["drop_high"]
        assert row["val_drop"] is not None
    assert rows["float-torch"]["score"] > 70, "it learns"
    assert {item["metric"] for item in table["damage"]} == {"average_precision"}
    names = {item["label"] for item in table["damage"]}
    assert names == set(SHAPES)
    mean = np.mean([d["score"] for d in table["damage"] if d["row"] == "int8-static"])
    assert mean == pytest.approx(rows["int8-static"]["score"])
    assert table["data"]["num_classes_scored"] == 3
    assert table["confusion"] == {}
    for flip in table["flips"]:
        before, after = (set(flip[key].split(" | ")) for key in ("before", "after"))
        assert flip["changed"] in before ^ after


def test_evaluate_is_scikit_learns(
    fitted: Path, several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    best = str(fitted / "variants" / "int8-static")
    assert run(["evaluate", best, "--data", str(several), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    scored = answers(fitted / "variants" / "int8-static", several, "test")
    expected = [
        100 * average_precision_score(scored.truth[:, k], scored.logits_NK[:, k]) for k in range(3)
    ]
    found = [values["per_class"][name]["average_precision"] for name in SHAPES]
    assert found == pytest.approx(expected, abs=1e-6)
    assert values["score"] == values["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    thresholds = read_bundle(best).manifest.thresholds
    assert {n: v["threshold"] for n, v in values["per_class"].items()} == thresholds


def test_history_and_classes(fitted: Path) -> None:
    with (fitted / "model.run" / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert {"val_map", "val_micro_f1", "val_accuracy"} <= set(history[0])
    metrics = read_bundle(fitted / "model").manifest.metrics
    best = max(history, key=lambda row: float(row["val_map"]))
    assert metrics["best_epoch"] == float(best["epoch"])
    with (fitted / "model.run" / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(SHAPES)
    mean = np.mean([float(row["average_precision"]) for row in rows])
    assert mean == pytest.approx(metrics["test"]["map"], abs=1e-3)


def test_predictions(fitted: Path, several: Path, tmp_path: Path) -> None:
    bundle = fitted / "variants" / "int8-static"
    (tmp_path / "bad.jpg").write_bytes(b"text")
    words = ["predict", str(bundle), str(several), str(tmp_path / "bad.jpg")]
    assert run([*words, "--out", str(tmp_path / "p")]) == 0
    with (tmp_path / "p" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    probabilities = [f"prob_{name}" for name in SHAPES]
    assert list(rows[0]) == ["filename", "labels", "scores", *probabilities, "box", "error"]
    thresholds = read_bundle(bundle).manifest.thresholds
    assert thresholds is not None
    several_labels = 0
    for row in rows:
        if row["error"]:
            assert row["labels"] == row["scores"] == row["prob_disc"] == ""
            continue
        given = {n for n in SHAPES if float(row[f"prob_{n}"]) >= thresholds[n]}
        labels = row["labels"].split("|") if row["labels"] else []
        assert set(labels) == given
        scores = [row[f"prob_{name}"] for name in labels]
        assert row["scores"] == "|".join(scores)
        assert scores == sorted(scores, key=float, reverse=True)
        several_labels += len(labels) > 1
    assert several_labels > 10
    assert sum(bool(row["error"]) for row in rows) == 1


def test_compress_without_data_keeps_the_parents_thresholds_and_says_so(
    fitted: Path, several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = read_bundle(fitted / "variants" / "float-onnx")
    words = ["compress", str(parent.path), "--method", "onnx-dynamic", "--out"]
    assert run([*words, str(tmp_path / "a")]) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "no data is named (--data), so the thresholds stay those of float-onnx" in err
    made = read_bundle(tmp_path / "a").manifest
    assert made.thresholds == parent.manifest.thresholds
    assert made.metrics["thresholds"]["found_on"] == "parent"
    assert made.metrics["metric"] == "map"
    table = pl.compare(
        [fitted / "model", tmp_path / "a"], several, out=tmp_path / "t", max_drop=100
    )
    assert any("thresholds of a are their parent's" in n for n in table.comparison.notes)
    assert run([*words, str(tmp_path / "b"), "--data", str(several)]) == 0
    again = read_bundle(tmp_path / "b").manifest
    assert again.thresholds == read_bundle(fitted / "variants/int8-dynamic").manifest.thresholds
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_metric_of_the_other_kind(
    metric: str, several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(several), "--out", str(tmp_path / "x"), *ONE_EPOCH]
    code = run([*words, "--metric", metric])
    assert code == (2 if metric == "accuracy" else 0)
    if code:
        assert "no metric 'accuracy' for multi_label data" in capsys.readouterr().err


def test_classes_without_a_training_photo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_several(tmp_path / "photos", num=40)
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "split"])
        for number, (image, labels) in enumerate(rows):
            split = ("train", "train", "val", "test")[number % 4]
            writer.writerow([image, "strange" if number == 3 else labels, split])
    model = tmp_path / "m"
    assert run(["train", str(root), "--out", str(model), *ONE_EPOCH]) == 0
    assert "no training photo of strange" in capsys.readouterr().err
    bundle = read_bundle(model)
    assert bundle.manifest.classes == tuple(SHAPES)
    assert len(bundle.split.train) == 20, "photos without a label train too"
    assert run(["evaluate", str(model), "--data", str(root), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["num_samples"] == 10
    assert json.loads(out)["unknown_classes"] == ["strange"]
    assert "strange; photos with no other label count as showing none" in err


def test_a_stripped_checkpoint_says_that_it_has_no_thresholds(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["strip", str(fitted / "model.run"), "--out", str(tmp_path / "s")]) == 0
    assert "no thresholds yet" in capsys.readouterr().err
    assert read_bundle(tmp_path / "s").manifest.thresholds is None

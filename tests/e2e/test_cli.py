"""Whole commands on made-up photos, as a user types them."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketlens.cli import VERBS, run
from pocketlens.core.bundle import Bundle

ROW = """name runtime precision method metric score drop drop_low drop_high proven loss size_bytes
params macs latency_ms latency_ms_p95 e2e_latency_ms throughput batch speedup speedup_float noisy
agreement verdict reason""".split()

QUICK = """--model test_byobnet --weights none --epochs 6 --image-size 32 --batch-size 8 --lr 3e-3
--num-images 24 --effort quick""".split()


@pytest.fixture(scope="module")
def fitted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "run"
    # a network this small gains nothing from INT8; what is tested is the way, not the speed
    assert run(["fit", str(photos), "--out", str(out), *QUICK, "--max-drop", "100"]) == 0
    return out


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fit_leaves_what_the_contract_says(fitted: Path) -> None:
    for name in ("model/manifest.json", "best/manifest.json", "compare.json", "compare.csv"):
        assert (fitted / name).is_file()
    report = (fitted / "report.html").read_text("utf-8")
    assert report.lower().startswith("<!doctype html>")
    table = json.loads((fitted / "compare.json").read_text())
    assert table["schema"] == 1
    assert set(ROW) <= set(table["rows"][0])
    assert table["machine"]["threads"] >= 1
    assert isinstance(table["machine"]["cpu_flags"], list)
    verdicts = [row["verdict"] for row in table["rows"]]
    assert verdicts.count("best") == 1
    names = {row["name"] for row in table["rows"]}
    assert {"float-torch", "float-onnx", "int8-static", "int8-dynamic"} <= names
    best = next(row for row in table["rows"] if row["verdict"] == "best")
    manifest = json.loads((fitted / "best" / "manifest.json").read_text())
    assert manifest["runtime"] == best["runtime"]
    card = (fitted / "best" / "README.md").read_text()
    assert f"Row `{best['name']}` of `compare.json`" in card
    assert f"{best['score']:.2f} %" in card
    trained = (fitted / "model" / "README.md").read_text()
    assert re.search(r"macro F1 \| [\d.]+ % \| [\d.]+ % \[[\d.]+, [\d.]+\]", trained)
    assert not list(fitted.rglob("*.tmp")), "nothing half-written is left"


def test_fit_again_is_refused_resumed_or_overwritten(
    fitted: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "fit", photos, "--out", fitted, *QUICK)
    assert code == 2
    assert "exists already" in err
    assert len(err.splitlines()) == 1
    before = (fitted / "model" / "model.safetensors").stat().st_mtime_ns
    code, out, _ = call(capsys, "fit", photos, "--out", fitted, *QUICK, "--resume", "--json")
    assert code == 0
    assert json.loads(out)["schema"] == 1
    assert (fitted / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_mistake_leaves_nothing_behind(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--model", "no_such_net"], ["--weights", "no-such-file"]):
        code, _, err = call(capsys, "fit", photos, "--out", tmp_path / "x", *words)
        assert code == 2, err
        assert not list(tmp_path.iterdir())


def test_evaluate(fitted: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "evaluate", fitted / "best", "--data", photos, "--json")
    values = json.loads(out)
    assert code == 0
    assert {"metric", "score", "loss", "num_samples", "accuracy", "macro_f1"} <= set(values)
    assert values["num_samples"] == 9
    assert values["score"] == values[values["metric"]]
    code, out, _ = call(
        capsys, "evaluate", fitted / "best", "--data", photos, "--json", "--split", "all"
    )
    assert json.loads(out)["num_samples"] == 60


def test_compare_agrees_with_fit(
    fitted: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = [fitted / "model", fitted / "variants/float-onnx", fitted / "variants/int8-static"]
    code, out, _ = call(
        capsys, "compare", *bundles, "--data", photos, "--out", tmp_path / "t", "--json"
    )
    assert code == 0
    ours = {row["name"]: row for row in json.loads(out)["rows"]}
    fit = {row["name"]: row for row in json.loads((fitted / "compare.json").read_text())["rows"]}
    for name in ("float-onnx", "int8-static"):
        for key in ("score", "drop", "drop_low", "drop_high", "size_bytes", "agreement"):
            assert ours[name][key] == pytest.approx(fit[name][key]), (name, key)
    with (tmp_path / "t" / "compare.csv").open(newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == set(ours)


def test_compare_refuses_another_split(
    fitted: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, *_ = call(
        capsys,
        "train",
        photos,
        "--out",
        tmp_path / "b",
        *QUICK[:-4],
        "--seed",
        "7",
    )
    assert code == 0
    code, _, err = call(
        capsys,
        "compare",
        fitted / "model",
        tmp_path / "b",
        "--data",
        photos,
        "--out",
        tmp_path / "t",
    )
    assert code == 2
    assert "another split" in err
    assert not (tmp_path / "t").exists()


def test_data_with_no_class_in_common(
    fitted: Path, make_photos: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # FAULTS 21
    root = make_photos(tmp_path / "photos", per_class=2)
    for kind in ("bars", "disc", "square"):
        (root / kind).rename(root / f"other-{kind}")
    code, _, err = call(capsys, "evaluate", fitted / "best", "--data", root)
    assert code == 2
    assert "no class in common" in err


def test_classes_the_model_does_not_know_are_dropped_and_named(
    fitted: Path, make_photos: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # FAULTS 15, 21
    root = make_photos(tmp_path / "photos", per_class=3, seed=9)
    (root / "bars").rename(root / "strange")
    code, out, err = call(capsys, "evaluate", fitted / "best", "--data", root, "--json")
    assert code == 0
    assert json.loads(out)["num_samples"] == 6
    assert json.loads(out)["unknown_classes"] == ["strange"]
    assert "strange" in err


def test_predict(
    fitted: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "=cmd().jpg").write_bytes(next(photos.rglob("disc/*.jpg")).read_bytes())
    (tmp_path / "in" / "bad.jpg").write_bytes(b"\xff\xd8 cut")
    code, out, _ = call(
        capsys, "predict", fitted / "best", tmp_path / "in", "--out", tmp_path / "p"
    )
    assert code == 0
    assert "2 images, 1 could not be used" in out
    with (tmp_path / "p" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    header = ["filename", "predicted_class", "predicted_label", "confidence"]
    assert list(rows[0]) == [*header, "prob_bars", "prob_disc", "prob_square", "box", "error"]
    good = next(row for row in rows if not row["error"])
    assert good["predicted_label"] == "disc"
    assert good["predicted_class"] == "1"
    total = sum(float(good[f"prob_{name}"]) for name in ("bars", "disc", "square"))
    assert total == pytest.approx(1, abs=1e-4)
    objects = json.loads((tmp_path / "p" / "predictions.json").read_text("utf-8"))
    assert [o.get("label") for o in objects] == ["disc", None]
    assert "not an image" in objects[1]["error"]


def test_predict_with_no_usable_image(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"text")
    words = ("predict", fitted / "best", tmp_path / "bad.jpg", "--out", tmp_path / "p")
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "none of 1 images can be used" in err
    assert (tmp_path / "p" / "predictions.csv").exists(), "the rows say why"


def test_config_file_and_flags(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "model: test_byobnet\nweights: none\nepochs: 1\nimage_size: 32\nbatch-size: 8\nlr: 0.001\n"
    )
    out = tmp_path / "a"
    code, _, err = call(capsys, "train", photos, "--out", out, "--config", file, "--lr", "0.002")
    assert code == 0, err
    config = json.loads((out / "manifest.json").read_text())["lineage"]["config"]
    assert (config["epochs"], config["image_size"], config["lr"]) == (1, 32, 0.002)
    file.write_text("epocs: 1\n")
    code, _, err = call(capsys, "train", photos, "--out", tmp_path / "b", "--config", file)
    assert code == 2
    assert "epocs" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "x"], 'Did you mean "train"'),
        (["train", "missing", "--out", "o"], "missing doesn't exist"),
        (["predict", "missing", "x.jpg", "--out", "o"], "missing is no bundle"),
        (["train", ".", "--out", "o", "--epochs", "many"], "--epochs"),
        (["train", ".", "--out", "o", "--epochs", "0"], "--epochs must be at least 1"),
        (["compress", ".", "--method", "magic", "--out", "o"], "no manifest.json"),
        (["predict", "."], "--out"),
        (["fit", ".", "--out", "o", "--config", "no.yaml"], "no.yaml can't be read: No such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_a_fault_of_ours_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("boom")

    monkeypatch.setattr("pocketlens.workflows.inventory.inventory", broken)
    code, _, err = call(capsys, "plugins")
    assert code == 1
    assert "RuntimeError: boom" in err
    assert "Traceback" not in err
    with pytest.raises(RuntimeError):
        run(["plugins", "--debug"])


def test_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "plugins", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"datasets", "models", "methods", "runtimes"} <= set(found)
    assert {"box", "mask", "face-skin"} <= {p["name"] for p in found["regions"]}
    assert all(
        {"name", "summary", "installed", "extra"} <= set(p) for v in found.values() for p in v
    )
    assert {"onnx-static", "onnx-dynamic"} <= {p["name"] for p in found["methods"]}


def test_shrink_plan_does_nothing(
    tiny: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("shrink", tiny.path, "--data", photos, "--out", tmp_path / "x", "--plan")
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert "onnx-static" in out
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_has_an_example_and_loads_no_torch(verb: str) -> None:
    code = (
        "import sys\nfrom pocketlens.cli import run\n"
        f"assert run([{verb!r}, '--help']) == 0\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"Examples?:\s+pocketlens {verb}", done.stdout), done.stdout


def test_top_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pocketlens.cli import run\nassert run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'onnxruntime', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_predict_on_onnx_loads_no_torch(tiny_onnx: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ["predict", str(tiny_onnx.path), str(photos), "--out", str(tmp_path / "p")]
    code = (
        "import sys\nfrom pocketlens.cli import run\n"
        f"assert run({words!r}) == 0\n"
        "heavy = {'torch', 'timm', 'onnx', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

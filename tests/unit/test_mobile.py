"""ONNX Runtime's check of operators for phones, as a value and in plain words."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import UserError
from pocketlens.measures.mobile import NNAPI, Accelerator, MobileCheck, describe_mobile


@pytest.fixture(scope="module")
def phone(tiny_onnx: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("phone") / "float"
    return pl.export(tiny_onnx, runtime="onnx", out=out, batch=1, embed_preprocess=True)


@pytest.fixture(scope="module")
def phone_int8(tiny_onnx: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("phone")
    int8 = pl.compress(
        tiny_onnx, method="onnx-static", data=photos, out=folder / "a", num_images=16
    )
    return pl.export(int8, runtime="onnx", out=folder / "b", batch=1, embed_preprocess=True)


def of(check: MobileCheck, name: str) -> Accelerator:
    return next(a for a in check.accelerators if a.name.startswith(name))


def test_a_float_file_for_one_photo(phone: Bundle) -> None:
    before = logging.getLogger().handlers[:]
    check = pl.mobile_check(phone)
    assert logging.getLogger().handlers == before, "the check's own logging stays out"
    assert check.fixed_batch
    nnapi = of(check, "NNAPI")
    assert (nnapi.verdict, nnapi.verdict_fixed, nnapi.num_dynamic) == ("yes", "yes", 0)
    assert nnapi.partitions == (nnapi.num_nodes,) == (nnapi.num_supported,)
    assert {NNAPI, "CoreML MLProgram (iOS)"} <= set(check.recommended)
    text = describe_mobile(check)
    assert f"yes    {nnapi.num_nodes} of {nnapi.num_nodes} nodes in 1 part" in text
    assert "Only a measurement on the phone tells" in text
    assert "--batch 1" not in text


def test_a_dynamic_batch_is_told_what_to_do(tiny_onnx: Bundle) -> None:
    check = pl.mobile_check(tiny_onnx.path)
    assert not check.fixed_batch
    assert check.recommended == ()
    nnapi = of(check, "NNAPI")
    assert (nnapi.verdict, nnapi.verdict_fixed) == ("no", "yes")
    assert nnapi.num_dynamic > 0
    text = describe_mobile(check)
    assert "Fix the batch (--batch 1): then NNAPI (Android)" in text
    assert "run it on the phone's processor" in text


def test_an_int8_file_is_for_android(phone_int8: Bundle) -> None:
    check = pl.mobile_check(phone_int8)
    assert check.recommended == (NNAPI,)
    coreml = of(check, "CoreML MLProgram")
    assert coreml.verdict == "no"
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(coreml.unsupported_ops)
    text = describe_mobile(check)
    assert "CoreML takes no INT8 layers: for iOS export the float bundle." in text
    assert "Android 15 deprecates NNAPI" in text
    assert json.loads(json.dumps(check.to_dict()))["recommended"] == [NNAPI]


def test_another_bundle_has_no_such_file(tiny: Bundle) -> None:
    with pytest.raises(UserError, match=r"without an ONNX file.*--runtime onnx"):
        pl.mobile_check(tiny)


def test_the_command(tiny_onnx: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(tiny_onnx.path), "--out", str(tmp_path / "a")]
    assert run([*words, "--runtime", "onnx", "--batch", "1", "--embed-preprocess"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{tmp_path / 'a'}\n", ""), "quiet unless asked"
    assert run([*words, "--runtime", "onnx", "--mobile-check", "--overwrite"]) == 0, "a copy"
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'a'}\nWould a phone's accelerators take it?")
    assert "NNAPI (Android)" in out
    assert "copied" in err
    assert run([*words, "--runtime", "onnx", "--mobile-check", "--overwrite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(tmp_path / "a")
    assert told["size_bytes"] == tiny_onnx.size_bytes
    assert {a["name"] for a in told["mobile_check"]["accelerators"]} >= {NNAPI}
    assert run([*words, "--runtime", "openvino", "--mobile-check", "--overwrite"]) == 2
    assert "--mobile-check is for --runtime onnx" in capsys.readouterr().err
    assert run([*words, "--runtime", "onnx", "--batch", "0", "--overwrite"]) == 2
    assert "--batch must be at least 1, not 0" in capsys.readouterr().err
    assert pl.load(tmp_path / "a").manifest.input.dtype == "float32", "the last that was made stays"

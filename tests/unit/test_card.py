"""The card of a bundle: it says what is true, keeps names as text and edits as they are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pocketlens.core.bundle import Bundle, Lineage, Manifest, read_bundle, write_bundle
from pocketlens.core.card import render, with_measured
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input
from pocketlens.core.split import Split
from pocketlens.core.text import markdown_code
from pocketlens.workflows.convert import copy_bundle
from support.comparisons import NASTY, compared, float_row, row, small
from support.page import Page

TRAINED = {
    "image_size": 32, "epochs": 4, "seed": 1,
    "trained_on": {"name": "seams", "num_classes_few_test": 1, "groups": False,
                   "fewest_test": {"label": "torn | <b>", "num": 2}},
}  # fmt: skip
SCORES = {
    "metric": "macro_f1",
    "val": {"macro_f1": 91.5, "accuracy": 92.0},
    "test": {"macro_f1": 88.25, "accuracy": 90.0},
    "test_interval": {"macro_f1": [84.1, 91.9]},
}
MANIFEST = Manifest(
    task="single_label",
    classes=("ok", "torn | <b>"),
    preprocess=Preprocess(32, 48, "pad"),
    runtime="torch",
    precision="float32",
    model={"family": "timm", "name": "tiny", "params": 12345, "macs": 67890},
    lineage=Lineage(method="train", config=TRAINED, data_hash="abc", seed=1),
    metrics=SCORES,
)
SPLIT = Split(train=("a", "d"), val=("b",), test=("c",))


def made(folder: Path, name: str = "b", **changes: Any) -> Bundle:
    file = {"torch": "model.safetensors"}.get(changes.get("runtime", "torch"), "model.bin")
    return write_bundle(folder / name, replace(MANIFEST, **changes), {file: b"1234"}, split=SPLIT)


def shown(card: str) -> Page:
    """The card as a Markdown reader shows it."""
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    return Page(MarkdownIt("commonmark").enable("table").render(body))


def test_it_says_what_is_known(tmp_path: Path) -> None:
    bundle = made(tmp_path)
    assert bundle.card == render(bundle)
    text = shown(bundle.card).text
    for words in (
        "tiny, trained on seams",
        "one of 2 classes",
        "12,345",
        "2 to train on, 1 to validate, 1 to test",
        "macro F1 91.50 % 88.25 % [84.10, 91.90]",
        "48 x 32 pixels: the photo is scaled until its longer side fits",
        "1 of 2 classes have fewer than 10 test photos (fewest: torn | <b> , 2)",
        "names no groups",
        "Licence",
        "pip install 'pocketlens[train]'",
    ):
        assert words in text
    assert "\nlibrary_name: pocketlens\n" in bundle.card
    assert "license" not in bundle.card  # nobody has said one


def test_it_is_no_part_of_what_is_checked(tmp_path: Path) -> None:
    bundle = made(tmp_path)
    (bundle.path / "README.md").write_text("My own words.")
    again = read_bundle(bundle.path)
    assert "README.md" not in again.manifest.files
    assert (again.id, again.size_bytes, again.card) == (bundle.id, 4, "My own words.")
    assert copy_bundle(again, tmp_path / "copy").card == "My own words."
    (bundle.path / "README.md").unlink()
    without = read_bundle(bundle.path)
    assert without.card is None
    assert copy_bundle(without, tmp_path / "copy2").card == render(bundle)


def test_a_card_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    bundle = made(tmp_path)
    (tmp_path / "secret").write_text("a key")
    (bundle.path / "README.md").unlink()
    (bundle.path / "README.md").symlink_to(tmp_path / "secret")
    assert "a key" not in (copy_bundle(bundle, tmp_path / "copy").card or "")


def test_bytes_that_are_no_text_are_copied_as_they_are(tmp_path: Path) -> None:
    bundle = made(tmp_path)
    (bundle.path / "README.md").write_bytes(b"caf\xe9")
    copy_bundle(bundle, tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_bytes() == b"caf\xe9"


@pytest.mark.parametrize("name", [*NASTY, "a\nb", "# x", "- x", "https://evil.example", "`", "``a"])
def test_names_that_mean_harm_stay_text(name: str, tmp_path: Path) -> None:
    facts = {**TRAINED, "trained_on": {**TRAINED["trained_on"], "name": name}}
    bundle = made(
        tmp_path,
        classes=(name, "ok"),
        class_info={"ok": {"name": name}},
        lineage=Lineage(method="train", config=facts, versions={name: name}),
        model={"name": name, "family": name},
    )
    card = bundle.card
    assert card is not None
    comparison = replace(small(), data={"name": name, "num_test": 3}, machine={"cpu": name})
    for text in (card, with_measured(card, comparison, replace(small().rows[0], name=name))):
        page = shown(text)
        for tag in ("script", "a", "img", "b"):
            assert page.all(tag) == []
        assert len(page.all("em")) == 3  # where something is to be filled in
        assert len(page.all("h1")) == 1
        assert len(page.all("h2")) == 8
        assert len(page.all("td")) == sum(
            len(re.findall(r"(?<!\\)\|", line)) - 1
            for line in text.splitlines()
            if line.startswith("| ") and "---" not in line
        ) - len(page.all("th"))
    said = " ".join(re.sub(r"[\x00-\x1f]", " ", name).split())
    if len(name) < 100 and "\x1b" not in name:
        assert said in page.text


def test_code_holds_any_backticks() -> None:
    assert markdown_code("a`b``c") == "```a`b``c```"
    assert markdown_code("`") == "`` ` ``"
    assert markdown_code("a|b", cell=True) == r"`a\|b`"


def test_many_classes_and_other_tasks(tmp_path: Path) -> None:
    labels = tuple(f"불량 {i}" for i in range(200))
    found = {"found_on": "parent", "num_images": 9, "global": 0.4, "global_for": []}
    card = made(
        tmp_path,
        task="multi_label",
        classes=labels,
        runtime="litert",
        precision="int8",
        input=Input("uint8", "NHWC"),
        thresholds=dict.fromkeys(labels, 0.4),
        metrics={"metric": "map", "thresholds": found},
        lineage=Lineage(({"id": "x" * 32, "method": "train", "config": TRAINED},), "litert-static"),
    ).card
    text = shown(card or "").text
    assert "불량 23" in text
    assert "불량 24" not in text
    for words in (
        "any number of 200 labels",
        "176 more stand in",
        "not scored when it was made",
        "compressed by litert-static",
        "0 to 255 in 8 bits; axes: photo, row, column, colour (NHWC)",
        "Its thresholds are those of the network it was made from",
        "model.tflite",
        "pip install pocketlens ai-edge-litert",
        ".labels",
    ):
        assert words in text


def test_what_was_measured_is_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    card = made(tmp_path, metrics={}).card or ""
    mine = card.replace("*not stated*", "sorting cells in a lab", 1)
    best = row("int8", drop=0.31, drop_low=-0.2, drop_high=0.9, latency_ms=4.213, verdict="best")
    found = compared([float_row(), best])
    once = with_measured(mine, found, best)
    text = shown(once).text
    assert "lost 0.31 points [-0.20, 0.90]" in text
    assert "4.21 ms" in text
    assert "not proven" in text
    assert "sorting cells in a lab" in text
    assert "not scored when it was made" not in text
    better = replace(best, drop=0.1, proven=True)
    twice = with_measured(once, found, better)
    assert "lost 0.10 points" in shown(twice).text
    assert "0.31" not in twice
    assert "is proven" in twice
    assert twice.count("sorting cells") == 1
    own = with_measured("My own words.", found, best)
    assert own.startswith("My own words.\n")
    assert "lost 0.31" in shown(own).text


def test_of_the_float_model_nothing_is_lost(tmp_path: Path) -> None:
    text = with_measured(made(tmp_path).card or "", compared([float_row()]), float_row())
    assert "lost | 0.00 points |" in text
    assert "proven" not in text


def test_a_manifest_with_a_file_of_that_name_keeps_it(tmp_path: Path) -> None:
    files = {"model.bin": b"1", "README.md": b"theirs"}
    bundle = write_bundle(tmp_path / "x", MANIFEST, files)
    assert (bundle.path / "README.md").read_bytes() == b"theirs"
    again = read_bundle(bundle.path)
    assert again.card is None
    assert copy_bundle(again, tmp_path / "y").manifest.files == bundle.manifest.files


def test_a_manifest_of_elsewhere_may_hold_anything(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "val": 3,
        "test": {"macro_f1": "x"},
        "test_interval": [1],
        "thresholds": 0,
    }
    parents = ({"id": "y", "runtime": "torch", "precision": "int8", "method": "", "config": None},)
    bundle = made(
        tmp_path,
        metrics=odd,
        class_info={"ok": 3},
        thresholds={},
        task="multi_label",
        backend="coreml",
        model={"name": None, "family": 3, "params": "many"},
        lineage=Lineage(parents, "x", {"trained_on": [1]}, versions={"a": 1}),  # type: ignore[dict-item]
    )
    text = shown(bundle.card or "").text
    assert "made by an unknown step" in text
    imported = made(tmp_path, "i", lineage=Lineage(method="import", versions={"torch": "2"}))
    assert "<li>imported ready-trained</li>" in re.sub(
        r"\s*\n", "", MarkdownIt("commonmark").render(imported.card or "")
    ), "what follows is no part of the step"
    assert "opens only where that is" in text

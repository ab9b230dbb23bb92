"""What a model card says in words: the steps, the input, how to run it, what it can't know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.text import count_of, markdown_code

if TYPE_CHECKING:
    from pocketlens.core.bundle import Bundle, Manifest

METRICS: Final = {
    "macro_f1": "macro F1",
    "map": "mAP",
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "micro_f1": "micro F1",
    "loss": "loss (nats)",
}
#: What pip is to install for a bundle of a runtime; of others, pocketlens alone.
_INSTALL: Final = {
    "torch": "'pocketlens[train]'",
    "torch-int8": "'pocketlens[torchao]'",
    "openvino": "'pocketlens[openvino]'",
    "executorch": "'pocketlens[executorch]'",
    "litert": "pocketlens ai-edge-litert",
}
LAYOUTS: Final = {
    "NCHW": "colour, row, column",
    "NHWC": "row, column, colour",
}
_RESIZE: Final = {
    "stretch": "stretched to the size, whatever its shape",
    "crop": "scaled until its shorter side fits, and its centre cut out",
    "pad": "scaled until its longer side fits, and filled up with one colour",
}
#: Of a lineage's configuration: what the photos were like.
TRAINED_ON: Final = "trained_on"
#: Test photos of a class below which its score says next to nothing.
FEW: Final = 10


def trained_on(bundle: Bundle) -> Mapping[str, Any]:
    """What the step that trained first wrote of its photos; empty where nothing is known."""
    lineage = bundle.manifest.lineage
    configs = [parent.get("config") for parent in lineage.parents] + [lineage.config]
    found = (mapping(config).get(TRAINED_ON) for config in configs)
    return next(filter(None, map(mapping, found)), {})


def mapping(value: object) -> Mapping[str, Any]:
    """A part of a manifest that ought to be an object; nothing where it is none."""
    return value if isinstance(value, Mapping) else {}


def method_words(method: str, config: Mapping[str, Any]) -> str:
    """One step of the lineage."""
    if method == "train":
        settings = ", ".join(
            f"{key.replace('_', ' ')} {config[key]}"
            for key in ("image_size", "epochs", "seed")
            if isinstance(config.get(key), int)
        )
        return f"trained{f' ({settings})' if settings else ''}"
    if method == "import":
        name = config.get("model")
        return f"imported ready-trained{f' from {markdown_code(str(name))}' if name else ''}"
    if method == "export":
        return "exported to another runtime; nothing was quantized"
    photos = config.get("num_images")
    found = f", ranges found on {photos:,} training photos" if isinstance(photos, int) else ""
    return f"compressed by {markdown_code(method)}{found}" if method else "made by an unknown step"


def preprocessing(manifest: Manifest) -> str:
    """How a photo becomes the input, for whoever writes it again in an app."""
    spec, given = manifest.preprocess, manifest.input
    lines = [
        "pocketlens does this by itself; another program must do the same, in this order:",
        "",
        "1. Decode the photo, turn it upright as its EXIF data says, make it RGB.",
        f"2. {spec.width} x {spec.height} pixels: the photo is {_RESIZE[spec.resize]} "
        f"({spec.interpolation}, {'with' if spec.antialias else 'without'} antialiasing"
        + (f", {spec.crop_pct:g} of the side is kept" if spec.crop_pct != 1 else "")
        + (f", RGB {tuple(spec.pad_color)}" if spec.resize == "pad" else "")
        + ").",
    ]
    axes = f"photo, {LAYOUTS[given.layout]} ({given.layout})"
    if given.dtype == "uint8":
        lines.append(f"3. The pixels go in as they are, 0 to 255 in 8 bits; axes: {axes}.")
    else:
        mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (spec.mean, spec.std))
        lines.append(f"3. Divide by 255, subtract ({mean}), divide by ({std}): 32-bit floats.")
        lines.append(f"   Axes: {axes}.")
    if spec.box_margin:
        lines += ["", f"Boxes grow by {spec.box_margin:g} of their size a side before step 2."]
    if spec.draft:
        lines += ["", "Large JPEGs are decoded at a half, a quarter or an eighth of their size."]
    out = "a softmax makes probabilities of them"
    if manifest.task == "multi_label":
        out = "a sigmoid makes a probability of each; from `thresholds` on a label is given"
    lines += ["", f"Out come logits in the order of `classes` in `manifest.json`; {out}."]
    return "\n".join(lines)


def how_to_run(manifest: Manifest) -> str:
    """The shell, Python, and for files of phones where to put these."""
    answer = ".labels" if manifest.task == "multi_label" else ".label"
    lines = [
        "`MODEL` is this directory.",
        "",
        "```sh",
        f"pip install {_INSTALL.get(manifest.runtime, 'pocketlens')}",
        "pocketlens predict MODEL photos/ --out predicted",
        "```",
        "",
        "```python",
        "import pocketlens as pl",
        "",
        'with pl.load("MODEL") as predictor:',
        f'    print(predictor.predict(["photo.jpg"])[0]{answer})',
        "```",
    ]
    if manifest.backend not in (None, "cpu", "xnnpack"):
        where = markdown_code(manifest.backend)
        lines += ["", f"It is computed by {where}, so it opens only where that is."]
    if note := _APP.get(manifest.runtime):
        lines += ["", note]
    return "\n".join(lines)


_APP: Final = {
    "executorch": "In an app: put `model.pte` and the classes of `manifest.json` into its assets "
    "(Android: `app/src/main/assets/`; iOS: add them to the target) and load the file with "
    "ExecuTorch's library. It takes what the section above describes.",
    "litert": "In an app: put `model.tflite` and the classes of `manifest.json` into its assets "
    "(Android: `app/src/main/assets/`; iOS: add them to the target) and load the file with "
    "LiteRT's library. It takes what the section above describes.",
    "onnx": "Without pocketlens: any ONNX Runtime opens `model.onnx`.",
}


def limits(bundle: Bundle) -> str:
    """What its photos and scores can't show; only what is true of this bundle."""
    manifest = bundle.manifest
    split = bundle.split
    lines = []
    if manifest.task == "multi_label":
        lines.append("It may give a photo no label at all.")
        if manifest.thresholds is not None:
            where = mapping(manifest.metrics.get("thresholds")).get("found_on", "val")
            lines.append(
                "Its thresholds are those of the network it was made from, not of its own answers."
                if where == "parent"
                else "Its thresholds were found on the validation photos; with other photos, or "
                "where mistakes cost otherwise, others are better."
            )
    else:
        lines.append(
            "It gives every photo one of its classes, also one that shows none of them; a low "
            "probability is no reliable sign of that."
        )
    lines.append(
        "Probabilities are what the network says of itself; how often an answer of 90 % is right "
        "was not measured."
    )
    if split.test:
        lines.append(
            f"Its {count_of(len(split.test), 'test sample')} came from the same source as those it "
            "learnt from. Of other cameras, places, seasons or people the score says nothing."
        )
    else:
        lines.append("No test photos are known of it: what it learnt from isn't recorded here.")
    lines += _of_the_data(bundle)
    return "\n".join(f"- {line}" for line in lines)


def _of_the_data(bundle: Bundle) -> list[str]:
    facts = trained_on(bundle)
    lines = []
    few, total = facts.get("num_classes_few_test"), len(bundle.manifest.classes)
    if isinstance(few, int) and few:
        fewest = mapping(facts.get("fewest_test"))
        example = ""
        if "label" in fewest:
            example = f" (fewest: {markdown_code(str(fewest['label']))}, {fewest.get('num', 0)})"
        lines.append(
            f"{few:,} of {total:,} classes have fewer than {FEW} test photos{example}: how well it "
            "knows these can't be told."
        )
    if facts.get("groups") is False:
        lines.append(
            "The data names no groups (patients, machines, days), so photos of one thing may have "
            "been both learnt from and tested on, and then the score flatters."
        )
    elif facts.get("groups") == "inside":
        lines.append(
            "Photos of one group (patient, machine, day) were both learnt from and tested on, as "
            "was asked for; of new groups the score says nothing."
        )
    return lines

"""Which chains of steps `shrink` tries, from cheap to dear.

What comes first costs seconds and is always tried. What comes after costs minutes of training and
is tried only while nothing that was made keeps to all limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

#: Multiply-adds a second that a step of training gets through on one core, forwards and backwards;
#: half as many where the quantization is part of it. Seen on one machine; for planning alone.
_TRAINING_RATE: Final = 20e9
_OPERATIONS_OF_A_STEP: Final = 3


@dataclass(frozen=True)
class Candidate:
    """A chain of compression steps (or none: a bundle in another runtime).

    Attributes:
        runtime: that will run it.
        method: of compression, or several with commas between; None for a mere export.
        precision: what comes out of it.
        seconds: rough cost on two cores for planning, without scoring.
        family: skipped when another of this family kept to the limit of the drop.
        of: name of the candidate that this is an export of; "" for the float bundle.
        made_by: of an export, the methods behind what is exported.
        dear: tried only while no other keeps to all limits.
    """

    name: str
    runtime: str
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "int8"
    seconds: float = 5.0
    family: str = ""
    of: str = ""
    made_by: str = ""
    dear: bool = False

    def describe(self) -> str:
        """The chain in words."""
        if self.method is None:
            what = f"{self.of} " if self.of else ""
            return f"export {what}to {self.runtime}"
        options = "".join(
            f" --{key.replace('_', '-')} {value}" for key, value in self.options.items()
        )
        return f"compress --method {self.method}{options}"


@dataclass(frozen=True)
class Facts:
    """What the ladder depends on.

    Attributes:
        num_images: calibration photos.
        num_train: training photos.
        macs: multiply-adds of the network for one photo.
        cores: to train with.
        max_drop: points of the metric that may be lost.
        thorough: what takes minutes, too.
        litert: whether LiteRT is installed; few have it, so that it isn't tried and skipped.
    """

    num_images: int
    num_train: int = 0
    macs: int = 0
    cores: int = 2
    max_drop: float = 0.5
    thorough: bool = True
    target: Literal["cpu", "phone"] = "cpu"
    litert: bool = False


def ladder(facts: Facts) -> list[Candidate]:
    """Candidates in the order they are tried."""
    dear = _dear(facts) if facts.thorough else []
    if facts.target == "phone":  # OpenVINO has no phones
        files = [*_executorch(facts), *(_litert(facts) if facts.litert else ())]
        return [*_floats(), *_static(facts), *files, *dear]
    made = [*_floats(), *_static(facts), *dear]
    whole: list[Candidate] = []
    for candidate in made:
        whole.append(candidate)
        if candidate.runtime == "onnx" and candidate.precision != "int8-dynamic":
            whole.append(_in_openvino(candidate))
    return whole


def _in_openvino(candidate: Candidate) -> Candidate:
    """The same file, opened by OpenVINO: which of the two is faster differs by network."""
    name = "float-openvino" if candidate.method is None else f"{candidate.name}-openvino"
    return Candidate(
        name,
        "openvino",
        precision=candidate.precision,
        seconds=1.0,
        of=candidate.name,
        made_by=candidate.method or "",
        dear=candidate.dear,
    )


def _executorch(facts: Facts) -> list[Candidate]:
    """The .pte file, in float and in INT8; the program that this is lowered from is scored too, so
    that what lowering changed is seen.
    """
    options = {"quantizer": "xnnpack", "num_images": facts.num_images}
    return [
        Candidate("float-executorch", "executorch", precision="float32", seconds=40.0),
        Candidate(
            "int8-pt2e", "torch-int8", "pt2e-static", options,
            seconds=30 + 0.06 * facts.num_images,
        ),
        Candidate(
            "int8-pt2e-executorch", "executorch", seconds=60.0, of="int8-pt2e",
            made_by="pt2e-static",
        ),
    ]  # fmt: skip


def _litert(facts: Facts) -> list[Candidate]:
    """The .tflite file, in float and in INT8."""
    few = {"num_images": facts.num_images}
    return [
        Candidate("float-litert", "litert", precision="float32", seconds=15.0),
        Candidate(
            "int8-litert", "litert", "litert-static", few, seconds=20 + 0.03 * facts.num_images
        ),
    ]


def _floats() -> list[Candidate]:
    return [Candidate("float-onnx", "onnx", precision="float32")]


def _static(facts: Facts) -> list[Candidate]:
    """Within `static`, the next is made only when the ones before lost too much: all in 8 bits
    first, since it is the smallest and fastest; then the first convolution in float; then ranges
    that leave out rare extremes; then what quantization shifts, corrected in the biases.
    """
    few = {"num_images": facts.num_images}
    first = {"keep_float": "first", **few}
    second = 0.06 * facts.num_images
    return [
        Candidate(
            "int8-static", "onnx", "onnx-static", {"keep_float": "none", **few},
            seconds=second, family="static",
        ),
        Candidate(
            "int8-static-first-float", "onnx", "onnx-static", first,
            seconds=second, family="static",
        ),
        Candidate(
            "int8-static-mse", "onnx", "onnx-static", {"ranges": "mse", **first},
            seconds=4 * second, family="static",
        ),
        Candidate(
            "int8-static-percentile", "onnx", "onnx-static", {"ranges": "percentile", **first},
            seconds=4 * second, family="static",
        ),
        Candidate(
            "int8-bias-correction", "onnx", "bias-correction", {"ranges": "percentile", **few},
            seconds=6 * second, family="static",
        ),
        Candidate("int8-dynamic", "onnx", "onnx-dynamic", precision="int8-dynamic"),
    ]  # fmt: skip


def _dear(facts: Facts) -> list[Candidate]:
    """Training-aware INT8; then other activations; then fewer channels, the mildest first."""
    few = {"num_images": facts.num_images}

    def trained(
        name: str, method: str, options: Mapping[str, Any], passes: float, family: str = ""
    ) -> Candidate:
        operations = _OPERATIONS_OF_A_STEP * facts.macs * facts.num_train * passes
        seconds = 20 + operations / (_TRAINING_RATE * facts.cores)
        return Candidate(
            name, "onnx", method, {**options, **few}, seconds=seconds, family=family, dear=True
        )

    exchange, recover, tune = 8, 6, 4
    return [
        Candidate(
            "int8-nncf", "onnx", "nncf", {"bias_correction": "full", **few},
            seconds=0.5 * facts.num_images, family="static", dear=True,
        ),
        Candidate(
            "int8-mixed", "onnx", "mixed",
            {"max_drop": facts.max_drop, "time_layers": False, **few},
            seconds=120.0, family="static", dear=True,
        ),
        # Where the static one is accurate, the same network is no faster for being trained.
        trained("int8-lsq", "lsq", {"epochs": tune}, 2 * tune, family="static"),
        trained(
            "relu6-int8-lsq",
            "activation-exchange,lsq",
            {"activation-exchange:epochs": exchange, "lsq:epochs": tune},
            exchange + 2 * tune,
        ),
        *(
            trained(
                f"pruned{round(100 * ratio)}-int8-lsq",
                "prune,lsq",
                {"prune:ratio": ratio, "prune:epochs": recover, "lsq:epochs": tune},
                (1 - ratio / 2) * recover + (1 - ratio) * 2 * tune,
            )
            for ratio in (0.3, 0.5)
        ),
        trained(
            "relu6-pruned50-int8-lsq",
            "activation-exchange,prune,lsq",
            {
                "activation-exchange:epochs": exchange,
                "prune:ratio": 0.5,
                "prune:epochs": recover,
                "lsq:epochs": tune,
            },
            exchange + 0.75 * recover + tune,
        ),
    ]  # fmt: skip

"""Static INT8 of the .tflite file: ranges from calibration photos, weights per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketlens import plugins
from pocketlens.compression._step import Calibration, Context, finish
from pocketlens.compression._tuning import check_num_images
from pocketlens.core.bundle import Bundle
from pocketlens.core.errors import BundleError, DataError, UserError
from pocketlens.core.session import Input
from pocketlens.extras import require

EXTRA = "litert"
TAKES: Final = ("torch", "float32")
GIVES: Final = ("litert", "int8")
NEEDS_DATA: Final = False
NEEDS_CALIBRATION: Final = True

#: Name that LiteRT's converter gives the one input.
_INPUT: Final = "args_0"
#: Of a bias in 32 bits; as much again is left for what is added to it.
_LARGEST_BIAS: Final = 2.0**30
#: Steps of an activation's range, which is asymmetric, and of one half of a weight's.
_STEPS: Final = 255.0
_HALF: Final = 127.0

Ranges = dict[str, dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Config:
    """How to quantize."""

    ranges: Literal["minmax", "average"] = "minmax"
    """How activation ranges follow from the calibration photos: all that was seen, or a moving
    average of each photo's range, which is what LiteRT's quantizer does by itself."""

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the input's axes: NHWC is what Android's image classes and TensorFlow's tools
    give."""

    num_images: int = 256
    """Calibration photos, class-balanced."""

    seed: int = 0
    """Of the choice of calibration photos."""

    def __post_init__(self) -> None:
        check_num_images(self.num_images, self.seed)


def apply(bundle: Bundle, config: Config, context: Context) -> Bundle:
    """Convert, observe the calibration photos, quantize; input and answers stay in float.

    Weights are symmetric with a scale for each channel, activations asymmetric with one for each
    tensor, as LiteRT's integer kernels want them. The same photos give the same file.

    Raises:
        UserError: no calibration photos, or a network that can't be converted or quantized.
        MissingExtraError: LiteRT's converter or quantizer isn't installed.
    """
    runtime = plugins.load("runtimes", "litert")
    with runtime.quiet():
        require("ai_edge_quantizer.quantizer", extra=EXTRA)
    calibration = context.calibration(config.num_images, config.seed)
    content: bytes = runtime.convert(bundle, batch=1, layout=config.layout)
    recipe = _recipe()
    try:
        ranges, num_used = _observe(content, recipe, calibration, config, runtime.quiet)
        quantized, num_widened = _quantize(content, recipe, ranges, runtime.quiet)
    except UserError:
        raise
    except Exception as error:  # the quantizer raises whatever it comes across
        raise BundleError(
            f"{bundle.path}: LiteRT's quantizer can't quantize this network "
            f"({type(error).__name__}: {runtime.first_line(error)}); onnx-static may take it"
        ) from error
    return finish(
        bundle,
        context,
        "litert-static",
        config,
        {runtime.MODEL: quantized},
        runtime="litert",
        precision="int8",
        facts={"num_calibrated": num_used, "widened_channels": num_widened},
        input=Input(layout=config.layout),
        packages=(*runtime.PACKAGES, "ai-edge-quantizer"),
    )


def _recipe() -> Any:
    """All in 8 bits but what goes in and what comes out."""
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    recipe, operation = recipe_manager.RecipeManager(), qtyping.TFLOperationName
    recipe.add_static_config(
        regex=".*",
        operation_name=operation.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    for name in (operation.INPUT, operation.OUTPUT):
        recipe.add_quantization_config(
            ".*", name, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE
        )
    return recipe


def _observe(
    content: bytes, recipe: Any, calibration: Calibration, config: Config, quiet: Any
) -> tuple[Ranges, int]:
    """Ranges by the name of the tensor, and how many photos were seen.

    Raises:
        DataError: no photo can be read.
        UserError: the network answers with NaN.
    """
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    update = {
        "minmax": qsv_utils.min_max_update,
        "average": qsv_utils.moving_average_update,
    }[config.ranges]
    with quiet():
        # One thread: the order of float sums must not depend on the machine.
        observer = calibrator.Calibrator(content, num_threads=1, qsv_update_func=update)
        (signature,) = observer.get_signature_list()
    num_used = 0
    for input_NCHW in calibration.batches():
        given = input_NCHW if config.layout == "NCHW" else input_NCHW.transpose(0, 2, 3, 1)
        photos = [{_INPUT: np.ascontiguousarray(given[i : i + 1])} for i in range(len(given))]
        with quiet():
            observer.calibrate({signature: photos}, recipe)
        num_used += len(photos)
    if not num_used:
        raise DataError(f"none of {calibration.num_images} calibration photos can be read")
    ranges: Ranges = observer.get_model_qsvs()
    for found in ranges.values():
        if not all(np.isfinite(bound).all() for bound in found.values()):
            raise UserError("calibration gave a range without end: the network answers with NaN")
    return ranges, num_used


def _quantize(content: bytes, recipe: Any, ranges: Ranges, quiet: Any) -> tuple[bytes, int]:
    """The file in INT8, and of how many channels the steps had to be coarser."""
    from ai_edge_quantizer import quantizer

    widened, num_widened = _with_room_for_biases(content, ranges)
    with quiet():
        found = quantizer.Quantizer(content, recipe.get_quantization_recipe()).quantize(
            {**ranges, **widened}, enable_progress_report=False, enable_progress_bar=False
        )
    return bytes(found.quantized_model), num_widened


def _with_room_for_biases(content: bytes, ranges: Ranges) -> tuple[Ranges, int]:
    """Ranges of weights whose bias would not fit into 32 bits otherwise, and of how many channels.

    A bias counts in steps of its channel's weights times those of the input. Of a dead channel,
    whose weights are next to nothing, these are so small that the bias, which is all that the
    channel says, overflows; LiteRT's quantizer then writes one of the opposite sign.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffer

    model, name = flatbuffer.read_model(content), qtyping.TFLOperationName
    channel_axis = {name.CONV_2D: 0, name.DEPTHWISE_CONV_2D: 3, name.FULLY_CONNECTED: 0}
    widened: Ranges = {}
    num_widened = 0
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            axis = channel_axis.get(flatbuffer.TFL_OP_CODE_TO_NAME.get(code))
            if axis is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
                continue
            given, weight, bias = (subgraph.tensors[i] for i in operator.inputs[:3])
            seen = ranges.get(flatbuffer.get_tensor_name(given))
            weights = flatbuffer.get_tensor_data(weight, model.buffers)
            biases = flatbuffer.get_tensor_data(bias, model.buffers)
            if seen is None or weights is None or biases is None:
                continue
            step = (max(float(seen["max"].max()), 0) - min(float(seen["min"].min()), 0)) / _STEPS
            others = tuple(i for i in range(weights.ndim) if i != axis)
            largest = np.abs(weights).max(axis=others, keepdims=True)
            room = np.abs(biases).reshape(largest.shape) / (max(step, 1e-9) * _LARGEST_BIAS)
            bound = np.maximum(largest, room * _HALF).astype(np.float32)
            if (bound > largest).any():
                num_widened += int((bound > largest).sum())
                widened[flatbuffer.get_tensor_name(weight)] = {"min": -bound, "max": bound}
    return widened, num_widened

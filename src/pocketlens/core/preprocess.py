"""The preprocessing contract: bytes -> image_HWC uint8 RGB -> input_CHW float32.

One frozen value, made at training time and stored in every artifact. Training, calibration,
evaluation, the benchmark, the command line and the service all call this and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.decode import MAX_PIXELS, decode_image, image_size, to_array
from pocketlens.core.errors import ImageError, UserError

Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

_PILLOW: Final = {name: Image.Resampling[name.upper()] for name in get_args(Interpolation)}


#: Of a network's input in pixels; a damaged manifest must not ask for all memory.
MAX_SIDE: Final = 4096
#: A draft has at least this many times the pixels a side that the network's input needs, so that
#: the resampling that follows still averages over several.
_DRAFT: Final = 2


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes the network's input.

    Attributes:
        height, width: size of the network's input in pixels.
        resize: `stretch` to the size whatever the shape; `crop`: scale until the shorter side
            is `size / crop_pct`, then cut out the centre; `pad`: scale until the longer side
            fits, then fill up with `pad_color`.
        interpolation: the resampling filter, by Pillow's names.
        antialias: whether the filter widens when shrinking, as Pillow does. Without it the
            result is that of OpenCV's and most phones' plain nearest or bilinear sampling;
            for bicubic no two libraries agree on what it would be, so there is none.
        crop_pct: share of the scaled shorter side that `crop` keeps, in (0, 1].
        mean, std: for pixels divided by 255, in RGB order.
        box_margin: a box grows by this share of its width and height on each side before it
            is cut out.
        pad_color: RGB, 0 to 255, used by `pad`.
        draft: a JPEG with at least four times the pixels a side that are needed is decoded at a
            half, a quarter or an eighth of its size, so that twice as many as needed are left.
    """

    height: int
    width: int
    resize: Resize = "crop"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_pct: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    box_margin: float = 0.0
    pad_color: tuple[int, int, int] = (0, 0, 0)
    draft: bool = False

    def __post_init__(self) -> None:
        if not all(type(side) is int for side in (self.height, self.width)):
            raise UserError("the input's height and width must be whole numbers")
        if self.height < 1 or self.width < 1:
            raise UserError(f"the input size must be at least 1x1, not {self.width}x{self.height}")
        if max(self.height, self.width) > MAX_SIDE:
            raise UserError(
                f"the input size must be at most {MAX_SIDE}x{MAX_SIDE}, not "
                f"{self.width}x{self.height}"
            )
        if self.resize not in get_args(Resize):
            raise UserError(f"resize must be one of {', '.join(get_args(Resize))}")
        if self.interpolation not in _PILLOW:
            raise UserError(f"interpolation must be one of {', '.join(_PILLOW)}")
        if not isinstance(self.antialias, bool) or not isinstance(self.draft, bool):
            raise UserError("antialias and draft must be true or false")
        if not self.antialias and self.interpolation not in ("nearest", "bilinear"):
            raise UserError(f"{self.interpolation} is only defined with antialias")
        if not 0 < self.crop_pct <= 1:
            raise UserError("crop_pct must be above 0 and at most 1")
        if self.box_margin < 0 or not math.isfinite(self.box_margin):
            raise UserError("box_margin must not be negative")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(s > 0 for s in self.std):
            raise UserError("mean and std need three numbers each, std above 0")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise UserError("mean and std must be finite")
        if len(self.pad_color) != 3 or not all(
            type(value) is int and 0 <= value <= 255 for value in self.pad_color
        ):
            raise UserError("pad_color needs three whole numbers from 0 to 255")

    def __call__(
        self, data: bytes, box: Box | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> NDArray[np.float32]:
        """The whole way: a file's bytes, optionally a box, to `input_CHW`, float32."""
        return self.normalize(self.read(data, box, max_pixels=max_pixels))

    def read(
        self, data: bytes, box: Box | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> NDArray[np.uint8]:
        """What `fit(decode(…))` gives, without a copy of all the photo's pixels in between.

        Raises:
            ImageError: as `decode`.
        """
        return self._fit(self._decode(data, box, max_pixels))

    def decode(
        self, data: bytes, box: Box | None = None, *, max_pixels: int = MAX_PIXELS
    ) -> NDArray[np.uint8]:
        """Bytes to upright `image_HWC` RGB, cut to the box with its margin.

        Raises:
            ImageError: the image can't be read, or the box has no area inside it.
        """
        return to_array(self._decode(data, box, max_pixels))

    def _decode(self, data: bytes, box: Box | None, max_pixels: int) -> Image.Image:
        shrink, size = 1, None
        if self.draft:
            size = image_size(data, max_pixels=max_pixels)
            shrink = self._shrink(size, box)
        image = decode_image(data, max_pixels=max_pixels, shrink=shrink)
        if box is None:
            return image
        edges = self._edges(box, size or image.size)
        if size is not None and image.size != size:
            edges = _scaled(edges, size, image.size)
        return image.crop(edges)

    def crop(self, image_HWC: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """Cut decoded pixels to a box with its margin, as `decode` does."""
        left, top, right, bottom = self._edges(box, (image_HWC.shape[1], image_HWC.shape[0]))
        return image_HWC[top:bottom, left:right]

    def fit(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The geometric step: any size to `height` x `width`, still uint8."""
        return self._fit(Image.fromarray(np.ascontiguousarray(image_HWC)))

    def _fit(self, image: Image.Image) -> NDArray[np.uint8]:
        width, height = self._scaled_size(image.size)
        image = self._resample(image, width, height)
        if self.resize == "stretch":
            return to_array(image)
        if self.resize == "crop":
            return to_array(_centre(image, self.width, self.height))
        canvas = Image.new("RGB", (self.width, self.height), self.pad_color)
        canvas.paste(image, ((self.width - width) // 2, (self.height - height) // 2))
        return to_array(canvas)

    def visible(self, width: int, height: int) -> tuple[float, float, float, float]:
        """What `fit` keeps of such a photo: left, top, right, bottom, as shares of its sides.

        `pad` reaches beyond the photo, below 0 and above 1.
        """
        wide, high = self._scaled_size((width, height))
        if self.resize == "pad":
            left, top = -((self.width - wide) // 2), -((self.height - high) // 2)
        else:
            left, top = round((wide - self.width) / 2), round((high - self.height) / 2)
        return (
            left / wide, top / high, (left + self.width) / wide, (top + self.height) / high
        )  # fmt: skip

    def normalize(
        self, image_HWC: NDArray[np.uint8], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Pixels to `input_CHW`: `(pixel / 255 - mean) / std`, float32.

        Args:
            out: what to write into, and to return; new memory for each photo costs as much again.
        """
        mean, std = self._mean_and_std
        pixels_CHW = image_HWC.transpose(2, 0, 1)
        input_CHW = np.empty(pixels_CHW.shape, np.float32) if out is None else out
        # One step after the other, each rounded to float32, as torchvision does.
        input_CHW[...] = pixels_CHW
        input_CHW /= np.float32(255)
        input_CHW -= mean
        input_CHW /= std
        return input_CHW

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """The value that `to_dict` wrote.

        Raises:
            UserError: an unknown or missing key, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"height", "width"} - set(values))
        if unknown or missing:
            raise UserError(
                f"preprocessing has {'unknown' if unknown else 'no'} "
                f"{', '.join(unknown or missing)}; known: {', '.join(sorted(known))}"
            )
        try:
            plain: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            return cls(**plain)
        except TypeError as error:
            raise UserError(f"preprocessing has a value of the wrong kind: {error}") from error

    @cached_property
    def _mean_and_std(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        return mean, std

    def _scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height that a photo of this size is scaled to."""
        if self.resize == "stretch":
            return self.width, self.height
        if self.resize == "crop":
            return self._covering_size(size)
        ratio = max(size[0] / self.width, size[1] / self.height)
        # A very long photo would otherwise shrink to a side of no pixels.
        width, height = (max(1, round(side / ratio)) for side in size)
        return width, height

    def _covering_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size after scaling, as torchvision rounds it (square) or timm does (otherwise)."""
        target_w = math.floor(self.width / self.crop_pct)
        target_h = math.floor(self.height / self.crop_pct)
        width, height = size
        if target_w != target_h:
            ratio = min(width / target_w, height / target_h)
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        if width <= height:
            return target_w, int(target_w * height / width)
        return int(target_w * width / height), target_w

    def _resample(self, image: Image.Image, width: int, height: int) -> Image.Image:
        resample = _PILLOW[self.interpolation]
        if image.size == (width, height):
            return image
        if self.antialias or self.interpolation == "nearest":
            return image.resize((width, height), resample)
        return Image.fromarray(_plain_bilinear(to_array(image), width, height))

    def _shrink(self, size: tuple[int, int], box: Box | None) -> int:
        """The part, 1, 2, 4 or 8, of a photo of this size that a draft of it needs.

        It is scaled to the same size as the whole would be.
        """
        edges = (0, 0, *size) if box is None else self._edges(box, size)
        width, height = edges[2] - edges[0], edges[3] - edges[1]
        wanted = self._scaled_size((width, height))
        for part in (8, 4, 2):
            smaller = -(-size[0] // part), -(-size[1] // part)  # as JPEG readers round it
            left, top, right, bottom = _scaled(edges, size, smaller)
            enough = width >= _DRAFT * part * wanted[0] and height >= _DRAFT * part * wanted[1]
            if enough and self._scaled_size((right - left, bottom - top)) == wanted:
                return part
        return 1

    def _edges(self, box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Whole-pixel edges of the box with its margin, inside the photo."""
        if not all(map(math.isfinite, box)):
            raise ImageError(f"the box {box} is not finite")
        if box.width <= 0 or box.height <= 0:
            raise ImageError(f"the box {box} has no area")
        dx, dy = box.width * self.box_margin, box.height * self.box_margin
        # Clipped before they are rounded: a sum may have become infinite.
        left = math.floor(max(0, box.x - dx))
        top = math.floor(max(0, box.y - dy))
        right = math.ceil(min(size[0], box.x + box.width + dx))
        bottom = math.ceil(min(size[1], box.y + box.height + dy))
        if left >= right or top >= bottom:
            raise ImageError(f"the box {box} lies outside the photo of {size[0]}x{size[1]} pixels")
        return left, top, right, bottom


def _scaled(
    edges: tuple[int, int, int, int], size: tuple[int, int], smaller: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Edges in a photo as edges in a smaller one of it, rounded outwards."""
    left, top, right, bottom = edges
    x, y = smaller[0] / size[0], smaller[1] / size[1]
    return (
        math.floor(left * x),
        math.floor(top * y),
        min(smaller[0], math.ceil(right * x)),
        min(smaller[1], math.ceil(bottom * y)),
    )


def _plain_bilinear(image_HWC: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Bilinear sampling at pixel centres, rounded; Pillow's own cuts the fraction off."""
    upper, lower, share = _neighbours(image_HWC.shape[0], height)
    rows = image_HWC[upper] * (1 - share[:, None, None]) + image_HWC[lower] * share[:, None, None]
    left, right, share = _neighbours(image_HWC.shape[1], width)
    values = rows[:, left] * (1 - share[:, None]) + rows[:, right] * share[:, None]
    return np.rint(values).astype(np.uint8)


def _neighbours(
    num_in: int, num_out: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each output position the two samples beside it and the second one's share."""
    position = ((np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5).clip(0, num_in - 1)
    first = position.astype(np.int64)
    return first, np.minimum(first + 1, num_in - 1), (position - first).astype(np.float32)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    # Python's round halves to even, as torchvision's center crop does.
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
